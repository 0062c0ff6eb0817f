"""A server and governors as processes, started as the commands start them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rain.client import Client
from world import DEADLINE_SECONDS, exists, wait_until

SERVER = """
import json, logging, sys
from rain.governor import server
logging.basicConfig(level=logging.WARNING)
given = json.loads(sys.argv[1])
server.run(
    listen=("127.0.0.1", 0), http_listen=("127.0.0.1", 0), tls=given["tls"], log_directory="",
    ready=lambda *ports: print(*ports, flush=True),
)
"""

GOVERNOR = """
import json, logging, sys
from rain.governor import worker
logging.basicConfig(level=logging.WARNING)
given = json.loads(sys.argv[1])
worker.run(
    server=("127.0.0.1", given["port"]), listen=("127.0.0.1", 0), cpus=given["cpus"],
    config=given["config"], work_directory=given["work"], log_directory="", tls=given["tls"],
    name=given["name"], ready=lambda: print("ready", flush=True),
)
"""


class Process:
    """A process of the cluster and what it has said on stderr."""

    def __init__(self, program: str, name: str, **given: Any) -> None:
        self.name = given["name"] = name
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line.rstrip("\n"))

    def answer(self) -> str:
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said, f"{self.name} ended with {self.wait()}: {self.errors}"
        return said

    def wait(self) -> int:
        code = self.process.wait(DEADLINE_SECONDS)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()


class Cluster:
    def __init__(self, place: Path, executors: dict[str, Any], tls: str | None = None) -> None:
        self.place = place
        self.tls = tls
        self.executors = executors
        self.server = Process(SERVER, "server", tls=tls)
        self.port, self.http_port = map(int, self.server.answer().split())
        self.governors: list[Process] = []

    def start_governor(
        self, name: str, cpus: int = 2, executors: dict[str, Any] | None = None
    ) -> Process:
        """Begin to start one; answer() waits until it is ready."""
        work = self.place / f"work-{name}"
        work.mkdir()
        config = self.place / f"{name}.toml"
        config.write_text(_toml(self.executors if executors is None else executors))
        governor = Process(
            GOVERNOR, name, port=self.port, cpus=cpus, config=str(config), work=str(work),
            tls=self.tls,
        )  # fmt: skip
        self.governors.append(governor)
        return governor

    def add_governor(self, name: str, **options: Any) -> Process:
        governor = self.start_governor(name, **options)
        governor.answer()
        return governor

    def client(self, **options: Any) -> Client:
        return Client("127.0.0.1", self.port, tls=self.tls, **options)

    def close(self) -> None:
        for process in [*self.governors, self.server]:
            process.end()

    def kill(self, governor: Process) -> None:
        os.kill(governor.pid, signal.SIGKILL)
        governor.wait()

    def governor_of(self, pid: int) -> Process:
        """The governor that an executor belongs to, told by its run directory."""
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        (found,) = (g for g in self.governors if f"/work-{g.name}/".encode() in environment)
        return found


def _toml(executors: dict[str, Any]) -> str:
    lines = ["[executors]"]
    for name, value in executors.items():
        given = value if isinstance(value, dict) else {"command": value}
        lines.append(f"[executors.{name}]")
        for key, its in given.items():
            if key == "env":
                inner = ", ".join(f"{k} = {json.dumps(v)}" for k, v in its.items())
                lines.append(f"env = {{ {inner} }}")
            else:
                lines.append(f"{key} = {json.dumps(its, default=str)}")
    return "\n".join(lines)


@contextlib.contextmanager
def cluster(
    place: Path, executors: dict[str, Any], governors: int = 2, **options: Any
) -> Iterator[Cluster]:
    made = Cluster(place, executors, options.pop("tls", None))
    try:
        starting = [made.start_governor(f"g{n + 1}", **options) for n in range(governors)]
        for governor in starting:
            governor.answer()
        yield made
    finally:
        made.close()


def gone(governor: Process) -> None:
    wait_until(lambda: not exists(governor.pid), f"the end of {governor.name}")
