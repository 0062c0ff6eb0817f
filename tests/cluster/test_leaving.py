"""The end of a client whose server or governors are dead, hang, or can't be reached: in bounded
time, with a clear error for whoever waits, without a thread of ours and without noise (trap 10)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, cluster
from tasks import contains
from tcp_proxy import Proxy
from world import DEADLINE_SECONDS, wait_until

PROGRAM = """
import sys, threading, time
from rain.client import Client, RainException, blob, tasks
from rain.engine import cluster_connection
sys.path.insert(0, {tests!r})
from tasks import call

cluster_connection._PULSE_SECONDS, cluster_connection._SILENCE_SECONDS = 0.2, 1.0
client = Client("127.0.0.1", {port})

def say(*words):
    print(*words, flush=True)

def attempt(what):
    try:
        what()
    except RainException as error:
        say(type(error).__name__, str(error).splitlines()[0])
    else:
        say("nothing was raised")

def harm():
    say("now")
    sys.stdin.readline()

{program}
client.close()
left = [each.name for each in threading.enumerate() if each.name.startswith(("rain", "IO loop"))]
say("left", *left)
"""

MAKE = """
session = client.new_session()
session.set_as_default()
made = call("cpptester/fill", size=60_000_000, byte=7)
made.keep_outputs()
session.submit()
made.wait()
"""

IDLE = MAKE + "harm()"

WAIT = """
with client.new_session() as session:
    task = call("gates/wait_for", file={gate!r}, note={note!r})
    session.submit()
    harm()
    attempt(task.wait)
    attempt(session.wait_all)
    attempt(client.info)
    attempt(lambda: client.new_session())
    attempt(lambda: client.executors["pytester"].tasks())
"""

FETCH = (
    MAKE
    + """
harm()
fetching = threading.Thread(target=attempt, args=(made.output.fetch,))
fetching.start()
harm()
client.close()
fetching.join()
"""
)

UPLOAD = """
with client.new_session() as session:
    harm()
    task = call("cpptester/concat", blob(bytes(60_000_000)), b"1")
    task.keep_outputs()
    session.submit()
    harm()
    client.close()
    attempt(task.wait)
"""


class Program:
    """A program with a client, which says when harm may be done."""

    def __init__(self, place: Path, port: int, program: str) -> None:
        gate, note = str(place / "gate"), str(place / "note")
        tests = str(Path(__file__).parents[1] / "e2e")
        whole = PROGRAM.format(
            tests=tests, port=port, program=program.replace("{gate!r}", repr(gate)).replace(
                "{note!r}", repr(note)
            ),
        )  # fmt: skip
        self._errors = place / "errors"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", whole],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def wait_for_harm(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == "now", (line, self._errors.read_text())

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> list[str]:
        """Return what it said; that was all."""
        assert self._process.stdout is not None
        hangs = threading.Timer(3 * DEADLINE_SECONDS, self._process.send_signal, [signal.SIGABRT])
        hangs.start()
        said = self._process.stdout.read()
        code = self._process.wait()
        hangs.cancel()
        hangs.join()
        errors = self._errors.read_text()
        assert (code, errors) == (0, ""), (said, errors)
        *lines, left = said.splitlines()
        assert left == "left"
        return lines


@pytest.fixture
def one(place: Path, commands: dict[str, Any]) -> Iterator[Cluster]:
    """A server and a governor."""
    with cluster(place, commands, governors=1) as made:
        try:
            yield made
        finally:
            for process in (made.server, *made.governors):
                if process.process.poll() is None:
                    process.process.send_signal(signal.SIGCONT)


def harm(made: Cluster, what: str) -> None:
    if what == "killed":
        os.kill(made.server.pid, signal.SIGKILL)
        made.server.wait()
    elif what == "stopped":
        os.kill(made.server.pid, signal.SIGSTOP)


@pytest.mark.parametrize("what", ["killed", "stopped", "well"])
def test_a_client_closes_at_once_whatever_its_server_does(
    one: Cluster, place: Path, what: str
) -> None:
    program = Program(place, one.port, IDLE)
    program.wait_for_harm()
    harm(one, what)
    program.go_on()
    assert program.end() == []


@pytest.mark.parametrize("what", ["killed", "stopped", "cut"])
def test_every_call_ends_with_what_became_of_the_server(
    one: Cluster, place: Path, what: str
) -> None:
    proxy = Proxy(("127.0.0.1", one.port))
    try:
        program = Program(place, proxy.address[1], WAIT)
        program.wait_for_harm()
        wait_until((place / "note").exists, "the task's begin")
        if what == "cut":
            proxy.stall()
        harm(one, what)
        program.go_on()
        said = program.end()
    finally:
        proxy.close()
    assert len(said) == 5
    for line in said:
        contains(line, "the server at", "is lost")


@pytest.mark.parametrize("program", [FETCH, UPLOAD], ids=["fetch", "upload"])
def test_a_client_closes_while_a_governor_hangs_in_the_middle_of_data(
    one: Cluster, place: Path, program: str
) -> None:
    running = Program(place, one.port, program)
    running.wait_for_harm()
    os.kill(one.governors[0].pid, signal.SIGSTOP)
    running.go_on()
    running.wait_for_harm()
    running.go_on()
    (said,) = running.end()
    contains(said, "closed")
