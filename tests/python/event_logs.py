"""Event logs made up for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BEGAN = 1_700_000_000.0


def write_log(path: Path, events: Iterable[dict[str, Any]], seconds: float = 10.0) -> Path:
    """Write a log; times of events are seconds since it began."""
    opened = {"event": "client", "state": "opened", "time": 0, "version": 1, "pid": 7, "cpus": 4}
    closed = {"event": "client", "state": "closed", "time": seconds}
    lines = [event | {"time": BEGAN + event["time"]} for event in (opened, *events, closed)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def executor(number: int, type_name: str, ready: float, ended: float) -> list[dict[str, Any]]:
    facts = {"event": "executor", "id": number, "type": type_name, "pid": 100 + number}
    return [
        facts | {"time": ready - 0.5, "state": "started"},
        facts | {"time": ready, "state": "registered"},
        facts | {"time": ended, "state": "ended", "cause": "it ended with exit code: 0"},
    ]


def task(
    number: int,
    sent: float,
    ended: float,
    seconds: float,
    *,
    executor: int = 1,
    type_name: str = "example1/work",
    **more: Any,
) -> list[dict[str, Any]]:
    facts = {"event": "task", "id": [1, number]}
    end = {
        "state": "finished", "type": type_name, "pid": 100 + executor, "seconds": seconds,
        "attempts": 1, "in": 10, "out": 20, "copied": 0,
    }  # fmt: skip
    return [
        facts | {"time": 1.0, "state": "waiting", "type": type_name, "cpus": 1},
        facts | {"time": 1.5, "state": "ready"},
        facts | {"time": sent, "state": "running", "executor": executor},
        facts | end | {"time": ended, "executor": executor} | more,
    ]
