"""Which session is the active one."""

from __future__ import annotations

import asyncio
import threading

import pytest
from rain.client import RainException, Session, SessionClosed, Task, blob
from rain.client.session import get_active_session, global_session_pop, global_session_push


def test_innermost_session_is_active() -> None:
    with Session(None, 1) as outer:
        with Session(None, 2) as inner:
            assert get_active_session() is inner
            assert blob("x").session is inner
        assert get_active_session() is outer
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_session_argument_wins() -> None:
    with Session(None, 1), Session(None, 2).bind_only() as other:
        pass
    with Session(None, 1):
        assert Task((), 1, task_type="a/b", session=other).session is other


def test_end_of_block_closes_also_after_an_exception() -> None:
    session = Session(None, 1)
    with pytest.raises(KeyError), session:
        raise KeyError
    assert not session.active
    with pytest.raises(SessionClosed, match="Session is closed"), session:
        pass
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_entered_twice_the_inner_end_closes() -> None:
    session = Session(None, 1)
    with session:
        with session:
            pass
        assert not session.active


def test_bind_only_does_not_close() -> None:
    session = Session(None, 1)
    with session.bind_only() as bound:
        assert bound is session
        assert get_active_session() is session
    assert session.active


def test_closed_session_takes_nothing() -> None:
    session = Session(None, 1)
    with session.bind_only():
        data = blob("x")
        session.close()
        session.close()
        with pytest.raises(SessionClosed):
            blob("y")
        with pytest.raises(SessionClosed):
            Task((data,), 1, task_type="a/b")
    assert (session.task_count, session.dataobj_count) == (0, 0)


def test_default_session_is_used_where_no_other_is_active() -> None:
    default = Session(None, 1)
    default.set_as_default()
    try:
        assert get_active_session() is default
        with Session(None, 2) as other:
            assert get_active_session() is other
        found: list[Session] = []
        thread = threading.Thread(target=lambda: found.append(get_active_session()))
        thread.start()
        thread.join()
        assert found == [default]
    finally:
        default.close()
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_threads_have_their_own_stacks() -> None:
    ready = threading.Barrier(4)
    wrong: list[object] = []

    def work(number: int) -> None:
        with Session(None, number) as session:
            ready.wait()
            for _ in range(200):
                if blob("x").session is not session:
                    wrong.append(number)
            ready.wait()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_asyncio_tasks_have_their_own_stacks() -> None:
    async def work(number: int) -> bool:
        with Session(None, number) as session:
            await asyncio.sleep(0)
            return blob("x").session is session

    async def main() -> list[bool]:
        return await asyncio.gather(*(work(n) for n in range(5)))

    assert asyncio.run(main()) == [True] * 5


def test_push_and_pop() -> None:
    session = Session(None, 1)
    global_session_push(session)
    assert get_active_session() is session
    assert global_session_pop() is session
    with pytest.raises(RainException, match="No active session"):
        global_session_pop()


def test_input_of_another_session_is_refused() -> None:
    with Session(None, 1):
        data = blob("x")
        with (
            Session(None, 2),
            pytest.raises(RainException, match="belongs to session 1, the new task to session 2"),
        ):
            Task((data,), 1, task_type="a/b")


def test_session_without_client_says_so(graph: Session) -> None:
    task = Task((), 1, task_type="a/b")
    for use in (graph.submit, graph.wait_all, task.output.fetch):
        with pytest.raises(RainException, match="has no client: it can only build graphs"):
            use()
    assert graph.task_count == 1
