"""Starting executors to see what they are: for ``rain executors check`` and ``stub``."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rain.common.errors import RainException, RainWarning
from rain.config import Executor, read_file_each

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from rain.client import Client
    from rain.client.signature import Signature


@dataclass
class ProbedTask:
    """A task that an executor announces; `signature` is None if it tells no types."""

    name: str
    signature: Signature | None = None

    def __str__(self) -> str:
        return self.name if self.signature is None else f"{self.name}{self.signature}"

    def facts(self) -> dict[str, Any]:
        """Return it for JSON."""
        facts: dict[str, Any] = {"name": self.name}
        if self.signature is not None:
            inputs = [{"name": name, "type": type_} for name, type_ in self.signature.inputs]
            facts |= {"inputs": inputs, "outputs": list(self.signature.outputs)}
        return facts


@dataclass
class Probe:
    """What one executor said when it was started."""

    name: str
    command: list[str] = field(default_factory=list)
    pid: int | None = None
    seconds: float | None = None  # from asking for a process until it has registered
    tasks: list[ProbedTask] = field(default_factory=list)
    error: str = ""

    def facts(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "executor": self.name,
            "ok": not self.error,
            "command": self.command,
            "pid": self.pid,
            "seconds": self.seconds,
            "tasks": [task.facts() for task in self.tasks],
            "error": self.error,
        }


def probe(file: str | PathLike[str]) -> Iterator[Probe]:
    """Start each executor of a TOML file once, one after the other.

    Raises ConfigError if the file itself is wrong.
    """
    from rain.client import Client

    executors = read_file_each(file)
    good = {name: found for name, found in executors.items() if isinstance(found, Executor)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)  # of executors that fail: that is shown
        with Client(executors={name: _table(found) for name, found in good.items()}) as client:
            for name, found in executors.items():
                if isinstance(found, Executor):
                    yield _start(client, found)
                else:
                    yield Probe(name, error=str(found))


def _start(client: Client, executor: Executor) -> Probe:
    probed = Probe(executor.name, executor.argv)
    before = set(client.info()["executor_pids"])
    began = time.perf_counter()
    try:
        tasks = client.executors[executor.name]
        names, signatures = tasks.tasks(), tasks.signatures()
    except RainException as error:
        probed.error = str(error)
        return probed
    probed.seconds = time.perf_counter() - began
    probed.tasks = [ProbedTask(name, signatures.get(name)) for name in names]
    new = set(client.info()["executor_pids"]) - before
    if len(new) == 1:
        (probed.pid,) = new
    return probed


def _table(executor: Executor) -> dict[str, Any]:
    """As for Client(executors=...); one process, which stays."""
    table: dict[str, Any] = {
        "command": executor.argv,
        "env": dict(entry.split("=", 1) for entry in executor.environment),
        "start_seconds": executor.start_seconds,
        "max_processes": 1,
        "idle_seconds": float("inf"),
    }
    if executor.cwd:
        table["cwd"] = executor.cwd
    if executor.threads:
        table["threads"] = executor.threads
    return table
