"""Client(debug="gdb"): executors run in gdb, and a crash's backtrace is in the task's error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ConfigError, ExecutorDied
from tasks import call, contains, works
from world import children_of, need_gdb, pauses, wait_until

MakeClient = Callable[..., Client]


def death(client: Client, task_type: str, **config: Any) -> str:
    with client.new_session(on_error="continue") as session:
        task = call(task_type, **config)
        session.submit()
        with pytest.raises(ExecutorDied) as caught:
            task.wait()
    return str(caught.value)


@pytest.mark.embedded("a service's executors are in gdb when its file says so")
def test_a_crash_leaves_its_backtrace(make_client: MakeClient) -> None:
    need_gdb()
    client = make_client(debug="gdb")
    text = death(client, "cpptester/abort")
    contains(
        text,
        "killed by SIGABRT (abort) while running 'cpptester/abort'",
        "received signal SIGABRT",
        "The thread that stopped:",
        "abort_process",
        "tasklib::Executor::serve",
        "peak memory",
    )
    contains(death(client, "cpptester/segfault"), "killed by SIGSEGV (segmentation fault)")
    contains(death(client, "pytester/segfault"), "killed by SIGSEGV", "_PyEval_EvalFrame")
    contains(death(client, "cpptester/exit", code=3), "it ended with exit code: 3")


@pytest.mark.embedded("a service's executors are in gdb when its file says so")
def test_tasks_work_and_print_as_without(make_client: MakeClient) -> None:
    need_gdb()
    client = make_client(debug="gdb")
    with client.new_session() as session:
        for tester in ("cpptester", "pytester"):
            works(tester, session)
            with session.bind_only():
                pid = call(f"{tester}/pid")
                pid.output.keep()
                session.submit()
                parent = Path(f"/proc/{pid.output.fetch().get_str()}/stat").read_text()
                assert int(parent.rpartition(")")[2].split()[1]) in client.info()["executor_pids"]
                assert pid.logs() == ""


@pytest.mark.embedded("a service's executors are in gdb when its file says so")
def test_ends_with_its_client(make_client: MakeClient) -> None:
    need_gdb()
    client = make_client(debug="gdb")
    with client.new_session() as session:
        call("cpptester/spin")
        session.submit()
        wait_until(lambda: any(map(pauses, debugged(client))), "a task that spins in gdb")
    client.close()  # the census after the test finds what is left


def debugged(client: Client) -> list[int]:
    return [pid for gdb in client.info()["executor_pids"] for pid in children_of(gdb)]


def test_is_asked_for_by_executor(make_client: MakeClient, cpptester: Path) -> None:
    need_gdb()
    client = make_client({"cpptester": {"command": str(cpptester), "debug": "gdb"}})
    contains(death(client, "cpptester/abort"), "The thread that stopped:", "abort_process")
    other = death(client, "pytester/abort")
    assert "The thread that stopped:" not in other


@pytest.mark.embedded("a service's executors are in gdb when its file says so")
def test_wrong_values_are_refused(
    make_client: MakeClient, cpptester: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="Client: debug must be \"gdb\", not 'lldb'"):
        make_client(debug="lldb")
    file = tmp_path / "executors.toml"
    file.write_text(f'[executors.x]\ncommand = "{cpptester}"\ndebug = "pdb"\n')
    with pytest.raises(ConfigError, match=r'executors.x.debug must be "gdb", not \'pdb\''):
        Client(config=file)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="needs gdb, which is not in PATH: apt install gdb"):
        make_client(debug="gdb")
