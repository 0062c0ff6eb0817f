"""SIGKILL while large blobs are on their way: soon there is no process, no file and no page of
shared memory; and where the client lives on, its store has what it had."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ExecutorDied
from sizes import MiB, some
from tasks import call, works
from world import (
    launchers_of,
    line,
    outcome,
    pauses,
    processes_of,
    program,
    tell,
    wait_until,
)

ROUNDS = range(some(2, 20))

# Blobs everywhere: put, kept, spilled, viewed by client and executors, read and written by tasks.
CLIENT = """
    client = Client(executors=executors, cpus=4, memory="256 MiB", spill=sys.argv[1])
    with client.new_session(on_error="continue") as session:
        put = blob(bytes(48 << 20))
        put.keep()
        kept = [call(tester + "/fill", size=48 << 20, byte=1).output
                for tester in ("cpptester", "pytester") for _ in range(3)]
        for each in kept:
            each.keep()
        session.submit()
        view = memoryview(kept[0].fetch())
        stalls = [call(tester + "/stall", kept[1], size=48 << 20)
                  for tester in ("cpptester", "pytester")]
        session.submit()
        say(client.info()["run_directory"])
        hear()
        say(client.info()["store"]["spilled_blobs"] > 0)
        hear()
        assert view[0] == view[-1] == 1
    client.close()
    assert view[0] == view[-1] == 1
"""


def shared_memory_of(pids: list[int]) -> set[int]:
    """Inodes of our memfds that these processes have open or mapped."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(fd).startswith("/memfd:rain"):
                        found.add(fd.stat().st_ino)
        with contextlib.suppress(OSError):
            for text in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if "/memfd:rain" in text:
                    found.add(int(text.split()[4]))
    return found


def is_gone(path: Path) -> bool:
    return not path.exists()


def everybody() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


@pytest.mark.parametrize("which", ["client", "outer", "inner", "client_outer", "client_inner"])
def test_large_blobs_in_flight_leave_nothing(
    which: str, commands: dict[str, Any], mark: str, tmp_path: Path
) -> None:
    for number in ROUNDS:
        spill = tmp_path / str(number)
        spill.mkdir()
        with program(CLIENT, commands, spill) as process:
            directory = Path(line(process))

            def ours(directory: Path = directory) -> list[int]:
                return list(processes_of(mark, str(directory)))

            wait_until(lambda: sum(map(pauses, ours())) == 2, "two tasks at work on their data")
            tell(process)
            assert line(process) == "True"
            pids = [process.pid, *ours()]
            inodes = shared_memory_of(pids)
            assert len(inodes) >= 4
            spilled = list(spill.iterdir())
            assert spilled
            outer, inner = launchers_of(str(directory))
            targets = {"client": process.pid, "outer": outer, "inner": inner}
            for name in which.split("_"):
                os.kill(targets[name], signal.SIGKILL)
            if "client" in which:
                assert process.wait() == -signal.SIGKILL
            else:
                tell(process)
                outcome(process)
        wait_until(lambda: not ours(), f"the end of {pids}")
        for what in (directory, *spilled):
            wait_until(partial(is_gone, what), f"the end of {what}")
        left = inodes & shared_memory_of(everybody())
        assert not left, f"inodes of shared memory that somebody still has: {left}"
        assert not [name for name in os.listdir("/dev/shm") if "rain" in name]


def test_an_executor_killed_with_large_blobs_costs_its_call_and_nothing_else(
    make_client: Callable[..., Client], tester: str
) -> None:
    client = make_client(memory="256 MiB")
    with client.new_session(on_error="continue") as session:
        kept = [call(f"{tester}/fill", size=48 * MiB, byte=n).output for n in range(2)]
        for each in kept:
            each.keep()
        session.submit()
        session.wait_all()
        same = ("blobs", "blobs_bytes", "views", "spilled_blobs", "waiting")
        before = {key: client.info()["store"][key] for key in same}

        def stalled() -> list[int]:
            return [pid for pid in client.info()["executor_pids"] if pauses(pid)]

        for _ in ROUNDS:
            bad = call(f"{tester}/stall", *kept, size=48 * MiB)
            session.submit()
            wait_until(stalled, "a task at work on its data")
            (pid,) = stalled()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ExecutorDied):
                bad.wait()
            works(tester, session)
            assert {key: client.info()["store"][key] for key in same} == before
            assert client.info()["store"]["regions_bytes"] <= 256 * MiB
        for n, each in enumerate(kept):
            assert each.fetch().get_bytes() == bytes([n]) * (48 * MiB)
