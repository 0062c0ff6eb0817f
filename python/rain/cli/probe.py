"""Starting executors to see what they are: for ``rain executors check`` and ``stub``."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rain.common.errors import RainException, RainWarning
from rain.config import Executor, read_file_each

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from rain.client import Client
    from rain.client.signature import Signature


@dataclass
class Value:
    """An input or output. `type` as people read it: "ndarray float64 of 2 dimensions"."""

    type: str
    name: str = ""  # of the parameter, where it is known


@dataclass
class ProbedTask:
    """A task that an executor announces; `inputs` and `outputs` are None if it tells no types."""

    name: str
    inputs: list[Value] | None = None
    outputs: list[Value] | None = None

    def __str__(self) -> str:
        if self.inputs is None or self.outputs is None:
            return self.name
        takes = ", ".join(f"{value.name}: {value.type}".lstrip(": ") for value in self.inputs)
        gives = ", ".join(value.type for value in self.outputs) or "nothing"
        return f"{self.name}({takes}) -> {gives}"


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
        facts = {"executor": self.name, "ok": not self.error, **asdict(self)}
        del facts["name"]
        return facts


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
        offered = client.executors[executor.name]
        known = offered.signatures()
        probed.tasks = [_task(name, known.get(name)) for name in offered.tasks()]
    except RainException as error:
        probed.error = str(error)
        return probed
    probed.seconds = time.perf_counter() - began
    new = set(client.info()["executor_pids"]) - before
    if len(new) == 1:
        (probed.pid,) = new
    return probed


def _task(name: str, signature: Signature | None) -> ProbedTask:
    if signature is None:
        return ProbedTask(name)
    inputs = [Value(type_, parameter) for parameter, type_ in signature.inputs]
    return ProbedTask(name, inputs, [Value(type_) for type_ in signature.outputs])


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
