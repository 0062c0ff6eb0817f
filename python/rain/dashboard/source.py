"""What a dashboard looks at: one engine, or what governors elsewhere tell."""

from __future__ import annotations

import os
import time

from rain.dashboard.monitoring import Machine
from rain.dashboard.status import (
    BUILTIN,
    STATES,
    engine_status,
    merge_status,
    named_counts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeAlias

    from rain import _core
    from rain.dashboard.events import LoggedEvents

    # What one governor tells of itself; JSON-able, times in seconds since the epoch:
    #   time       now
    #   governor   its status (rain.dashboard.status)
    #   names      [[name, {state: n}], ...], those with the most tasks
    #   n_names    how many names there are
    #   lag        of its event loop, in seconds
    # and for pages only:
    #   governor   has its "machine": {"cpu": percent or None, "memory": percent}
    #   at_work    [[executor, lane, id of the task, name, since], ...]
    #   runs       [[executor, lane, id, name, state, begin, seconds], ...] since the last look
    #   left_out   how many runs are missing there
    #   failures   [{...}, ...] since the last look
    #   blobs      what is in the store; None: as before
    Look: TypeAlias = dict[str, Any]

    class Source(Protocol):
        """What a Site shows. Thread-safe; next_looks() is the feed's alone."""

        engine: str  # "embedded", "standalone" or "cluster"
        began: float

        def about(self) -> dict[str, Any]:
            """Return what else the status is to say of this process."""

        def watch(self, on: bool) -> None:
            """Begin or end to remember what next_looks() is to tell."""

        def next_looks(self) -> list[Look]:
            """Return what each governor has to tell since the last call."""

        def looks(self) -> list[Look]:
            """Return how each governor is, without what pages alone want."""

        def events(self, criteria: bytes) -> bytes:
            """Answer a query of events; see rain.dashboard.events."""

        def close(self) -> None:
            """Nobody looks any more."""


NAMES = 40  # of tasks, told in a look
_MOST_RUNS = 1000  # in a look: the longest ones
_MOST_BLOBS = 100  # the largest ones
_MOST_LANES = 64  # of an executor; what runs at once beyond them is drawn over each other
_TOUCH = 0.005  # runs of one lane may overlap by so much: clocks of two processes
_BLOBS_SHARE = 0.02  # of the time, spent on looking at blobs
_BLOBS_INTERVAL = 1.0
_MACHINE_INTERVAL = 1.0


def status_of(source: Source) -> dict[str, Any]:
    """Return what /rain/status.json has."""
    governors = [look["governor"] for look in source.looks()]
    return merge_status(source.engine, source.began, governors, **source.about())


class EngineSource:
    """One engine of this process. Does not own it.

    Parameters
    ----------
    languages : mapping
        Registered executor type -> "C++" or "Python".
    began : float, optional
        When the engine was made, in seconds since the epoch. Default: as the engine says.
    status : callable, optional
        Makes the governor's status. Default: engine_status().
    events : LoggedEvents, optional
        Answers queries of events; closed with this.
    """

    def __init__(
        self,
        engine: _core.Engine,
        languages: Mapping[str, str],
        *,
        kind: str = "embedded",
        name: str = "governor",
        address: str = "",
        began: float | None = None,
        status: Callable[[], dict[str, Any]] | None = None,
        events: LoggedEvents | None = None,
    ) -> None:
        self.engine = kind
        self._native = engine
        self._languages = dict(languages)
        self._name, self._address = name, address
        self._status = status
        self._events = events
        self._zero = time.time() - engine.activity(1)["now"]  # of the engine's times
        self.began = self._zero if began is None else began
        self._names: list[str] = []
        self._executors: dict[int, str] = {0: BUILTIN}  # texts for people, of all there ever were
        self._lanes: dict[str, list[float]] = {}  # executor -> when the last run of each lane ended
        self._last_failure = 0
        self._blobs_at = 0.0
        self._machine = Machine()
        self._machine_at = 0.0
        self._usage: dict[str, float | None] = {}
        engine.keep_failures(True)

    def watch(self, on: bool) -> None:
        if not self._native.closed:
            self._native.keep_runs(on)
        if on:
            self._blobs_at = 0.0

    def about(self) -> dict[str, Any]:
        return {"address": self._address, "pid": os.getpid()}

    def looks(self) -> list[Look]:
        return [self._look(self._native.activity(NAMES))]

    def next_looks(self) -> list[Look]:
        activity = self._native.activity(NAMES)
        for id, kind, pid, *_ in activity["executors"]:
            if kind != BUILTIN and pid:
                self._executors[id] = f"{kind} {pid}"
        look = self._look(activity)
        look["governor"] = {**look["governor"], "machine": self._machine_usage()}
        look["runs"], look["left_out"] = self._new_runs()
        look["at_work"] = self._at_work(activity)
        look["failures"] = self._new_failures()
        look["blobs"] = self._blobs()
        return [look]

    def events(self, criteria: bytes) -> bytes:
        from rain.dashboard.events import QueryError

        if self._events is None:
            raise QueryError("there is no event log")
        return self._events.answer(criteria)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _look(self, activity: _core.ActivityDict) -> Look:
        if self._status is not None:
            governor = self._status()
        else:
            governor = engine_status(
                self._native, self._languages, activity,
                name=self._name, address=self._address, began=self.began,
            )  # fmt: skip
        names = activity["names"]
        return {
            "time": self._zero + activity["now"],
            "governor": governor,
            "names": [[name, named_counts(counts)] for name, counts in names[:NAMES]],
            "n_names": len(names),
            "lag": activity["lag"],
        }

    def _new_runs(self) -> tuple[list[list[Any]], int]:
        names, runs, left_out = self._native.take_runs(_MOST_RUNS, len(self._names))
        self._names += names
        runs.sort(key=lambda run: run[5])
        placed = []
        for session, id, name, executor, state, start, seconds in runs:
            label = self._executors.get(executor) or f"executor {executor}"
            lane = self._lane(label, start, set())
            self._lanes[label][lane] = start + seconds
            placed.append([label, lane, f"{session}/{id}", self._names[name], STATES[state - 1],
                           self._zero + start, seconds])  # fmt: skip
        return placed, left_out

    def _at_work(self, activity: _core.ActivityDict) -> list[list[Any]]:
        taken: dict[str, set[int]] = {}
        lines = []
        for id, _, _, _, _, _, calls in activity["executors"]:
            label = self._executors.get(id, BUILTIN)
            for (session, task), name, since in calls:
                used = taken.setdefault(label, set())
                lane = self._lane(label, since, used)
                used.add(lane)
                lines.append([label, lane, f"{session}/{task}", name, self._zero + since])
        return lines

    def _lane(self, executor: str, begin: float, taken: set[int]) -> int:
        """Return the executor's first lane that is free from `begin` on, a new one if need be."""
        ends = self._lanes.setdefault(executor, [])
        for lane, end in enumerate(ends):
            if lane not in taken and end <= begin + _TOUCH:
                return lane
        if len(ends) == _MOST_LANES:
            return _MOST_LANES - 1
        ends.append(0.0)
        return len(ends) - 1

    def _new_failures(self) -> list[dict[str, Any]]:
        lines = []
        for (
            number,
            id,
            name,
            kind,
            executor,
            pid,
            when,
            seconds,
            attempts,
            text,
        ) in self._native.failures(self._last_failure):
            self._last_failure = number
            where = f"{executor} {pid}" if pid else executor
            lines.append(
                {"id": f"{id[0]}/{id[1]}", "name": name or kind, "executor": where,
                 "time": self._zero + when, "seconds": seconds, "attempts": attempts,
                 "text": text}
            )  # fmt: skip
        return lines

    def _machine_usage(self) -> dict[str, float | None]:
        now = time.monotonic()
        if now >= self._machine_at:
            self._machine_at = now + _MACHINE_INTERVAL
            usage = self._machine.usage()
            cores = usage["cpu_usage"]
            cpu = round(sum(cores) / len(cores), 1) if cores else None
            self._usage = {"cpu": cpu, "memory": usage["mem_usage"]}
        return self._usage

    def _blobs(self) -> dict[str, Any] | None:
        """Return the largest data with their holders; looking at a million takes its time."""
        begin = time.monotonic()
        if begin < self._blobs_at:
            return None
        from rain.client.store import StoredBlob

        raw = self._native.store_blobs()
        raw.sort(key=lambda line: -line[3])
        blobs = [StoredBlob(*line) for line in raw[:_MOST_BLOBS]]
        took = time.monotonic() - begin
        self._blobs_at = begin + max(_BLOBS_INTERVAL, took / _BLOBS_SHARE)
        return {
            "count": len(raw),
            "bytes": sum(line[3] for line in raw if not line[9]),
            "lines": [
                [f"{b.id[0]}/{b.id[1]}", b.label, b.task_type, b.size, b.place,
                 ", ".join(b.holders)]
                for b in blobs
            ],
        }  # fmt: skip
