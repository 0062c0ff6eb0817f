"""Reference 4.10: names of tasks."""

from __future__ import annotations

import pytest
from rain.client import Program, Session, Task, blob
from rain.client.tasks import Concat, Execute, Sleep


def test_name_is_free_text(graph: Session) -> None:
    for name in ("plain", "group/of/tasks", "ü\n", "x" * 10_000):
        assert Task((), 0, task_type="a/b", name=name).name == name
        assert Concat([], name=name).name == name
        assert Sleep(blob("x"), 1, name=name).spec.name == name
        assert Execute("true", name=name).name == name
        assert Program("true", name=name)().name == name


def test_no_name_is_none(graph: Session) -> None:
    for task in (Task((), 0, task_type="a/b"), Concat([]), Execute("true"), Program("true")()):
        assert task.name is None


def test_name_is_text(graph: Session) -> None:
    with pytest.raises(TypeError, match="name must be a str"):
        Concat([], name=17)


def test_name_reaches_the_executor(session: Session) -> None:
    task = Task((), 1, task_type="pytester/attributes", name="group/n")
    assert task.output.fetch().load()["name"] == "group/n"
