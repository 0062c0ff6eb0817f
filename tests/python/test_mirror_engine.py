"""A client whose tasks run on one governor elsewhere, here in the same process: what it has, asks
for, and tells."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rain import _core
from rain.client import (
    Client,
    ConnectionFailed,
    Executor,
    ExecutorDied,
    RainException,
    ServerLost,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    UsageError,
    as_completed,
    blob,
)
from rain.engine import receive
from rain.engine import remote as remote_engines
from rain.engine.mirror import MirrorEngine
from rain.governor.host import Host, HostSession

LARGE = _core.INLINE_LIMIT_BYTES * 3


class OneGovernor:
    """A Link that gives each submit to one Host, whole, and notes what it was asked for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.hosted = dict[int, HostSession]()
        self.fetched = list[int]()
        self.holds_back = threading.Event()  # while set: submits come to nothing
        self.held = list[_core.Submission]()
        self._sent = set[tuple[int, int]]()

    def start(self, engine: MirrorEngine) -> None:
        self.engine = engine

    def open_session(self, session: int, name: str, continue_on_error: bool) -> None:
        def on_updates(updates: bytes, ended: list[int]) -> None:
            if updates:
                self.engine.apply_updates(session, updates)

        self.hosted[session] = self.host.open_session(
            name, continue_on_error, on_updates=on_updates
        )

    def submit(self, submission: _core.Submission) -> None:
        if self.holds_back.is_set():
            self.held.append(submission)
            return
        session, part = submission.session_id, submission.whole()
        assert part.n_tasks == submission.n_tasks == len(part.task_ids)
        assert not part.inputs or set(part.inputs).isdisjoint(part.outputs)
        data = {id: its for id, its in part.uploads if (session, id) not in self._sent}
        self._sent.update((session, id) for id in data)
        self.hosted[session].submit(part.batch, data)

    def cancel(self, session: int, task_ids: Sequence[int]) -> None:
        self.hosted[session].cancel(task_ids)

    def unkeep(self, session: int, objects: Sequence[int]) -> None:
        self._sent.difference_update((session, id) for id in objects)
        self.hosted[session].unkeep(objects)

    def close_session(self, session: int) -> None:
        self.hosted[session].close()

    def ask(self, operation: str, **arguments: Any) -> Any:
        return self.host.ask(operation, "", **arguments)

    def fetch(self, session: int, objects: Sequence[int]) -> None:
        self.fetched += objects
        for id in objects:
            data = self.hosted[session].view(id)
            assert data is not None
            room = self.engine.make_room(len(data))
            _core.copy_into(room, 0, data)
            self.engine.supply(session, id, room)

    def read_log(
        self, session: int, task: int, path: str, begin: int, end: int
    ) -> tuple[bytes, int]:
        return self.hosted[session].read_log(path, begin, end)

    def close(self) -> None:
        self.host.close()
        self.hosted.clear()
        self.held.clear()
        del self.engine

    def holds(self) -> tuple[int, int]:
        """How many tasks and objects the governor has."""
        tasks, objects = self.host.engine.holdings()
        return len(tasks), len(objects)


Mirrored = tuple[Client, OneGovernor]


@pytest.fixture
def mirrored(executors: dict[str, Any]) -> Iterator[Mirrored]:
    link = OneGovernor(Host.start(executors=executors, cpus=2, memory="256 MiB"))
    offered = {name: remote_engines.RemoteExecutor(name, "") for name in link.host.executors}

    def connect(*_: Any, **__: Any) -> Any:
        return MirrorEngine(link, executors=dict.fromkeys(offered, ""), cpus=2), offered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_engines, "connect", connect)
        client = Client("somewhere", record=True)
    with client:
        yield client, link


def call(method: str, *inputs: Any, **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"cpptester/{method}", **arguments)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came true")


# ---- data ---------------------------------------------------------------------------------------


