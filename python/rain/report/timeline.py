"""Where the runs of tasks lie in time: one lane for each call that an executor runs at once."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rain.report.run import Run, RunTask

GOVERNOR = 0  # no executor has this id

# An executor sends the results of short tasks together, so that they seem to have ended at once:
# by so much a run may be moved to where the executor must have had it.
_MOST_MOVED = 0.005
# Where the executor tells when a function began, only by what rounding takes.
_ROUNDED = 2e-6


class Span:
    """A task while an executor ran it. Seconds since the log began."""

    __slots__ = ("begin", "end", "lane", "task")

    def __init__(self, task: RunTask, lane: int, begin: float, end: float) -> None:
        self.task = task
        self.lane = lane
        self.begin = begin
        self.end = end


def spans_of(run: Run) -> dict[int, list[Span]]:
    """Return the spans of each executor that ran something, in the order of their ends.

    The log says how long a function ran and when it began; if not that, when its result came. Two
    runs of one lane never overlap. Built-in tasks are those of GOVERNOR.
    """
    tasks: dict[int, list[RunTask]] = {}
    for task in run.tasks:
        if task.ended is not None and task.sent is not None:
            builtin = task.type.startswith("buildin/")
            tasks.setdefault(GOVERNOR if builtin else task.executor, []).append(task)
    return {executor: _place(ran) for executor, ran in sorted(tasks.items())}


def _place(tasks: Iterable[RunTask]) -> list[Span]:
    """From the last to the first: each ends where it can, in the first lane that is free then."""
    spans = []
    lanes: list[float] = []  # where the earliest span begins
    for task in reversed(sorted(tasks, key=_end)):  # noqa: C413 - stable
        ended, seconds = _end(task), task.seconds
        most_moved = _MOST_MOVED if task.began is None else _ROUNDED
        earliest = (task.sent or 0.0) if task.began is None else task.began
        ends = (min(ended, free_until) for free_until in lanes)
        fits = (
            (lane, end)
            for lane, end in enumerate(ends)
            if ended - end <= most_moved and end - seconds >= earliest - most_moved
        )
        lane, end = next(fits, (len(lanes), ended))
        begin = max(end - seconds, 0.0)
        lanes[lane : lane + 1] = [begin]
        spans.append(Span(task, lane, begin, end))
    _most_used_first(spans, len(lanes))
    spans.reverse()
    return spans


def _end(task: RunTask) -> float:
    return task.began + task.seconds if task.began is not None else task.ended or 0.0


def _most_used_first(spans: list[Span], n_lanes: int) -> None:
    counts = [0] * n_lanes
    for span in spans:
        counts[span.lane] += 1
    order = sorted(range(n_lanes), key=lambda lane: -counts[lane])
    place = {lane: number for number, lane in enumerate(order)}
    for span in spans:
        span.lane = place[span.lane]
