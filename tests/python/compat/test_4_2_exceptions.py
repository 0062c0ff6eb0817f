"""Reference 4.2: exceptions, and the text of TaskException."""

from __future__ import annotations

import inspect

import pytest
from rain.client import (
    Client,
    RainException,
    RainWarning,
    Session,
    SessionException,
    Task,
    TaskException,
    blob,
)

pytestmark = pytest.mark.engines


def test_hierarchy() -> None:
    assert RainException.__bases__ == (Exception,)
    assert issubclass(SessionException, RainException)
    assert issubclass(TaskException, SessionException)
    assert issubclass(RainWarning, Warning)
    assert not issubclass(RainWarning, RainException)


def test_text_names_task_message_and_place(session: Session) -> None:
    task = Task((), 1, task_type="pytester/throw_std")
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Task {task!r} failed"
    assert lines[1].startswith("Message: ")
    place = lines.index("Task created at:")
    below = "\n".join(lines[place:])
    assert f'{__file__}", line {line}, in test_text_names_task_message_and_place' in below


def test_first_failure_fails_the_whole_session(client: Client) -> None:
    with client.new_session() as session:
        good = Task((blob("x"),), 1, task_type="cpptester/hello")
        good.output.keep()
        session.submit()
        good.wait()
        bad = Task((), 1, task_type="cpptester/throw_std")
        session.submit()
        with pytest.raises(TaskException) as first:
            session.wait_all()
        for use in (
            session.wait_all,
            good.wait,
            bad.wait,
            good.output.fetch,
            good.output.unkeep,
            good.update,
            good.output.update,
        ):
            with pytest.raises(TaskException) as again:
                use()
            assert str(again.value) == str(first.value)
    with client.new_session() as other:
        fine = Task((blob("x"),), 1, task_type="cpptester/hello")
        assert fine.output.fetch().get_bytes() == b"Hello x!"
        assert other.active
