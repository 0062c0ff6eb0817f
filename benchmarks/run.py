"""The benchmarks: each case beside its peer and the machine's limit, interleaved in one run.

    python benchmarks/run.py [--quick] [--rounds N] [--only CASE ...]

Prints medians over the rounds and their ratios, and writes them with the machine's description to
``benchmarks/results/``. Figures in the documentation come from here.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rain import client as rain

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "benchmarks"
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


def build_executors() -> None:
    """Build the C++ executors against the installed wheel; quick when nothing changed."""
    cmake_dir = subprocess.run(
        [sys.executable, "-m", "rain", "--cmakedir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    for command in (
        ["cmake", "-S", HERE / "executors", "-B", BUILD, f"-Dtasklib_DIR={cmake_dir}"],
        ["cmake", "--build", BUILD],
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def executors() -> dict[str, list[str]]:
    return {
        "noop": [str(BUILD / "noop")],
        "pynoop": [sys.executable, str(HERE / "executors" / "noop.py")],
    }


def burst(client: rain.Client, task_type: type[rain.Task]) -> float:
    """Tasks a second: made, submitted, run and waited for, from Python."""
    with client.new_session() as session:
        start = time.perf_counter()
        for _ in range(BURST):
            task_type()
        session.submit()
        session.wait_all()
        return BURST / (time.perf_counter() - start)


def pool_burst(pool: concurrent.futures.ProcessPoolExecutor, count: int) -> float:
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


def process_seconds(code: str, count: int) -> float:
    """Median seconds of a whole ``python -c code``."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


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


Case = tuple[str, str, str, Callable[[], float], Callable[[], float], Callable[[float, float], str]]


def times_faster(ours: float, peer: float) -> str:
    return f"{ours / peer:.1f}x"


def fraction(ours: float, peer: float) -> str:
    return f"{ours / peer:.2f}x"


def more(ours: float, peer: float) -> str:
    return f"{(ours - peer) * 1e3:.0f} ms more"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--rounds", type=int, default=0, help="default 7, with --quick 3")
    parser.add_argument("--only", nargs="*", default=[], help="cases, by their first word")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    pool_count = 2_000 if arguments.quick else 5_000
    cpus = len(os.sched_getaffinity(0))

    build_executors()
    with (
        rain.Client(executors=executors()) as client,
        concurrent.futures.ProcessPoolExecutor(cpus) as pool,
    ):
        cases: list[Case] = [
            (
                "burst-cpp",
                f"burst of {BURST} no-op tasks, C++ executors [tasks/s]",
                "ProcessPoolExecutor, chunksize 1",
                lambda: burst(client, Noop),
                lambda: pool_burst(pool, pool_count),
                times_faster,
            ),
            (
                "burst-python",
                f"burst of {BURST} no-op tasks, Python executors [tasks/s]",
                "ProcessPoolExecutor, chunksize 1",
                lambda: burst(client, PyNoop),
                lambda: pool_burst(pool, pool_count),
                times_faster,
            ),
            (
                "warm",
                "one warm C++ task, submit to result, p50 [us]",
                "64 bytes there and back, two processes on two CPUs, blocking",
                lambda: warm_task(client, 1_000),
                lambda: ping_pong(2_000, "apart"),
                fraction,
            ),
            (
                "warm-free",
                "one warm C++ task, submit to result, p50 [us]",
                "the same where the scheduler puts them, often on one CPU",
                lambda: warm_task(client, 1_000),
                lambda: ping_pong(2_000, "free"),
                fraction,
            ),
            (
                "first",
                "import + Client() + first C++ task + close() [s]",
                "python -c pass",
                lambda: process_seconds(first_run_code(), 3),
                lambda: process_seconds("pass", 3),
                more,
            ),
        ]
        cases = [case for case in cases if not arguments.only or case[0] in arguments.only]
        figures: dict[str, tuple[list[float], list[float]]] = {c[0]: ([], []) for c in cases}
        for case in cases:  # processes started, caches warm; not counted
            case[3]()
            case[4]()
        for _ in range(rounds):
            for case in cases:
                figures[case[0]][0].append(case[3]())
                figures[case[0]][1].append(case[4]())

    machine = {
        "cpus": cpus,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processor": cpu_model(),
    }
    print(
        f"{machine['processor']}, {cpus} CPUs, Linux {machine['kernel']}, "
        f"Python {machine['python']}, {rounds} rounds, medians"
    )
    result = {"machine": machine, "rounds": rounds, "command": " ".join(sys.argv), "cases": {}}
    for name, title, peer, _, _, ratio in cases:
        ours, theirs = (statistics.median(values) for values in figures[name])
        shown = ratio(ours, theirs)
        print(f"{name:14} {ours:12.4g}  {title}")
        print(f"{'':14} {theirs:12.4g}  {peer}   -> {shown}")
        result["cases"][name] = {
            "title": title,
            "ours": figures[name][0],
            "peer": peer,
            "theirs": figures[name][1],
            "ratio": shown,
        }
    target = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1))
    print(f"written to {target}")
    return 0


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
