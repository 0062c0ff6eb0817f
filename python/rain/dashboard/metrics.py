"""What Prometheus scrapes: the text format, version 0.0.4."""

from __future__ import annotations

from rain.dashboard.status import ENDED, STATES, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from rain.dashboard.source import Look

    Sample: TypeAlias = tuple[Mapping[str, str], float]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LIVE = [state for state in STATES if state not in ENDED]
# Metric, key in a governor's "store", type, help.
_STORE = (
    ("rain_store_budget_bytes", "budget_bytes", "gauge", "What the blob store may use"),
    ("rain_store_regions_bytes", "regions_bytes", "gauge", "Shared memory that counts against it"),
    ("rain_store_blobs_bytes", "blobs_bytes", "gauge", "Blobs in shared memory"),
    ("rain_store_blobs", "blobs", "gauge", "Number of blobs in shared memory"),
    ("rain_store_views", "views", "gauge", "Views that executors have of them"),
    ("rain_store_spilled_bytes", "spilled_bytes", "gauge", "Data on disk for want of memory"),
    ("rain_store_spilled_blobs", "spilled_blobs", "gauge", "Number of blobs on disk"),
    ("rain_store_spills_bytes_total", "spill_written_bytes", "counter", "Bytes written there"),
)  # fmt: skip


def metrics_text(engine: str, looks: Sequence[Look]) -> str:
    """Return the metrics of the governors."""
    lines: list[str] = []

    def add(name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
        for labels, value in samples:
            inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
            lines.append(f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}")

    governors = [({"governor": look["governor"]["name"]}, look["governor"]) for look in looks]

    def of_each(key: str) -> list[tuple[dict[str, str], Any]]:
        return [(labels, look[key]) for (labels, _), look in zip(governors, looks, strict=True)]

    def by_type(key: str) -> Iterable[Sample]:
        for labels, governor in governors:
            for executor in governor["executors"]:
                yield {**labels, "type": executor["type"]}, executor[key]

    add("rain_info", "gauge", "Always 1", [({"version": version(), "engine": engine}, 1)])
    add("rain_governors", "gauge", "Governors that are connected", [({}, len(looks))])
    for metric, kind, states, text in (
        ("rain_tasks", "gauge", _LIVE, "Tasks that have not ended"),
        ("rain_tasks_ended_total", "counter", ENDED, "Tasks that have ended"),
    ):
        add(metric, kind, text, (
            ({**labels, "state": state}, governor["tasks"][state])
            for labels, governor in governors for state in states
        ))  # fmt: skip
    for metric, kind, states, text in (
        ("rain_named_tasks", "gauge", _LIVE, "Tasks that have not ended, by name"),
        (
            "rain_named_tasks_ended_total", "counter", ENDED,
            "Tasks that have ended since somebody looked first, by name",
        ),
    ):  # fmt: skip
        add(metric, kind, text, (
            ({**labels, "name": name, "state": state}, counts[state])
            for labels, names in of_each("names") for name, counts in names for state in states
        ))  # fmt: skip
    for metric, text, samples in (
        ("rain_cpus", "Tasks that may run at once",
         ((labels, governor["cpus"]) for labels, governor in governors)),
        ("rain_sessions", "Open sessions",
         ((labels, len(governor["sessions"])) for labels, governor in governors)),
        ("rain_executors", "Executor processes", by_type("processes")),
        ("rain_executors_starting", "Those that have not registered", by_type("starting")),
        ("rain_calls_running", "Calls that executors are at", by_type("running")),
        ("rain_calls", "The same and those that wait in an executor", by_type("calls")),
        ("rain_event_loop_lag_seconds", "How long the last look waited for its turn",
         of_each("lag")),
    ):  # fmt: skip
        add(metric, "gauge", text, samples)
    for metric, key, kind, text in _STORE:
        add(metric, kind, text, (
            (labels, governor["store"][key]) for labels, governor in governors
        ))  # fmt: skip
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
