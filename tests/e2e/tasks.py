"""Tasks of the testers, in short."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rain.client import DataObject, Session, Task, blob


def call(
    task_type: str, *inputs: DataObject | Task | bytes, outputs: Any = 1, **config: Any
) -> Task:
    """A task of the active session; bytes become blobs."""
    objects = [blob(item) if isinstance(item, bytes) else item for item in inputs]
    return Task(objects, outputs, config=config or None, task_type=task_type)


def works(tester: str, session: Session, name: bytes = b"you") -> None:
    """Assert that a task of this executor runs in the session."""
    with session.bind_only():
        assert call(f"{tester}/hello", name).output.fetch().get_bytes() == b"Hello " + name + b"!"


def contains(text: object, *parts: str) -> None:
    """Assert that the text says all of this."""
    missing = [part for part in parts if part not in str(text)]
    assert not missing, f"{missing} not in:\n{text}"


def finished(tasks: Iterable[Task]) -> bool:
    return all(task.state is not None and task.state.name == "finished" for task in tasks)
