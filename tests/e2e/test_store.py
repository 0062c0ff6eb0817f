"""client.store(): where each object's bytes are, who holds them, and which line made them."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from rain.client import Client, Session, Task, blob
from rain.client.store import StoredBlob
from rain.common.errors import ExecutorDied
from tasks import call, contains
from world import pauses, wait_until

SIZE = 100_000


def line_here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def stored(client: Client, label: str) -> StoredBlob:
    (line,) = (line for line in client.store() if line.label == label)
    return line


@pytest.mark.embedded("a service does not know which line of a client made what")
def test_names_the_line_that_made_it(client: Client, session: Session) -> None:
    constants = []
    for i in range(3):
        constants.append(blob(b"x" * SIZE, label=f"constant {i}"))  # the same line for all
        of_constants = line_here() - 1
        task = Task((constants[-1],), (f"output {i}",), task_type="cpptester/echo")
        task.output.keep()
        constants[-1].keep()
    last = blob(b"y", label="last")
    of_last = line_here() - 1
    last.keep()
    session.submit()
    session.wait_all()
    del task
    gc.collect()
    for i in range(3):
        assert stored(client, f"constant {i}").made_at == (__file__, of_constants)
    assert stored(client, "last").made_at == (__file__, of_last)
    contains(repr(client.store()), f"{Path(__file__).name}:{of_constants}", "made at")


@pytest.mark.embedded("a service does not know which line of a client made what")
def test_names_the_line_of_a_task(client: Client, session: Session) -> None:
    obj = blob(b"z" * SIZE)
    task = Task((obj,), ("output",), task_type="cpptester/concat")
    line = line_here() - 1
    task.output.keep()
    session.submit()
    task.wait()
    found = stored(client, "output")
    assert (found.made_at, found.task_type) == ((__file__, line), "cpptester/concat")
    assert found.holders == ["client"]


@pytest.mark.embedded("for a service the client holds what its tasks take")
def test_names_who_holds_it(client: Client, session: Session) -> None:
    obj = blob(b"x" * SIZE, label="wanted")
    spinning = call("cpptester/spin")
    users = [call("pytester/concat", obj, spinning.output) for _ in range(5)]
    keeper = call("cpptester/keep", obj)
    session.submit()
    keeper.wait()
    wait_until(lambda: any(map(pauses, client.info()["executor_pids"])), "the task that spins")
    found = stored(client, "wanted")
    assert found.n_tasks == 5
    assert {task_type for _, task_type in found.tasks} == {"pytester/concat"}
    assert {key for key, _ in found.tasks} <= {(task.id.session_id, task.id.id) for task in users}
    (viewer,) = found.viewers
    contains(found.holders, "pytester/concat", "2 more tasks", f"cpptester (pid {viewer})")
    assert "client" not in found.holders


@pytest.mark.embedded("for a service the client holds what its tasks take")
def test_names_the_failed_task_that_it_is_kept_for(client: Client, session: Session) -> None:
    obj = blob(b"x" * SIZE, label="input")
    task = call("cpptester/segfault", obj, obj)
    session.submit()
    with pytest.raises(ExecutorDied):
        task.wait()
    store = client.store()
    (found,) = store
    assert found.holders == [f"failed task {task.id.session_id}/{task.id.id}"]
    assert (found.label, found.place, found.shared) == ("input", "region", False)
    assert store.total() == SIZE


def test_bytes_count_once(make_client: Callable[..., Client]) -> None:
    client = make_client()
    with client.new_session():
        made = call("cpptester/fill", size=SIZE, byte=1)
        made.output.keep()
        same = [call("cpptester/echo", made.output) for _ in range(3)]
        for task in same:
            task.output.keep()
        made.session.submit()
        made.session.wait_all()
        store = client.store()
        assert len(store) == 4
        assert store.total() == store.total("region") == SIZE
