"""Reference 4.4: Session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    DataObject,
    DataObjectState,
    InvalidGraph,
    RainException,
    Session,
    SessionClosed,
    Task,
    TaskException,
    TaskState,
    WaitTimeout,
    blob,
)
from rain.client.session import (
    SessionBinder,
    get_active_session,
    global_session_pop,
    global_session_push,
)

pytestmark = pytest.mark.engines


def hello(**options: Any) -> Task:
    return Task((blob("x"),), 1, task_type="cpptester/hello", **options)


def test_attributes(client: Client) -> None:
    session = client.new_session("name")
    assert session.active is True
    assert session.client is client
    assert session.session_id == 1
    assert (session.task_count, session.dataobj_count) == (0, 0)
    with session.bind_only():
        hello()
    assert (session.task_count, session.dataobj_count) == (1, 2)


def test_with_pushes_and_closes_also_after_exceptions(client: Client) -> None:
    session = client.new_session()

    def fail_inside() -> None:
        with session as bound:
            assert bound is session
            assert get_active_session() is session
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not session.active
    with pytest.raises(RainException, match=r"^Session is closed$"), session:
        pass


def test_innermost_exit_of_a_session_entered_twice_closes_it(client: Client) -> None:
    session = client.new_session()
    with session:
        with session:
            assert session.active
        assert not session.active


def test_bind_only_does_not_close(client: Client) -> None:
    session = client.new_session()
    binder = session.bind_only()
    assert isinstance(binder, SessionBinder)
    with binder as bound:
        assert bound is session
    assert session.active


def test_close_clears_what_is_unsubmitted_and_may_be_repeated(client: Client) -> None:
    session = client.new_session(default=True)
    hello()
    session.close()
    session.close()
    assert not session.active
    assert (session.task_count, session.dataobj_count) == (0, 0)
    with pytest.raises(RainException, match=r"^No active session"):
        get_active_session()


def test_default_session_is_replaced(client: Client) -> None:
    first, second = client.new_session(default=True), client.new_session()
    second.set_as_default()
    assert get_active_session() is second
    second.close()
    first.close()


def test_stack_comes_before_the_default(client: Client) -> None:
    default, other = client.new_session(default=True), client.new_session()
    global_session_push(other)
    assert get_active_session() is other
    assert global_session_pop() is other
    assert get_active_session() is default
    default.close()


def test_keep_all_keeps_what_is_unsubmitted(session: Session) -> None:
    early = hello()
    session.submit()
    late = hello()
    session.keep_all()
    assert late.output.is_kept()
    assert not early.output.is_kept()


def test_submit_sets_states_and_counts(session: Session) -> None:
    task = hello()
    assert task.state is None
    session.submit()
    session.submit()  # nothing: fine
    assert (session.task_count, session.dataobj_count) == (0, 0)
    assert isinstance(task.state, TaskState)
    session.wait_all()
    assert task.state is TaskState.finished


def test_wait_takes_tasks_and_objects(session: Session) -> None:
    task = hello()
    task.output.keep()
    session.submit()
    session.wait([task, task.output])
    assert task.state is TaskState.finished
    assert task.output.state is DataObjectState.finished


def test_wait_refuses_other_things(session: Session) -> None:
    with pytest.raises(TypeError, match=r"^Neither Task or DataObject: 17$"):
        session.wait([17])  # type: ignore[list-item]


def test_wait_refuses_what_is_not_submitted(session: Session) -> None:
    task = hello()
    with pytest.raises(RainException) as caught:
        session.wait([task])
    assert str(caught.value) == f"Task {task!r} is not submitted"


def test_q16_wait_for_objects_waits(session: Session) -> None:
    slow = Task((), 1, task_type="cpptester/spin")
    session.submit()
    with pytest.raises(WaitTimeout):
        session.wait([slow.output], timeout=0.05)
    assert slow.output.state is DataObjectState.unfinished


def test_q16_wait_some_returns_what_is_done(session: Session) -> None:
    quick, slow = hello(), Task((), 1, task_type="cpptester/spin")
    session.submit()
    assert session.wait_some([quick, slow]) == [quick]


def test_wait_all_without_anything_returns(session: Session) -> None:
    session.wait_all()
    hello()
    session.wait_all()


def test_unkeep_refuses_other_things(session: Session) -> None:
    task = hello()
    with pytest.raises(TypeError) as caught:
        session.unkeep([task])  # type: ignore[list-item]
    assert str(caught.value) == f"Not a DataObject: {task!r}"
    with pytest.raises(RainException, match=f"^Object {task.output.id} is not kept$"):
        session.unkeep([task.output])


def test_unkeep_drops_the_data(session: Session) -> None:
    draft, task = blob("y"), hello()
    session.keep_all()
    draft.unkeep()
    assert not draft.is_kept()
    session.submit()
    task.wait()
    session.unkeep([task.output])
    assert not task.output.is_kept()
    with pytest.raises(RainException, match="is not kept"):
        session.unkeep([task.output])
    with pytest.raises(RainException, match="without keep flag"):
        task.output.fetch()


def test_q17_states_are_true_at_any_time(session: Session) -> None:
    task = hello()
    task.output.keep()
    session.submit()
    session.wait_all()
    session.update([task, task.output])
    assert task.state is TaskState.finished
    assert task.output.state is DataObjectState.finished
    assert task.info is not None
    assert task.output.info is not None
    assert task.output.info.size == len("Hello x!")


def test_update_refuses_other_things(session: Session) -> None:
    with pytest.raises(RainException, match=r"^'17' is not tasks nor dataobject$"):
        session.update([17])  # type: ignore[list-item]


def test_kept_object_of_an_earlier_submit_is_an_input(session: Session) -> None:
    first = hello()
    first.output.keep()
    session.submit()
    first.wait()
    second = Task((first,), 1, task_type="cpptester/hello")
    assert second.output.fetch().get_bytes() == b"Hello Hello x!!"


def test_removed_object_is_refused_as_input(session: Session) -> None:
    first = hello()
    session.submit()
    first.wait()
    second = Task((first,), 1, task_type="cpptester/hello")
    with pytest.raises(InvalidGraph) as caught:
        session.submit()
    mine, its = (f"({i.session_id},{i.id})" for i in (second.id, first.output.id))
    text = f"Can't create Task {mine} with Finished input object {its}"
    assert str(caught.value).startswith(text)
    assert session.task_count == 1  # what was refused stays unsubmitted


def test_object_without_producer_and_data_is_refused(session: Session) -> None:
    lonely = DataObject()
    with pytest.raises(InvalidGraph) as caught:
        session.submit()
    name = f"({lonely.id.session_id},{lonely.id.id})"
    assert str(caught.value) == f"Object {name} submitted with neither producer nor data."


def test_q19_submit_into_a_failed_session_raises_its_failure(client: Client) -> None:
    with client.new_session() as session:
        Task((), 1, task_type="cpptester/throw_std")
        session.submit()
        with pytest.raises(TaskException) as first:
            session.wait_all()
        hello()
        with pytest.raises(TaskException) as again:
            session.submit()
        assert str(again.value) == str(first.value)


def test_after_close_all_uses_say_so(client: Client) -> None:
    session = client.new_session()
    with session.bind_only():
        done, left = hello(), Task((), 1, task_type="cpptester/spin")
        done.output.keep()
        session.submit()
        data = done.output.fetch()
    session.close()
    uses: list[Any] = [
        *(session.submit, session.wait_all, session.cancel, done.wait, done.cancel, left.wait),
        *(done.output.fetch, done.output.wait, done.output.unkeep, done.update, left.cancel),
        *(lambda: session.wait([done]), lambda: session.wait_some([done])),
        *(lambda: session.update([done]), lambda: session.fetch(done.output)),
    ]
    for use in uses:
        with pytest.raises(SessionClosed, match=r"^Session is closed$"):
            use()
    assert data.get_bytes() == b"Hello x!"
    assert (done.state, left.state) == (TaskState.finished, TaskState.cancelled)


def test_session_without_client_builds_graphs() -> None:
    with Session(None, 5) as session:
        task = hello()
        assert (task.id.session_id, session.session_id) == (5, 5)
        assert session.client is None
        assert [data.id.id for data in (*task.inputs, *task.outputs)] == [10, 12]


def test_q18_make_graph_works_with_tasks(graph: Session, tmp_path: Path) -> None:
    task = Task((blob("x", "in"),), ["out"], task_type="a/b")
    picture = graph.make_graph(show_ids=True)
    dot = picture.make_dot("Graph")
    for part in ("digraph", "a/b", "in", "out", f"id={task.id.id}"):
        assert part in dot
    picture.write(str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == dot
    assert callable(picture.show)
    assert "id=" not in graph.make_graph(show_ids=False).make_dot("Graph")
