"""cancel(): what spins is gone, its siblings are untouched."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from rain.client import (
    Client,
    DependencyFailed,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
)
from tasks import call, contains, works
from world import exists, pauses, read, wait_until

LOOP = "any(iter(int, 1))"  # an endless loop in C that holds the GIL


@pytest.fixture(params=["cpptester/spin", "pytester/spin", "pytester/loop"])
def endless(request: pytest.FixtureRequest, session: Session) -> Callable[[], tuple[int, Task]]:
    """endless(): the executor's pid, and a task that has begun on it and never ends."""

    def start() -> tuple[int, Task]:
        tester, _, method = request.param.partition("/")
        pid = int(call(f"{tester}/pid").output.fetch().get_bytes())
        if method == "spin":
            task = call(f"{tester}/spin")
        else:
            task = call("pytester/return_of", expression=LOOP)
        session.submit()
        wait_until(lambda: pauses(pid) if method == "spin" else computes(pid), f"{task} begins")
        return pid, task

    return start


def computes(pid: int) -> bool:
    """Whether the process used more CPU time than its start takes."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK") > 2


def test_cancelled_task_is_gone_and_siblings_are_untouched(
    session: Session, endless: Callable[[], tuple[int, Task]]
) -> None:
    pid, task = endless()
    sibling = call("cpptester/sleep", seconds=0.3)
    dependant = call("cpptester/hello", task)
    sibling.keep_outputs()
    session.submit()
    task.cancel()
    assert task.state is TaskState.cancelled
    with pytest.raises(TaskCancelled) as caught:
        task.wait()
    contains(caught.value, "was cancelled", "Task created at:")
    with pytest.raises(DependencyFailed) as aborted:
        dependant.wait()
    contains(aborted.value, "was aborted", f"task {task.id}, which it depends on, was cancelled")
    seconds = wait_until(lambda: not exists(pid), "the end of the process")
    print(f"process gone after {seconds:.3f} s")
    assert sibling.output.fetch().get_bytes() == b"slept"
    for tester in ("cpptester", "pytester"):
        works(tester, session)


def test_cancel_of_a_session_ends_all_of_it_and_leaves_it_usable(
    client: Client, session: Session, endless: Callable[[], tuple[int, Task]]
) -> None:
    pid, task = endless()
    other = client.new_session()
    with other.bind_only():
        foreign = call("cpptester/sleep", seconds=0.2)
        foreign.keep_outputs()
    other.submit()
    waiting = [call("cpptester/sleep", seconds=1e6) for _ in range(10)]
    session.submit()
    session.cancel()
    assert {item.state for item in [task, *waiting]} == {TaskState.cancelled}
    session.wait_all()
    wait_until(lambda: not exists(pid), "the end of the process")
    assert foreign.output.fetch().get_bytes() == b"slept"
    works("cpptester", session)
    works("pytester", session)


def test_closed_session_ends_what_it_runs(
    client: Client, session: Session, endless: Callable[[], tuple[int, Task]]
) -> None:
    pid, _ = endless()
    session.close()
    wait_until(lambda: not exists(pid), "the end of the process")
    works("cpptester", client.new_session())


def test_task_that_looks_stops_without_its_process_ending(session: Session, tester: str) -> None:
    pid = int(call(f"{tester}/pid").output.fetch().get_bytes())
    polite = call(f"{tester}/sleep", seconds=1e6)
    session.submit()
    wait_until(lambda: polite.state is TaskState.assigned)
    polite.cancel()
    with pytest.raises(TaskCancelled):
        polite.wait()
    assert exists(pid)
    works(tester, session)


def test_queued_task_is_cancelled_without_having_begun(session: Session, tester: str) -> None:
    before = int(call(f"{tester}/count_calls").output.fetch().get_bytes())
    first = call(f"{tester}/sleep", seconds=0.1)
    queued = [call(f"{tester}/count_calls") for _ in range(20)]
    session.submit()
    for task in queued:
        task.cancel()
    first.wait()
    assert {task.state for task in queued} <= {TaskState.cancelled, TaskState.finished}
    assert first.state is TaskState.finished
    assert before == 1
    works(tester, session)


def test_cancel_after_the_end_changes_nothing(session: Session, tester: str) -> None:
    done = call(f"{tester}/hello", b"x")
    assert done.output.fetch().get_bytes() == b"Hello x!"
    failed = call(f"{tester}/throw_std")
    session.submit()
    with pytest.raises(TaskException):
        failed.wait()
    session.cancel([done, failed, done.output])
    assert (done.state, failed.state) == (TaskState.finished, TaskState.failed)
    assert done.output.fetch().get_bytes() == b"Hello x!"


def test_with_on_error_fail_cancel_is_no_failure(client: Client, tester: str) -> None:
    with client.new_session(on_error="fail") as session:
        polite = call(f"{tester}/sleep", seconds=1e6)
        dependant = call(f"{tester}/hello", polite)
        session.submit()
        polite.cancel()
        for task in (polite, dependant):
            with pytest.raises(TaskCancelled):
                task.wait()
        works(tester, session)
