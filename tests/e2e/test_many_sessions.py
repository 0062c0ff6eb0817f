"""Thousands of sessions, opened and closed, each with data: nothing accumulates."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rain.client import Client, blob
from sizes import LONG, MiB, some
from tasks import call

SESSIONS = some(500, 10_000)
WINDOWS = 4


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


@pytest.mark.timeout(3600 if LONG else 300)
def test_sessions_opened_and_closed_leave_memory_descriptors_and_regions_as_they_were(
    make_client: Callable[..., Client],
) -> None:
    client = make_client(memory="128 MiB")

    def one(number: int) -> None:
        tester = ("cpptester", "pytester")[number % 2]
        with client.new_session():
            large = call(f"{tester}/fill", size=128 << 10, byte=number % 256)
            assert len(large.output.fetch()) == 128 << 10
            call(f"{tester}/hello", blob(b"x" * (number % 3 * 70_000))).output.fetch()
            call(f"{tester}/fill", size=MiB, byte=1)  # never submitted
            blob(b"y" * 100_000)

    def state() -> dict[str, int]:
        gc.collect()
        pids = [os.getpid(), *client.info()["executor_pids"]]
        store = client.info()["store"]
        return {
            "private": sum(map(private_bytes, pids)),
            "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            **{key: store[key] for key in ("blobs", "views", "spilled_blobs")},
            "regions": store["regions"],
        }

    states = []
    for window in range(WINDOWS + 1):
        for number in range(SESSIONS // WINDOWS):
            one(window * SESSIONS + number)
        states.append(state())
    first, last = states[1], states[-1]  # the first window warms up
    assert last["blobs"] == first["blobs"] == 0, states
    assert last["views"] == first["views"] == 0, states
    assert last["descriptors"] <= first["descriptors"] + 2, states
    assert last["regions"] <= first["regions"] + 1, states
    assert last["private"] <= first["private"] + 4 * MiB, states
