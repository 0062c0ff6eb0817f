"""Large graphs: does the time of a task grow with their number, and what does one weigh?"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from cases import HERE, Case, Peer, executors, fraction
from rain import client as rain

NAMES = ("graph-time", "graph-memory")
SMALL, LARGE = 1_000, 100_000


class Step(rain.Task):
    TASK_TYPE = "noop/noop"

    def __init__(self, before: rain.Task | None) -> None:
        super().__init__(inputs=() if before is None else (before,), outputs=1)


def chains(count: int) -> list[rain.Task]:
    """`count` tasks in chains of ten."""
    tasks: list[rain.Task] = []
    for i in range(count):
        tasks.append(Step(tasks[-1] if i % 10 else None))
    return tasks


def microseconds_each(client: rain.Client, count: int) -> float:
    """A task: made, submitted, run and waited for."""
    with client.new_session() as session:
        start = time.perf_counter()
        tasks = chains(count)
        session.submit()
        session.wait_all()
        elapsed = time.perf_counter() - start
        del tasks
        return elapsed / count * 1e6


def own_bytes() -> int:
    """Private memory of this process: client and governor are both in it."""
    with open("/proc/self/statm") as statm:
        return (int(statm.read().split()[1])) * os.sysconf("SC_PAGE_SIZE")


def bytes_each(count: int) -> float:
    """Growth of a fresh process by one submitted, unfinished task, Python object and all."""
    command = [sys.executable, __file__, str(count)]
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure_bytes_each(count: int) -> float:
    with rain.Client(executors=executors()) as client, client.new_session() as session:
        chains(1)  # what is loaded when first used
        gc.collect()
        before = own_bytes()
        tasks = chains(count)
        session.submit()
        return (own_bytes() - before) / len(tasks)


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    with rain.Client(executors=executors()) as client:
        yield [
            Case(
                "graph-time",
                f"a task of a graph of {LARGE:,}: make, submit, run, wait [us]",
                lambda: microseconds_each(client, LARGE),
                [Peer(f"of {SMALL:,}", lambda: microseconds_each(client, SMALL))],
                fraction,
            ),
            Case(
                "graph-memory",
                f"a task of a graph of {LARGE:,}: client and governor together [bytes]",
                lambda: bytes_each(LARGE),
                [],
                check=lambda medians: "must be at most 600",
            ),
        ]


if __name__ == "__main__":
    print(measure_bytes_each(int(sys.argv[1])))
