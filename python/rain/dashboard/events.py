"""Events as Rain 0.4 told them, and its queries: ``POST /events``.

An answer is a JSON array of ``{"id", "time", "event"}``, ordered by id. Criteria are a JSON object:
``id`` and ``session`` ``{"value": int, "mode"}``, ``event_types`` a list of ``{"value": str,
"mode"}`` of which one has to match, all of them optional; modes are ``=``, ``<``, ``>``, ``<=`` and
``>=``.
"""

from __future__ import annotations

import json
import operator
import os
import threading
import time
from collections import deque
from datetime import datetime, timezone

from rain.dashboard.monitoring import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # id, time, type as criteria call it, session, event
    Event: TypeAlias = tuple[int, float, str, int | None, dict[str, Any]]

_MODES: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip
# What a criterion calls these types; the others have their own name.
_COLUMN = {"DataObjectFinished": "ObjectFinished", "ClientInvalidRequest": "InvalidRequest"}


class QueryError(ValueError):
    """Criteria that are none."""


class EventStore:
    """The latest events. Thread-safe."""

    MOST = 200_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_id = 0
        self._events: deque[Event] = deque(maxlen=self.MOST)

    def add(
        self, event: dict[str, Any], session: int | None = None, when: float | None = None
    ) -> None:
        """Add an event, which has a "type"; `when` in seconds since the epoch, default: now."""
        kind = event["type"]
        when = time.time() if when is None else when
        with self._lock:
            self._last_id += 1
            self._events.append((self._last_id, when, _COLUMN.get(kind, kind), session, event))

    def since(self, id: int) -> list[Event]:
        """Return the events after that one."""
        with self._lock:
            return [event for event in self._events if event[0] > id]

    def answer(self, criteria: bytes) -> bytes:
        """Return the events that match.

        Raises
        ------
        QueryError
        """
        matches = parse_criteria(criteria)
        with self._lock:
            events = list(self._events)
        found = [
            {"id": id, "time": time_text(when), "event": event}
            for id, when, kind, session, event in events
            if matches(id, kind, session)
        ]
        return json.dumps(found, separators=(",", ":")).encode()


def parse_criteria(text: bytes) -> Callable[[int, str, int | None], bool]:
    """Return a predicate of id, type and session. Raises QueryError."""
    try:
        criteria = json.loads(text)
    except ValueError as error:  # UnicodeDecodeError, too
        raise QueryError(f"the criteria are no JSON: {error}") from None
    if not isinstance(criteria, dict):
        raise QueryError("the criteria must be a JSON object; {} is everything")
    id_test = _test(criteria.get("id"), "id", int)
    session_test = _test(criteria.get("session"), "session", int)
    types = criteria.get("event_types")
    type_tests: list[Callable[[Any], bool]] = []
    if types is not None:
        if not isinstance(types, list) or not types:
            raise QueryError("event_types must be a list with something in it")
        for each in types:
            test = _test(each, "event_types", str)
            if test is None:
                raise QueryError("event_types has a null")
            type_tests.append(test)

    def matches(id: int, kind: str, session: int | None) -> bool:
        if id_test is not None and not id_test(id):
            return False
        if session_test is not None and (session is None or not session_test(session)):
            return False
        return not type_tests or any(test(kind) for test in type_tests)

    return matches


def _test(criterion: Any, key: str, wanted: type) -> Callable[[Any], bool] | None:
    if criterion is None:
        return None
    value = criterion.get("value") if isinstance(criterion, dict) else None
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise QueryError(f'{key} must be {{"value": {wanted.__name__}, "mode": text}}')
    mode = criterion.get("mode")
    compare = _MODES.get(mode) if isinstance(mode, str) else None
    if compare is None:
        raise QueryError(f"the mode of {key} is one of {' '.join(_MODES)}, not {mode!r}")
    return lambda other: bool(compare(other, value))


