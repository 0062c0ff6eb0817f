"""Python functions: @remote beside Dask distributed and Ray."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cases import Case, Peer, executors, installed
from rain import client as rain

NAMES = ("remote",)
BURST = 20_000


def noop(*_: object) -> bytes:
    return b""


def remote_burst(client: rain.Client) -> float:
    """Calls a second: made, submitted, run and waited for."""
    call = rain.remote()(noop)
    with client.new_session() as session:
        start = time.perf_counter()
        for _ in range(BURST):
            call()
        session.submit()
        session.wait_all()
        return BURST / (time.perf_counter() - start)


def dask_burst(client: object, count: int) -> float:
    start = time.perf_counter()
    client.gather([client.submit(noop, pure=False) for _ in range(count)])
    return count / (time.perf_counter() - start)


def ray_burst(function: object, count: int) -> float:
    import ray

    start = time.perf_counter()
    ray.get([function.remote() for _ in range(count)])
    return count / (time.perf_counter() - start)


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    count = 2_000 if quick else BURST
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(rain.Client(executors=executors(), cpus=2))
        peers = []
        if installed("distributed", "Dask distributed beside @remote"):
            from distributed import Client, LocalCluster

            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
                )
            )
            dask = stack.enter_context(Client(cluster))
            peers.append(
                Peer("Dask distributed, LocalCluster, processes", lambda: dask_burst(dask, count))
            )
        if installed("ray", "Ray beside @remote"):
            import ray

            ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
            stack.callback(ray.shutdown)
            function = ray.remote(noop)
            peers.append(Peer("Ray", lambda: ray_burst(function, count)))
        yield [
            Case(
                "remote",
                f"burst of {BURST} no-op @remote calls, two executors [calls/s]",
                lambda: remote_burst(client),
                peers,
            )
        ]
