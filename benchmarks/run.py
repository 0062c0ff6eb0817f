"""The benchmarks: each case beside its peers and the machine's limit, interleaved in one run.

    python benchmarks/run.py [--quick] [--rounds N] [--only CASE ...]

Prints medians over the rounds and their ratios, and writes them with the machine's description to
``benchmarks/results/``. Figures in the documentation come from here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from cases import BUILD, HERE
from rain import _core

GROUPS = ("tasks", "graph", "remote", "pool", "programs", "concat", "data", "store", "cluster")


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


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--rounds", type=int, default=0, help="default 7, with --quick 3")
    parser.add_argument("--only", nargs="*", default=[], help="cases or groups, by name")
    arguments = parser.parse_args()
    rounds = arguments.rounds or (3 if arguments.quick else 7)
    cpus = len(os.sched_getaffinity(0))

    build_executors()
    machine = {
        "cpus": cpus,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processor": cpu_model(),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load_before": os.getloadavg()[0],
    }
    print(
        f"{machine['processor']}, {cpus} CPUs, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load_before']:.1f} before, "
        f"{rounds} rounds, medians"
    )
    result = {
        "machine": machine,
        "rounds": rounds,
        "command": " ".join(sys.argv),
        "inline_limit": _core.INLINE_LIMIT_BYTES,
        "cases": {},
    }
    for group in GROUPS:
        module = importlib.import_module(f"groups.{group}")
        if arguments.only and not {group, *module.NAMES} & set(arguments.only):
            continue
        # Each group by itself: what one starts would disturb the others.
        with module.cases(arguments.quick, cpus) as cases:
            chosen = [c for c in cases if not arguments.only or {group, c.name} & {*arguments.only}]
            for case in chosen:
                case.warm_up()
            for _ in range(rounds):
                for case in chosen:
                    case.round()
        for case in chosen:
            print("\n".join(case.lines()), flush=True)
            result["cases"][case.name] = case.as_json()
    target = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1))
    print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
