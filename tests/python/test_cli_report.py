"""`rain report` and `rain trace`: tables, pages and traces of event logs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from event_logs import executor, task, write_log
from rain.cli.app import rain
from rain.client import Client, Task, blob
from rain.report.events import report_of
from rain.report.run import read_run
from rain.report.timeline import GOVERNOR, spans_of

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: <no> "luck" & x'


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(rain, [str(argument) for argument in arguments])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    events = [
        *executor(1, "example1", 2.0, 9.0),
        *executor(2, "model", 3.0, 9.5),
        *task(1, 2.0, 3.0, 1.0),
        *task(2, 3.0, 5.0, 1.5),
        *task(3, 3.0, 4.0, 0.5, executor=2, type_name="model/fit", name="fit </script><b>"),
        *task(4, 4.0, 4.5, 0.25, executor=2, type_name="model/fit", state="failed",
              error=TRACEBACK, attempts=3),
        *task(5, 5.0, 5.1, 0.001, executor=9, type_name="buildin/concat", copied=8),
        {"event": "log", "time": 2.5, "id": [1, 1], "executor": 1, "level": 20, "text": "read it"},
        {"event": "log", "time": 2.6, "id": [1, 1], "executor": 1, "level": 20, "text": "",
         "lost": 3},
        {"event": "store", "time": 4.0, "blobs": 2, "bytes": 30, "regions_bytes": 4096,
         "budget_bytes": 10**9},
    ]  # fmt: skip
    return write_log(tmp_path / "run.jsonl", events)


def test_report_prints_the_table_and_json(log: Path) -> None:
    assert call("report", log).output == f"{report_of(log)}\n"
    module = subprocess.run(
        [sys.executable, "-m", "rain.report", log], capture_output=True, text=True
    )
    assert module.stdout == f"{report_of(log)}\n"
    facts = json.loads(call("report", "--json", log).stdout)
    assert facts["tasks"] == {"finished": 4, "failed": 1}
    assert facts["seconds"] == pytest.approx(10.0)
    assert facts["groups"][0]["name"] == "example1/work"
    assert facts["groups"][0]["total_seconds"] == 2.5
    (failure,) = facts["failures"]
    assert failure == {"id": [1, 4], "name": "model/fit", "attempts": 3, "error": TRACEBACK}


class Page(HTMLParser):
    """Texts of the cells of each table, and what else is looked for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        self.open.append(tag)
        if tag == "table":
            self.rows = self.tables.setdefault(str(found["id"]), [])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self.open or "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def test_page_has_tables_failures_and_data_and_needs_no_internet(log: Path) -> None:
    target = log.with_name("out.html")
    done = call("report", log, "--html", target)
    assert done.output == f"{target}: 5 tasks: 4 finished, 1 failed\n"
    text = target.read_text()
    page = Page(text)
    assert page.tables["tasks"][0][0] == "task"
    assert [row[:2] for row in page.tables["tasks"][1:]] == [
        ["example1/work", "2"],
        ["fit </script><b>", "1"],
        ["model/fit", "1"],
        ["buildin/concat", "1"],
    ]
    assert [row[:3] for row in page.tables["executors"][1:]] == [
        ["example1", "101", "2"],
        ["model", "102", "2"],
    ]
    assert TRACEBACK in page.text
    assert "1 failed" in page.text
    assert page.addresses == ["data:,"]
    assert not re.search(r"https?://", text)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    rows = json.loads(data)["rows"]
    assert [(row["name"], row["id"]) for row in rows] == [
        ("governor", ["1/5"]),
        ("example1 101", ["1/1", "1/2"]),
        ("model 102", ["1/3", "1/4"]),
    ]
    assert rows[1]["begin"] == [2_000_000, 3_500_000]
    assert rows[1]["life"] == [1_500_000, 2_000_000, 9_000_000]
    assert "<!-- " not in text


