"""The event log and the report that is made of it, or of Client(record=True)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ConfigError, RainException, Task, UsageError, blob
from rain.common.text import seconds_text, size_text
from rain.report.events import read_events, report_of

pytestmark = pytest.mark.engines

MakeClient = Callable[..., Client]


def call(method: str, *inputs: Any, executor: str = "cpptester", **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"{executor}/{method}", **arguments)


def run(client: Client) -> None:
    """Five tasks: three echos in two groups, a failure and what depends on it."""
    with client.new_session("one", on_error="continue") as session:
        tasks = [call("echo", blob(b"x" * n), name="small") for n in (1, 2)]
        tasks.append(call("echo", blob(b"y" * 100_000)))
        bad = call("fail", blob('no "luck" <b>\nat all\x01'), name="bad")
        tasks += [bad, call("echo", bad)]
        session.submit()
        for task in tasks:
            task.exception()


@pytest.fixture
def log(make_client: MakeClient, tmp_path: Path) -> Path:
    path = tmp_path / "run.jsonl"
    client = make_client(events=path, cpus=1)  # with two processes a call may be taken back
    run(client)
    client.close()
    return path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.embedded("a log of what runs elsewhere has no starts and no executors")
def test_log_tells_the_life_of_client_session_tasks_and_executors(log: Path) -> None:
    events = lines_of(log)
    assert events[0]["event"] == "client"
    assert (events[0]["state"], events[0]["version"]) == ("opened", 1)
    assert (events[-1]["event"], events[-1]["state"]) == ("client", "closed")
    assert [e["state"] for e in events if e["event"] == "session"] == ["opened", "closed"]
    assert next(e["state"] for e in events if e["event"] == "executor") == "started"
    executors = [(e["id"], e["state"]) for e in events if e["event"] == "executor"]
    for state in ("started", "registered", "ended"):
        assert (1, state) in executors
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        if event["event"] == "task":
            tasks.setdefault(tuple(event["id"]), []).append(event)
    lives = sorted([e["state"] for e in life] for life in tasks.values())
    assert lives == [
        ["ready", "running", "failed"],
        ["ready", "running", "finished"],
        ["ready", "running", "finished"],
        ["ready", "running", "finished"],
        ["waiting", "aborted"],
    ]
    for life in tasks.values():
        assert [e["time"] for e in life] == sorted(e["time"] for e in life)
        assert life[0]["type"].startswith("cpptester/")
        assert life[0]["cpus"] == 1
    (big,) = [e for e in events if e.get("in") == 100_000]
    assert big["out"] == 100_000
    assert big["copied"] == 0
    assert big["attempts"] == 1
    assert big["seconds"] > 0
    (failed,) = [e for e in events if e["event"] == "task" and e["state"] == "failed"]
    assert failed["error"] == 'no "luck" <b>'
    assert failed["name"] == "bad"


def test_report_of_a_log_is_that_of_the_client(make_client: MakeClient, tmp_path: Path) -> None:
    client = make_client(record=True, events=tmp_path / "run.jsonl")
    run(client)
    own = client.report()
    client.close()
    read = report_of(tmp_path / "run.jsonl")

    def facts(report: Any) -> list[Any]:
        return [
            (t.id, t.group, t.state, t.attempts, t.input_bytes, t.output_bytes, t.error, t.process)
            for t in report
        ]

    assert facts(own) == facts(read)
    assert str(own) == str(read)
    assert own.headline() == read.headline() == "5 tasks: 3 finished, 1 failed, 1 aborted"
    text = str(own)
    assert text.splitlines()[1].split() == list(own.HEADER)
    assert {line.split()[0]: line.split()[1] for line in text.splitlines()[2:5]} == {
        "small": "2",
        "cpptester/echo": "2",
        "bad": "1",
    }
    assert "bad 1/" in text
    assert '1 attempt: no "luck" <b>' in text
    assert "<b>" not in own._repr_html_()
    assert "&lt;b&gt;" in own._repr_html_()
    assert client.report() == []


def test_program_prints_the_report(log: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rain.report", str(log)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{report_of(log)}\n"


def test_a_cut_last_line_unknown_events_and_rubbish_are_survived(log: Path) -> None:
    whole = report_of(log)
    lines = log.read_text().splitlines()
    lines[2:2] = [
        '{"event": "weather", "time": 1.0}',
        "rubbish",
        '{"event": "task", "state": "finished"}',
        "[1, 2]",
        "",
    ]
    log.write_text("\n".join(lines[:-1]) + '\n{"event": "cli')
    report = report_of(log)
    assert len(report) == len(whole)
    assert str(report).splitlines()[-4:] == [
        "The last line is cut off: the program was killed, or still runs.",
        "3 lines are unreadable and left out.",
        "1 events have not the form of version 1 and are left out.",
        "The client is not closed; 0 tasks are unfinished.",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n", "is no event log"),
        ("hello\nworld\n", "is no event log"),
        ('{"event": "task"}\n', "is no event log"),
        ('{"event": "client", "time": 1, "state": "opened", "version": 2}\n', "has version 2"),
        ("\0\0\0", "is no event log"),
    ],
)
def test_what_is_no_log_is_said_so(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(RainException, match=message):
        list(read_events(path))
    done = subprocess.run(
        [sys.executable, "-m", "rain.report", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rain.report", str(tmp_path / "no")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_log_of_a_running_client_is_written_within_a_second_or_so(
    make_client: MakeClient, tmp_path: Path
) -> None:
    import time

    path = tmp_path / "run.jsonl"
    client = make_client(events=path, cpus=1)  # with two processes a call may be taken back
    run(client)
    deadline = time.monotonic() + 20
    while '"closed"' not in path.read_text():
        assert time.monotonic() < deadline, "the session's end is never written"
        time.sleep(0.01)
    report = report_of(path)
    assert len(report) == 5
    assert report.notes == ["The client is not closed; 0 tasks are unfinished."]


def test_a_place_where_no_log_can_be_written(make_client: MakeClient, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no/run\.jsonl"):
        make_client(events=tmp_path / "no" / "run.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_warning(make_client: MakeClient) -> None:
    client = make_client(events="/dev/full")
    run(client)
    with pytest.warns(match="the event log /dev/full misses events: write: No space left"):
        client.close()


def test_nothing_is_recorded_unless_asked(client: Client) -> None:
    with pytest.raises(UsageError, match="record=True"):
        client.report()


def test_quantities() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 2_000_000: "2.0 MB", 999_999: "1.0 MB"}
    assert {n: size_text(n) for n in sizes} == sizes
    assert size_text(5 * 10**15) == "5000.0 TB"
    times = {0.0: "0 s", 0.0000012: "1.2 us", 0.5: "500 ms", 2.0: "2.0 s", 61: "1:01 min"}
    assert {s: seconds_text(s) for s in times} == times
    assert seconds_text(9000) == "2:30:00 h"


def test_events_must_be_a_path(make_client: MakeClient) -> None:
    with pytest.raises((ConfigError, TypeError)):
        make_client(events=7)
