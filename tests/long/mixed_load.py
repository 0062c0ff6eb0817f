"""Mixed load on one client, for as long as wanted: all sizes, both languages, failures, cancels,
crashes, views, and a store so small that it spills. Memory, descriptors and regions must not grow.

usage: mixed_load.py --cpptester PROGRAM [--seconds 600] [--windows 10] [--seed 1]

Prints a line for each window; ends with 1 when the last windows need more than the first ones.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "e2e"))

from rain.client import (  # noqa: E402
    Client,
    DataObject,
    DependencyFailed,
    ExecutorDied,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    blob,
)
from tasks import call  # noqa: E402

MiB = 1 << 20
SIZES = (0, 1, 4096, 65535, 65536, 300_000, MiB, 5 * MiB, 20 * MiB)
TESTERS = ("cpptester", "pytester")
LOGS = 2 * 64  # of the latest processes that ended: for task.logs()
MAY_GROW = {"private MiB": 24.0, "descriptors": 6.0, "regions": 4.0, "files": LOGS + 8.0}


def numbers(client: Client) -> dict[str, float]:
    """What must not grow, of the client and its executors, while nothing runs."""
    gc.collect()
    pids = [os.getpid(), *client.info()["executor_pids"]]
    private = descriptors = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                private += int(line.split()[1])
        descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    store = client.info()["store"]
    files = sum(len(files) for _, _, files in os.walk(client.info()["run_directory"]))
    return {
        "processes": len(pids),
        "private MiB": private / 1024,
        "descriptors": descriptors,
        "regions": store["regions"],
        "regions MiB": store["regions_bytes"] / MiB,
        "blobs": store["blobs"],
        "views": store["views"],
        "spilled": store["spilled_blobs"],
        "files": files,
    }


def part_of(tester: str, task: Task, size: int, dice: random.Random) -> DataObject:
    """All of its output but the first third, kept: cut by the client or by another task."""
    begin = size // 3
    if dice.random() < 0.5:
        part = task.output[begin // 2 :][begin - begin // 2 :]
    else:
        part = call(f"{tester}/part", task, offset=begin, size=size - begin).output
    part.keep()
    return part


def batch(client: Client, dice: random.Random) -> dict[str, int]:
    """A session of some tasks; everything in it is checked or has an allowed end."""
    ends = {"tasks": 0, "failed": 0}
    with client.new_session(on_error="continue") as session:
        made: list[tuple[DataObject, int, int]] = []
        tasks: list[Task] = []
        others: list[Task] = []
        for _ in range(dice.randrange(3, 15)):
            tester, size, byte = dice.choice(TESTERS), dice.choice(SIZES), dice.randrange(256)
            task = call(f"{tester}/fill", size=size, byte=byte)
            task.output.keep()
            tasks.append(task)
            made.append((task.output, size, byte))
            if dice.random() < 0.4:
                passed = call(f"{dice.choice(TESTERS)}/echo", task)
                passed.output.keep()
                made.append((passed.output, size, byte))
            if dice.random() < 0.3:
                made.append((part_of(tester, task, size, dice), size - size // 3, byte))
            if dice.random() < 0.15:
                others.append(call(f"{tester}/throw_std"))
            if dice.random() < 0.03:
                others.append(call(f"{tester}/abort"))
            if dice.random() < 0.1:
                others.append(call(f"{tester}/sleep", seconds=1e6))
            if size <= 5 * MiB and dice.random() < 0.2:  # what is viewed leaves room for it
                put = blob(bytes([byte]) * size)
                joined = call(f"{tester}/concat", put, put)
                joined.output.keep()
                made.append((joined.output, 2 * size, byte))
        session.submit()
        if dice.random() < 0.2:
            dice.choice(tasks).cancel()
        for task in others:
            if task.task_type.endswith("/sleep"):
                task.cancel()
        check(session, made, dice, ends)
        session.wait_all()
    return ends


def check(
    session: Session,
    made: list[tuple[DataObject, int, int]],
    dice: random.Random,
    ends: dict[str, int],
) -> None:
    views: list[memoryview] = []
    dice.shuffle(made)
    for obj, size, byte in made:
        ends["tasks"] += 1
        try:
            data = obj.fetch()
        except (TaskCancelled, DependencyFailed, ExecutorDied):
            ends["failed"] += 1
            continue
        view = memoryview(data)
        assert len(view) == size, (obj, len(view), size)
        assert not size or view[0] == view[size // 2] == view[-1] == byte, obj
        if dice.random() < 0.1 and sum(map(len, views)) < 20 * MiB:
            views.append(view)
        if dice.random() < 0.5:
            obj.unkeep()


def show(row: dict[str, Any]) -> None:
    print("  ".join(f"{name} {value:g}" for name, value in row.items()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    parser.add_argument("--cpptester", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--windows", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    pytester = [sys.executable, str(ROOT / "conformance" / "pytester.py")]
    executors = {"cpptester": options.cpptester, "pytester": pytester}
    rows = []
    with (
        tempfile.TemporaryDirectory() as spill,
        Client(executors=executors, cpus=2, memory="96 MiB", spill=spill) as client,
    ):
        for window in range(options.windows):
            end = time.monotonic() + options.seconds / options.windows
            sums = {"window": window, "tasks": 0, "failed": 0}
            while time.monotonic() < end:
                for name, count in batch(client, dice).items():
                    sums[name] += count
            with client.new_session():  # both kinds of process are there when it is counted
                for tester in TESTERS:
                    call(f"{tester}/hello", blob(b"x")).output.fetch()
            rows.append(numbers(client))
            show(sums | rows[-1])
    third = max(len(rows) // 3, 1)
    early, late = rows[1 : 1 + third] or rows, rows[-third:]
    grown = []
    for name, allowed in MAY_GROW.items():
        before, after = (min(row[name] for row in some) for some in (early, late))
        if after > before + allowed:
            grown.append(f"{name}: {before:g} at first, {after:g} in the end")
    for row in rows:
        if row["blobs"] or row["views"] or row["spilled"]:
            grown.append(f"data that nobody has: {row}")
    print("\n".join(grown) or "nothing grew")
    return 1 if grown else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TaskException as error:
        sys.exit(f"a task failed that must not: {error}")
