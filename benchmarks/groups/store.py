"""The blob store itself: warm memory used again, and from which size on shared memory pays."""

from __future__ import annotations

import contextlib
import mmap
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cases import Case, Peer, fraction, met
from rain import client as rain
from rain.engine import embedded

from groups.data import expect, fill, look, registrations

REFILLED = 64 << 20
INLINE_SIZES = (1, 256, *(1024 << i for i in range(11)))  # 1 B to 1 MiB
ALWAYS, NEVER = INLINE_SIZES[-1] + 1, 1  # as limits: inline is what is smaller
NAMES = ("refill", *(f"inline-{how}-{size}" for how in ("one", "burst") for size in INLINE_SIZES))


# ---- warm memory used again ---------------------------------------------------------------------


def refill(client: rain.Client, count: int) -> float:
    """Bytes a second of a task that allocates, fills and gives up a blob, one after the other."""
    times = []
    with client.new_session() as session:
        for _ in range(count):
            start = time.perf_counter()
            task = fill("c", REFILLED)
            session.submit()
            task.wait()
            times.append(time.perf_counter() - start)
    return REFILLED / statistics.median(times)


def filling(count: int, memory: Callable[[], contextlib.AbstractContextManager[Any]]) -> float:
    """Bytes a second of filling in this process what `memory` gives."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        with memory() as buffer:
            np.frombuffer(buffer, np.uint8).fill(7)
        times.append(time.perf_counter() - start)
    return REFILLED / statistics.median(times)


def fresh_memory() -> mmap.mmap:
    return mmap.mmap(-1, REFILLED)


@contextlib.contextmanager
def fresh_memfd() -> Iterator[mmap.mmap]:
    fd = os.memfd_create("fresh")
    os.ftruncate(fd, REFILLED)
    with mmap.mmap(fd, REFILLED) as memory:
        yield memory
    os.close(fd)


def refill_case(client: rain.Client, count: int) -> Case:
    buffer = np.zeros(REFILLED, np.uint8)
    buffer.fill(7)
    return Case(
        "refill",
        "allocate + fill + release 64 MiB, task after task, p50 [B/s]",
        lambda: refill(client, count),
        [
            Peer(
                "one warm buffer in this process",
                lambda: filling(count, lambda: contextlib.nullcontext(buffer)),
            ),
            Peer("fresh memory each time", lambda: filling(count, fresh_memory)),
            Peer("fresh memfd each time", lambda: filling(count, fresh_memfd)),
        ],
        fraction,
        lambda medians: f">= 0.8x of a warm buffer: {met(medians[0] >= 0.8 * medians[1])}",
    )


# ---- inline or in shared memory -----------------------------------------------------------------


@contextlib.contextmanager
def client_with(inline_limit: int) -> Iterator[rain.Client]:
    """A client whose blobs below this size travel inside of messages."""
    usual = embedded.inline_limit_bytes
    embedded.inline_limit_bytes = inline_limit
    try:
        with rain.Client(executors=registrations(), cpus=2) as client:
            yield client
    finally:
        embedded.inline_limit_bytes = usual


def one(client: rain.Client, size: int, count: int) -> float:
    """Median microseconds from a task that fills a blob to the result of one that sums it."""
    times = []
    with client.new_session():
        for _ in range(count):
            start = time.perf_counter()
            data = look("c", "sum", fill("c", size)).output.fetch()
            times.append(time.perf_counter() - start)
            expect(int(data.get_bytes()), 7 * size)
    return statistics.median(times) * 1e6


def burst(client: rain.Client, size: int, count: int) -> float:
    """Microseconds a pair of such tasks, many submitted at once."""
    with client.new_session() as session:
        start = time.perf_counter()
        tasks = [look("c", "sum", fill("c", size)) for _ in range(count)]
        session.submit()
        session.wait(tasks)
        return (time.perf_counter() - start) / count * 1e6


def inline_cases(inline: rain.Client, shared: rain.Client, quick: bool) -> Iterator[Case]:
    ways = (("one", "alone", one, 20 if quick else 60), ("burst", "in a burst", burst, 200))
    for how, words, measure, count in ways:
        for size in INLINE_SIZES[::3] if quick else INLINE_SIZES:

            def measured(
                client: rain.Client,
                measure: Callable[[rain.Client, int, int], float] = measure,
                size: int = size,
                count: int = count,
            ) -> float:
                return measure(client, size, count)

            yield Case(
                f"inline-{how}-{size}",
                f"{size} B filled and summed, {words}, inline [us]",
                lambda measured=measured: measured(inline),
                [Peer("in shared memory", lambda measured=measured: measured(shared))],
                fraction,
            )


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    with (
        rain.Client(executors=registrations(), cpus=max(cpus, 2)) as client,
        client_with(ALWAYS) as inline,
        client_with(NEVER) as shared,
    ):
        yield [refill_case(client, 20), *inline_cases(inline, shared, quick)]
