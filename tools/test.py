"""Runs every test and prints one summary. Run by `make test`, in .venv, after the build.

    python tools/test.py [STAGE…]    stages: ctest, pytest, on-standalone, on-cluster, alone,
                                     cluster, examples, package

Tests run beside one another, one per CPU; those marked "alone" have a stage of their own. Those
marked "engines" run again with clients of a service and of a cluster.

Ends with 1 if anything failed or a stage ran no test; skipped tests are listed with their reason.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "reports"
BUILD = ROOT / "build" / "release"
STAGE_SECONDS = 1800  # no stage hangs for ever
CPUS = str(len(os.sched_getaffinity(0)))


@dataclass
class Result:
    stage: str
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(*command: str | Path, **variables: str) -> int:
    """Exit code of the command, run in the root with .venv's programs first in PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "RAIN_TEST_BUILD": str(BUILD)} | variables
    try:
        return subprocess.run(
            [str(word) for word in command], cwd=ROOT, env=environment, timeout=STAGE_SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"stopped after {STAGE_SECONDS} s: {' '.join(map(str, command))}")
        return 1


def read_junit(result: Result, report: Path) -> None:
    if not report.exists():
        return
    for case in ElementTree.parse(report).iter("testcase"):
        name = "::".join(filter(None, [case.get("classname"), case.get("name")]))
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed.append(name)
        elif skip is not None or case.get("status") == "disabled":
            reason = skip.get("message") if skip is not None else "disabled"
            result.skipped.append(f"{name}: {reason or 'skipped'}")
        else:
            result.passed += 1


def ctest(report: Path) -> int:
    configure = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    return (
        run("cmake", "--preset", "release", "--log-level=WARNING", *configure)
        or run("cmake", "--build", "--preset", "release")
        or run("ctest", "--preset", "release", "--label-exclude", "stress", "--timeout", "300",
               "--parallel", CPUS, "--output-junit", report)
    )  # fmt: skip


def pytest(report: Path, *words: str, **variables: str) -> int:
    return run(sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *words, **variables)


def on_engine(engine: str, report: Path) -> int:
    return pytest(
        report, "tests/python", "tests/e2e", "-m", "engines and not alone",
        "--numprocesses", CPUS, "--dist", "worksteal", RAIN_TEST_ENGINE=engine,
    )  # fmt: skip


MOST = (
    "tests",
    "--ignore=tests/package",
    "--ignore=tests/cluster",
    "--ignore=tests/e2e/test_examples.py",
)
STAGES: dict[str, Callable[[Path], int]] = {
    "ctest": ctest,
    # A file's tests stay in one process: they share what its fixtures build.
    "pytest": lambda report: pytest(
        report, *MOST, "-m", "not alone", "--numprocesses", CPUS, "--dist", "loadfile"
    ),
    "on-standalone": partial(on_engine, "standalone"),
    "on-cluster": partial(on_engine, "cluster"),
    "alone": lambda report: pytest(report, *MOST, "-m", "alone"),
    # Dask leaves threads behind, which other tests would count.
    "cluster": lambda report: pytest(
        report, "tests/cluster", "--numprocesses", CPUS, "--dist", "loadfile"
    ),
    "examples": lambda report: pytest(report, "tests/e2e/test_examples.py"),
    "package": lambda report: pytest(  # it builds
        report, "tests/package", "--timeout=1200", "--numprocesses", CPUS, "--dist", "worksteal"
    ),
}


def main() -> int:
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = []
    for stage in sys.argv[1:] or STAGES:
        print(f"== {stage}", flush=True)
        report = REPORTS / f"{stage}.xml"
        report.unlink(missing_ok=True)
        result = Result(stage)
        start = time.monotonic()
        code = STAGES[stage](report)
        result.seconds = time.monotonic() - start
        read_junit(result, report)
        if not result.failed and (code != 0 or not result.passed):
            result.failed.append("did not run to its end" if code else "ran no test")
        results.append(result)

    print("\n== summary")
    for kind in ("skipped", "failed"):
        for result in results:
            for line in getattr(result, kind):
                print(f"{kind}: {result.stage}: {line}")
    print(f"{'stage':14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for r in results:
        print(f"{r.stage:14}{r.passed:8}{len(r.failed):8}{len(r.skipped):9}{r.seconds:9.0f}")
    ok = not any(result.failed for result in results)
    print("all tests passed" if ok else "TESTS FAILED")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
