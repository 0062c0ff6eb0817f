"""Reads event logs: see docs/events.md for what is in them."""

from __future__ import annotations

import json

from rain.common.errors import RainException
from rain.report import Report, TaskReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import Any

VERSION = 1
_ENDS = {"finished": 4, "failed": 5, "cancelled": 6, "aborted": 7}  # as graph/state numbers them


def read_events(path: str | PathLike[str], notes: list[str] | None = None) -> Iterator[Any]:
    """Give the events of a log, one dict each; what is odd goes to `notes` as text.

    A last line that is cut off is left out, as of a program that was killed or still runs.

    Raises
    ------
    RainException
        The file is no event log, or of a version that this one cannot read.
    OSError
    """
    notes = [] if notes is None else notes
    unreadable = 0
    first = True
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
                known = isinstance(event, dict) and isinstance(event.get("event"), str)
            except ValueError:
                known = False
            if first and not (known and event["event"] == "client"):
                raise RainException(
                    f"{path} is no event log: it does not begin with a line "
                    '{"event": "client", ...}; Client(events=...) writes one'
                )
            if not known:
                if line.endswith("\n"):
                    unreadable += 1
                else:
                    notes.append("The last line is cut off: the program was killed, or still runs.")
                continue
            if first and event.get("version") != VERSION:
                raise RainException(
                    f"{path} has version {event.get('version')!r} of the event log, this program "
                    f"reads version {VERSION}: use the rain that wrote it, or a newer one"
                )
            first = False
            yield event
    if first:
        raise RainException(f"{path} is empty: no client has written events to it yet")
    if unreadable:
        notes.append(f"{unreadable} lines are unreadable and left out.")


def report_of(path: str | PathLike[str]) -> Report:
    """Return the report of an event log. Raises as read_events()."""
    notes: list[str] = []
    closed = False
    began = 0.0
    unfinished: set[tuple[int, int]] = set()
    tasks = []
    odd = 0
    for event in read_events(path, notes):
        kind = event["event"]
        try:
            if kind == "client":
                closed = event["state"] == "closed"
                began = began or float(event["time"])
            elif kind == "lost":
                notes.append(f"{event['lines']} events are missing: the disk was too slow.")
            elif kind == "task":
                task_id = (int(event["id"][0]), int(event["id"][1]))
                if event["state"] in _ENDS:
                    tasks.append(_task(event, task_id, began))
                    unfinished.discard(task_id)
                else:
                    unfinished.add(task_id)
        except (KeyError, TypeError, ValueError, IndexError):
            odd += 1
    if odd:
        notes.append(f"{odd} events have not the form of version {VERSION} and are left out.")
    if not closed:
        notes.append(f"The client is not closed; {len(unfinished)} tasks are unfinished.")
    return Report(tasks, notes)


def _task(event: dict[str, Any], task_id: tuple[int, int], began: float) -> TaskReport:
    task_type = str(event["type"])
    seconds = float(event.get("seconds", 0.0))
    numbers = [int(event.get(key, 0)) for key in ("in", "out", "copied", "attempts")]
    raw = (
        task_id,
        task_type,
        task_type.partition("/")[0],
        str(event.get("name", "")),
        _ENDS[event["state"]],
        int(event.get("executor", 0)),
        int(event.get("pid", 0)),
        float(event["time"]) - began - seconds,
        seconds,
        *numbers,
        str(event.get("error", "")),
    )
    return TaskReport(raw, "")  # type: ignore[arg-type]
