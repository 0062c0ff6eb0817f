"""Handles under any Python, without pytest: run by test_each_python.py."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

from rain.client import DataObject, Session, Task, blob


class Hello(Task):
    TASK_TYPE = "example1/hello"

    def __init__(self, obj: Any) -> None:
        self.before = 1
        super().__init__(inputs=(obj,), outputs=1)
        self.after = [self.output]


class Slotted(Task):
    TASK_TYPE = "example1/hello"
    __slots__ = ("me",)


class Named(DataObject):
    pass


def collected(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


def main() -> None:
    with Session(None, 7) as session:
        data = blob("x")
        task: Any = Hello(data)
        assert (task.before, task.after) == (1, [task.output])
        assert task.output is task.output
        assert task.inputs[0] is data
        assert vars(task).keys() == {"before", "after"}
        assert (data.id, task.id, task.output.id) == ((7, 10), (7, 11), (7, 12))

        output = task.output
        output.producer = task
        task.myself = task
        references = [weakref.ref(task), weakref.ref(output)]
        del task, output
        assert all(map(collected, references))

        slotted = Slotted((data,), 1)
        assert not gc.is_tracked(slotted)
        slotted.me = slotted
        assert gc.is_tracked(slotted)
        reference: weakref.ref[Any] = weakref.ref(slotted)
        del slotted
        assert collected(reference)

        named = Named("label")
        holder = Task([("in", data)], ["out", named], task_type="a/b", config={"a": [1, 2.5]})
        del named
        gc.collect()
        assert isinstance(holder.outputs["label"], Named)
        assert holder.spec.config == {"a": [1, 2.5]}

        chain: Any = Slotted((data,), 1)
        for _ in range(100_000):
            following = Slotted((chain,), 1)
            following.me = chain
            chain = following
        del chain, following
        gc.collect()

        session_reference = weakref.ref(session)
        session.note = holder
    del session, holder, data
    assert collected(session_reference)
    assert "asyncio" not in sys.modules


main()
