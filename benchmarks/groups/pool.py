"""rain.client.Executor in the place of ProcessPoolExecutor: map of no-ops, one at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from cases import Case, Peer, installed
from rain.client import Executor

NAMES = ("executor-map",)


def nothing(number: int) -> int:
    return number


def calls_a_second(pool: Any, count: int) -> float:
    start = time.perf_counter()
    results = list(pool.map(nothing, range(count), chunksize=1))
    seconds = time.perf_counter() - start
    if results != list(range(count)):
        raise SystemExit(f"{pool!r} gave other results")
    return count / seconds


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    count = 5_000 if quick else 20_000
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Executor(2))
        theirs = stack.enter_context(ProcessPoolExecutor(2))
        peers = [Peer("ProcessPoolExecutor", lambda: calls_a_second(theirs, count))]
        if installed("loky", "loky"):
            from loky import get_reusable_executor

            loky = get_reusable_executor(2)
            stack.callback(loky.shutdown)
            peers.append(Peer("loky", lambda: calls_a_second(loky, count)))
        title = f"Executor.map of {count} no-ops, chunksize 1, two workers [calls/s]"
        yield [Case("executor-map", title, lambda: calls_a_second(ours, count), peers)]
