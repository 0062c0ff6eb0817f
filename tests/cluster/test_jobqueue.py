"""The recipes of docs/services.md for dask-jobqueue, on batch systems that only pretend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_systems import Queue
from rain.client import Client, Task
from tasks import call
from world import wait_until

dask_jobqueue = pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")

SECONDS = 60  # for workers to come: the machine may be busy
CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}


@pytest.fixture
def queue(
    request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Queue]:
    made = Queue(place, request.param)
    monkeypatch.setenv("PATH", f"{made.programs}:{os.environ['PATH']}")
    yield made
    made.end()


@contextlib.contextmanager
def cluster(queue: Queue, place: Path) -> Iterator[Any]:
    """As in docs/services.md, but for the sizes."""
    import dask

    kind = getattr(dask_jobqueue, CLUSTERS[queue.kind])
    with dask.config.set({"temporary-directory": str(place / "dask")}), kind(
        processes=1, cores=2, memory="2 GB", walltime="01:00:00", local_directory=str(place),
        worker_extra_args=["--lifetime", "55m", "--lifetime-stagger", "4m"],
        interface="lo", scheduler_options={"dashboard_address": "127.0.0.1:0"},
    ) as made:  # fmt: skip
        yield made


def meet(place: Path, name: str, count: int) -> list[Task]:
    """Tasks that end when all of them run at the same time."""
    return [call("gates/meet", directory=str(place / name), of=count) for _ in range(count)]


@pytest.mark.parametrize("queue", ["slurm"], indirect=True)
def test_jobs_come_and_go(queue: Queue, place: Path, commands: dict[str, Any]) -> None:
    from distributed import Client as DaskClient

    with cluster(queue, place) as jobs, DaskClient(jobs) as dask:
        jobs.scale(1)
        dask.wait_for_workers(1, timeout=SECONDS)
        with (
            Client(dask=dask, executors=commands, cpus=2) as client,
            client.new_session() as session,
        ):
            kept = [call("cpptester/fill", size=100_000, byte=65 + i) for i in range(4)]
            for task in kept:
                task.keep_outputs()
            session.submit()
            session.wait_all()

            jobs.scale(2)
            dask.wait_for_workers(2, timeout=SECONDS)
            meet(place, "of both", 4)  # more than a governor has cpus
            session.submit()
            session.wait_all()

            jobs.scale(1)
            wait_until(lambda: len(queue.running()) == 1, "the end of a job")
            wait_until(lambda: len(dask.scheduler_info()["workers"]) == 1, "the worker's end")
            for i, task in enumerate(kept):
                assert task.output.fetch().get_bytes() == bytes([65 + i]) * 100_000

            # Dask asks for workers by how long such tasks took: here a moment.
            jobs.adapt(
                minimum_jobs=1, maximum_jobs=2, interval="100ms", wait_count=5,
                target_duration="1ms",
            )  # fmt: skip
            for _ in range(4):  # four parts: Dask asks for no more workers than it has tasks
                call("gates/meet", directory=str(place / "of both again"), of=4)
                session.submit()
            session.wait_all()
            wait_until(lambda: len(queue.running()) == 1, "the end of a job that has no work")
            assert kept[0].output.fetch().get_bytes() == b"A" * 100_000
    wait_until(lambda: not queue.running(), "the end of all jobs")
    assert all("--lifetime 55m" in script for script in queue.scripts())


@pytest.mark.parametrize("queue", ["pbs"], indirect=True)
def test_jobs_of_pbs_run_tasks(queue: Queue, place: Path, commands: dict[str, Any]) -> None:
    from distributed import Client as DaskClient

    with cluster(queue, place) as jobs, DaskClient(jobs) as dask:
        jobs.scale(1)
        with (
            Client(dask=dask, executors=commands, cpus=2) as client,
            client.new_session() as session,
        ):
            tasks = meet(place, "of one", 2)
            tasks[0].keep_outputs()
            session.submit()
            assert tasks[0].output.fetch().get_bytes()
    wait_until(lambda: not queue.running(), "the end of all jobs")
