"""An event log as a page for people: one file that needs nothing else."""

from __future__ import annotations

import json
import time
from html import escape
from pathlib import Path

from rain.common.text import seconds_text, size_text
from rain.report.failure import headline
from rain.report.timeline import GOVERNOR, spans_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike
    from typing import Any

    from rain.report.run import Run, RunExecutor, RunTask
    from rain.report.timeline import Span

_MOST_SPANS = 200_000  # in the timeline: what browsers draw while one drags it
_MOST_FAILURES = 200
_STATES = ("finished", "failed", "cancelled", "aborted")


def page(run: Run, name: str | PathLike[str]) -> str:
    """Return the page of a run whose event log is called `name`."""
    spans = spans_of(run)
    placed = [span for executor in spans.values() for span in executor]
    notes = list(run.notes)
    if len(placed) > _MOST_SPANS:
        notes.append(f"The timeline shows the {_MOST_SPANS:,} longest of {len(placed):,} tasks.")
    parts = {  # in the order of the template
        "TITLE": escape(Path(name).name),
        "STYLE": asset("page.css"),
        "NAME": escape(Path(name).name),
        "SUBTITLE": escape(_subtitle(run)),
        "CARDS": "".join(_cards(run, placed)),
        "NOTES": "".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        "FAILURES": _failures(run),
        "TASKS": _table("tasks", *_task_table(run)),
        "EXECUTORS": _table("executors", *_executor_table(run, spans)),
        "DATA": json.dumps(_timeline(run, spans), separators=(",", ":")).replace("<", "\\u003c"),
        "TIMELINE": asset("timeline.js"),
    }
    return fill(asset("page.html"), parts)


