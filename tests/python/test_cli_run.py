"""`rain run script.py`: real scripts in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, defaults
from rain_command import RAIN, run_rain

ECHO = """
import sys
from rain.client import Client, Task, blob
with Client() as client, client.new_session():
    task = Task((blob(b"x"),), 1, task_type="cpptester/echo", name="one")
    print(task.output.fetch().get_bytes(), sys.argv[1:], __name__, client._engine.cpus)
"""


@pytest.fixture
def config(tmp_path: Path, cpptester: Path) -> Path:
    file = tmp_path / "executors.toml"
    file.write_text(f'[executors.cpptester]\ncommand = "{cpptester}"\n')
    return file


def run(
    folder: Path, script: str, *options: str | Path, arguments: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    return run_rain("run", *options, "script.py", *arguments, cwd=folder)


def test_clients_take_what_the_command_line_says(tmp_path: Path, config: Path) -> None:
    done = run(
        tmp_path, ECHO, "--config", config.name, "--cpus", "3", "--events", "run.jsonl",
        arguments=("--cpus", "7", "a"),
    )  # fmt: skip
    assert done.stdout == "b'x' ['--cpus', '7', 'a'] __main__ 3\n", done.stderr
    assert done.returncode == 0
    first = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert first["cpus"] == 3


def test_arguments_of_the_script_win(tmp_path: Path, config: Path) -> None:
    script = ECHO.replace("Client()", "Client(cpus=2, events='own.jsonl')")
    done = run(tmp_path, script, "--config", config, "--cpus", "3", "--events", "run.jsonl")
    assert done.stdout.split()[-1] == "2", done.stderr
    assert (tmp_path / "own.jsonl").exists()
    assert not (tmp_path / "run.jsonl").exists()


def test_a_client_with_a_governor_of_its_own_is_not_on_the_service(tmp_path: Path) -> None:
    script = "from rain.client import Client\nprint(Client(cpus=2)._engine.cpus)\n"
    done = run(tmp_path, script, "--server", tmp_path / "socket")
    assert done.stdout == "2\n", done.stderr
    assert "script.py:2: RainWarning: Client(cpus=...) has a governor of its own" in done.stderr


def test_record_and_memory_reach_the_client(tmp_path: Path) -> None:
    script = (
        "from rain.client import Client\n"
        "client = Client()\n"
        "print(client.report(), client.info()['store']['budget_bytes'])\n"
    )
    done = run(tmp_path, script, "--record", "--memory", "64 MiB")
    assert done.stdout == f"0 tasks {64 << 20}\n", done.stderr


def test_report_comes_after_all_and_leaves_nothing(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    script = f"import atexit; atexit.register(print, 'last words')\n{ECHO}\nClient()\n"
    done = run(tmp_path, script, "--report", "--config", config)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "last words"
    lines = done.stderr.splitlines()
    assert lines[0] == "client 1:"
    assert lines[1] == "1 tasks: 1 finished"
    assert lines[3].split()[:2] == ["one", "1"]
    assert lines[4:] == ["client 2:", "0 tasks"]
    assert os.listdir(temporary) == []


def test_each_client_has_a_log_of_its_own(tmp_path: Path) -> None:
    script = "from rain.client import Client\nfor i in range(3): Client().close()\n"
    done = run(tmp_path, script, "--events", "run.jsonl")
    assert done.returncode == 0, done.stderr
    logs = sorted(file.name for file in tmp_path.glob("*.jsonl"))
    assert logs == ["run-2.jsonl", "run-3.jsonl", "run.jsonl"]


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('why')", 1, "why\n"),
        ("raise SystemExit", 0, ""),
        ("def f():\n  1/0\nf()", 1, "ZeroDivisionError: division by zero\n"),
        ("a b", 1, "SyntaxError: invalid syntax\n"),
    ],
)
def test_exit_code_is_the_scripts(tmp_path: Path, script: str, code: int, error: str) -> None:
    done = run(tmp_path, script)
    assert done.returncode == code
    assert done.stderr.endswith(error)
    assert "rain/cli" not in done.stderr, "the traceback shows Rain's own frames"


def test_script_is_main_for_modules_beside_it_and_for_tasks(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("ANSWER = 42\n")
    script = (
        "import beside, sys\n"
        "from rain.client import Client, remote\n"
        "class Number(int): pass\n"
        "@remote()\n"
        "def add(ctx, a, b): return ctx.pickled(Number(a + b + beside.ANSWER))\n"
        "with Client().new_session(): print(repr(add(Number(1), 2).result()), sys.argv)\n"
    )
    done = run(tmp_path, script, arguments=("x",))
    assert done.stdout == "45 ['script.py', 'x']\n", done.stderr


def test_interrupt_is_clean(tmp_path: Path) -> None:
    script = (
        "from rain.client import Client\nfrom rain.client.tasks import Sleep\n"
        "from rain.client import blob\n"
        "with Client().new_session() as s:\n"
        "    task = Sleep(blob(b'x'), 1000); s.submit(); print('waiting', flush=True)\n"
        "    task.wait()\n"
    )
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen(
        [*RAIN, "run", "--report", "script.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[0] == "rain run: interrupted"
    assert "1 cancelled" in error
    assert "Traceback" not in error


def test_defaults_are_of_this_process_alone(tmp_path: Path) -> None:
    defaults.set_defaults(cpus=5, events=str(tmp_path / "run.jsonl"))
    try:
        with Client() as client:
            assert client._engine.cpus == 5
        with Client(cpus=1) as client:
            assert client._engine.cpus == 1
        assert [Path(log).name for log in defaults.event_logs()] == ["run.jsonl", "run-2.jsonl"]
        seen: dict[str, Any] = {}
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, repr((defaults.default("cpus"), defaults.default("events"))).encode())
            os._exit(0)
        os.close(write)
        seen["child"] = os.read(read, 100)
        os.close(read)
        os.waitpid(pid, 0)
        assert seen["child"] == b"(None, None)"
    finally:
        defaults.set_defaults()
    with Client() as client:
        assert client.closed is False
