"""External programs: 5,000 times /bin/true."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator

from cases import Case, Peer, installed
from rain import client as rain
from rain.client.tasks import Execute

NAMES = ("execute",)
PROGRAM = "/bin/true"


def execute(client: rain.Client, count: int) -> float:
    """Programs a second: made, submitted, run and waited for."""
    with client.new_session() as session:
        start = time.perf_counter()
        for _ in range(count):
            Execute([PROGRAM])
        session.submit()
        session.wait_all()
        return count / (time.perf_counter() - start)


def spawn_loop(count: int, at_once: int) -> float:
    """posix_spawn and wait alone, so many at once as there are CPUs."""
    environment = dict(os.environ)
    start = time.perf_counter()
    running = 0
    for _ in range(count):
        if running == at_once:
            os.wait()
            running -= 1
        os.posix_spawn(PROGRAM, [PROGRAM], environment)
        running += 1
    for _ in range(running):
        os.wait()
    return count / (time.perf_counter() - start)


@contextlib.contextmanager
def hyperqueue(count: int, cpus: int) -> Iterator[Peer]:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    def measure() -> float:
        start = time.perf_counter()
        job = Job()
        for _ in range(count):
            job.program([PROGRAM], stdout=None, stderr=None)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            cluster_client.wait_for_jobs([cluster_client.submit(job)])
        return count / (time.perf_counter() - start)

    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(folder, WorkerConfig(cores=cpus)) as cluster,
    ):
        cluster_client = cluster.client()
        yield Peer("HyperQueue, LocalCluster", measure)


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    count = 1_000 if quick else 5_000
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(rain.Client())
        peers = [Peer("posix_spawn and wait alone", lambda: spawn_loop(count, cpus))]
        if installed("hyperqueue", "HyperQueue"):
            # It is much slower: fewer of them tell as much.
            peers.append(stack.enter_context(hyperqueue(count // 5, cpus)))
        title = f"{count} times Execute({PROGRAM!r}) [programs/s]"
        yield [Case("execute", title, lambda: execute(client, count), peers)]
