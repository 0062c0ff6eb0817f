"""Wrong configurations: each error names the file, the key, and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rain import config
from rain.client import Client, ConfigError, UsageError


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "hello"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def read(folder: Path, text: str) -> dict[str, config.Executor]:
    file = folder / "executors.toml"
    file.write_text(text)
    return config.read_file(file)


def test_reads_all_keys(tmp_path: Path, program: Path) -> None:
    found = read(
        tmp_path,
        '[executors.example1]\ncommand = "./hello --level 2"\nstart_seconds = 5\n'
        'env = {A = "1", B = "x y"}\n',
    )["example1"]
    assert found.argv == [str(program), "--level", "2"]
    assert found.environment == ["A=1", "B=x y"]
    assert found.start_seconds == 5.0
    assert found.language == "C++"


def test_command_is_split_as_a_shell_would(tmp_path: Path, program: Path) -> None:
    found = read(tmp_path, "[executors.e]\ncommand = '''./hello \"two words\" a\\ b'''")
    assert found["e"].argv == [str(program), "two words", "a b"]


def test_command_may_be_a_list(tmp_path: Path, program: Path) -> None:
    found = read(tmp_path, '[executors.e]\ncommand = ["./hello", "two words"]')
    assert found["e"].argv == [str(program), "two words"]


def test_files_among_the_arguments_are_relative_to_the_toml_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hello.py").touch()
    monkeypatch.chdir("/")
    found = read(tmp_path, '[executors.e]\ncommand = "sh hello.py hello"')
    assert found["e"].argv[1:] == [str(tmp_path / "hello.py"), "hello"]
    assert os.path.isabs(found["e"].argv[0])
    assert found["e"].language == "Python"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("command = ", "is not TOML: .*it should be like"),
        ("[executors]\n[exceutors.e]\n", "unknown key 'exceutors', did you mean 'executors'"),
        ("", r"there is no \[executors\] table"),
        ("executors = 5", "executors must be a table of executors, not int"),
        ("[executors]\ne = 5", "executors.e must be a table with a command, not int"),
        ("[executors.e]\n", "executors.e has no command"),
        ("[executors.e]\ncomand = 'x'", "key 'executors.e.comand', did you mean 'command'"),
        ("[executors.e]\ncommand = 5", "executors.e.command must be a str or a list of str"),
        ("[executors.e]\ncommand = ['a', 5]", "executors.e.command must be a str or a list of str"),
        ("[executors.e]\ncommand = ''", "executors.e.command is empty"),
        ("[executors.e]\ncommand = []", "executors.e.command is empty"),
        ('[executors.e]\ncommand = "./hello \'x"', "executors.e.command: No closing quotation"),
        ("[executors.e]\ncommand = './nope'", "there is no program .*/nope; build it"),
        ("[executors.e]\ncommand = './folder'", "/folder is not a file that can be run"),
        ("[executors.e]\ncommand = './text'", "/text is not executable; chmod"),
        ("[executors.e]\ncommand = 'nope-program'", "'nope-program' is not in PATH"),
        ("[executors.e]\ncommand = 'text'", "is not in PATH; write './text'"),
        ("[executors.e]\ncommand = 'python3 nope.py'", "there is no file .*/nope.py"),
        ("[executors.e]\ncommand = './hello ./nope'", "there is no file .*/nope"),
        ("[executors.'a/b']\ncommand = './hello'", "'a/b' cannot be an executor type"),
        ("[executors.buildin]\ncommand = './hello'", "the governor's own executor"),
        ("[executors.e]\ncommand = './hello'\nenv = 5", "executors.e.env must be a table"),
        ("[executors.e]\ncommand = './hello'\nenv = {A = 5}", "executors.e.env.A must be a str"),
        ("[executors.e]\ncommand = './hello'\nstart_seconds = '5'", "start_seconds must be a pos"),
        ("[executors.e]\ncommand = './hello'\nstart_seconds = 0", "start_seconds must be a pos"),
        ("[executors.e]\ncommand = './hello'\nstart_seconds = true", "start_seconds must be a pos"),
    ],
)
def test_wrong_file_is_explained(tmp_path: Path, program: Path, text: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").touch(0o644)
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "executors.toml") in str(caught.value)


def test_missing_file_and_unreadable_bytes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope.toml: No such file or directory"):
        config.read_file(tmp_path / "nope.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        config.read_file(tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.read_file(tmp_path / "x.toml")


def test_argument_is_relative_to_the_current_directory(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values: list[Any] = ["./hello", ["./hello"], Path("hello"), {"command": "./hello"}, program]
    monkeypatch.setenv("PATH", str(tmp_path))
    for value in values:
        assert config.read_argument({"e": value})["e"].argv == [str(program)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"executors": {"e": "./nope"}}, "Client: executors.e.command: there is no program"),
        ({"executors": 5}, "Client: executors must be a table"),
        ({"cpus": 0}, "cpus must be a positive int, not 0"),
        ({"cpus": "2"}, "cpus must be a positive int, not '2'"),
        ({"memory": "8 Gib of it"}, "memory must be a positive number of bytes"),
        ({"memory": -5}, "memory must be a positive number of bytes"),
    ],
)
def test_client_reports_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Client(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("http://host:7210",), "'http://host:7210' is no address: write Client"),
        (("host name",), "'host name' is no address"),
        (("",), "'' is no address"),
        ((7210,), r"Client\(7210, None\): write Client"),
        ((None, 7210), r"Client\(None, 7210\): write Client"),
        (("host", 0), "0 is no port"),
        (("host:65536",), "65536 is no port"),
        (("host", "many"), "'many' is no port"),
        (("host:1", 2), "has two ports"),
        (("unix:/tmp/x", 7210), "is a path"),
        (("/tmp/" + "x" * 107,), "it has 112 bytes, and at most 107 are possible"),
        (("unix:/tmp/\0",), "can't be the path of a socket"),
    ],
)
def test_wrong_addresses_are_explained(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Client(*arguments)


@pytest.mark.parametrize("address", ["unix:/tmp/none", "host:7210"])
def test_arguments_of_a_governor_here_dont_go_with_an_address(address: str) -> None:
    with pytest.raises(UsageError, match="config, cpus, spill: of a governor inside this process"):
        Client(address, config="x.toml", cpus=2, spill=False)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, 5),
        ("5", 5),
        ("8 GiB", 8 << 30),
        ("1.5MiB", 3 << 19),
        ("500 MB", 500_000_000),
        ("7 b", 7),
        (" 2 kib ", 2048),
    ],
)
def test_reads_sizes(size: int | str, expected: int) -> None:
    assert config.parse_size(size) == expected


# ---- how processes are kept ---------------------------------------------------------------------


def test_processes_have_defaults(tmp_path: Path, program: Path) -> None:
    found = read(tmp_path, '[executors.e]\ncommand = "./hello"')["e"]
    assert (found.cwd, found.threads, found.prestart, found.max_processes) == ("", 0, 0, 0)
    assert (found.idle_seconds, found.start_seconds, found.reload) == (60.0, 30.0, True)


def test_reads_how_processes_are_kept(tmp_path: Path, program: Path) -> None:
    (tmp_path / "data").mkdir()
    found = read(
        tmp_path,
        '[executors.e]\ncommand = "./hello"\ncwd = "data"\nthreads = 3\nprestart = 1\n'
        "max_processes = 2\nidle_seconds = inf\nreload = false\n",
    )["e"]
    assert found.cwd == str(tmp_path / "data")
    assert (found.threads, found.prestart, found.max_processes) == (3, 1, 2)
    assert found.idle_seconds == float("inf")
    assert found.reload is False


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("prestart = -1", "executors.e.prestart must be an int from 0 to 10000, not -1"),
        ("prestart = true", "executors.e.prestart must be an int"),
        ("threads = 0", "executors.e.threads must be an int from 1 to 512, not 0"),
        ("max_processes = 0", "executors.e.max_processes must be an int from 1"),
        ("idle_seconds = -1", "executors.e.idle_seconds must be a number of seconds, 0 or more"),
        ("idle_seconds = nan", "executors.e.idle_seconds must be a number"),
        ('reload = "no"', "executors.e.reload must be true or false, not 'no'"),
        ('cwd = "nowhere"', "executors.e.cwd: there is no directory"),
        ("cwd = 3", "executors.e.cwd must be the path of a directory, not 3"),
        ("prestart = 3\nmax_processes = 2", "prestart = 3 is more than max_processes = 2"),
    ],
)
def test_wrong_numbers_of_processes_are_named(
    tmp_path: Path, program: Path, line: str, wrong: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, f'[executors.e]\ncommand = "./hello"\n{line}')
    assert wrong in str(error.value)
