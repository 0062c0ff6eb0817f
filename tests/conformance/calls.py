"""Calls and results, the same for the tests whichever protocol carries them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_governor import QUEUED, Executor, Id, Region

SESSION = 3


@dataclass
class In:
    """An input: bytes in the message, a path, [region, offset, size] or [path, offset, size]."""

    at: bytes | Path | tuple[Region | Path, int, int] | str
    number: int | None = None  # of the object; None: by position
    label: str = ""
    task_label: str = ""
    content_type: str = ""
    directory: bool = False
    user: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass
class Out:
    """A declared output."""

    label: str = ""
    content_type: str = ""
    directory: bool = False
    user: dict[str, Any] = field(default_factory=dict)


@dataclass
class Output:
    """An output as it came. `at` is the location as the wire has it."""

    at: Any
    data: bytes | None
    info: dict[str, Any]

    @property
    def content_type(self) -> str:
        return str(self.info.get("content_type", ""))


@dataclass
class Result:
    task: Id
    success: bool
    info: dict[str, Any]
    outputs: list[Output]
    raw: dict[str, Any]

    @property
    def error(self) -> str:
        return str(self.info.get("error", ""))

    @property
    def data(self) -> bytes:
        """Of the only output."""
        assert self.success, self.error
        (output,) = self.outputs
        assert output.data is not None
        return output.data


@dataclass
class Tester:
    """One executor process, its type, and how to call it."""

    __test__ = False  # no test case, whatever its name

    executor: Executor
    type: str
    next_number: int = 10

    @property
    def cbor2(self) -> bool:
        return self.executor.protocol == "cbor-2"

    def call(
        self,
        method: str,
        inputs: list[In | bytes] | None = None,
        outputs: int | list[Out] = 1,
        **spec: Any,
    ) -> Result:
        """Sends a call and waits for its result."""
        return self.result(self.send_call(method, inputs, outputs, **spec))

    def send_call(
        self,
        method: str,
        inputs: list[In | bytes] | None = None,
        outputs: int | list[Out] = 1,
        **spec: Any,
    ) -> int:
        """Returns the call's sequence. `spec`: config, name, cpus, user; task_type overrides."""
        sequence, message = self.make_call(method, inputs, outputs, **spec)
        self.executor.send("call", message)
        return sequence

    def make_call(
        self,
        method: str,
        inputs: list[In | bytes] | None = None,
        outputs: int | list[Out] = 1,
        **spec: Any,
    ) -> tuple[int, dict[str, Any]]:
        ins = [i if isinstance(i, In) else In(i) for i in inputs or []]
        outs = [Out() for _ in range(outputs)] if isinstance(outputs, int) else outputs
        spec.setdefault("task_type", f"{self.type}/{method}")
        self.executor.sequence += 1
        if self.executor.board:
            self.executor.board.set(self.executor.sequence, QUEUED)
        task = self._new_id()
        ids = [self._new_id() if i.number is None else (SESSION, i.number) for i in ins]
        out_ids = [self._new_id() for _ in outs]
        make = self._call2 if self.cbor2 else self._call1
        named_ins = list(zip(ids, ins, strict=True))
        named_outs = list(zip(out_ids, outs, strict=True))
        return self.executor.sequence, make(task, named_ins, named_outs, spec)

    def result(self, sequence: int) -> Result:
        raw = self.executor.wait_result(sequence)
        outputs = [self._output(entry) for entry in raw.get("out" if self.cbor2 else "outputs", [])]
        success = not raw.get("failed", False) if self.cbor2 else raw["success"]
        session, number = raw["task"]
        return Result((session, number), success, raw.get("info", {}), outputs, raw)

    def _new_id(self) -> Id:
        self.next_number += 1
        return SESSION, self.next_number

    def _call1(
        self, task: Id, ins: list[tuple[Id, In]], outs: list[tuple[Id, Out]], spec: dict[str, Any]
    ) -> dict[str, Any]:
        def object_spec(number: Id, of: In | Out) -> dict[str, Any]:
            words = {"id": number, "label": of.label, "content_type": of.content_type}
            kind = {"data_type": "dir" if of.directory else "blob", "user": of.user}
            return {key: value for key, value in (words | kind).items() if value}

        def location(at: Any) -> Any:
            if isinstance(at, str):
                return at  # "cached"
            return ["path", str(at)] if isinstance(at, Path) else ["memory", at]

        inputs = [{"id": n} | ({"label": i.task_label} if i.task_label else {}) for n, i in ins]
        task_spec: dict[str, Any] = {"id": task}
        if inputs:
            task_spec["inputs"] = inputs
        if outs:
            task_spec["outputs"] = [number for number, _ in outs]
        task_spec["task_type"] = spec["task_type"]
        if "config" in spec:
            task_spec["config"] = spec["config"]
        task_spec["resources"] = {"cpus": spec.get("cpus", 1)}
        task_spec |= {key: spec[key] for key in ("name", "user") if key in spec}
        return {
            "spec": task_spec,
            "inputs": [
                {
                    "spec": object_spec(number, i),
                    "info": {"size": len(i.at) if isinstance(i.at, bytes) else 0} | i.info,
                    "location": location(i.at),
                    "cache_hint": True,
                }
                for number, i in ins
            ],
            "outputs": [{"spec": object_spec(number, o), "cache_hint": True} for number, o in outs],
        }

    def _call2(
        self, task: Id, ins: list[tuple[Id, In]], outs: list[tuple[Id, Out]], spec: dict[str, Any]
    ) -> dict[str, Any]:
        def entry(number: Id, of: In | Out) -> dict[str, Any]:
            entry: dict[str, Any] = {"id": number}
            words = {"label": of.label, "type": of.content_type, "user": of.user}
            entry |= {key: value for key, value in words.items() if value}
            if of.directory:
                entry["dir"] = True
            if isinstance(of, In):
                if of.task_label:
                    entry["as"] = of.task_label
                if of.info:
                    entry["info"] = of.info
                if isinstance(of.at, tuple):
                    whole, *extent = of.at
                    entry["at"] = [str(whole) if isinstance(whole, Path) else whole.number, *extent]
                else:
                    entry["at"] = str(of.at) if isinstance(of.at, Path) else of.at
            return entry

        call: dict[str, Any] = {"seq": self.executor.sequence, "id": task}
        call["type"] = spec["task_type"]
        call["in"] = [entry(number, i) for number, i in ins]
        call["out"] = [entry(number, o) for number, o in outs]
        return call | {k: spec[k] for k in ("config", "cpus", "name", "user") if k in spec}

    def _output(self, entry: dict[str, Any]) -> Output:
        at = entry["location"] if not self.cbor2 else entry["at"]
        data: bytes | None = None
        if not self.cbor2:
            kind, value = at
            if kind == "memory":
                data = value
            elif kind == "path" and Path(value).is_file():
                data = Path(value).read_bytes()
        elif isinstance(at, bytes):
            data = at
        elif isinstance(at, str):
            data = Path(at).read_bytes() if Path(at).is_file() else None
        elif len(at) == 3 and isinstance(at[0], int):
            number, offset, size = at
            data = self.executor.regions[number].memory[offset : offset + size]
        return Output(at, data, entry.get("info", {}))
