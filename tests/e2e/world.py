"""What end-to-end tests look at from outside: processes, descriptors, memory, files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

DEADLINE_SECONDS = 60.0  # for machines under load; never reached otherwise
MARK = "RAIN_E2E_MARK"  # names everything that a test started, in its environment


def wait_until(condition: Callable[[], object], what: str = "") -> float:
    """Wait for the condition; return how long that took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > DEADLINE_SECONDS:
            raise AssertionError(f"not within {DEADLINE_SECONDS} s: {what or condition}")
        time.sleep(0.002)
    return time.monotonic() - begin


def read(path: str | Path) -> bytes:
    """What can be read; a process may end meanwhile."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def processes_of(*marks: str) -> dict[int, str]:
    """Living processes, but this one, with a mark in their environment or command line.

    The halves of a launcher have no environment, but the run directory on their command line.
    """
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        command = read(f"/proc/{name}/cmdline")
        text = command + read(f"/proc/{name}/environ")
        if any(mark.encode() in text for mark in marks):
            found[int(name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def launchers_of(run_directory: str) -> tuple[int, int]:
    """The halves of the launcher that has this run directory: outer, inner."""

    def halves() -> list[int]:
        return [
            pid
            for pid, command in processes_of(run_directory).items()
            if command.startswith("rain-launcher")
        ]

    wait_until(lambda: len(halves()) == 2, "both halves of the launcher")
    (inner,) = (pid for pid in halves() if parent_of(pid) in halves())
    (outer,) = (pid for pid in halves() if pid != inner)
    return outer, inner


def parent_of(pid: int) -> int:
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def children_of(parent: int) -> dict[int, str]:
    """All descendants, zombies included."""
    parents = {int(name): parent_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found: dict[int, str] = {}
    generation = {parent}
    while generation:
        generation = {pid for pid, of in parents.items() if of in generation}
        for pid in generation:
            found[pid] = read(f"/proc/{pid}/stat").decode(errors="replace")[:60]
    return {pid: line for pid, line in found.items() if line}


def exists(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return bool(fields) and fields[0] not in (b"Z", b"X")


def is_stopped(pid: int) -> bool:
    """Whether no thread of the process runs any more: a signal to stop reaches them one by one."""
    stats = [read(task / "stat") for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(b")")[2].split()[:1] == [b"T"] for stat in stats)


def pauses(pid: int) -> bool:
    """Whether a thread of the process is in pause(2): then "spin" of the testers has begun."""
    if os.uname().machine != "x86_64":
        pytest.skip("the number of the system call pause is known for x86_64 alone")
    with contextlib.suppress(OSError):  # it may end meanwhile
        tasks = Path(f"/proc/{pid}/task")
        return any(read(task / "syscall").startswith(b"34 ") for task in tasks.iterdir())
    return False


def descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def shared_memory() -> list[str]:
    """Mappings of memfds."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:" in line]


def threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


class Census:
    """What this process and its surroundings have; differences name what was lost or left."""

    def __init__(self, mark: str, place: Path) -> None:
        self.mark = mark
        self.place = place
        self.descriptors = sorted(descriptors().values())
        self.threads = threads()
        self.shared_memory = shared_memory()
        self.children = children_of(os.getpid())

    def processes(self) -> dict[int, str]:
        return processes_of(self.mark, str(self.place))

    def leftovers(self) -> dict[str, object]:
        now = Census(self.mark, self.place)
        more = {
            "descriptors": _difference(now.descriptors, self.descriptors),
            "lost descriptors": _difference(self.descriptors, now.descriptors),
            "threads": now.threads - self.threads,
            "Python threads": [t.name for t in threading.enumerate()][1:],
            "shared memory": _difference(now.shared_memory, self.shared_memory),
            "children": {k: v for k, v in now.children.items() if k not in self.children},
            "processes": self.processes(),
            "files": sorted(str(path) for path in self.place.iterdir()),
        }
        return {what: things for what, things in more.items() if things}


def _difference(these: list[str], those: list[str]) -> list[str]:
    rest = list(those)
    different = []
    for item in these:
        if item in rest:
            rest.remove(item)
        else:
            different.append(item)
    return different


NOBODY = 65534
# As another user, who may still read what lies in root's home: the interpreter, for instance.
AS_NOBODY = [
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
]


def need(*command: str) -> None:
    """Skip the test unless this command works here."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (util-linux)")
    trial = subprocess.run([*command, "true"], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"{' '.join(command)} does not work here: {trial.stderr.strip()}")


PROLOGUE = """
import json, os, signal, sys, threading, time
sys.path.insert(0, {here!r})
from tasks import call, works
from rain.client import *
def say(*words):
    print(*words, flush=True)
def hear():
    return sys.stdin.readline().strip()
executors = json.loads(sys.argv.pop(1))
"""


@contextlib.contextmanager
def program(
    text: str,
    executors: dict[str, Any],
    *arguments: object,
    wrap: Sequence[str] = (),
    **options: Any,
) -> Iterator[subprocess.Popen[str]]:
    """A Python program with the names of PROLOGUE; killed at the end if it still runs."""
    text = PROLOGUE.format(here=str(Path(__file__).parent)) + textwrap.dedent(text)
    words = [json.dumps(executors, default=str), *map(str, arguments)]
    process = subprocess.Popen(
        [*wrap, sys.executable, "-c", text, *words],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that the program says."""
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said, f"the program ended with {process.wait()} instead of saying something"
    return said.strip()


def tell(process: subprocess.Popen[str], text: str = "") -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def outcome(process: subprocess.Popen[str]) -> str:
    """All that the program says until its end, which must be a good one."""
    said, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, said
    return said.strip()


def need_gdb() -> None:
    """Skip the test where gdb is missing; with RAIN_REQUIRE_ALL=1 that is a failure."""
    if shutil.which("gdb") is not None:
        return
    if os.environ.get("RAIN_REQUIRE_ALL"):
        pytest.fail("RAIN_REQUIRE_ALL is set, but gdb is not installed")
    pytest.skip("gdb is not installed")
