"""Logs of processes that ended stay for Task.logs(), but not those of all that ever were."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from rain.client import Client, ExecutorDied, Session, Task, UsageError, remote
from tasks import call, contains, works
from world import exists, wait_until

KEPT = 64  # ended processes


def log_files(client: Client) -> list[str]:
    place = Path(client.info()["run_directory"]) / "executors"
    return sorted(path.name for path in place.iterdir() if path.is_file())


def printed_by_the_dead(session: Session, text: str) -> Task:
    """A task that printed this, in a process that has ended since."""

    @remote()
    def say(ctx: object, text: str) -> bytes:
        print(text)
        print(text, file=sys.stderr)
        return str(os.getpid()).encode()

    with session.bind_only():
        task = say(text)
        task.keep_outputs()
        session.submit()
    pid = int(task.output.fetch().get_bytes())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not exists(pid), "its end")
    return task


def crash(session: Session, tester: str, count: int) -> None:
    with session.bind_only():
        tasks = [call(f"{tester}/abort") for _ in range(count)]
        session.submit()
    for task in tasks:
        with pytest.raises(ExecutorDied):
            task.wait()


def test_logs_of_the_latest_ended_processes_stay_and_older_ones_are_removed(
    client: Client,
) -> None:
    with client.new_session(on_error="continue") as session:
        first = printed_by_the_dead(session, "first")
        crash(session, "cpptester", KEPT - 2)
        assert first.logs() == "first\nfirst\n"
        crash(session, "cpptester", KEPT)
        last = printed_by_the_dead(session, "last")
        works("cpptester", session)
        working = client.info()["executor_pids"]
        assert len(log_files(client)) <= 2 * (KEPT + len(working) + 1)
        assert last.logs() == "last\nlast\n"
        with pytest.raises(UsageError) as caught:
            first.logs()
        contains(caught.value, "is gone", "say", f"{KEPT} others", "idle_seconds")