def time_text(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


class LoggedEvents:
    """Events of an event log (docs/events.md), which is read on with every query, and of how busy
    the machine is from the first query on. Thread-safe. Whoever makes it closes it.

    Parameters
    ----------
    path : callable
        Returns where the log is; called with the first query, so that it may begin one.
    governor, client : str
        As events call them: addresses. Without `client` there are only sessions of others.
    """

    def __init__(self, path: Callable[[], str], governor: str, client: str) -> None:
        self._path = path
        self._governor, self._client = governor, client
        self._lock = threading.Lock()
        self._store = EventStore()
        self._monitor: Monitor | None = None
        self._closed = False
        self._file: str | None = None
        self._offset = 0
        self._submitted: list[dict[str, Any]] = []  # tasks that were in the lines just read
        self._submitted_at = 0.0
        self._failed: set[int] = set()  # sessions

    def answer(self, criteria: bytes) -> bytes:
        """Return the events that match. Raises QueryError, OSError, UsageError."""
        parse_criteria(criteria)  # before a log is begun for nothing
        self._update()
        return self._store.answer(criteria)

    def since(self, id: int) -> list[Event]:
        """Return the events after that one. Raises OSError, UsageError."""
        self._update()
        return self._store.since(id)

    def close(self) -> None:
        """End the thread that watches the machine. Idempotent."""
        with self._lock:
            self._closed = True
            monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.close()

    def _update(self) -> None:
        with self._lock:
            if self._file is None:
                self._file = self._path()
            self._read()
            if self._monitor is None and not self._closed:
                self._monitor = Monitor(self._store.add, self._governor)

    def _read(self) -> None:
        assert self._file is not None
        with open(self._file, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._offset:
                self._offset = 0  # it was replaced
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._offset += len(line)
                try:
                    self._add(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue  # a line that was cut, or of a newer version
        self._submit()

    def _add(self, line: dict[str, Any]) -> None:
        kind, state, when = line["event"], line.get("state"), float(line["time"])
        if kind == "task" and "type" in line and state in ("waiting", "ready"):
            if not self._submitted:
                self._submitted_at = when
            self._submitted.append(_spec(line))
            return
        self._submit()
        if kind == "client" and state == "opened":
            self._store.add({"type": "GovernorNew", "governor": self._governor}, when=when)
            if self._client:
                self._store.add({"type": "ClientNew", "client": self._client}, when=when)
        elif kind == "client" and state == "closed" and self._client:
            gone = {"type": "ClientRemoved", "client": self._client}
            self._store.add(gone | {"error_msg": "client disconnected"}, when=when)
        elif kind == "session":
            self._add_session(line, int(line["id"]), when)
        elif kind == "task":
            self._add_task(line, when)

    def _add_session(self, line: dict[str, Any], session: int, when: float) -> None:
        state = line["state"]
        event: dict[str, Any]
        if state == "opened":
            event = {"type": "SessionNew", "session": session, "client": self._client}
            self._store.add(event | {"spec": {"name": line["name"]}}, session, when)
            return
        if session in self._failed:
            return  # its end was told
        if state == "failed":
            self._failed.add(session)
        reason = "Error" if state == "failed" else "ClientClose"
        event = {"type": "SessionClosed", "session": session, "reason": reason}
        self._store.add(event | {"message": str(line.get("error", ""))}, session, when)

    def _add_task(self, line: dict[str, Any], when: float) -> None:
        id, state = line["id"], line["state"]
        if state == "running":
            self._store.add({"type": "TaskStarted", "task": id, "info": {}}, id[0], when)
        elif state in ("finished", "failed"):
            seconds = float(line["seconds"])
            began = float(line.get("began", when - seconds))
            info: dict[str, Any] = {}
            if state == "failed":
                info["error"] = str(line.get("failure", {}).get("message") or line["error"])
            info["governor"] = self._governor
            info["start_time"] = datetime.fromtimestamp(began, timezone.utc).isoformat()
            info["duration"] = round(seconds, 3)
            self._store.add({"type": "TaskFinished", "task": id, "info": info}, id[0], when)

    def _submit(self) -> None:
        if not self._submitted:
            return
        tasks, self._submitted = self._submitted, []
        event = {"type": "ClientSubmit", "tasks": tasks, "dataobjs": []}
        self._store.add(event, tasks[0]["id"][0], self._submitted_at)


def _spec(line: dict[str, Any]) -> dict[str, Any]:
    spec = {"id": line["id"], "task_type": line["type"], "resources": {"cpus": line["cpus"]}}
    if line.get("name"):
        spec["name"] = line["name"]
    return spec


class MergedEvents:
    """Events of several governors in one numbering. Thread-safe.

    Governors number their sessions by themselves, and each has those parts of a client's session
    that run there; here a session of a client has one number, and is opened and closed once.

    Parameters
    ----------
    pull : callable
        Called with {governor's name: id of its last known event}; returns of each governor
        ``{"name", "events": as LoggedEvents.since(), "sessions": [[number, client, its number]]}``.
    """

    def __init__(self, pull: Callable[[dict[str, int]], list[dict[str, Any]]]) -> None:
        self._pull = pull
        self._lock = threading.Lock()
        self._store = EventStore()
        self._known: dict[str, int] = {}
        self._sessions: dict[tuple[str, int], int] = {}
        self._clients: set[str] = set()
        self._told: set[tuple[str, int]] = set()  # begins and ends of sessions

    def answer(self, criteria: bytes) -> bytes:
        """Return the events that match. Raises QueryError, and what `pull` does."""
        parse_criteria(criteria)
        with self._lock:
            news = []
            for governor in self._pull(self._known):
                owners = {own: (client, number) for own, client, number in governor["sessions"]}
                for id, when, _, session, event in governor["events"]:
                    self._known[governor["name"]] = id
                    news.append((when, owners.get(session), event))
            for when, owner, event in sorted(news, key=lambda each: each[0]):
                self._add(when, owner, event)
        return self._store.answer(criteria)

    def _add(self, when: float, owner: tuple[str, int] | None, event: dict[str, Any]) -> None:
        kind = event["type"]
        if owner is None:
            if kind in ("GovernorNew", "Monitoring"):
                self._store.add(event, when=when)
            return
        client, number = owner[0], owner[1]
        session = self._sessions.setdefault((client, number), len(self._sessions) + 1)
        if kind in ("SessionNew", "SessionClosed"):
            if (kind, session) in self._told:
                return
            self._told.add((kind, session))
            event = event | {"session": session}
        if client not in self._clients:
            self._clients.add(client)
            self._store.add({"type": "ClientNew", "client": client}, when=when)
        if "client" in event:
            event = event | {"client": client}
        if "task" in event:
            event = event | {"task": [session, event["task"][1]]}
        if "tasks" in event:
            event = event | {
                "tasks": [task | {"id": [session, task["id"][1]]} for task in event["tasks"]]
            }
        self._store.add(event, session, when)
