"""Traps of Dask that a governor must not fall into; on Dask clusters that are not ours, too."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster
from rain.client import Client, RainException, Session, blob
from rain.common.errors import ConnectionFailed
from tasks import call, contains
from world import wait_until


@pytest.fixture
def dask_client(place: Path) -> Iterator[Any]:
    """A Dask cluster of somebody else: two workers under nannies, with Dask's memory limits."""
    import dask
    from distributed import Client as DaskClient
    from distributed import LocalCluster

    with (
        dask.config.set({"temporary-directory": str(place / "dask")}),
        LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=None, memory_limit="500 MB"
        ) as made,
        DaskClient(made) as client,
    ):
        yield client


@pytest.fixture
def dask_session(dask_client: Any, commands: dict[str, Any]) -> Iterator[Session]:
    with (
        Client(dask=dask_client, executors=commands, cpus=2) as client,
        client.new_session(on_error="continue") as session,
    ):
        yield session


def test_a_dask_cluster_of_somebody_else_runs_tasks(
    dask_client: Any, dask_session: Session
) -> None:
    pieces = [call("cpptester/fill", size=100_000, byte=65 + i) for i in range(6)]
    whole = call("pytester/concat", *pieces)
    assert whole.output.fetch().get_bytes() == b"".join(bytes([65 + i]) * 100_000 for i in range(6))
    assert dask_client.submit(sum, [1, 2, 3]).result() == 6  # and stays what it was


def test_executors_do_not_inherit_what_dask_sets(dask_client: Any, dask_session: Session) -> None:
    """Trap 1."""

    def of_worker(name: str) -> str | None:
        return os.environ.get(name)

    assert set(dask_client.run(of_worker, "MALLOC_TRIM_THRESHOLD_").values()) == {"65536"}
    environment = call("gates/environment", name="MALLOC_TRIM_THRESHOLD_")
    assert environment.output.fetch().get_bytes() == b"is not set"
    assert set(dask_client.run(of_worker, "OMP_NUM_THREADS").values()) == {"1"}


def test_dask_neither_pauses_nor_spills_nor_kills_for_memory(
    dask_client: Any, dask_session: Session
) -> None:
    """Trap 2: the worker's memory is mostly shared pages; here more than Dask would allow."""
    big = [call("cpptester/fill", size=150_000_000, byte=i) for i in range(6)]
    for task in big:
        task.keep_outputs()
    dask_session.submit()
    dask_session.wait_all()
    for i, task in enumerate(big):
        view = memoryview(task.output.fetch())
        assert (view[0], view[-1], len(view)) == (i, i, 150_000_000)
        dask_session.unkeep([task.output])
    assert len(dask_client.scheduler_info()["workers"]) == 2


def test_a_governor_that_cannot_start_retires_its_worker(dask_client: Any) -> None:
    """Trap 3: a plugin that raises could freeze the cluster."""
    with pytest.raises(ConnectionFailed) as caught:
        Client(dask=dask_client, executors={"x": "/nonexistent/program"})
    contains(caught.value, "no governor", "/nonexistent/program")


def test_a_governor_that_hangs_at_its_start_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 3, too."""
    import threading

    from rain.governor import host, worker

    release = threading.Event()
    monkeypatch.setattr(host.Host, "start", lambda **_: release.wait())
    try:
        with pytest.raises(TimeoutError, match="not up"):
            asyncio.run(worker.start_host(0.05))
    finally:
        release.set()


def test_uploads_do_not_travel_in_graphs(two: Cluster, place: Path) -> None:
    """Trap 4: Dask's scheduler would keep them, and warns from 10 MB on."""
    from distributed import Client as DaskClient

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with two.client() as client, client.new_session() as session:
            large = blob(os.urandom(12_000_000))
            task = call("cpptester/concat", large, b"1")
            task.keep_outputs()
            session.submit()
            task.wait()

            def graph_bytes(dask_scheduler: Any) -> int:
                import pickle

                return sum(len(pickle.dumps(t.run_spec)) for t in dask_scheduler.tasks.values())

            with DaskClient(f"tcp://127.0.0.1:{two.port}", set_as_default=False) as watcher:
                assert 0 < watcher.run_on_scheduler(graph_bytes) < 100_000


def test_the_end_of_a_governor_is_the_end_of_its_worker(
    dask_client: Any, dask_session: Session
) -> None:
    """Trap 6: Dask makes data again when a worker is lost, and not otherwise."""
    made = [call("cpptester/fill", size=100_000, byte=i) for i in range(4)]
    for task in made:
        task.keep_outputs()
    dask_session.submit()
    dask_session.wait_all()
    first = next(iter(dask_client.scheduler_info()["workers"]))

    def end(dask_worker: Any) -> None:
        from rain.governor import parts

        parts.runners[dask_worker].host.engine.close()

    dask_client.run(end, workers=[first])
    wait_until(lambda: first not in dask_client.scheduler_info()["workers"], "the worker's end")
    for i, task in enumerate(made):
        assert task.output.fetch().get_bytes() == bytes([i]) * 100_000


def test_what_the_client_holds_stays(two: Cluster) -> None:
    """Trap 7: a reference without its future would point at freed data."""
    import gc

    with two.client() as client, client.new_session() as session:
        task = call("cpptester/fill", size=100_000, byte=7)
        task.keep_outputs()
        session.submit()
        task.wait()
        session.wait([call_after(task)])
        gc.collect()
        assert task.output.fetch().get_bytes() == bytes([7]) * 100_000


def call_after(task: Any) -> Any:
    after = call("pytester/concat", task, b"x")
    task.session.submit()
    return after


def test_a_part_that_dask_takes_away_while_it_runs_runs_again(two: Cluster, place: Path) -> None:
    """Trap 7: kill and resume; nobody is told that it was cancelled."""
    from distributed import Client as DaskClient

    note, gate = place / "note", place / "gate"
    with two.client() as client, client.new_session() as session:
        task = call("gates/wait_for", b"result", file=str(gate), note=str(note))
        task.keep_outputs()
        session.submit()
        wait_until(lambda: note.exists() and note.read_text(), "it runs")

        def take_away(dask_scheduler: Any) -> int:
            tasks = dask_scheduler.tasks
            keys = [key for key, task in tasks.items() if task.state == "processing"]
            dask_scheduler.transitions(dict.fromkeys(keys, "released"), "test")
            return len(keys)

        with DaskClient(f"tcp://127.0.0.1:{two.port}", set_as_default=False) as watcher:
            assert watcher.run_on_scheduler(take_away) == 1
        wait_until(lambda: note.read_text().count("\n") == 2, "it runs again")
        gate.touch()
        assert task.output.fetch().get_bytes() == b"result"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client.close()


def test_what_dask_leaves_behind_goes_and_nothing_else(place: Path) -> None:
    import dask
    from rain.engine import dask_process

    theirs = place / "dask-scratch-space" / "lock"
    theirs.parent.mkdir()
    theirs.touch()
    with dask_process.scratch_in(str(place)):
        ours = Path(dask.config.get("temporary-directory"))
        (ours / "dask-scratch-space").mkdir()
    assert theirs.exists()
    assert list(place.iterdir()) == [theirs.parent]


def test_dask_that_is_asynchronous_is_refused(place: Path) -> None:
    class Other:
        asynchronous = True

    with pytest.raises(RainException, match=r"distributed\.Client"):
        Client(dask=Other())
