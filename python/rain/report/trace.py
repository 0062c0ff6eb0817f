"""Event logs as trace events, which Perfetto (https://ui.perfetto.dev) and Chrome show.

Every process of the run is a process of the trace: the client with its queue and its store, the
governor's own tasks, and the executors with a line for each call that they run at once. Process
ids of the trace are the log's ids of executors: those of the system may come again in a long run.

A task's life lies in the client's lines: `inputs` (it waits for them), `queue`, `spawn` (of the
process that was to run it), `sent`, `run`, `seal` (until the governor had its result). Arrows go
from the run that made an object to the runs that read it.
"""

from __future__ import annotations

import json
from itertools import zip_longest

from rain.report.timeline import GOVERNOR, spans_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO

    from rain.report.run import Run, RunExecutor, RunTask
    from rain.report.timeline import Span

_CLIENT = 1_000_000_000  # no executor has it


def write_trace(run: Run, file: TextIO) -> int:
    """Write the trace as JSON; return how many events it has."""
    count = 0
    file.write('{"displayTimeUnit": "ms", "traceEvents": [')
    for event in _events(run):
        file.write((",\n" if count else "\n") + json.dumps(event, ensure_ascii=False))
        count += 1
    file.write("\n]}\n")
    return count


def _events(run: Run) -> Iterator[dict[str, Any]]:
    spans = spans_of(run)
    of_task = {id(span.task): span for placed in spans.values() for span in placed}
    yield from _process(_CLIENT, f"client {run.pid}", 0)
    yield from _lives(run, of_task)
    yield from _store(run)
    if GOVERNOR in spans:
        yield from _process(GOVERNOR, "governor (buildin)", 1)
        yield from _runs(GOVERNOR, spans[GOVERNOR])
    for executor in run.executors.values():
        yield from _process(executor.id, f"{executor.type} {executor.pid}", 1 + executor.id)
        yield from _life(executor, run.seconds)
        yield from _runs(executor.id, spans.get(executor.id, []))
    yield from _arrows(run, of_task)
    yield from _log(run)


