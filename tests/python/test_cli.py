"""The command `rain` itself, and its commands that need no long run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rain.cli.app import rain
from rain_command import RAIN, run_rain

COMMANDS = (
    "run", "start", "server", "governor", "status", "logs", "store", "stop", "tls",
    "new", "executors", "report", "trace", "doctor",
)  # fmt: skip


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(rain, [str(argument) for argument in arguments])


def test_help_names_every_command_and_each_has_one() -> None:
    done = call("--help")
    assert done.exit_code == 0
    for command in COMMANDS:
        assert command in done.output
        own = call(command, "-h")
        assert own.exit_code == 0
        assert "Usage:" in own.output
    for command in ("list", "check", "stub"):
        assert call("executors", command, "--help").exit_code == 0


def test_no_command_is_an_error_as_in_rain_0_4() -> None:
    done = call()
    assert done.exit_code == 1
    assert "No subcommand provided." in done.stderr


def test_program_and_module_are_the_same() -> None:
    program = subprocess.run(
        [Path(sys.executable).with_name("rain"), "--version"], capture_output=True, text=True
    )
    module = run_rain("--version")
    assert program.returncode == module.returncode == 0
    assert program.stdout == module.stdout
    assert Path(run_rain("--cmakedir").stdout.strip(), "tasklibConfig.cmake").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exec"], "There is no command 'exec'; did you mean 'executors'?"),
        (["quite-another"], "there are run, start,"),
        (["--wrong"], "No such option"),
        (["report"], "Missing argument 'RUN'"),
        (["trace", "x.jsonl"], "Missing option"),
        (["run", "--cpus", "0", __file__], "0 is not in the range"),
        (["run", "--server", "x", "--cpus", "1", __file__], "--cpus: of a governor inside"),
        (["run", "--tls", "dir", __file__], "--tls is of the server"),
        (["stop", "--force", "--wait"], "exclude each other"),
        (["run", "--memory", "much", __file__], "memory must be a positive number"),
        (["new", "Bad-Name", "--cpp"], "cannot be the name of an executor project"),
        (["new", "class", "--python"], "has a meaning of its own"),
        (["new", "mine"], "--cpp or --python"),
        (["executors", "check", "/no/such/file"], "does not exist"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], message: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_failures_are_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\n")
    done = run_rain("report", tmp_path / "x.jsonl")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "is no event log" in done.stderr
    assert "Traceback" not in done.stderr


def test_client_loads_nothing_of_the_command() -> None:
    program = "import sys, rain.client; print({'click', 'rich', 'rain.cli'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_shells_complete_commands_and_options() -> None:
    def completions(words: str) -> str:
        environment = os.environ | {
            "_RAIN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        program = Path(sys.executable).with_name("rain")
        return subprocess.run([program], capture_output=True, text=True, env=environment).stdout

    assert "plain,executors" in completions("rain ex")
    assert "plain,check" in completions("rain executors ch")
    assert "plain,--events" in completions("rain run --ev")
    assert "plain,--standalone" in completions("rain governor --st")
    assert "plain,--governor-host-file" in completions("rain start --gov")
    assert "plain,init" in completions("rain tls i")


def test_output_that_nobody_reads_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([*RAIN, "--help"], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr


# ---- executors


@pytest.fixture
def config(tmp_path: Path, pytester_command: list[str]) -> Path:
    program = "import sys; print('no licence found', file=sys.stderr); sys.exit(3)"
    file = tmp_path / "executors.toml"
    file.write_text(
        f"[executors.pytester]\ncommand = {json.dumps(pytester_command)}\nprestart = 2\n"
        f"[executors.broken]\ncommand = {json.dumps([sys.executable, '-c', program])}\n"
        '[executors.missing]\ncommand = "./nowhere"\n'
    )
    return file


def test_check_starts_each_executor_and_tells_what_it_has(config: Path) -> None:
    done = call("executors", "check", config)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith("pytester: ok, pid ")
    assert "  pytester/echo" in lines
    assert "broken: failed" in lines
    assert any("exit code: 3" in line for line in lines)
    assert "  no licence found" in lines
    assert any("there is no program" in line for line in lines)
    assert lines[-1] == "3 executors, 2 failed"


def test_check_gives_json(config: Path) -> None:
    done = call("executors", "check", "--json", config)
    assert done.exit_code == 1
    executors = {facts["executor"]: facts for facts in json.loads(done.stdout)["executors"]}
    good = executors["pytester"]
    assert good["ok"] is True
    assert "echo" in [task["name"] for task in good["tasks"]]
    assert good["seconds"] > 0
    assert good["pid"] > 0
    assert good["error"] == ""
    assert [executors[name]["ok"] for name in ("broken", "missing")] == [False, False]
    assert "no licence found" in executors["broken"]["error"]


def test_check_of_good_executors_succeeds(tmp_path: Path, cpptester: Path) -> None:
    file = tmp_path / "executors.toml"
    file.write_text(f'[executors.cpptester]\ncommand = "{cpptester}"\n')
    done = call("executors", "check", file)
    assert done.exit_code == 0
    assert "  cpptester/echo" in done.output.splitlines()
    assert done.output.splitlines()[-1] == "1 executor"


def test_list_starts_nothing(config: Path) -> None:
    done = call("executors", "list", config)
    assert done.exit_code == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["executor", "language"],
        ["pytester", "Python"],
        ["broken", "Python"],
        ["missing", "?"],
    ]
    assert "there is no program" in done.stderr
    listed = json.loads(call("executors", "list", "--json", config).stdout)["executors"]
    assert listed[0]["prestart"] == 2
    assert listed[1]["command"][0] == sys.executable
    assert "error" in listed[2]


def test_what_is_no_toml_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "executors.toml"
    file.write_text("[executors\n")
    for command in ("check", "list"):
        done = call("executors", command, file)
        assert done.exit_code == 1
        assert "is not TOML" in done.stderr
