"""Graphs that cannot be run, and use after the end: refused with the reason, nothing is lost."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from rain.client import (
    Client,
    DataObject,
    InvalidGraph,
    RainException,
    Session,
    SessionClosed,
    StoreFull,
    Task,
    TaskException,
    TaskStoreFull,
    UsageError,
    blob,
)
from tasks import call, contains, works

# ---- Task types --------------------------------------------------------------------------------


def test_task_type_without_slash_shows_the_form(session: Session) -> None:
    with pytest.raises(UsageError) as caught:
        call("hello", b"x")
    contains(caught.value, "task type 'hello' has no '/'", "'<executor>/<function>'")
    works("cpptester", session)


def test_unknown_executor_names_the_nearest_and_all(session: Session) -> None:
    with pytest.raises(UsageError) as caught:
        call("cptester/hello", b"x")
    contains(
        caught.value, "Executor 'cptester' is not registered (task type 'cptester/hello')",
        "did you mean 'cpptester'?", "registered: ", "pytester",
    )  # fmt: skip
    with pytest.raises(UsageError) as caught:
        call("quite_different/hello", b"x")
    assert "did you mean" not in str(caught.value)
    works("cpptester", session)


def test_client_without_executors_says_how_to_register_some() -> None:
    with Client() as client, client.new_session(), pytest.raises(UsageError) as caught:
        call("example1/hello", b"x")
    contains(
        caught.value, "registered: py; register it with Client(config=...) or Client(executors=...)"
    )


# ---- Graphs ------------------------------------------------------------------------------------


def test_object_of_another_session_is_refused_and_both_work(client: Client) -> None:
    one, two = client.new_session(), client.new_session()
    with one.bind_only():
        foreign = call("cpptester/hello", b"x")
    with two.bind_only(), pytest.raises(RainException) as caught:
        call("cpptester/hello", foreign)
    contains(
        caught.value, f"input {foreign!r} belongs to session 1, the new task to session 2",
        "fetch the data and create a blob in the other session",
    )  # fmt: skip
    works("cpptester", one)
    works("cpptester", two)


def test_object_of_another_client_is_refused(make_client: Callable[..., Client]) -> None:
    one, two = make_client().new_session(), make_client().new_session()
    with one.bind_only():
        foreign = blob(b"x")
        mine = call("cpptester/hello", b"mine")
    with two.bind_only():
        theirs = call("cpptester/hello", b"theirs")
        with pytest.raises(RainException) as caught:
            call("cpptester/hello", foreign)
    contains(caught.value, "belongs to session 1 of another client, the new task to session 1")
    one.submit()
    two.submit()
    with pytest.raises(RainException, match="wait for each client's own"):
        one.wait([mine, theirs])
    works("cpptester", one)
    works("cpptester", two)


def test_cycle_is_refused_by_name_and_the_session_goes_on(session: Session) -> None:
    first, last = DataObject("first"), DataObject("last")
    a = Task([last], [first], task_type="cpptester/echo")
    b = Task([first], [last], task_type="cpptester/echo")
    with pytest.raises(InvalidGraph) as caught:
        session.submit()
    contains(caught.value, "the graph has a cycle of 2 tasks: ", "none of them could ever start")
    contains(caught.value, *(f"({task.id.session_id},{task.id.id})" for task in (a, b)))
    works("cpptester", session.client.new_session())  # type: ignore[union-attr]


def test_input_without_data_and_producer_is_refused(session: Session) -> None:
    call("cpptester/hello", DataObject("orphan"))
    with pytest.raises(InvalidGraph) as caught:
        session.submit()
    contains(caught.value, "Object ", "submitted with neither producer nor data")


def test_too_many_cpus_are_refused_with_what_there_is(client: Client) -> None:
    with client.new_session() as session:
        Task([blob(b"x")], 1, task_type="cpptester/hello", cpus=3)
        with pytest.raises(InvalidGraph) as caught:
            session.submit()
        contains(caught.value, "needs 3 cpus, but this client has 2: pass Client(cpus=3)")


def test_data_that_nobody_kept_cannot_be_used_later(session: Session) -> None:
    first = call("cpptester/hello", b"x")
    session.submit()
    first.wait()
    with pytest.raises(RainException, match="without keep flag"):
        first.output.fetch()
    call("cpptester/hello", first)
    with pytest.raises(InvalidGraph) as caught:
        session.submit()
    contains(caught.value, "its data are gone", "call keep() before submitting its producer")


# ---- After the end -----------------------------------------------------------------------------


def test_input_of_a_failed_session_is_refused(client: Client) -> None:
    session = client.new_session()
    with session.bind_only():
        good, bad = blob(b"good"), call("cpptester/throw_std")
        session.submit()
        with pytest.raises(TaskException, match="thrown on purpose"):
            bad.wait()
        for attempt in (
            lambda: call("cpptester/hello", bad).output.fetch(),
            lambda: call("cpptester/hello", good).output.fetch(),
            session.submit,
            session.wait_all,
            bad.update,
        ):
            with pytest.raises(TaskException, match="thrown on purpose") as caught:
                attempt()
            assert caught.value.task is bad
    with client.new_session(), pytest.raises(RainException) as refused:
        call("cpptester/hello", good)
    contains(refused.value, "belongs to session 1, the new task to session 2")
    works("cpptester", client.new_session())


def test_input_of_a_closed_session_is_refused(client: Client) -> None:
    with client.new_session() as session:
        kept = call("cpptester/hello", b"x").output
        assert kept.fetch().get_bytes() == b"Hello x!"
    with client.new_session(), pytest.raises(RainException) as caught:
        call("cpptester/hello", kept)
    contains(caught.value, "belongs to session 1, the new task to session 2")
    for attempt in (kept.fetch, session.submit, session.__enter__):
        with pytest.raises(RainException) as refused:
            attempt()
        contains(refused.value, "closed")
    with pytest.raises(SessionClosed, match="Session is closed"):
        Task([], 1, session=session, task_type="cpptester/pid")
    session.close()
    works("cpptester", client.new_session())


def test_session_end_cancels_what_runs(client: Client) -> None:
    with client.new_session() as session:
        endless = call("cpptester/sleep", seconds=1e6)
        session.submit()
    assert endless.state is not None
    assert endless.state.name == "cancelled"
    works("cpptester", client.new_session())


def test_use_after_close_of_the_client_says_so(make_client: Callable[..., Client]) -> None:
    client = make_client()
    session = client.new_session()
    with session.bind_only():
        done = call("cpptester/hello", b"x").output
        data = done.fetch()
        running = call("cpptester/sleep", seconds=1e6)
        session.submit()
        draft = call("cpptester/hello", b"y")
    client.close()
    client.close()
    assert client.closed
    assert data.get_bytes() == b"Hello x!"
    for attempt in (
        client.new_session,
        session.submit,
        session.wait_all,
        draft.output.fetch,
        done.fetch,
        running.wait,
        running.cancel,
    ):
        with pytest.raises(RainException) as caught:
            attempt()  # type: ignore[operator]
        contains(str(caught.value).lower(), "closed")
    session.close()
    repr((client, session, running, done))


def test_data_live_longer_than_client_and_session(make_client: Callable[..., Client]) -> None:
    client = make_client()
    with client.new_session():
        data = call("cpptester/fill", size=1 << 20, byte=7).output.fetch()
    client.close()
    gone = weakref.ref(client)
    assert gone() is not None
    assert data.get_bytes() == b"\7" * (1 << 20)


# ---- Sizes -------------------------------------------------------------------------------------


def test_empty_blob_goes_through_every_executor(session: Session, tester: str) -> None:
    tasks = (
        call(f"{tester}/echo", b""),
        call(f"{tester}/concat", b"", b""),
        call(f"{tester}/split", b""),
        call(f"{tester}/fill", size=0, byte=1),
        call(f"{tester}/fill_memory", size=0, byte=1),
    )
    session.keep_all()
    for task in tasks:
        assert task.output.fetch().get_bytes() == b""
    assert call(f"{tester}/hello", b"").output.fetch().get_bytes() == b"Hello !"
    assert blob(b"").fetch().get_bytes() == b""


@pytest.mark.embedded("constants are in a store of the client's")
def test_full_store_is_a_typed_error_and_the_client_works_afterwards(
    make_client: Callable[..., Client],
) -> None:
    client = make_client(memory="8 MiB", spill=False)
    session = client.new_session(on_error="continue")
    kept: list[Any] = []
    with session.bind_only():
        with pytest.raises(StoreFull) as caught:
            kept.extend(blob(b"x" * (1 << 20)) for _ in range(9))
        contains(caught.value, "blob store", "are free", "Client(memory=...)")
        assert isinstance(caught.value, MemoryError)
        with pytest.raises(StoreFull) as caught:
            blob(b"x" * (9 << 20))
        contains(caught.value, "9.0 MiB is larger than the whole blob store of 8.0 MiB")
        works("cpptester", session)
        del kept[:]
    session.close()
    with client.new_session():
        assert blob(b"y" * (4 << 20)).fetch().get_bytes() == b"y" * (4 << 20)


def test_full_store_fails_the_task_that_needs_room_and_no_other(
    make_client: Callable[..., Client], tester: str
) -> None:
    client = make_client(memory="8 MiB")
    with client.new_session(on_error="continue") as session:
        big = call(f"{tester}/fill", size=20 << 20, byte=1)
        big.output.keep()
        session.submit()
        with pytest.raises(TaskStoreFull) as caught:
            big.wait()
        assert isinstance(caught.value, StoreFull)
        assert isinstance(caught.value, TaskException)
        contains(caught.value, "20.0 MiB", "8.0 MiB", "Client(memory=...)", f"{tester}/fill")
        works(tester, session)
        small = call(f"{tester}/fill", size=1 << 20, byte=2)
        assert small.output.fetch().get_bytes() == b"\2" * (1 << 20)
    with client.new_session(on_error="fail") as session, pytest.raises(TaskStoreFull):
        call(f"{tester}/fill", size=20 << 20, byte=1).output.fetch()
    works(tester, client.new_session())
