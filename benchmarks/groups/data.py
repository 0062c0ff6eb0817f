"""Large blobs: from the task that fills one to the task that reads it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import mmap
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cases import BUILD, HERE, Case, Peer, fraction, installed, met, seconds
from rain import client as rain

MB = 1_000_000
HAND_OFF_KB = (1, 100, 1_000, 10_000, 100_000, 1_000_000)
NAMES = (
    *(f"pass-{size}-{how}" for size in ("100", "1000") for how in ("cc", "cp", "pc", "pp")),
    *(f"pass-{size}-{what}" for size in ("100", "1000") for what in ("cold", "sum", "sum-cold")),
    *(f"hand-off-{size}k" for size in HAND_OFF_KB),
    "readers",
    "readers-memory",
    "chain",
)
LANGUAGES = {"c": "cppdata", "p": "pydata"}


# ---- ours ---------------------------------------------------------------------------------------


def registrations() -> dict[str, list[str]]:
    return {
        "cppdata": [str(BUILD / "cppdata")],
        "pydata": [sys.executable, str(HERE / "executors" / "pydata.py")],
    }


def fill(language: str, size: int) -> rain.Task:
    return rain.Task((), 1, config=size, task_type=f"{LANGUAGES[language]}/fill")


def look(language: str, how: str, data: Any) -> rain.Task:
    return rain.Task((data,), 1, task_type=f"{LANGUAGES[language]}/{how}")


def passed(client: rain.Client, how: str, size: int, consumer: str = "first") -> float:
    """Seconds from making both tasks to having the consumer's result."""
    with client.new_session():
        start = time.perf_counter()
        task = look(how[1], consumer, fill(how[0], size))
        result = int(task.output.fetch().get_bytes())
        end = time.perf_counter() - start
        expect(result, 7 * size if consumer == "sum" else 7 + size)
        expect(sum(task.copied_bytes for task in client.report()), 0)
    return end


def passed_cold(how: str, size: int, consumer: str) -> float:
    """The same in a new client, whose processes run already but whose store has no page."""
    with rain.Client(executors=registrations(), record=True) as client:
        passed(client, how, 1)
        return passed(client, how, size, consumer)


def hand_off(client: rain.Client, size: int, count: int) -> float:
    """Median milliseconds from submit to the result of a task that doesn't touch its input."""
    times = []
    with client.new_session() as session:
        data = fill("c", size).output
        data.keep()
        session.submit()
        data.wait()
        for _ in range(count):
            start = time.perf_counter()
            look("c", "size", data).output.fetch()
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def expect(found: int, expected: int) -> None:
    if found != expected:
        raise SystemExit(f"a task gave {found} instead of {expected}")


# ---- what users would take instead --------------------------------------------------------------


def make(size: int) -> np.ndarray[Any, Any]:
    return np.full(size, 7, np.uint8)


def first(data: np.ndarray[Any, Any]) -> int:
    return int(data[0]) + len(data)


def length(data: np.ndarray[Any, Any]) -> int:
    return len(data)


def total(data: np.ndarray[Any, Any]) -> int:
    return int(data.sum(dtype=np.uint64))


def in_process(size: int, consume: Callable[..., int] = first) -> float:
    """On fresh memory, as a program without tasks would do it."""
    with mmap.mmap(-1, size) as memory:

        def run() -> int:
            array = np.frombuffer(memory, np.uint8)
            array.fill(7)
            return consume(array)

        return seconds(run)


def pool_pass(pool: concurrent.futures.Executor, size: int, consume: Callable[..., int]) -> float:
    return seconds(lambda: pool.submit(consume, pool.submit(make, size).result()).result())


def dask_pass(client: Any, workers: list[str], size: int, consume: Callable[..., int]) -> float:
    def run() -> None:
        data = client.submit(make, size, workers=workers[0], pure=False)
        client.submit(consume, data, workers=workers[1], pure=False).result()

    return seconds(run)


def ray_pass(ray: Any, size: int, consume: Callable[..., int]) -> float:
    produce, take = ray.remote(make), ray.remote(consume)
    return seconds(lambda: ray.get(take.remote(produce.remote(size))))


