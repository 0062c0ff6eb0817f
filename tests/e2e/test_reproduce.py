"""Task.reproduce(): a task runs alone, from a directory that has its call and inputs. For both of
our libraries, and for functions and programs."""

from __future__ import annotations

import gc
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    ExecutorDied,
    Input,
    OutputDir,
    Program,
    Session,
    Task,
    TaskException,
    UsageError,
    blob,
    directory,
    remote,
)
from rain.client.tasks import Sleep
from tasks import call, contains
from world import need_gdb

MakeClient = Callable[..., Client]
CONFORMANCE = Path(__file__).resolve().parent.parent / "conformance"


def run(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """As from a shell somewhere else."""
    return subprocess.run(
        shlex.split(command), cwd="/", capture_output=True, text=True, timeout=120, **options
    )


def failed(task: Task) -> Task:
    task.session.submit()
    with pytest.raises(TaskException):
        task.wait()
    return task


def in_memory(client: Client) -> int:
    return int(client.info()["store"]["blobs_bytes"])


def test_a_failing_task_fails_alone(
    session: Session, tester: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = b"no luck " * 20_000  # in shared memory
    task = failed(call(f"{tester}/fail", large))
    command = task.reproduce(tmp_path / "alone")
    assert command in capsys.readouterr().out
    for _ in range(2):
        done = run(command)
        assert done.returncode != 0
        contains(done.stderr, "no luck no luck", f"task '{tester}/fail' failed after ")
    (tmp_path / "alone" / "inputs" / "0").write_text("something else")
    contains(run(command).stderr, "something else")


def test_a_crash_happens_again(session: Session, tester: str, tmp_path: Path) -> None:
    task = call(f"{tester}/segfault")
    session.submit()
    with pytest.raises(ExecutorDied):
        task.wait()
    done = run(task.reproduce(tmp_path / "alone"))
    assert done.returncode in (-signal.SIGSEGV, 128 + signal.SIGSEGV)


def test_the_call_is_the_same(session: Session, tester: str, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "name").write_text("content")
    inputs = [
        blob(b"text", label="its own", content_type="text"),
        ("the task's", blob(b"x" * 100_000)),
        directory(str(tmp_path / "given")),
    ]
    objects = [item[1] if isinstance(item, tuple) else item for item in inputs]
    objects[0].spec.user["about"] = [1, {"a": None}]
    for item in objects:
        item.keep()
    task = Task(
        inputs, ("out",), config={"k": [1.5, "v"]}, name="a/b", task_type=f"{tester}/attributes"
    )
    task.spec.user["of the task"] = True
    task.output.keep()
    session.submit()
    expected = task.output.fetch().get_bytes()
    done = run(task.reproduce(tmp_path / "alone"))
    assert done.returncode == 0, done.stderr
    contains(done.stderr, f"task '{tester}/attributes' finished in ", " 1 output in ")
    got = (tmp_path / "alone" / "outputs" / "0").read_bytes()
    assert json.loads(got) == json.loads(expected)
    assert json.loads(got)["inputs"][0]["spec_user"] == {"about": [1, {"a": None}]}


def test_directories_and_files_are_there_as_paths(
    session: Session, tester: str, tmp_path: Path
) -> None:
    files = {"d/b": "2", "a": "1"}
    made = Task((), (OutputDir("made"),), config=files, task_type=f"{tester}/make_directory")
    made.output.keep()
    listing = call(f"{tester}/list_directory", made.output)
    listing.output.keep()
    session.submit()
    expected = listing.output.fetch().get_bytes()
    assert run(listing.reproduce(tmp_path / "alone")).returncode == 0
    assert (tmp_path / "alone" / "outputs" / "0").read_bytes() == expected == b"a=1\nd/b=2"


def test_a_remote_function_raises_its_own_exception(session: Session, tmp_path: Path) -> None:
    @remote()
    def divide(ctx: Any, a: Any, b: int) -> bytes:
        number = len(a)
        print("in the function")
        return bytes(number // b)

    task = failed(divide(blob(b"x" * 70_000), 0))
    command = task.reproduce(tmp_path / "alone", debugger="pdb")
    assert command.endswith("/run.sh pdb")
    script = command.split()[0]
    done = run(script)
    assert done.returncode == 1
    contains(done.stdout, "in the function")
    contains(done.stderr, "Traceback", "in divide", "ZeroDivisionError")
    done = run(command, input="p number + 1\nq\n")
    contains(done.stdout, "post mortem", "divide()", "70001")


def test_in_gdb(session: Session, tmp_path: Path) -> None:
    need_gdb()
    task = failed(call("cpptester/abort"))
    command = task.reproduce(tmp_path / "alone", debugger="gdb")
    assert command.endswith(" --args")
    script, gdb, _ = command.split()
    done = run(f"{script} {gdb} -batch -ex run -ex bt --args")
    contains(done.stdout, "SIGABRT", "abort_process", "tasklib::Executor::serve")


def test_a_program_runs_in_a_sandbox_of_its_own(session: Session, tmp_path: Path) -> None:
    program = Program(
        ("sh", "-c", "cat - d/in; echo done >out; exit 3"),
        input_paths=(Input("in", path="d/in"),),
        stdin=Input("std"),
        output_paths=("out",),
    )
    inputs = {"in": blob("from a file, "), "std": blob("from stdin, ")}
    task = failed(program(**inputs))
    done = run(task.reproduce(tmp_path / "alone"))
    assert (done.returncode, done.stdout) == (3, "from stdin, from a file, ")
    assert (tmp_path / "alone" / "work" / "out").read_text() == "done\n"


@pytest.mark.embedded("elsewhere what tasks made has to be kept")
def test_works_in_a_session_that_has_failed(client: Client, tmp_path: Path) -> None:
    with client.new_session() as session:
        made = call("cpptester/fill", size=100_000, byte=65)
        task = call("pytester/fail", made.output)
        call("cpptester/concat", task.output)
        session.submit()
        with pytest.raises(TaskException) as caught:
            session.wait_all()
        assert caught.value.task is task
        done = run(task.reproduce(tmp_path / "alone"))
        contains(done.stderr, "ValueError: AAAA")


def test_inputs_of_the_first_failed_tasks_are_kept(session: Session, tmp_path: Path) -> None:
    tasks = [failed(call("cpptester/fail", f"error {i}".encode())) for i in range(9)]
    for i in range(8):
        tasks[i].reproduce(tmp_path / str(i))
        assert (tmp_path / str(i) / "inputs" / "0").read_text() == f"error {i}"
    with pytest.raises(UsageError, match=r"is gone: .* the first 8 failed .* keep\(\) the inputs"):
        tasks[8].reproduce(tmp_path / "8")
    del tasks[2:4]
    gc.collect()
    again = failed(call("cpptester/fail", b"again"))
    again.reproduce(tmp_path / "again")


@pytest.mark.embedded("constants are in a store of the client's")
def test_what_is_kept_goes_when_memory_is_short(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(memory="16 MiB", spill=False)
    with client.new_session(on_error="continue") as session:
        task = failed(call("cpptester/segfault", bytes(10 << 20)))
        assert in_memory(client) == 10 << 20
        held = client.put(bytes(12 << 20))
        session.submit()
        assert in_memory(client) == 12 << 20
        with pytest.raises(UsageError, match="is gone"):
            task.reproduce(tmp_path / "alone")
        del held


@pytest.mark.embedded("constants are in a store of the client's")
def test_what_is_kept_goes_with_the_task_and_the_session(make_client: MakeClient) -> None:
    client = make_client()
    session = client.new_session(on_error="continue")
    with session.bind_only():
        first = failed(call("cpptester/fail", b"x" * 128_000))
        second = failed(call("cpptester/fail", b"y" * 128_000))
    assert in_memory(client) == 256_000
    del first
    gc.collect()
    assert in_memory(client) == 128_000
    session.close()
    assert in_memory(client) == 0
    with pytest.raises(UsageError, match=r"before Session.close\(\)"):
        second.reproduce("/nowhere")


def test_says_why_not(make_client: MakeClient, tmp_path: Path) -> None:
    raw = {
        "command": [sys.executable, str(CONFORMANCE / "rawtester.py")],
        "env": {"PYTHONPATH": str(CONFORMANCE)},
    }
    client = make_client({"rawtester": raw})
    with client.new_session(on_error="continue") as session:
        with pytest.raises(UsageError, match="a library of Rain"):
            failed(call("rawtester/fail", b"x")).reproduce(tmp_path / "a")
        builtin = Sleep(blob("x"), 0)
        session.submit()
        builtin.wait()
        with pytest.raises(UsageError, match="run in the client's own process"):
            builtin.reproduce(tmp_path / "b")
        task = failed(call("cpptester/fail", b"x"))
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "something").touch()
        with pytest.raises(UsageError, match="is not empty"):
            task.reproduce(tmp_path / "c")
        with pytest.raises(UsageError, match="'pdb' is for executors"):
            task.reproduce(tmp_path / "d", debugger="pdb")
        with pytest.raises(UsageError, match="must be 'gdb' or 'pdb', not 'lldb'"):
            task.reproduce(tmp_path / "d", debugger="lldb")
        waiting = call("cpptester/concat", call("cpptester/spin").output)
        session.submit()
        with pytest.raises(UsageError, match="not finished yet"):
            waiting.reproduce(tmp_path / "d")