def test_small_results_come_along_and_large_ones_are_fetched_once(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        small, large = call("echo", blob("small")), call("echo", blob(b"l" * LARGE))
        small.keep_outputs()
        large.keep_outputs()
        session.submit()
        session.wait_all()
        assert large.output.info is not None
        assert large.output.info.size == LARGE
        assert small.output.fetch().get_bytes() == b"small"
        assert link.fetched == []
        first = large.output.fetch()
        assert first.get_bytes() == b"l" * LARGE
        again = large.output.fetch()
        assert again._address == first._address  # the same bytes here
        assert link.fetched == [large.output.id.id]


def test_every_way_to_a_result_fetches_it(mirrored: Mirrored) -> None:
    client, link = mirrored
    data = [bytes([65 + i]) * LARGE for i in range(4)]
    with client.new_session() as session:
        assert [bytes(r) for r in session.map("cpptester/echo", data)] == data
        assert len(link.fetched) == 4
        task = call("echo", blob(data[0]))
        assert bytes(task.result()) == data[0]
        many = [call("echo", blob(each)) for each in data]
        for each in many:
            each.keep_outputs()
        session.submit()
        assert sorted(bytes(done.result()) for done in as_completed(many)) == data

        async def awaited() -> bytes:
            task = call("echo", blob(data[1]))
            task.keep_outputs()
            session.submit()
            return bytes((await task).output.fetch())

        assert asyncio.run(awaited()) == data[1]
        called = threading.Event()
        last = call("echo", blob(data[2]))
        last.keep_outputs()
        session.submit()
        last.add_done_callback(lambda done: bytes(done.result()) == data[2] and called.set())
        assert called.wait(60)
    with Executor(client=client) as pool:
        assert list(pool.map(len, [b"", b"abc"])) == [0, 3]
        assert pool.submit(bytes, LARGE).result() == bytes(LARGE)


def test_threads_fetch_the_same_result(mirrored: Mirrored) -> None:
    client, _ = mirrored
    with client.new_session() as session, ThreadPoolExecutor(8) as threads:
        task = call("echo", blob(b"l" * LARGE))
        task.keep_outputs()
        session.submit()
        fetched = [threads.submit(task.output.fetch) for _ in range(16)]
        assert {bytes(each.result()) for each in fetched} == {b"l" * LARGE}


def test_what_nobody_needs_goes_there_too(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        constant = blob(b"c" * LARGE)
        first = call("echo", constant)
        second = call("echo", first)
        first.keep_outputs()
        second.keep_outputs()
        session.submit()
        session.wait_all()
        wait_until(lambda: link.holds() == (0, 2))  # the constant is gone
        third = call("echo", first)
        third.keep_outputs()
        session.submit()
        first.output.unkeep()
        assert third.output.fetch().get_bytes() == b"c" * LARGE
        wait_until(lambda: link.holds() == (0, 2))
        second.output.unkeep()
        del third
        link.engine.drain()  # as any call would
        wait_until(lambda: link.holds() == (0, 0))
    with client.new_session() as other:
        kept = call("echo", blob(b"k" * LARGE))
        kept.keep_outputs()
        other.submit()
        other.wait_all()
        assert link.holds()[1] >= 1
    wait_until(lambda: link.holds() == (0, 0))


# ---- ends ---------------------------------------------------------------------------------------


def test_a_failed_session_ends_there_and_here(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        long = call("sleep", config={"seconds": 600})  # on one of two cpus
        waiting = [long, *(call("echo", long) for _ in range(5))]
        bad = call("fail", blob("because"))
        dependent = call("echo", bad)
        session.submit()
        with pytest.raises(TaskException, match="because") as failed:
            session.wait_all()
        assert failed.value.task is bad
        assert {task.state for task in [*waiting, dependent]} == {TaskState.cancelled}
        with pytest.raises(TaskException, match="because"):
            session.wait_all()
        wait_until(lambda: link.holds() == (0, 0))


def test_with_continue_only_dependants_end(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session(on_error="continue") as session:
        bad, good = call("fail", blob("because")), call("echo", blob("good"))
        dependent = call("concat", good, bad)
        good.keep_outputs()
        session.submit()
        session.wait_all()
        assert bad.state == TaskState.failed
        assert dependent.state == TaskState.aborted
        assert good.output.fetch().get_bytes() == b"good"
        with pytest.raises(RainException, match="because"):
            dependent.wait()
        wait_until(lambda: link.holds()[0] == 0)


def test_a_task_that_fails_before_its_cancel_arrives_ends_nothing_else(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, link = mirrored
    failed = threading.Event()

    def cancel(session: int, task_ids: Sequence[int]) -> None:
        failed.wait(60)
        link.hosted[session].cancel(task_ids)

    monkeypatch.setattr(link, "cancel", cancel)
    with client.new_session() as session:
        link.holds_back.set()
        bad = call("fail", blob("because"))
        slow = call("sleep", config={"seconds": 0.1})
        after = call("echo", blob("good"))
        after.keep_outputs()
        session.submit()
        wait_until(lambda: len(link.held) == 1)
        link.holds_back.clear()
        bad.cancel()  # what was submitted is on its way
        link.submit(link.held.pop())
        counts = link.hosted[bad.id[0]].status
        wait_until(lambda: counts()["tasks"]["failed"] == 1)
        failed.set()
        slow.wait()
        assert after.output.fetch().get_bytes() == b"good"
        late = call("echo", blob("late"))
        late.keep_outputs()
        session.submit()
        assert late.output.fetch().get_bytes() == b"late"
        assert bad.state == TaskState.cancelled


def test_cancel_ends_what_runs_there(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session(on_error="continue") as session:
        long = [call("sleep", config={"seconds": 600}) for _ in range(4)]
        short = call("echo", blob("short"))
        session.submit()
        wait_until(lambda: link.holds()[0] >= 4)
        for task in long:
            task.cancel()
        with pytest.raises(TaskCancelled):
            long[0].wait()
        short.wait()
        wait_until(lambda: link.holds()[0] == 0)
        assert {task.state for task in long} == {TaskState.cancelled}


def test_a_lost_connection_fails_all_that_is_and_comes(mirrored: Mirrored) -> None:
    client, link = mirrored
    engine = link.engine
    session = client.new_session()
    with session:
        done = call("echo", blob(b"l" * LARGE))
        done.keep_outputs()
        session.submit()
        session.wait_all()
        task = call("sleep", config={"seconds": 600})
        session.submit()
        engine.connection_lost("the governor at nowhere ended")
        with pytest.raises(ServerLost, match="at nowhere ended"):
            task.wait()
    with pytest.raises(ConnectionFailed, match="at nowhere ended"):
        client.new_session()


def test_tasks_that_cannot_run_fail_with_what_the_link_says(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session(on_error="continue") as session:
        link.holds_back.set()
        first, second = call("echo", blob("x")), call("echo", blob("y"))
        dependent = call("echo", second)
        session.submit()
        wait_until(lambda: len(link.held) == 1)
        engine, ids = link.engine, [task.id.id for task in (dependent, second)]
        engine.fail_tasks(link.held[0].session_id, ids, "no governor has room", False)
        with pytest.raises(TaskException, match="no governor has room"):
            second.wait()
        assert dependent.state == TaskState.aborted
        assert engine.late_updates == 0
        engine.fail_tasks(link.held[0].session_id, [first.id.id], "it died twice", True)
        with pytest.raises(ExecutorDied, match="it died twice"):
            first.wait()
        engine.fail_tasks(link.held[0].session_id, ids, "again", True)
        assert engine.late_updates == 2


# ---- many ---------------------------------------------------------------------------------------


def test_sessions_are_apart(mirrored: Mirrored) -> None:
    client, link = mirrored
    sessions = [client.new_session(on_error="continue") for _ in range(30)]
    tasks = []
    for number, session in enumerate(sessions):
        data = blob(str(number), session=session)
        task = Task((data,), outputs=1, task_type="cpptester/echo", session=session)
        task.keep_outputs()
        session.submit()
        tasks.append(task)
    for number, task in enumerate(tasks):
        assert task.output.fetch().get_bytes() == str(number).encode()
    for session in sessions:
        session.close()
    wait_until(lambda: link.holds() == (0, 0))


def test_a_hundred_thousand_tasks(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        constant = blob("x")
        flat = [Task((constant,), outputs=1, task_type="buildin/concat") for _ in range(100_000)]
        chain = constant
        for _ in range(1000):
            chain = Task((chain,), outputs=1, task_type="buildin/concat")
        chain.keep_outputs()
        session.submit()
        session.wait_all()
        assert {task.state for task in flat} == {TaskState.finished}
        assert chain.output.fetch().get_bytes() == b"x"
        assert link.fetched == []
        assert link.engine.late_updates == 0
        wait_until(lambda: link.holds() == (0, 0))  # of a small result the bytes are here


# ---- what is told of tasks ----------------------------------------------------------------------


def test_reports_name_the_processes_there(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        task = call("pid")
        task.keep_outputs()
        session.submit()
        pid = int(task.output.fetch().get_bytes())
    (line,) = client.report()
    assert (line.process, line.attempts, line.state) == (pid, 1, TaskState.finished)
    assert line.executor == "cpptester"
    assert link.host.engine.executor_pids() == [pid]


def test_a_task_that_ran_elsewhere_is_reproduced_here(mirrored: Mirrored, tmp_path: Path) -> None:
    client, link = mirrored
    large = b"l" * LARGE
    with client.new_session(on_error="continue") as session:
        made, given = call("echo", blob(large)), blob("given")
        made.keep_outputs()
        given.keep()
        joined = call("concat", made, given)
        bad = call("fail", blob("because"))
        session.submit()
        session.wait_all()
        alone = [bad.reproduce(tmp_path / "bad"), joined.reproduce(tmp_path / "joined")]
        assert link.fetched == [made.output.id.id]
    runs = [subprocess.run([line], capture_output=True, text=True) for line in alone]
    assert runs[0].returncode != 0
    assert "because" in runs[0].stderr
    assert runs[1].returncode == 0, runs[1].stderr
    assert (tmp_path / "joined" / "outputs" / "0").read_bytes() == large + b"given"


def test_what_is_gone_elsewhere_is_named_by_reproduce(mirrored: Mirrored, tmp_path: Path) -> None:
    client, _ = mirrored
    with client.new_session(on_error="continue") as session:
        made = call("echo", blob("because"), outputs=("reason",))
        bad = call("fail", made)
        session.submit()
        session.wait_all()
        with pytest.raises(UsageError) as caught:
            bad.reproduce(tmp_path / "case")
        assert "input 0" in str(caught.value)
        assert "'reason' of task cpptester/echo" in str(caught.value)
        assert "keep() it" in str(caught.value)
        assert not (tmp_path / "case").exists() or not os.listdir(tmp_path / "case")


@pytest.mark.embedded("is about an engine of its own")
def test_an_engine_of_its_own_is_no_mirror(client: Client) -> None:
    engine = client._engine
    for use in (
        engine.outgoing,
        lambda: engine.lose("x"),
        lambda: engine.fetch_remote(1, [10]),
        lambda: engine.supply(1, 10, b""),
        lambda: engine.fail_tasks(1, [10], "x", False),
    ):
        with pytest.raises(UsageError):
            use()


def test_a_received_directory_that_a_closed_mirror_does_not_take_is_removed(
    mirrored: Mirrored, tmp_path: Path
) -> None:
    client, link = mirrored
    engine = link.engine
    client.close()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    with pytest.raises(RainException):
        receive.supply(engine, 1, 10, str(tmp_path / "tree"))
    assert not os.listdir(tmp_path)


def test_a_mirror_refuses_what_it_cannot_read(mirrored: Mirrored) -> None:
    client, link = mirrored
    with client.new_session() as session:
        with pytest.raises(RainException):
            link.engine.apply_updates(_core.session_id(session), b"no updates")
        with pytest.raises(TypeError):
            link.engine.apply_updates(_core.session_id(session), 5)
        task = call("echo", blob("x"))
        assert task.result() == "x"
