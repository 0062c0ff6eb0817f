"""A client's mirror and two governors in one process, without a transport: parts of a submit."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rain import _core
from rain.client import Client, blob, directory, remote, tasks
from rain.common.errors import InvalidGraph, RainException, TaskException
from rain.engine import remote as remote_engines
from rain.engine.mirror import MirrorEngine
from rain.governor.host import Host, HostSession


class OneSession:
    """What TwoGovernors knows of a session."""

    def __init__(self) -> None:
        self.hosted: list[HostSession] = []
        self.waiting: list[_core.Part] = []
        self.running: dict[tuple[int, int], _core.Part] = {}  # by governor and batch
        self.homes: dict[int, int] = {}  # of outputs: governors
        self.ready: set[int] = set()  # outputs of parts that have ended
        self.sent: set[tuple[int, int]] = set()  # constants that a governor has: (governor, id)


class TwoGovernors:
    """A Link that gives parts to two Hosts in turn, once what they need is there."""

    client: Client

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self.parts = list[tuple[int, _core.Part]]()  # given out so far, and to which
        self._turn = itertools.cycle(range(len(hosts)))
        self._lock = threading.RLock()
        self._sessions = dict[int, OneSession]()

    def start(self, engine: MirrorEngine) -> None:
        self.engine = engine

    def open_session(self, session: int, name: str, continue_on_error: bool) -> None:
        known = self._sessions[session] = OneSession()
        for number, host in enumerate(self.hosts):
            on_updates = partial(self._on_updates, session, number)
            known.hosted.append(host.open_session(name, continue_on_error, on_updates=on_updates))

    def submit(self, submission: _core.Submission) -> None:
        with self._lock:
            known = self._sessions[submission.session_id]
            known.waiting += submission.cut(slots=len(self.hosts), max_tasks=50)
            self._advance(known)

    def _on_updates(self, session: int, governor: int, updates: bytes, ended: list[int]) -> None:
        if updates:
            self.engine.apply_updates(session, updates)
        with self._lock:
            known = self._sessions[session]
            for batch in ended:
                known.ready.update(known.running.pop((governor, batch)).outputs)
            self._advance(known)

    def _advance(self, known: OneSession) -> None:
        for part in list(known.waiting):
            if not known.ready.issuperset(part.inputs):
                continue
            known.waiting.remove(part)
            governor = next(self._turn)
            hosted = known.hosted[governor]
            data = {needed: self._from_elsewhere(known, needed) for needed in part.inputs}
            for id, constant in part.uploads:
                if (governor, id) not in known.sent:
                    data[id] = constant
                    known.sent.add((governor, id))
            self.parts.append((governor, part))
            known.homes.update(dict.fromkeys(part.outputs, governor))
            known.running[governor, hosted.submit(part.batch, data)] = part

    @staticmethod
    def _from_elsewhere(known: OneSession, needed: int) -> Any:
        native = known.hosted[known.homes[needed]]._native
        data = native.view(needed)
        return None if data is None else (data, native.info(needed))

    def cancel(self, session: int, task_ids: Sequence[int]) -> None:
        for hosted in self._sessions[session].hosted:
            hosted.cancel(task_ids)

    def unkeep(self, session: int, objects: Sequence[int]) -> None:
        with self._lock:
            known = self._sessions[session]
            known.sent -= {(governor, id) for governor in (0, 1) for id in objects}
        for hosted in known.hosted:
            hosted.unkeep(objects)

    def close_session(self, session: int) -> None:
        for hosted in self._sessions[session].hosted:
            hosted.close()

    def ask(self, operation: str, **arguments: Any) -> Any:
        return self.hosts[0].ask(operation, "", **arguments)

    def fetch(self, session: int, objects: Sequence[int]) -> None:
        known = self._sessions[session]
        for id in objects:
            view = known.hosted[known.homes[id]].view(id)
            assert view is not None
            if view._path is None:
                self.engine.supply(session, id, view)
            else:
                copy = os.path.join(self.engine.run_directory, f"received-{id}")
                shutil.copytree(view._path, copy)
                self.engine.supply(session, id, copy)

    def read_log(
        self, session: int, task: int, path: str, begin: int, end: int
    ) -> tuple[bytes, int]:
        return self._sessions[session].hosted[0].read_log(path, begin, end)

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self._sessions.clear()
        del self.engine


@pytest.fixture
def link(executors: dict[str, Any]) -> Iterator[TwoGovernors]:
    """The way from a client to the two governors that its tasks run on."""
    hosts = [Host.start(executors=executors, cpus=2, memory="256 MiB") for _ in range(2)]
    link = TwoGovernors(hosts)
    offered = {name: remote_engines.RemoteExecutor(name, "") for name in hosts[0].executors}

    def connect(*_: Any, **__: Any) -> Any:
        engine = MirrorEngine(link, executors=dict.fromkeys(offered, ""), cpus=2)
        return engine, offered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote_engines, "connect", connect)
        link.client = Client("two governors")
    with link.client:
        yield link
    link.parts.clear()
    del link.client  # pytest keeps the link until all is counted


@remote(auto_load=True, auto_encode="pickle")
def add(ctx: Any, *numbers: Any) -> Any:
    return sum(numbers)


def both(link: TwoGovernors) -> bool:
    return {governor for governor, _ in link.parts} == {0, 1}


def test_one_graph_runs_on_both(link: TwoGovernors) -> None:
    client = link.client
    with client.new_session() as session:
        pieces = [tasks.Concat([blob(f"{i} "), blob("and ")]) for i in range(200)]
        whole = tasks.Concat(pieces)
        whole.output.keep()
        session.submit()
        session.wait_all()
        assert whole.output.fetch().get_bytes().decode() == "".join(f"{i} and " for i in range(200))
    assert both(link)
    assert len(link.parts) > 4
    assert all(part.n_tasks <= 50 for _, part in link.parts)


def test_nothing_is_held_where_all_was_used(link: TwoGovernors) -> None:
    client = link.client
    with client.new_session() as session:
        constant = blob(b"c" * 100_000)
        first = [tasks.Concat([constant, blob(str(i))]) for i in range(20)]
        last = tasks.Concat(first)
        last.output.keep()
        session.submit()
        session.wait_all()
        assert len(last.output.fetch().get_bytes()) == 20 * 100_000 + 30
        last.output.unkeep()
        wait_until(lambda: not any(host.engine.holdings()[1] for host in link.hosts))
        # The client's own constant comes once more to where it was before.
        again = tasks.Concat([constant, blob("x")])
        again.output.keep()
        with pytest.raises(InvalidGraph):
            session.submit()  # nobody kept it


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(6000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came true")


def test_large_data_go_between_them_and_to_the_client(link: TwoGovernors) -> None:
    client = link.client
    size = 3 << 20
    with client.new_session() as session:
        source = blob(b"s" * size)
        many = [tasks.Concat([source, blob(bytes([65 + i]))]) for i in range(8)]
        whole = tasks.Concat(many)
        whole.output.keep()
        session.submit()
        session.wait_all()
        data = whole.output.fetch().get_bytes()
        assert len(data) == 8 * (size + 1)
        assert data[size :: size + 1] == b"ABCDEFGH"
    assert both(link)


def test_what_is_known_of_an_object_goes_with_it(link: TwoGovernors) -> None:
    client = link.client
    with client.new_session() as session:
        ones = [add(1, i) for i in range(40)]
        total = add(*ones)  # loads each: their content types came along
        total.output.keep()
        session.submit()
        session.wait_all()
        assert total.output.fetch().load() == 40 + sum(range(40))
    assert both(link)


def test_directories_go_between_them(link: TwoGovernors, tmp_path: Path) -> None:
    client = link.client
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    with client.new_session() as session:
        tree = directory(str(tmp_path / "tree"))
        parts = [tasks.MakeDirectory([("sub", tree)]) for _ in range(8)]
        whole = tasks.MakeDirectory([(str(i), part) for i, part in enumerate(parts)])
        whole.output.keep()
        session.submit()
        session.wait_all()
        whole.output.fetch().write(str(tmp_path / "got"))
    assert (tmp_path / "got" / "7" / "sub" / "file").read_text() == "content"


def test_a_failure_ends_what_depends_on_it_wherever_that_is(link: TwoGovernors) -> None:
    client = link.client
    with client.new_session(on_error="continue") as session:
        good = [add(i) for i in range(20)]
        bad = add("no number")
        last = add(bad, *good)
        other = add(*good)
        other.output.keep()
        session.submit()
        with pytest.raises(TaskException, match="unsupported operand"):
            bad.wait()
        with pytest.raises(RainException):
            last.wait()
        other.wait()
        assert other.output.fetch().load() == sum(range(20))
        session.wait_all()


def test_what_nobody_keeps_may_be_taken_by_a_later_submit_while_its_task_runs(
    link: TwoGovernors, tmp_path: Path
) -> None:
    client = link.client
    go = tmp_path / "go"
    with client.new_session() as session:
        slow = when_there_is(str(go))
        session.submit()
        late = add(slow, 1)
        late.output.keep()
        session.submit()
        go.touch()
        session.wait_all()
        assert late.output.fetch().load() == 42
        late.output.unkeep()
        wait_until(lambda: not any(host.engine.holdings()[1] for host in link.hosts))


@remote(auto_encode="pickle")
def when_there_is(ctx: Any, path: str) -> Any:
    wait_until(lambda: os.path.exists(path))
    return 41
