"""Wrong files and arguments: refused by Client(), with the place and what to write instead."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ConfigError
from tasks import call, contains

PROGRAM = sys.executable


def refusal(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Client(**arguments)
    return str(caught.value)


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "executors.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    contains(refusal(config=path), f"{path}: No such file", "Client(config=...) needs a TOML file")


def test_directory_as_file_is_named(tmp_path: Path) -> None:
    contains(refusal(config=tmp_path), f"{tmp_path}: Is a directory")


@pytest.mark.parametrize("content", ["[executors.a\n", "executors = = 1", b"\xff\xfe\x00"])
def test_file_that_is_not_toml_is_named_with_an_example(toml: Any, content: str) -> None:
    path = toml(content)
    contains(refusal(config=path), f"{path} is not TOML: ", '[executors.example1]\ncommand = "')


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("[executor.a]\ncommand='x'", ["unknown key 'executor', did you mean 'executors'?"]),
        ("", ["there is no [executors] table", "[executors.example1]"]),
        ("executors = 3", ["executors must be a table of executors, not int"]),
        ("[executors]\na = 3", ["executors.a must be a table with a command, not int"]),
        ("[executors.a]\nenv = {}", ["executors.a has no command"]),
        ("[executors.a]\ncomand='x'", ["'executors.a.comand', did you mean 'command'?", "known: "]),
        ("[executors.a]\ncommand=3", ["executors.a.command must be a str or a list of str, not 3"]),
        ("[executors.a]\ncommand=['x', 3]", ["executors.a.command must be a str or a list"]),
        ("[executors.a]\ncommand=''", ["executors.a.command is empty"]),
        ('[executors.a]\ncommand="\'x"', ["executors.a.command: No closing quotation"]),
        ("[executors.a]\ncommand='{P}'\nenv=1", ["executors.a.env must be a table of str"]),
        ("[executors.a]\ncommand='{P}'\nenv.X=1", ["executors.a.env.X must be a str, not 1"]),
        ("[executors.a]\ncommand='{P}'\nstart_seconds=-1", ["executors.a.start_seconds", "not -1"]),
        ("[executors.a]\ncommand='{P}'\nstart_seconds='1'", ["positive number of seconds"]),
        ("[executors.'a/b']\ncommand='{P}'", ["'a/b' cannot be an executor type"]),
        ("[executors.buildin]\ncommand='{P}'", ["'buildin' is the governor's own executor"]),
        ("[executors.a]\ncommand='./no'", ["there is no program {D}/no; build it, or correct"]),
        ("[executors.a]\ncommand='no-such-program'", ["program 'no-such-program' is not in PATH"]),
        ("[executors.a]\ncommand='./plain'", ["{D}/plain is not executable; chmod +x {D}/plain"]),
        ("[executors.a]\ncommand='plain'", ["is not in PATH; write './plain' for {D}/plain"]),
        ("[executors.a]\ncommand='{D}'", ["{D} is not a file that can be run"]),
        ("[executors.a]\ncommand='{P} no.py'", ["there is no file {D}/no.py"]),
    ],
)
def test_wrong_content_is_named_by_file_key_and_remedy(
    toml: Any, tmp_path: Path, content: str, parts: list[str]
) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")

    def fill(text: str) -> str:
        return text.replace("{P}", PROGRAM).replace("{D}", str(tmp_path))

    path = toml(fill(content))
    contains(refusal(config=path), f"{path}: ", *map(fill, parts))


def test_wrong_arguments_are_named() -> None:
    contains(refusal(executors={"a": 3}), "Client: executors.a must be a table with a command")
    contains(refusal(executors=3), "Client: executors must be a table of executors, not int")
    contains(refusal(executors={"a": "./no"}), "there is no program", os.getcwd() + "/no")
    contains(refusal(cpus=0), "cpus must be a positive int, not 0")
    contains(refusal(memory="much"), "memory must be a positive number of bytes", "'much'")


def test_program_that_cannot_be_executed_fails_its_task(tmp_path: Path) -> None:
    cases = {
        "lost": ("#!/nowhere/sh\n", "the interpreter on its first line"),
        "noise": ("\x01\x02\x03 no program\n", "is it built for this machine"),
    }
    for name, (content, advice) in cases.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
        with Client(executors={"bad": tmp_path / name}) as client, client.new_session():
            with pytest.raises(Exception) as caught:  # noqa: PT011 - the text is what matters
                call("bad/x", b"in").output.fetch()
            contains(caught.value, f"Executor command '{tmp_path / name}' failed: ", advice)
