"""Task and DataObject are handles: identity, references, attributes and the collector."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
from rain.client import DataObject, RainException, Session, Task, blob


class Hello(Task):
    TASK_TYPE = "example1/hello"

    def __init__(self, obj: Any, **arguments: Any) -> None:
        super().__init__(inputs=(obj,), outputs=1, **arguments)


def test_output_keeps_its_identity(graph: Session) -> None:
    task = Hello(blob("x"))
    assert task.output is task.output
    assert task.outputs[0] is task.output
    task.output.note = 1  # type: ignore[attr-defined]
    gc.collect()
    assert task.output.note == 1  # type: ignore[attr-defined]


def test_input_is_the_object_that_was_given(graph: Session) -> None:
    data = blob("x")
    first = Hello(data)
    second = Hello(first)
    assert first.inputs[0] is data
    assert second.inputs[0] is first.output


def test_output_of_a_task_that_is_gone_stays(graph: Session) -> None:
    output = Hello(blob("x")).output
    gc.collect()
    assert output.id == (7, 12)
    assert Hello(output).inputs[0] is output


def test_input_of_a_task_whose_producer_is_gone_can_be_named(graph: Session) -> None:
    second = Hello(Hello(blob("x")))
    gc.collect()
    assert second.inputs[0].id == (7, 12)


def test_task_has_user_attributes(graph: Session) -> None:
    task = Hello(blob("x"))
    task.note = "n"  # type: ignore[attr-defined]
    assert task.note == "n"  # type: ignore[attr-defined]
    assert vars(task) == {"note": "n"}
    del task.note  # type: ignore[attr-defined]
    assert not hasattr(task, "note")
    task.__dict__["other"] = 2
    assert task.other == 2  # type: ignore[attr-defined]


def test_subclass_may_set_attributes_before_init_and_have_slots(graph: Session) -> None:
    class Early(Task):
        TASK_TYPE = "a/b"
        __slots__ = ("slot",)

        def __init__(self) -> None:
            self.before = 1
            self.slot = 2
            super().__init__((), 1)

    task = Early()
    assert (task.before, task.slot) == (1, 2)


def test_task_and_object_can_be_referred_to_weakly(graph: Session) -> None:
    task = Hello(blob("x"))
    output = task.output
    dead: list[object] = []
    references = [weakref.ref(task, dead.append), weakref.ref(output, dead.append)]
    assert [r() for r in references] == [task, output]
    del task
    gc.collect()
    assert references[0]() is None
    assert references[1]() is output
    del output
    assert references[1]() is None
    assert dead == references


@pytest.mark.parametrize("how", ["attribute", "dict", "slot", "output", "each other"])
def test_cycle_is_collected(graph: Session, how: str) -> None:
    class Slotted(Hello):
        __slots__ = ("me",)

    task: Any = Slotted(blob("x"))
    reference = weakref.ref(task)
    if how == "attribute":
        task.myself = task
    elif how == "dict":
        task.__dict__["myself"] = task
    elif how == "slot":
        task.me = task
    elif how == "output":
        task.output.producer = task
    else:
        other: Any = Hello(task)
        task.other, other.other = other, task
        del other
    del task
    gc.collect()
    assert reference() is None


def test_plain_task_costs_the_collector_nothing(graph: Session) -> None:
    task = Hello(blob("x"))
    assert not gc.is_tracked(task)
    task.note = 1  # type: ignore[attr-defined]
    assert gc.is_tracked(task)
    task = Hello(blob("x"))
    task.output  # noqa: B018
    assert gc.is_tracked(task)


def test_long_chain_of_handles_ends_without_recursion(graph: Session) -> None:
    task: Any = Hello(blob("x"))
    for _ in range(200_000):
        following: Any = Hello(task)
        following.previous = task
        task = following
    del task, following
    gc.collect()


def test_session_and_task_name_each_other_and_go(census: object) -> None:
    session: Any = Session(None, 3)
    with session.bind_only():
        task = Hello(blob("x"))
    assert task.session is session
    session.task = task
    reference = weakref.ref(session)
    del session, task
    gc.collect()
    assert reference() is None


def test_task_keeps_its_session_usable() -> None:
    session = Session(None, 3)
    with session.bind_only():
        task = Hello(blob("x"))
    del session
    gc.collect()
    assert task.session.session_id == 3
    assert task.session is task.output.session
    assert task.session.task_count == 1


def test_forgotten_init_is_explained(graph: Session) -> None:
    class Forgetful(Task):
        TASK_TYPE = "a/b"

        def __init__(self) -> None:
            pass

    task = Forgetful()
    assert "not initialised" in repr(task)
    for use in (lambda: task.output, lambda: task.wait(), lambda: Hello(task)):
        with pytest.raises(RainException, match=r"call super\(\).__init__\("):
            use()
    with pytest.raises(RainException, match="not initialised"):
        DataObject.__new__(DataObject).keep()


def test_init_works_once(graph: Session) -> None:
    task = Hello(blob("x"))
    with pytest.raises(RainException, match=r"__init__ was called twice"):
        task.__init__(blob("x"))  # type: ignore[misc]


def test_pickling_and_copying_are_refused(graph: Session) -> None:
    task = Hello(blob("x"))
    for thing in (task, task.output):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled"):
            copy.copy(thing)


def test_data_object_can_be_subclassed(graph: Session) -> None:
    class Named(DataObject):
        def __init__(self) -> None:
            super().__init__("named")
            self.extra = 1

    output = Named()
    task = Task((), [output], task_type="a/b")
    del output
    gc.collect()
    assert isinstance(task.output, Named)
    assert task.output.extra == 1


def test_collector_settings_are_not_touched(graph: Session) -> None:
    before = (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count())
    for _ in range(10_000):
        Hello(blob("x"))
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before