def asset(name: str) -> str:
    """Return a file of this package, of which pages are made."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def fill(template: str, parts: dict[str, str]) -> str:
    """Put the parts in the places of `<!-- KEY -->`, whose order they have."""
    done = []
    for key, value in parts.items():
        before, _, after = template.partition(f"<!-- {key} -->")
        done.append(before + value)
        template = after
    return "".join([*done, template])


def _subtitle(run: Run) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began))
    return f"{when} · client {run.pid} · {run.cpus} CPU{'s' * (run.cpus != 1)}"


def _cards(run: Run, placed: Sequence[Span]) -> Iterable[str]:
    counts: dict[str, int] = {}
    for task in run.tasks:
        state = task.state if task.state in _STATES else "unfinished"
        counts[state] = counts.get(state, 0) + 1
    others = [f"{n:,} {state}" for state, n in counts.items() if state != "finished"]
    yield _card("Tasks", f"{len(run.tasks):,}", ", ".join(others) or "all finished")
    yield _card("Wall time", seconds_text(run.seconds), "while the client was open")
    busy = sum(span.task.seconds for span in placed)
    at_once = f"{busy / run.seconds:.1f} at once on average" if run.seconds else ""
    yield _card("Run time of tasks", seconds_text(busy), at_once)
    report = run.report()
    copied = sum(task.copied_bytes for task in report)
    yield _card(
        "Data out of tasks",
        size_text(sum(task.output_bytes for task in report)),
        f"{size_text(copied)} copied" if copied else "nothing copied",
    )
    if run.store:
        _, _, regions, budget = max(run.store, key=lambda sample: sample[2])
        yield _card("Most in the store", size_text(regions), f"of {size_text(budget)}")


def _card(title: str, value: str, detail: str) -> str:
    return (
        f'<div class="card"><h3>{escape(title)}</h3><b>{escape(value)}</b>'
        f"<span>{escape(detail)}</span></div>"
    )


def _failures(run: Run) -> str:
    failed = [task for task in run.tasks if task.state == "failed" and task.report is not None]
    if not failed:
        return ""
    parts = [f'<section id="failures"><h2>Failed <small>{len(failed):,}</small></h2>']
    parts += [_failure(run, task) for task in failed[:_MOST_FAILURES]]
    if len(failed) > _MOST_FAILURES:
        parts.append(f'<p class="note">and {len(failed) - _MOST_FAILURES:,} more</p>')
    parts.append("</section>")
    return "".join(parts)


def _failure(run: Run, task: RunTask) -> str:
    report = task.report
    assert report is not None
    text = report.error if task.failure is None else task.failure.text()
    title = headline(report.error)
    attempts = f"{report.attempts} attempt{'s' * (report.attempts != 1)}"
    executor = run.executors.get(task.executor)
    where = f"{executor.type} {executor.pid}" if executor is not None else ""
    facts = " · ".join(part for part in (f"{task.id[0]}/{task.id[1]}", where, attempts) if part)
    head = (
        f"<b>{escape(task.group)}</b> <small>{escape(facts)}</small>"
        f'<div class="headline">{escape(title)}</div>'
    )
    if text.strip() == title:
        return f'<div class="failure">{head}</div>'
    text = escape(text)
    return f'<details class="failure"><summary>{head}</summary><pre>{text}</pre></details>'


# A cell is a text, and what to sort by if that is not the text.
def _task_table(run: Run) -> tuple[list[str], list[list[tuple[str, float | str]]]]:
    report = run.report()
    numbers = report.groups()
    keys = (
        "count", "mean_seconds", "max_seconds", "total_seconds", "input_bytes", "output_bytes",
        "copied_bytes", "not_finished", "retries",
    )  # fmt: skip
    rows = []
    for row, group in zip(report.rows(), numbers, strict=True):
        cells: list[tuple[str, float | str]] = [(row[0], row[0])]
        cells += [(text, group[key]) for text, key in zip(row[1:], keys, strict=True)]
        rows.append(cells)
    return list(report.HEADER), rows


def _executor_table(
    run: Run, spans: dict[int, list[Span]]
) -> tuple[list[str], list[list[tuple[str, float | str]]]]:
    header = ["executor", "pid", "tasks", "busy", "of its life", "start-up", "ended"]
    rows = []
    for executor in run.executors.values():
        ran = spans.get(executor.id, [])
        busy = sum(span.task.seconds for span in ran)
        life = _life(run, executor)
        startup = (executor.registered or 0.0) - (executor.started or 0.0)
        share = busy / life if life else 0.0
        cells: list[tuple[str, float | str]] = [
            (executor.type, executor.type),
            (str(executor.pid), executor.pid),
            (f"{len(ran):,}", len(ran)),
            (seconds_text(busy), busy),
            (f"{share:.0%}", share),
            (seconds_text(startup) if executor.registered is not None else "never ready", startup),
            (_end(run, executor), _end(run, executor)),
        ]
        rows.append(cells)
    return header, rows


def _life(run: Run, executor: RunExecutor) -> float:
    end = run.seconds if executor.ended is None else executor.ended
    return end - (executor.started or 0.0)


def _end(run: Run, executor: RunExecutor) -> str:
    if executor.ended is None:
        return "still runs"
    if executor.cause.endswith("exit code: 0"):
        return f"after {seconds_text(_life(run, executor))}"
    return executor.cause


def _table(
    id: str, header: Sequence[str], rows: Sequence[Sequence[tuple[str, float | str]]]
) -> str:
    parts = [f'<table id="{id}"><thead><tr>']
    parts += [f'<th scope="col">{escape(name)}</th>' for name in header]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        parts.append("<tr>")
        for text, key in row:
            kind = ' class="text"' if isinstance(key, str) else f' data-key="{key:.9g}"'
            parts.append(f"<td{kind}>{escape(text)}</td>")
        parts.append("</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def _timeline(run: Run, spans: dict[int, list[Span]]) -> dict[str, Any]:
    """What the page's script draws: rows, and of each its tasks by begin, times in us."""
    shown = _longest(spans)
    groups: dict[str, int] = {
        str(group["name"]): i for i, group in enumerate(run.report().groups())
    }
    rows = []
    for executor_id in sorted({*spans, *run.executors}):
        executor = run.executors.get(executor_id)
        ran = [span for span in spans.get(executor_id, []) if shown is None or id(span) in shown]
        n_lanes = max((span.lane for span in ran), default=0) + 1
        for lane in range(n_lanes):
            own = sorted((s for s in ran if s.lane == lane), key=lambda span: span.begin)
            rows.append(_row(run, executor, executor_id, lane, own, groups))
    errors = {
        f"{task.id[0]}/{task.id[1]}": task.report.error.split("\n")[0]
        for task in run.tasks
        if task.report is not None and task.report.error
    }
    return {
        "seconds": run.seconds,
        "groups": list(groups),
        "states": _STATES,
        "rows": rows,
        "errors": dict(list(errors.items())[: 10 * _MOST_FAILURES]),
        "store": [[_us(t), blobs, regions] for t, blobs, regions, _ in run.store],
    }


def _row(
    run: Run, executor: RunExecutor | None, executor_id: int, lane: int, spans: Sequence[Span],
    groups: dict[str, int],
) -> dict[str, Any]:  # fmt: skip
    row: dict[str, Any] = {
        "lane": lane,
        "name": "governor" if executor_id == GOVERNOR else f"executor {executor_id}",
        "begin": [_us(span.begin) for span in spans],
        "length": [_us(span.end) - _us(span.begin) for span in spans],
        "group": [groups[span.task.group] for span in spans],
        "state": [_STATES.index(span.task.state) for span in spans],
        "id": [f"{span.task.id[0]}/{span.task.id[1]}" for span in spans],
    }
    if executor is not None:
        ended = run.seconds if executor.ended is None else executor.ended
        row["name"] = f"{executor.type} {executor.pid}"
        row["life"] = [_us(executor.started or 0.0), _us(executor.registered or ended), _us(ended)]
    return row


def _longest(spans: dict[int, list[Span]]) -> set[int] | None:
    """Return ids of the Python objects to show, None for all."""
    placed = [span for executor in spans.values() for span in executor]
    if len(placed) <= _MOST_SPANS:
        return None
    placed.sort(key=lambda span: span.begin - span.end)
    return {id(span) for span in placed[:_MOST_SPANS]}


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
