"""Tasks of executors: bursts, one warm task, the first one."""

from __future__ import annotations

import concurrent.futures
import contextlib
import statistics
import subprocess
import time
from collections.abc import Iterator

from cases import BUILD, Case, Peer, executors, fraction, more, process_seconds
from rain import client as rain

NAMES = ("burst-cpp", "burst-python", "warm", "first")
BURST = 20_000


class Noop(rain.Task):
    TASK_TYPE = "noop/noop"

    def __init__(self) -> None:
        super().__init__(inputs=(), outputs=1)


class PyNoop(rain.Task):
    TASK_TYPE = "pynoop/noop"

    def __init__(self) -> None:
        super().__init__(inputs=(), outputs=1)


def noop() -> bytes:
    return b""


def burst(client: rain.Client, task_type: type[rain.Task]) -> float:
    """Tasks a second: made, submitted, run and waited for, from Python."""
    with client.new_session() as session:
        start = time.perf_counter()
        for _ in range(BURST):
            task_type()
        session.submit()
        session.wait_all()
        return BURST / (time.perf_counter() - start)


def pool_burst(pool: concurrent.futures.Executor, count: int) -> float:
    start = time.perf_counter()
    concurrent.futures.wait([pool.submit(noop) for _ in range(count)])
    return count / (time.perf_counter() - start)


def warm_task(client: rain.Client, count: int) -> float:
    """Median microseconds from making one task to having seen it finished."""
    times = []
    with client.new_session() as session:
        for _ in range(count):
            start = time.perf_counter()
            task = Noop()
            session.submit()
            task.wait()
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def ping_pong(count: int, where: str) -> float:
    command = [BUILD / "ping_pong", str(count), where]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def first_run_code() -> str:
    return (
        "from rain.client import Client, Task\n"
        "class Noop(Task):\n"
        "    TASK_TYPE = 'noop/noop'\n"
        "    def __init__(self):\n"
        "        super().__init__(inputs=(), outputs=1)\n"
        f"client = Client(executors={{'noop': [{str(BUILD / 'noop')!r}]}})\n"
        "with client.new_session() as session:\n"
        "    task = Noop()\n"
        "    session.submit()\n"
        "    task.wait()\n"
        "client.close()\n"
    )


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    pool_count = 2_000 if quick else 5_000
    with (
        rain.Client(executors=executors()) as client,
        concurrent.futures.ProcessPoolExecutor(cpus) as pool,
    ):
        pool_peer = Peer("ProcessPoolExecutor, chunksize 1", lambda: pool_burst(pool, pool_count))
        yield [
            Case(
                "burst-cpp",
                f"burst of {BURST} no-op tasks, C++ executors [tasks/s]",
                lambda: burst(client, Noop),
                [pool_peer],
            ),
            Case(
                "burst-python",
                f"burst of {BURST} no-op tasks, Python executors [tasks/s]",
                lambda: burst(client, PyNoop),
                [pool_peer],
            ),
            Case(
                "warm",
                "one warm C++ task, submit to result, p50 [us]",
                lambda: warm_task(client, 1_000),
                [
                    Peer(
                        "64 bytes there and back, two processes on two CPUs, blocking",
                        lambda: ping_pong(2_000, "apart"),
                    ),
                    Peer(
                        "the same where the scheduler puts them, often on one CPU",
                        lambda: ping_pong(2_000, "free"),
                    ),
                ],
                fraction,
            ),
            Case(
                "first",
                "import + Client() + first C++ task + close() [s]",
                lambda: process_seconds(first_run_code(), 3),
                [Peer("python -c pass", lambda: process_seconds("pass", 3))],
                more,
            ),
        ]
