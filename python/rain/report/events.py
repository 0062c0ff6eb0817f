"""Reads event logs: see docs/events.md for what is in them."""

from __future__ import annotations

import json

from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import Any

    from rain.report import Report

VERSION = 1


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
    from rain.report.run import read_run

    return read_run(path).report()