def _process(pid: int, name: str, order: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
    yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": order}}


def _lives(run: Run, spans: dict[int, Span]) -> Iterator[dict[str, Any]]:
    """A task from its submit to its end, and inside of that what it waited for."""
    for task in run.tasks:
        ended = run.seconds if task.ended is None else task.ended
        phases = _phases(run, task, spans.get(id(task)))
        began = phases[0][1] if phases else ended
        common = {"cat": "task", "id": _id(task), "pid": _CLIENT, "tid": 0}
        yield {"ph": "b", "name": task.group, "ts": _us(began), "args": _facts(task), **common}
        for number, (name, time) in enumerate(phases):
            until = phases[number + 1][1] if number + 1 < len(phases) else ended
            yield {"ph": "b", "name": name, "ts": _us(time), **common}
            yield {"ph": "e", "name": name, "ts": _us(until), **common}
        yield {"ph": "e", "name": task.group, "ts": _us(ended), **common}


def _phases(run: Run, task: RunTask, span: Span | None) -> list[tuple[str, float]]:
    """Return the phases of a task's life, each with when it began, in order and none empty."""
    found: list[tuple[str, float | None]] = [("inputs", task.waiting), ("queue", task.ready)]
    executor = run.executors.get(task.executor)
    if executor is not None and task.ready is not None and task.sent is not None:
        started, registered = executor.started, executor.registered
        if started is not None and registered is not None and task.ready < registered <= task.sent:
            found.append(("spawn", max(started, task.ready)))
            if registered < task.sent:
                found.append(("queue", registered))
    found.append(("sent", task.sent))
    if span is not None:
        found.append(("run", span.begin))
        if task.began is not None:
            found.append(("seal", span.end))
    phases: list[tuple[str, float]] = []
    for name, time in found:
        if time is not None:
            phases.append((name, max(time, phases[-1][1]) if phases else time))
    if task.ended is not None:  # by the governor's clock, as all but `run` and `seal`
        phases = [(name, min(time, task.ended)) for name, time in phases]
    return [
        (name, time)
        for (name, time), after in zip_longest(phases, phases[1:])
        if name == "run" or after is None or time < after[1]
    ]


def _arrows(run: Run, spans: dict[int, Span]) -> Iterator[dict[str, Any]]:
    """From the task that made an object to each that read it."""
    number = 0
    for task in run.tasks:
        target = spans.get(id(task))
        if target is None:
            continue
        for object_number, size in task.inputs:
            made = run.objects[task.id[0], object_number]
            source = spans.get(id(made.producer))
            if source is None:
                continue
            arrival = _us(target.begin)
            departure = min(_last_inside(source), arrival)
            if departure < _us(source.begin):
                continue  # their executors' clocks or the log's rounding disagree
            number += 1
            common = {"name": "blob", "cat": "blob", "id": number}
            facts = {"id": f"{task.id[0]}/{object_number}", "bytes": size}
            yield {"ph": "s", "ts": departure, **_place(source), **common, "args": facts}
            yield {"ph": "f", "bp": "e", "ts": arrival, **_place(target), **common, "args": facts}


def _last_inside(span: Span) -> float:
    """Return the last moment that viewers count to the span: its end belongs to what follows."""
    begin, duration = _us(span.begin), _us(span.end - span.begin)
    return max(begin, round(begin + duration - 0.001, 3))


def _place(span: Span) -> dict[str, int]:
    builtin = span.task.type.startswith("buildin/")
    return {"pid": GOVERNOR if builtin else span.task.executor, "tid": span.lane + 1}


def _store(run: Run) -> Iterator[dict[str, Any]]:
    for time, blobs, regions, _ in run.store:
        yield {
            "ph": "C", "name": "store, bytes", "pid": _CLIENT, "ts": _us(time),
            "args": {"blobs": blobs, "regions": regions},
        }  # fmt: skip


def _life(executor: RunExecutor, seconds: float) -> Iterator[dict[str, Any]]:
    began = executor.started if executor.started is not None else executor.registered
    if began is None:
        return
    common = {"cat": "executor", "pid": executor.id, "tid": 0}
    yield _thread(executor.id, 0, "process")
    until = next((t for t in (executor.registered, executor.ended) if t is not None), seconds)
    yield {"ph": "X", "name": "spawn", "ts": _us(began), "dur": _us(until - began), **common}
    if executor.ended is not None:
        yield {
            "ph": "i", "s": "t", "name": "end", "ts": _us(executor.ended), **common,
            "args": {"cause": executor.cause},
        }  # fmt: skip


def _log(run: Run) -> Iterator[dict[str, Any]]:
    for time, executor, task_id, text in run.log:
        if text:
            yield {
                "ph": "i", "s": "t", "name": text, "cat": "log", "ts": _us(time),
                "pid": executor, "tid": 0, "args": {"task": f"{task_id[0]}/{task_id[1]}"},
            }  # fmt: skip


def _runs(pid: int, spans: list[Span]) -> Iterator[dict[str, Any]]:
    for lane in sorted({span.lane for span in spans}):
        yield _thread(pid, lane + 1, f"call {lane + 1}")
    for span in spans:
        yield {
            "ph": "X", "name": span.task.group, "cat": f"run,{span.task.state}", "pid": pid,
            "tid": span.lane + 1, "ts": _us(span.begin), "dur": _us(span.end - span.begin),
            "args": _facts(span.task),
        }  # fmt: skip


def _thread(pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def _facts(task: RunTask) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": _id(task), "type": task.type, "state": task.state}
    if task.report is not None:
        facts["attempts"] = task.report.attempts
        facts["input bytes"] = task.report.input_bytes
        facts["output bytes"] = task.report.output_bytes
        facts["copied bytes"] = task.report.copied_bytes
        if task.report.error:
            facts["error"] = task.report.error
    return facts


def _id(task: RunTask) -> str:
    return f"{task.id[0]}/{task.id[1]}"


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