class Others:
    """The peers, started when first asked for."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.pool = stack.enter_context(concurrent.futures.ProcessPoolExecutor(2))
        self.dask: Any = None
        self.ray: Any = None
        if installed("distributed", "Dask distributed beside blobs"):
            from distributed import Client, LocalCluster

            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
                )
            )
            self.dask = stack.enter_context(Client(cluster))
            self.workers = list(self.dask.scheduler_info()["workers"])
        if installed("ray", "Ray beside blobs"):
            import ray

            ray.init(
                num_cpus=2,
                include_dashboard=False,
                logging_level="error",
                object_store_memory=3_000 * MB,
            )
            stack.callback(ray.shutdown)
            self.ray = ray

    def passing(self, size: int, consume: Callable[..., int] = first) -> list[Peer]:
        peers = [
            Peer("in one process, fresh memory", lambda: in_process(size, consume)),
            Peer("ProcessPoolExecutor", lambda: pool_pass(self.pool, size, consume)),
        ]
        if self.dask is not None:
            peers.append(
                Peer("Dask", lambda: dask_pass(self.dask, self.workers, size, consume)),
            )
        if self.ray is not None:
            peers.append(Peer("Ray", lambda: ray_pass(self.ray, size, consume)))
        return peers

    def ray_get(self, size: int, count: int) -> float:
        """Median milliseconds of a task that is given an object and doesn't touch it."""
        data = self.ray.put(make(size))
        task = self.ray.remote(length)
        self.ray.get(task.remote(data))
        times = [seconds(lambda: self.ray.get(task.remote(data))) for _ in range(count)]
        return statistics.median(times) * 1e3


# ---- readers of one blob ------------------------------------------------------------------------


@contextlib.contextmanager
def filled(client: rain.Client, size: int) -> Iterator[tuple[rain.Session, rain.DataObject]]:
    with client.new_session() as session:
        data = fill("c", size).output
        data.keep()
        session.submit()
        data.wait()
        yield session, data


def readers(client: rain.Client, size: int, count: int) -> float:
    """Milliseconds of set-up for each of `count` readers of one blob: until all have looked."""
    with filled(client, size) as (session, data):
        start = time.perf_counter()
        tasks = [look("c", "first", data) for _ in range(count)]
        session.submit()
        session.wait(tasks)
        return (time.perf_counter() - start) / count * 1e3


def used_bytes(pids: list[int]) -> int:
    """Memory of these processes, in which a page that several map counts once (Pss)."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def readers_memory(size: int, count: int) -> float:
    """MB that a blob and `count` processes take up, each of which reads all of it."""
    executors = registrations() | {
        "cppdata": {"command": [str(BUILD / "cppdata")], "prestart": count}
    }
    with rain.Client(executors=executors, cpus=count, record=True) as client:
        passed(client, "cc", 1)
        while len(client.info()["executor_pids"]) < count:
            time.sleep(0.01)
        pids = [os.getpid(), *client.info()["executor_pids"]]
        before = used_bytes(pids)
        client.report()
        with filled(client, size) as (session, data):
            tasks = [look("c", "sum", data) for _ in range(count)]
            session.submit()
            session.wait(tasks)
            after = used_bytes(pids)
        expect(
            len({line.process for line in client.report() if line.task_type.endswith("sum")}), count
        )
        return (after - before) / MB


def chain(client: rain.Client, size: int, count: int) -> float:
    """Microseconds a task in a chain in which each takes a slice of the same blob, looks at its
    first byte, and returns a slice of that."""
    with client.new_session() as session:
        data = fill("c", size).output
        data.keep()
        session.submit()
        data.wait()
        elapsed, last = chained(session, data, "cppdata/shorter", count)
        view = memoryview(last.fetch())
        expect(len(view) + view[-1], size - count + 7)
        expect(sum(task.copied_bytes for task in client.report()), 0)
    return elapsed / count * 1e6


def empty_chain(client: rain.Client, count: int) -> float:
    """The same of tasks that do nothing."""
    with client.new_session() as session:
        elapsed, _ = chained(session, rain.blob(b""), "cppdata/nothing", count)
    return elapsed / count * 1e6


def chained(
    session: rain.Session, first_one: rain.DataObject, task_type: str, count: int
) -> tuple[float, rain.DataObject]:
    """Seconds from making the tasks to the end of the last one, and its output."""
    start = time.perf_counter()
    last = first_one
    for _ in range(count):
        last = rain.Task((last,), 1, task_type=task_type).output
    last.keep()
    session.submit()
    last.wait()
    return time.perf_counter() - start, last


# ---- the cases ----------------------------------------------------------------------------------


def at_most(**limits: float) -> Callable[[list[float], list[Peer]], str]:
    """What to print about the targets: peer's name -> the largest fraction of its time."""

    def check(medians: list[float], peers: list[Peer]) -> str:
        words = []
        for peer, median in zip(peers, medians[1:], strict=True):
            for name, limit in limits.items():
                if peer.name.startswith(name):
                    words.append(f"<= {limit}x {name}: {met(medians[0] <= limit * median)}")
        return ", ".join(words)

    return check