def test_page_of_a_log_that_has_only_begun(tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    log.write_text('{"event": "client", "time": 1.0, "state": "opened", "version": 1}\n')
    target = tmp_path / "out.html"
    assert call("report", log, "--html", target).exit_code == 0
    page = Page(target.read_text())
    assert len(page.tables["tasks"]) == 1
    assert "The client is not closed; 0 tasks are unfinished." in page.text


def test_page_in_a_place_that_is_not_there(log: Path) -> None:
    done = call("report", log, "--html", log.parent / "no" / "out.html")
    assert done.exit_code == 1
    assert "out.html" in done.stderr
    assert "Traceback" not in done.stderr


# ---- timeline


def lanes(path: Path) -> dict[int, list[tuple[int, int, float, float]]]:
    return {
        executor: [(s.task.id[1], s.lane, round(s.begin, 4), round(s.end, 4)) for s in spans]
        for executor, spans in spans_of(read_run(path)).items()
    }


def test_short_tasks_whose_results_came_together_lie_one_after_the_other(tmp_path: Path) -> None:
    events = [line for number in range(5) for line in task(number, 2.0, 3.0, 0.0002)]
    placed = lanes(write_log(tmp_path / "run.jsonl", events))[1]
    assert [(number, lane) for number, lane, _, _ in placed] == [(n, 0) for n in range(5)]
    assert [(begin, end) for _, _, begin, end in placed] == [
        (2.999, 2.9992), (2.9992, 2.9994), (2.9994, 2.9996), (2.9996, 2.9998), (2.9998, 3.0),
    ]  # fmt: skip


def test_calls_that_ran_at_once_have_lanes_of_their_own(tmp_path: Path) -> None:
    events = [*task(1, 2.0, 3.0, 1.0), *task(2, 2.0, 3.0, 1.0), *task(3, 3.0, 4.0, 1.0)]
    placed = lanes(write_log(tmp_path / "run.jsonl", events))[1]
    assert sorted(lane for _, lane, _, _ in placed) == [0, 0, 1]
    for _, _, begin, end in placed:
        assert end - begin == 1.0


@pytest.mark.embedded("a log of what runs elsewhere has no starts and no executors")
def test_spans_of_a_real_run_do_not_overlap(make_client: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    client: Client = make_client(events=path, cpus=2)
    with client.new_session() as session:
        data = blob(b"x" * 1000)
        for number in range(400):
            executor = ("cpptester", "pytester")[number % 2]
            Task((data,), 1, task_type=f"{executor}/echo")
        session.submit()
        session.wait_all()
    client.close()
    run = read_run(path)
    placed = spans_of(run)
    assert sum(len(spans) for spans in placed.values()) == 400
    assert set(placed) <= set(run.executors)
    for spans in placed.values():
        for lane in {span.lane for span in spans}:
            own = [span for span in spans if span.lane == lane]
            for before, span in pairwise(own):
                assert before.end <= span.begin + 1e-9


# ---- trace


@pytest.fixture
def trace(log: Path) -> list[dict[str, Any]]:
    target = log.with_name("trace.json")
    done = call("trace", log, "-o", target)
    assert done.exit_code == 0, done.output
    loaded = json.loads(target.read_text())
    assert done.output == f"{target}: {len(loaded['traceEvents'])} events of 5 tasks\n"
    return loaded["traceEvents"]


def test_trace_has_spawns_runs_and_what_tasks_waited_for(trace: list[dict[str, Any]]) -> None:
    names = {e["pid"]: e["args"]["name"] for e in trace if e["name"] == "process_name"}
    assert names[1] == "example1 101"
    assert names[GOVERNOR] == "governor (buildin)"
    spawn = next(e for e in trace if e["name"] == "spawn" and e["pid"] == 1)
    assert (spawn["ts"], spawn["dur"]) == (pytest.approx(1.5e6), pytest.approx(0.5e6))
    runs = {e["args"]["id"]: e for e in trace if e["ph"] == "X" and e["name"] != "spawn"}
    assert set(runs) == {"1/1", "1/2", "1/3", "1/4", "1/5"}
    assert (runs["1/2"]["ts"], runs["1/2"]["dur"]) == (
        pytest.approx(3.5e6), pytest.approx(1.5e6),
    )  # fmt: skip
    assert runs["1/4"]["cat"] == "run,failed"
    assert runs["1/4"]["args"]["error"] == TRACEBACK
    waits = [(e["ph"], e["name"], e["ts"]) for e in trace if e.get("id") == "1/2"]
    assert [(ph, name, round(ts)) for ph, name, ts in waits] == [
        ("b", "example1/work", 1_000_000),
        ("b", "inputs", 1_000_000),
        ("e", "inputs", 1_500_000),
        ("b", "spawn", 1_500_000),
        ("e", "spawn", 2_000_000),
        ("b", "queue", 2_000_000),
        ("e", "queue", 3_000_000),
        ("b", "sent", 3_000_000),
        ("e", "sent", 3_500_000),
        ("b", "run", 3_500_000),
        ("e", "run", 5_000_000),
        ("e", "example1/work", 5_000_000),
    ]
    (line,) = [e for e in trace if e.get("cat") == "log"]
    assert (line["name"], line["pid"], line["args"]) == ("read it", 1, {"task": "1/1"})
    assert line["ts"] == pytest.approx(2.5e6)
    (counter,) = [e for e in trace if e["ph"] == "C"]
    assert counter["args"] == {"blobs": 30, "regions": 4096}


def test_every_trace_event_has_what_perfetto_asks_for(trace: list[dict[str, Any]]) -> None:
    open_spans: dict[str, list[str]] = {}
    for event in trace:
        assert {"ph", "name", "pid"} <= set(event)
        if event["ph"] == "M":
            continue
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert "tid" in event
        elif event["ph"] == "b":
            open_spans.setdefault(event["id"], []).append(event["name"])
        elif event["ph"] == "e":
            assert open_spans[event["id"]].pop() == event["name"]
    assert not any(open_spans.values())
