"""A server and three governors on machines of their own, whose cables are cut and slowed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Machine, Network, require_machines
from world import wait_until

RAIN = Path(sys.executable).with_name("rain")

# A program of a user: 12 tasks that wait for a file, between 12 that make and one that joins data.
PROGRAM = """
import hashlib, json, sys, warnings
from rain.client import Client, RainWarning, Task

given = json.loads(sys.argv[1])

def call(task_type, *inputs, **config):
    return Task(inputs, 1, config=config or None, task_type=task_type)

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", RainWarning)
    client = Client(given["server"], 7210)
    try:
        with client.new_session() as session:
            made = [call("cpptester/fill", size=200_000, byte=i) for i in range(12)]
            held = [
                call("gates/wait_for", each, file=given["gate"], note=given["note"])
                for each in made
            ]
            total = call("pytester/concat", *held)
            total.keep_outputs()
            session.submit()
            digest = hashlib.sha256(total.output.fetch().get_bytes()).hexdigest()
        client.close()
        error = ""
    except Exception as raised:
        digest, error = "", f"{type(raised).__name__}: {raised}"
print(json.dumps({"digest": digest, "error": error, "told": [str(w.message) for w in told]}))
"""
DIGEST = hashlib.sha256(b"".join(bytes([i]) * 200_000 for i in range(12))).hexdigest()


class Site:
    """A server, three governors with two cpus each and a user's program, each on its machine."""

    def __init__(self, network: Network, place: Path, executors: dict[str, Any]) -> None:
        self.place = place
        self.gate, self.note = place / "gate", place / "note"
        self.config = place / "executors.toml"
        self.config.write_text(
            "".join(
                f"[executors.{name}]\ncommand = {json.dumps(command)}\n"
                for name, command in executors.items()
            )
        )
        self.server = network.machine("server")
        self.user = network.machine("user")
        self.governors = [network.machine(f"g{number}") for number in (1, 2, 3)]
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._start(
            self.server, "server", "--listen", f"{self.server.address}:7210",
            "--http-listen", f"{self.server.address}:7222",
        )  # fmt: skip
        for governor in self.governors:
            self._start(
                governor, "governor", self.server.address, "--listen", governor.address,
                "--cpus", "2", "--config", str(self.config), "--name", governor.name,
                "--workdir", str(place / f"{governor.name}.work"),
            )  # fmt: skip

    def _start(self, machine: Machine, *command: str) -> None:
        ready = self.place / f"ready-{machine.name}"
        errors = (self.place / f"{machine.name}.err").open("w")
        with errors:
            process = machine.popen(
                [RAIN, *command, "--insecure", "--ready-file", ready,
                 "--logdir", self.place / f"log-{machine.name}"],
                stderr=errors, text=True,
            )  # fmt: skip
        self.processes[machine.name] = process
        wait_until(lambda: ready.exists() or process.poll() is not None, f"{machine.name} is ready")
        assert ready.exists(), self.errors_of(machine)

    def close(self) -> None:
        """End what still runs, as an operator would: who is cut off does not hear of the server."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(60)

    def errors_of(self, machine: Machine) -> str:
        return (self.place / f"{machine.name}.err").read_text()

    def run_program(self) -> subprocess.Popen[str]:
        given = {"server": self.server.address, "gate": str(self.gate), "note": str(self.note)}
        with (self.place / "program.err").open("w") as errors:
            process: subprocess.Popen[str] = self.user.popen(
                [sys.executable, "-c", PROGRAM, json.dumps(given)],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        wait_until(
            lambda: (
                (self.note.exists() and self.note.read_text().count("\n") >= 6)
                or process.poll() is not None
            ),
            "all cpus wait",
        )
        return process


def said(program: subprocess.Popen[str]) -> dict[str, Any]:
    """What the program printed at its end."""
    text, _ = program.communicate(timeout=120)
    try:
        found: dict[str, Any] = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        raise AssertionError(f"the program ended with {program.returncode}: {text}") from None
    return found


@pytest.fixture
def site(place: Path, commands: dict[str, Any]) -> Iterator[Site]:
    require_machines()
    with Network() as network:
        site = Site(network, place, commands)
        yield site
        site.close()


def test_one_governor_is_killed_one_cut_off_and_one_slow(site: Site) -> None:
    """The result is that of a quiet day, the client is told, and who was cut off ends by itself."""
    program = site.run_program()
    killed, cut, slow = site.governors
    killed.kill()
    cut.cut()
    slow.limit(2_000_000)
    site.gate.touch()
    result = said(program)
    assert result["error"] == ""
    assert result["digest"] == DIGEST
    told = "\n".join(result["told"])
    assert "governor g1 was lost" in told
    assert "governor g2 was lost" in told
    assert "g3 was lost" not in told
    assert site.processes["g2"].wait(60) != 0
    assert "server" in site.errors_of(cut), site.errors_of(cut)
    status = site.user.run(str(RAIN), "status", "--json", site.server.address)
    assert "g3" in status
    assert "g2" not in status


def test_a_server_that_is_cut_off_ends_governors_and_tells_the_client(site: Site) -> None:
    program = site.run_program()
    site.server.cut()
    result = said(program)
    assert "never retrieved" not in (site.place / "program.err").read_text()
    assert result["error"].startswith(f"ServerLost: the server at {site.server.address}:7210 is")
    for governor in site.governors:
        assert site.processes[governor.name].wait(60) != 0
        assert "server" in site.errors_of(governor)


def test_a_governor_whose_cable_is_pulled_for_a_moment_stays(site: Site) -> None:
    """Shorter than what a connection endures: nothing is lost, nothing runs again."""
    g1 = site.governors[0]
    listening = [line.split()[3] for line in g1.run("ss", "-Hltn").splitlines()]
    assert len([place for place in listening if not place.startswith("127.0.0.1:")]) == 1
    program = site.run_program()
    g1.cut()
    g1.join()
    site.gate.touch()
    result = said(program)
    assert (result["digest"], result["told"]) == (DIGEST, [])
    assert all(process.poll() is None for process in site.processes.values())
