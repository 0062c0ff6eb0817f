"""Random steps of a client and two executors on a small store, beside a model of what there must
be. Every step ends: with the data, or with the error that the model allows."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rain.client import (
    Client,
    DataObject,
    ExecutorDied,
    Task,
    TaskCancelled,
    TaskException,
    TaskStoreFull,
    blob,
)
from sizes import LONG, MiB, some
from tasks import call
from world import pauses, wait_until

BUDGET = 32 * MiB
INLINE = 8 << 10
TESTERS = ("cpptester", "pytester")
CYCLE = bytes(range(251)) * 40_000

testers = st.sampled_from(TESTERS)
sizes = st.one_of(
    st.sampled_from([0, 1, 63, 64, 65, 4095, 4096, 4097, 65537, INLINE - 1, INLINE, INLINE + 1]),
    st.sampled_from([MiB - 1, MiB, MiB + 1, 2 * MiB, 3 * MiB + 7, 6 * MiB]),
)
large = st.sampled_from([4 * MiB, 9 * MiB, 16 * MiB])
seeds = st.integers(0, 250)
ends = st.sampled_from([0, 1, 63, 64, 4097, INLINE, MiB, 3 * MiB, -1, -64, -4096, -INLINE, -MiB])
ranges = st.tuples(ends, ends)


def pattern(seed: int, size: int) -> bytes:
    return CYCLE[seed : seed + size]


class StoreStates(RuleBasedStateMachine):
    """`contents`: of every kept object. `views`: what the client looks at. `held`: of each tester,
    what its process keeps views of."""

    client: ClassVar[Client]
    objects: Bundle[DataObject] = Bundle("objects")

    def __init__(self) -> None:
        super().__init__()
        self.session = self.client.new_session(on_error="continue")
        self.contents: dict[DataObject, bytes] = {}
        self.views: list[tuple[memoryview, bytes]] = []
        self.held: dict[str, list[bytes]] = {tester: [] for tester in TESTERS}
        self.pids: dict[str, int] = {}

    # ---- Helpers --------------------------------------------------------------------------------

    def call(self, method: str, *inputs: DataObject, outputs: int = 1, **config: Any) -> Task:
        with self.session.bind_only():
            return call(method, *inputs, outputs=outputs, **config)

    def finish(self, task: Task) -> bool:
        """Run it. False: there was no room, because of what is viewed."""
        task.keep_outputs()
        self.session.submit()
        try:
            task.wait()
            return True
        except TaskStoreFull:
            viewed = self.views or any(self.held.values())  # of a slice: all that it is part of
            assert viewed, "nobody views anything, and yet the store is full"
            return False

    def added(self, obj: DataObject, content: bytes) -> DataObject:
        self.contents[obj] = content
        return obj

    def made(self, task: Task, *contents: bytes) -> MultipleResults[DataObject]:
        if not self.finish(task):
            return multiple()
        return multiple(*map(self.added, task.outputs, contents))

    def pid(self, tester: str) -> int:
        """Of the tester's one process. A new one holds nothing."""
        pid = int(self.call(f"{tester}/pid").output.fetch().get_bytes())
        if self.pids.get(tester) != pid:
            self.held[tester] = []
        self.pids[tester] = pid
        return pid

    # ---- Making data ----------------------------------------------------------------------------

    @rule(target=objects, seed=seeds, size=sizes)
    def put(self, seed: int, size: int) -> DataObject:
        content = pattern(seed, size)
        with self.session.bind_only():
            obj = blob(content)
        obj.keep()
        self.session.submit()
        return self.added(obj, content)

    @rule(target=objects, tester=testers, byte=st.integers(0, 255), size=sizes)
    def write(self, tester: str, byte: int, size: int) -> MultipleResults[DataObject]:
        return self.made(self.call(f"{tester}/fill", size=size, byte=byte), bytes([byte]) * size)

    @rule(target=objects, tester=testers, size=sizes, part=st.floats(0, 1))
    def write_less_than_allocated(
        self, tester: str, size: int, part: float
    ) -> MultipleResults[DataObject]:
        left = int(size * part)
        task = self.call(f"{tester}/fill", size=size, byte=7, shrink_to=left)
        return self.made(task, b"\7" * left)

    @rule(target=objects, tester=testers, obj=objects)
    def pass_on(self, tester: str, obj: DataObject) -> MultipleResults[DataObject]:
        return self.made(self.call(f"{tester}/echo", obj), self.contents[obj])

    @rule(target=objects, tester=testers, one=objects, two=objects)
    def join(self, tester: str, one: DataObject, two: DataObject) -> MultipleResults[DataObject]:
        content = self.contents[one] + self.contents[two]
        if len(content) > BUDGET // 2:
            return multiple()
        return self.made(self.call(f"{tester}/concat", one, two), content)

    @rule(target=objects, tester=testers, obj=objects, n=st.integers(1, 3))
    def split(self, tester: str, obj: DataObject, n: int) -> MultipleResults[DataObject]:
        content, size = self.contents[obj], len(self.contents[obj])
        pieces = [content[size * i // n : size * (i + 1) // n] for i in range(n)]
        return self.made(self.call(f"{tester}/split", obj, outputs=n), *pieces)

    # ---- Slices ---------------------------------------------------------------------------------

    def cut(self, obj: DataObject, *ranges: tuple[int, int]) -> DataObject:
        """A kept slice of it, or of a slice that nobody keeps."""
        content = self.contents[obj]
        with self.session.bind_only():
            for begin, end in ranges:
                obj, content = obj[begin:end], content[begin:end]
        obj.keep()
        self.session.submit()
        obj.wait()
        return self.added(obj, content)

    @rule(target=objects, obj=objects, ranges=st.lists(ranges, min_size=1, max_size=3))
    def slice_of(self, obj: DataObject, ranges: list[tuple[int, int]]) -> DataObject:
        return self.cut(obj, *ranges)

    @rule(target=objects, obj=consumes(objects), cut=ranges)
    def slice_outlives_the_whole(self, obj: DataObject, cut: tuple[int, int]) -> DataObject:
        part = self.cut(obj, cut)
        obj.unkeep()
        del self.contents[obj]
        return part

    @rule(target=objects, tester=testers, obj=objects, data=st.data())
    def task_returns_slice(
        self, tester: str, obj: DataObject, data: st.DataObject
    ) -> MultipleResults[DataObject]:
        content = self.contents[obj]
        offset = data.draw(st.integers(0, len(content)))
        size = data.draw(st.integers(0, len(content) - offset))
        task = self.call(f"{tester}/part", obj, offset=offset, size=size)
        return self.made(task, content[offset : offset + size])

    @rule(tester=testers, size=large)
    def squeeze(self, tester: str, size: int) -> None:
        """Make something large that goes at once: others are spilled for it."""
        task = self.call(f"{tester}/fill", size=size, byte=1)
        if self.finish(task):
            assert len(task.output.fetch()) == size

    # ---- Reading and letting go -----------------------------------------------------------------

    @rule(obj=objects)
    def read(self, obj: DataObject) -> None:
        assert obj.fetch().get_bytes() == self.contents[obj]

    @rule(obj=objects)
    def view(self, obj: DataObject) -> None:
        if len(self.views) < 6:
            self.views.append((memoryview(obj.fetch()), self.contents[obj]))

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def end_view(self, data: st.DataObject) -> None:
        view, content = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
        assert view == content

    @rule(obj=consumes(objects))
    def release(self, obj: DataObject) -> None:
        obj.unkeep()
        del self.contents[obj]

    @rule(tester=testers, obj=objects)
    def hold(self, tester: str, obj: DataObject) -> None:
        """The executor's process keeps its view beyond the call."""
        self.pid(tester)
        if len(self.held[tester]) < 3:
            count = int(self.call(f"{tester}/keep", obj).output.fetch().get_bytes())
            self.held[tester].append(self.contents[obj])
            assert count in (1, len(self.held[tester]))  # 1: it had to be started anew
            self.held[tester] = self.held[tester][-count:]

    @rule(tester=testers)
    def end_holds(self, tester: str) -> None:
        before = self.pid(tester)
        content = b"".join(self.held[tester])
        if len(content) > BUDGET // 2:
            return
        task = self.call(f"{tester}/release")
        if self.finish(task):
            found = task.output.fetch().get_bytes()
            assert found == content or (found == b"" and self.pid(tester) != before)
        self.held[tester] = []

    # ---- Trouble --------------------------------------------------------------------------------

    @rule(tester=testers)
    def kill_idle(self, tester: str) -> None:
        os.kill(self.pid(tester), signal.SIGKILL)
        self.held[tester] = []

    @rule(tester=testers, obj=objects)
    def kill_busy(self, tester: str, obj: DataObject) -> None:
        task = self.call(f"{tester}/stall", obj, size=100)
        self.session.submit()

        def stalled() -> list[int]:
            return [pid for pid in self.client.info()["executor_pids"] if pauses(pid)]

        wait_until(stalled, "that it begins")
        for pid in stalled():
            os.kill(pid, signal.SIGKILL)
        self.held[tester] = []
        with pytest.raises(ExecutorDied):
            task.wait()

    @rule(tester=testers, obj=objects)
    def fail(self, tester: str, obj: DataObject) -> None:
        task = self.call(f"{tester}/no_such", obj)
        self.session.submit()
        with pytest.raises(TaskException):
            task.wait()

    @rule(tester=testers, size=sizes)
    def cancel(self, tester: str, size: int) -> None:
        """While it runs, has ended or has not begun: nobody knows."""
        task = self.call(f"{tester}/fill", size=size, byte=3)
        task.output.keep()
        self.session.submit()
        task.cancel()
        try:
            task.wait()
        except (TaskCancelled, TaskStoreFull):
            return
        assert task.output.fetch().get_bytes() == b"\3" * size

    # ---- What holds after each step -------------------------------------------------------------

    @invariant()
    def what_is_kept_is_there_and_nothing_else(self) -> None:
        store = self.client.store()
        ids = {tuple(obj.id): len(content) for obj, content in self.contents.items()}
        listed = {line.id: line.size for line in store if line.kept and line.id in ids}
        assert listed == ids
        usage = store.usage
        assert usage["regions_bytes"] <= usage["budget_bytes"] == BUDGET
        assert usage["blobs_bytes"] <= usage["regions_bytes"]
        assert usage["waiting"] == 0

    @invariant()
    def views_show_what_they_showed(self) -> None:
        for view, content in self.views:
            assert len(view) == len(content)
            assert view[:1] == content[:1]
            assert view[-1:] == content[-1:]

    def teardown(self) -> None:
        assert all(obj.fetch().get_bytes() == data for obj, data in self.contents.items())
        assert all(view == data for view, data in self.views)
        self.views.clear()
        self.contents.clear()
        for tester in TESTERS:
            if self.held[tester]:
                os.kill(self.pid(tester), signal.SIGKILL)
        self.session.close()
        del self.session
        wait_until(lambda: not self.in_use(), "an empty store")

    def in_use(self) -> dict[str, int]:
        usage = self.client.info()["store"]
        used = ("blobs", "blobs_bytes", "views", "spilled_blobs", "waiting")
        return {key: usage[key] for key in used if usage[key]}


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.iterdir())


@pytest.mark.embedded("constants are in a store of the client's")
@pytest.mark.timeout(3600 if LONG else 300)
def test_random_steps_leave_what_the_model_says(
    make_client: Callable[..., Client], commands: dict[str, Any], spill: Path
) -> None:
    limited = {name: {"command": commands[name], "max_processes": 1} for name in TESTERS}
    StoreStates.client = make_client(limited, memory=BUDGET, spill=spill)
    try:
        run_state_machine_as_test(
            StoreStates,
            settings=settings(
                max_examples=some(8, 200),
                stateful_step_count=some(30, 60),
                derandomize=not LONG,
                database=None,
                phases=[Phase.generate],  # shrinking takes long: with processes, steps do
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        StoreStates.client.close()
        del StoreStates.client
