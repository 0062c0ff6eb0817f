"""The status of governors as JSON: /rain/status.json, and what metrics are made of."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from rain import _core

BUILTIN = "buildin"
# By number of the compiled module's states (graph/records.h), without drafts.
STATES = ("waiting", "ready", "running", "finished", "failed", "cancelled", "aborted")
ENDED = STATES[3:]


def version() -> str:
    from importlib.metadata import version

    return version("rain-tasklib")


def named_counts(counts: Sequence[int]) -> dict[str, int]:
    """Return counts by state's number, drafts being 0, as a dict."""
    return dict(zip(STATES, counts[1:], strict=True))


def engine_status(
    engine: _core.Engine,
    languages: Mapping[str, str],
    activity: _core.ActivityDict | None = None,
    *,
    name: str,
    address: str,
    began: float,
) -> dict[str, Any]:
    """Return the status of one governor. JSON-able; docs/watching.md lists the keys.

    Parameters
    ----------
    languages : mapping
        Registered executor type -> "C++" or "Python".
    activity : dict, optional
        What ``engine.activity()`` has just given; default: it is asked.
    began : float
        When it was started, in seconds since the epoch.
    """
    store = engine.store_usage()
    if activity is None:
        activity = engine.activity(1)
    return {
        "name": name,
        "address": address,
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "version": version(),
        "began": began,
        "cpus": engine.cpus,
        "memory": store["budget_bytes"],
        "executors": _executors(activity, languages),
        "store": store,
        "tasks": named_counts(activity["tasks"]),
        "sessions": [
            {"id": id, "name": name, "failed": failed, "tasks": named_counts(counts)}
            for id, name, failed, counts, _, _ in activity["sessions"]
        ],
    }


def _executors(activity: _core.ActivityDict, languages: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a dict for each type, `buildin` first: its tasks are run by the governor itself."""
    types = [BUILTIN, *sorted(languages)]
    lines: dict[str, dict[str, Any]] = {
        kind: {
            "type": kind,
            "language": languages.get(kind, "C++"),
            "processes": 0,
            "pids": [],
            "starting": 0,
            "running": 0,  # calls that they are at
            "calls": 0,  # the same and those that wait in a process
        }
        for kind in types
    }
    for _, kind, pid, state, calls, _, at_work in activity["executors"]:
        line = lines[kind]
        line["running"] += len(at_work)
        line["calls"] += calls
        if kind != BUILTIN:
            line["processes"] += 1
            line["starting"] += state == "starting"
            if pid:
                line["pids"].append(pid)
    return list(lines.values())


def merge_status(
    engine: str,
    began: float,
    governors: Sequence[Mapping[str, Any]],
    **more: Any,
) -> dict[str, Any]:
    """Return what /rain/status.json has.

    Parameters
    ----------
    engine : str
        "embedded", "standalone" or "cluster".
    governors : sequence of dict
        As engine_status() makes them.
    **more
        Of the process that answers: its address, pid, kind, …
    """
    return {
        "version": version(),
        "engine": engine,
        "kind": {"cluster": "server"}.get(engine, engine),
        "began": began,
        **more,
        "governors": list(governors),
        "sessions": merge_sessions(governors),
        "tasks": add_counts(governor["tasks"] for governor in governors),
    }


def merge_sessions(governors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the open sessions; one that a client has on several governors is one.

    Its number is the client's then, and its tasks are those that the governors know.
    """
    merged: dict[Any, dict[str, Any]] = {}
    for governor in governors:
        for session in governor["sessions"]:
            client = session.get("client")
            number = session.get("client_session", session["id"]) if client else session["id"]
            line = merged.setdefault(
                (client or governor["name"], number),
                {"id": number, "name": session["name"], "client": client or "",
                 "failed": False, "governors": [], "tasks": {}},
            )  # fmt: skip
            line["failed"] |= session["failed"]
            line["governors"].append(governor["name"])
            line["tasks"] = add_counts([line["tasks"], session["tasks"]])
    return list(merged.values())


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sums by state."""
    sums = dict.fromkeys(STATES, 0)
    for each in counts:
        for state, count in each.items():
            sums[state] = sums.get(state, 0) + count
    return sums