def case(
    name: str, title: str, ours: Callable[[], float], peers: list[Peer], **limits: float
) -> Case:
    checked = at_most(**limits)
    return Case(
        name,
        title,
        ours,
        peers,
        fraction,
        (lambda medians: checked(medians, peers)) if limits else None,
    )


def others_of_passing(client: rain.Client, others: Others, size: int) -> Iterator[Case]:
    """Cold, and with a consumer that reads everything: printed without a target."""
    for what, consumer, cold in (
        ("cold", "first", True),
        ("sum", "sum", False),
        ("sum-cold", "sum", True),
    ):

        def measured(consumer: str = consumer, cold: bool = cold) -> float:
            if cold:
                return passed_cold("cp", size * MB, consumer)
            return passed(client, "cp", size * MB, consumer)

        reads = "summed" if consumer == "sum" else "first byte read"
        yield case(
            f"pass-{size}-{what}",
            f"{size} MB, C++ -> Python, filled, {reads}, {'cold' if cold else 'warm'} [s]",
            measured,
            others.passing(size * MB, total if consumer == "sum" else first),
        )


WAYS = {"cc": "C++ -> C++", "cp": "C++ -> Python", "pc": "Python -> C++", "pp": "Python -> Python"}


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            rain.Client(executors=registrations(), cpus=max(cpus, 2), record=True)
        )
        others = Others(stack)
        found = []
        for size in (100,) if quick else (100, 1000):
            for how, way in WAYS.items():
                found.append(
                    case(
                        f"pass-{size}-{how}",
                        f"{size} MB, {way}, filled, first byte read, warm [s]",
                        lambda how=how, size=size: passed(client, how, size * MB),
                        others.passing(size * MB),
                        Ray=0.25,
                        Dask=0.15,
                        ProcessPool=0.15,
                        **({"in one process": 0.5} if size == 1000 else {}),
                    )
                )
            found += others_of_passing(client, others, size)
        sizes = (
            (1_000, MB, 100 * MB) if quick else (1_000, 100_000, MB, 10 * MB, 100 * MB, 1000 * MB)
        )
        for size in sizes:
            peers = []
            if others.ray is not None:
                peers.append(Peer("Ray", lambda size=size: others.ray_get(size, 50)))
            found.append(
                Case(
                    f"hand-off-{size // 1000}k",
                    f"{size / MB:g} MB to a task that doesn't touch it, warm, p50 [ms]",
                    lambda size=size: hand_off(client, size, 200),
                    peers,
                    fraction,
                    lambda medians: f"<= 0.3 ms: {met(medians[0] <= 0.3)}",
                )
            )
        big = 100 * MB if quick else 1000 * MB
        big = 100 * MB if quick else 1000 * MB
        crowd = stack.enter_context(rain.Client(executors=registrations(), cpus=8))
        found.append(
            case(
                "readers",
                f"{big // MB} MB, 8 readers, each [ms]",
                lambda: readers(crowd, big, 8),
                [Peer("one reader", lambda: readers(crowd, big, 1))],
                one=1.1,
            )
        )
        found.append(
            Case(
                "readers-memory",
                f"{big // MB} MB, 8 processes that read all of it: memory in all [MB]",
                lambda: readers_memory(big, 8),
                [Peer("its size", lambda: big / MB)],
                fraction,
                lambda medians: f"within 1 %: {met(abs(medians[0] / medians[1] - 1) <= 0.01)}",
            )
        )
        found.append(
            case(
                "chain",
                "chain of 1,000 tasks, each from slice to slice of one blob of 100 MB [us a task]",
                lambda: chain(client, 100 * MB, 1000),
                [Peer("empty tasks", lambda: empty_chain(client, 1000))],
                empty=2.0,
            )
        )
        yield found
