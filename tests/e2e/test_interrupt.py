"""Ctrl-C while waiting: KeyboardInterrupt, that wait's tasks cancelled, nothing else disturbed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, TaskState
from tasks import call, works
from world import line, outcome, pauses, program, tell, wait_until

# Waits in the way of the first argument; says what became of everything.
CLIENT = """
    client = Client(executors=executors, cpus=3)
    session = client.new_session(on_error=sys.argv[2])
    other = client.new_session()
    with session.bind_only():
        pids = [int(call(t + "/pid").output.fetch().get_bytes()) for t in ("cpptester", "pytester")]
        waited = [call(t + "/spin") for t in ("cpptester", "pytester")]
        beside = call("cpptester/sleep", seconds=1e6)
        after = call("cpptester/hello", waited[0])
    with other.bind_only():
        foreign = call("cpptester/hello", call("pytester/sleep", seconds=0.01))
        foreign.keep_outputs()
    waited[0].keep_outputs()
    session.submit()
    say(*pids)
    hear()
    waits = {
        "wait": lambda: session.wait(waited),
        "task": lambda: waited[0].wait(),
        "timeout": lambda: session.wait(waited, timeout=1e6),
        "wait_some": lambda: session.wait_some(waited),
        "objects": lambda: session.wait([task.output for task in waited]),
        "fetch": lambda: waited[0].output.fetch(),
        "fetch_outputs": lambda: waited[0].fetch_outputs(),
        "wait_all": lambda: session.wait_all(),
    }
    say("waiting")
    try:
        waits[sys.argv[1]]()
    except KeyboardInterrupt:
        say(time.monotonic())
    going_on = ("ready", "assigned")
    names = [task.state.name for task in (*waited, beside, after)]
    say(*("on" if name in going_on else name for name in names))
    other.submit()
    say(foreign.output.fetch().get_bytes().decode())
    say("on" if beside.state.name in going_on else beside.state.name)
    session.cancel()
    with session.bind_only():
        for tester in ("cpptester", "pytester"):
            works(tester, session)
    client.close()
"""

STATES = {  # of the spinning C++ and Python task, of what runs beside, of what depends on the first
    "wait": "cancelled cancelled on",
    "timeout": "cancelled cancelled on",
    "wait_some": "cancelled cancelled on",
    "objects": "cancelled cancelled on",
    "task": "cancelled on on",
    "fetch": "cancelled on on",
    "fetch_outputs": "cancelled on on",
    "wait_all": "cancelled cancelled cancelled",
}


def check(process: subprocess.Popen[str], how: str, on_error: str, interrupt: Any) -> None:
    pids = [int(word) for word in line(process).split()]
    for pid in pids:
        wait_until(lambda pid=pid: pauses(pid), "both tasks spin")
    tell(process)
    assert line(process) == "waiting"
    wait_until(lambda: blocked(process.pid), "the client waits")
    begin = time.monotonic()
    interrupt()
    seconds = float(line(process)) - begin
    print(f"KeyboardInterrupt after {seconds * 1000:.1f} ms")
    *states, dependant = line(process).split()
    assert states == STATES[how].split()
    assert dependant in ("cancelled", "aborted" if on_error == "continue" else "cancelled")
    assert line(process) == "Hello slept!"
    assert line(process) == states[2], "the signal reached an executor"
    assert outcome(process) == ""


def blocked(pid: int) -> bool:
    """Whether the main thread sleeps."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("on_error", ["fail", "continue"])
@pytest.mark.parametrize("how", STATES)
def test_sigint_ends_the_wait_and_cancels_its_tasks(
    commands: dict[str, Any], how: str, on_error: str
) -> None:
    with program(CLIENT, commands, how, on_error) as process:
        check(process, how, on_error, lambda: process.send_signal(signal.SIGINT))


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], None]]]:
    """A pseudo-terminal: its slave, and what makes that the controlling one of a child."""
    master, slave = pty.openpty()

    def control() -> None:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        os.tcsetpgrp(slave, os.getpgrp())

    try:
        yield master, control
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("how", ["wait", "wait_all"])
def test_ctrl_c_at_the_terminal_does_not_reach_executors(
    commands: dict[str, Any], how: str
) -> None:
    with (
        terminal() as (master, control),
        program(CLIENT, commands, how, "continue", preexec_fn=control) as process,
    ):
        check(process, how, "continue", lambda: os.write(master, b"\3"))


def test_executors_have_no_terminal_and_a_group_of_their_own(client: Client) -> None:
    with client.new_session():
        question = "str((os := __import__('os'), os.getpgrp() == os.getpid(), os.readlink("
        question += "'/proc/self/fd/0'), open('/proc/self/stat').read().split()[6])[1:])"
        said = call("pytester/return_of", expression=question).output.fetch().get_bytes()
    assert said == b"(True, '/dev/null', '0')"


def test_interrupted_wait_in_a_thread_goes_on_in_the_others(commands: dict[str, Any]) -> None:
    text = """
    client = Client(executors=executors, cpus=2)
    session = client.new_session()
    with session.bind_only():
        pid = int(call("cpptester/pid").output.fetch().get_bytes())
        mine = call("cpptester/spin")
        theirs = call("pytester/hello", call("pytester/sleep", seconds=0.2))
        theirs.keep_outputs()
    session.submit()
    got = []
    thread = threading.Thread(target=lambda: got.append(theirs.output.fetch().get_bytes()))
    thread.start()
    say(pid)
    try:
        mine.wait()
    except KeyboardInterrupt:
        say("interrupted", mine.state.name)
    thread.join()
    say(got[0].decode())
    """
    with program(text, commands) as process:
        pid = int(line(process))
        wait_until(lambda: pauses(pid), "the task spins")
        wait_until(lambda: blocked(process.pid), "the client waits")
        process.send_signal(signal.SIGINT)
        assert line(process) == "interrupted cancelled"
        assert outcome(process) == "Hello slept!"


def test_interrupt_before_the_wait_cancels_nothing(client: Client) -> None:
    with client.new_session() as session:
        slow = call("cpptester/sleep", seconds=0.05)
        slow.keep_outputs()
        session.submit()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert slow.state is not TaskState.cancelled
        assert slow.output.fetch().get_bytes() == b"slept"
    works("cpptester", client.new_session())


def test_handler_that_returns_lets_the_wait_go_on(client: Client) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with client.new_session() as session:
            slow = call("cpptester/sleep", seconds=0.3)
            slow.keep_outputs()
            session.submit()
            killer = subprocess.Popen(
                [sys.executable, "-c", f"import os; os.kill({os.getpid()}, {signal.SIGUSR1})"]
            )
            assert slow.output.fetch().get_bytes() == b"slept"
            killer.wait()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
