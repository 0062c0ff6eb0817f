"""Clients of each engine, by the arguments that a Client() of its own governor has."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rain.client import Client
from rain.engine import standalone as link
from rain.governor.unix_service import serve

_OF_CLIENT = ("record", "events", "dashboard")  # stay with the client, wherever tasks run
_numbers = itertools.count()


@contextlib.contextmanager
def embedded(arguments: dict[str, Any]) -> Iterator[Client]:
    yield Client(**arguments)


@contextlib.contextmanager
def standalone(arguments: dict[str, Any]) -> Iterator[Client]:
    """A client of a service of its own, which is a thread here: tests/e2e has one in a process."""
    place = os.environ.get("XDG_RUNTIME_DIR") or os.environ["TMPDIR"]  # both are the test's own
    path = os.path.join(place, f"service-{next(_numbers)}")
    own = {name: arguments.pop(name) for name in _OF_CLIENT if name in arguments}
    arguments["work_directory"] = arguments.pop("run_directory", None)
    is_ready = threading.Event()
    trouble: list[Exception] = []

    def run() -> None:
        try:
            serve(socket=path, ready=is_ready.set, **arguments)
        except Exception as error:
            trouble.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    is_ready.wait()
    try:
        if trouble:
            raise trouble[0]
        client = Client(path, **own)
        try:
            yield client
        finally:
            client.close()
    finally:
        if not trouble and thread.is_alive():
            with contextlib.suppress(OSError):  # the test has ended it
                link.ask(path, "stop")
        thread.join()


ENGINES: dict[str, Callable[[dict[str, Any]], contextlib.AbstractContextManager[Client]]] = {
    "embedded": embedded,
    "standalone": standalone,
}


@contextlib.contextmanager
def cluster(arguments: dict[str, Any]) -> Iterator[Client]:
    """A client of a Dask cluster inside this process: tests/cluster has real ones."""
    distributed = pytest.importorskip("distributed")
    own = {name: arguments.pop(name) for name in _OF_CLIENT if name in arguments}
    with (
        tempfile.TemporaryDirectory() as scratch,
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=4,
            processes=False,
            dashboard_address=":0",
            local_directory=scratch,
        ) as made,
        distributed.Client(made) as dask,
        Client(dask=dask, **arguments, **own) as client,
    ):
        yield client


# Dask keeps threads and descriptors, which no census should count.
SLOW_ENGINES = {"cluster": cluster}
