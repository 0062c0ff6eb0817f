"""What the event log tells of failures, data and times, and what pages and traces make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_logs import executor, task, write_log
from rain.cli.app import rain
from rain.client import Client, Task, blob, tasks
from rain.report.html import page
from rain.report.run import Run, read_run
from rain.report.timeline import spans_of

MakeClient = Callable[..., Client]
EXECUTORS = ("cpptester", "pytester")


def call(method: str, *inputs: Any, executor: str = "pytester", **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"{executor}/{method}", **arguments)


@pytest.fixture
def log_of(make_client: MakeClient, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """log_of(make): events of a client in which the tasks that `make` makes have ended."""

    def log_of(make: Callable[[], Any], **arguments: Any) -> list[dict[str, Any]]:
        path = tmp_path / "run.jsonl"
        client = make_client(events=path, **{"cpus": 1} | arguments)
        with client.new_session("one", on_error="continue") as session:
            made = make()
            session.submit()
            for each in made:
                each.exception()
        client.close()
        return [json.loads(line) for line in path.read_text().splitlines()]

    return log_of


def run_of(tmp_path: Path) -> Run:
    return read_run(tmp_path / "run.jsonl")


def end_of(events: list[dict[str, Any]], made: Task) -> dict[str, Any]:
    (end,) = (
        e for e in events
        if e["event"] == "task" and e["id"] == list(made.id)
        and e["state"] in ("finished", "failed", "cancelled", "aborted")
    )  # fmt: skip
    return end


# ---- failures


def test_a_failure_has_traceback_debug_text_and_all_attempts(log_of: Any, tmp_path: Path) -> None:
    def make() -> list[Task]:
        made.append(call("fail", blob("no luck"), retries=2))
        return made

    made: list[Task] = []
    end = end_of(log_of(make), made[0])
    failure = end["failure"]
    assert failure["kind"] == "task"
    assert failure["message"].startswith("Traceback (most recent call last):")
    assert "raise ValueError(message.get_str())" in failure["message"]
    assert end["error"] == "ValueError: no luck"
    assert [(each["kind"], each["executor"], each["pid"]) for each in failure["attempts"]] == [
        ("task", end["executor"], end["pid"])
    ] * 3
    assert all(each["seconds"] > 0 for each in failure["attempts"])
    assert "message" not in failure["attempts"][0]  # it is the failure's
    assert not {"cut", "n_attempts", "report"} & set(failure)
    (found,) = (each for each in run_of(tmp_path).tasks if each.failure is not None)
    text = found.failure.text()
    assert text.startswith(failure["message"].rstrip())
    assert text.count("ValueError: no luck") == 4  # with a line for each attempt


def test_a_failure_has_the_death_report_and_what_the_task_had_said(log_of: Any) -> None:
    made: list[Task] = []
    config = {"log": [], "debug": ["half way"], "repeat": 1, "then": "abort"}

    def make() -> list[Task]:
        made.append(call("say", config=config, executor="cpptester"))
        return made

    failure = end_of(log_of(make), made[0])["failure"]
    assert failure["kind"] == "executor"
    assert "SIGABRT" in failure["message"] + failure["report"]
    assert "half way" in failure["debug"]


def test_what_a_failure_says_is_cut_with_a_note(log_of: Any, tmp_path: Path) -> None:
    made: list[Task] = []

    def make() -> list[Task]:
        made.append(call("big_error", config={"size": 100_000}, retries=9, executor="cpptester"))
        made.append(call("fail", blob("ž" * 50_000 + "end"), executor="cpptester"))
        return made

    events = log_of(make)
    failure = end_of(events, made[0])["failure"]
    assert len(failure["message"]) < 17_000
    assert 80_000 < failure["cut"] < 90_000
    assert f"[… {failure['cut']} bytes are left out …]" in failure["message"]
    assert (len(failure["attempts"]), failure["n_attempts"]) == (8, 10)
    whole = end_of(events, made[1])["failure"]["message"]
    assert "\ufffd" not in whole  # no character is cut in two
    assert "žend" in whole
    (first,) = (each.failure for each in run_of(tmp_path).tasks if each.id == made[0].id)
    assert first is not None
    assert "2 earlier ones are not in the event log" in first.text()
    assert f"{failure['cut']:,} bytes of this are not in the event log" in first.text()


def test_only_a_failed_task_has_a_failure_and_a_session_names_it(
    make_client: MakeClient, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    client = make_client(events=path, cpus=1)
    with client.new_session("one") as session:
        bad = call("fail", blob("no luck"))
        after = call("echo", bad)
        session.submit()
        bad.exception()
        after.exception()
    client.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert "failure" in end_of(events, bad)
    assert end_of(events, after)["state"] == "cancelled"
    assert not {"failure", "inputs", "began"} & set(end_of(events, after))
    (failed,) = (e for e in events if e["event"] == "session" and e["state"] == "failed")
    assert failed["task"] == list(bad.id)


# ---- data


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ends_name_inputs_and_outputs_with_their_sizes(log_of: Any, executor: str) -> None:
    made: list[Task] = []
    constant = []

    def make() -> list[Task]:
        constant.append(blob(b"x" * 70_000))
        made.append(call("echo", constant[0], executor=executor))
        made.append(call("concat", made[0].output, made[0].output, executor=executor))
        made.append(call("split", made[1].output, outputs=3, executor=executor))
        made.append(call("fail", blob("no"), executor=executor))
        return made

    events = log_of(make)
    echo, joined, parts, failed = (end_of(events, each) for each in made)
    number = made[0].output.id.id
    assert echo["inputs"] == [[constant[0].id.id, 70_000]]
    assert echo["outputs"] == [[number, 70_000]]
    assert joined["inputs"] == [[number, 70_000], [number, 70_000]]
    assert [size for _, size in joined["outputs"]] == [140_000]
    assert [id_ for id_, _ in parts["outputs"]] == [output.id.id for output in made[2].outputs]
    assert sum(size for _, size in parts["outputs"]) == 140_000
    assert failed["inputs"][0][1] == 2
    assert "outputs" not in failed


def test_a_task_with_very_many_inputs_has_a_short_line(log_of: Any, tmp_path: Path) -> None:
    made: list[Task] = []

    def make() -> list[Task]:
        made.append(call("concat", *[blob("x") for _ in range(10_000)]))
        return made

    events = log_of(make)
    end = end_of(events, made[0])
    assert end["n_inputs"] == 10_000
    assert len(end["inputs"]) == 32
    assert max(map(len, (tmp_path / "run.jsonl").read_text().splitlines())) < 5_000
    (found,) = run_of(tmp_path).tasks
    assert (found.n_inputs, len(found.inputs), found.n_outputs) == (10_000, 32, 1)


def test_every_object_is_dropped_once_after_its_last_use(log_of: Any, tmp_path: Path) -> None:
    made: list[Task] = []

    def make() -> list[Task]:
        made.extend(call("echo", blob(b"x" * 10)) for _ in range(300))
        made.append(call("concat", *made))
        made[-1].output.keep()
        return made

    events = log_of(make)
    dropped: dict[int, int] = {}
    place = {}
    for index, event in enumerate(events):
        if event["event"] == "data":
            assert event["session"] == made[0].id.session_id
            assert len(event["dropped"]) <= 256
            for number, size in event["dropped"]:
                assert number not in dropped
                dropped[number] = size
                place[number] = index
    outputs = [each.output.id.id for each in made]
    assert set(outputs) <= set(dropped)
    assert len(dropped) == 2 * 300 + 1  # with the constants
    assert dropped[outputs[0]] == 10
    assert dropped[outputs[-1]] == 3000
    last = events.index(end_of(events, made[-1]))
    assert all(place[number] > last for number in outputs)
    objects = run_of(tmp_path).objects
    assert objects[made[0].id.session_id, outputs[0]].producer.id == tuple(made[0].id)
    assert all(each.dropped is not None for each in objects.values())


# ---- times


@pytest.mark.embedded("a log of what runs elsewhere has no starts and no executors")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_function_begins_after_it_was_sent_and_ends_before_it_is_taken(
    log_of: Any, tmp_path: Path, executor: str
) -> None:
    def make() -> list[Task]:
        made = [
            call("sleep", config={"seconds": 0.002 * (number % 2)}, executor=executor)
            for number in range(40)
        ]
        return [*made, tasks.Concat([each.output for each in made])]

    log_of(make)
    run = run_of(tmp_path)
    assert len(run.tasks) == 41
    for each in run.tasks:
        assert each.began is not None
        assert each.sent <= each.began + 2e-6
        assert each.began + each.seconds <= each.ended + 2e-6
    (spans,) = (placed for number, placed in spans_of(run).items() if len(placed) == 40)
    assert {span.lane for span in spans} == {0}  # one at a time, and so they do not overlap
    for span in spans:
        assert span.begin == pytest.approx(span.task.began, abs=3e-6)


def test_a_repeated_call_that_never_ended_has_no_begin_of_an_earlier_one(
    log_of: Any, tmp_path: Path
) -> None:
    made: list[Task] = []

    def make() -> list[Task]:
        # The first call fails by itself, the second kills its process.
        expression = (
            "__import__('os').abort() if __import__('os').path.exists(ctx.config['mark']) "
            "else (open(ctx.config['mark'], 'w'), 1 / 0)"
        )
        config = {"expression": expression, "mark": str(tmp_path / "mark")}
        made.append(call("return_of", config=config, retries=1))
        return made

    end = end_of(log_of(make), made[0])
    assert [each["kind"] for each in end["failure"]["attempts"]] == ["task", "executor"]
    assert "ZeroDivisionError" in end["failure"]["attempts"][0]["message"]
    assert "began" not in end


# ---- trace


def trace_of(path: Path) -> list[dict[str, Any]]:
    from click.testing import CliRunner

    target = path.with_suffix(".json")
    done = CliRunner().invoke(rain, ["trace", str(path), "-o", str(target)])
    assert done.exit_code == 0, done.output
    events: list[dict[str, Any]] = json.loads(target.read_text())["traceEvents"]
    return events


def check_arrows(trace: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each arrow leaves inside of its producer's run and arrives inside of its consumer's: (id of
    the producer, id of the consumer) of each."""
    ends: dict[int, dict[str, dict[str, Any]]] = {}
    for event in trace:
        if event["ph"] in ("s", "f"):
            assert event["ph"] not in ends.setdefault(event["id"], {})
            ends[event["id"]][event["ph"]] = event
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in trace:
        if event["ph"] == "X" and event["cat"].startswith("run,"):
            runs.setdefault((event["pid"], event["tid"]), []).append(event)

    def task_at(event: dict[str, Any]) -> str:
        (found,) = (
            run["args"]["id"]
            for run in runs[event["pid"], event["tid"]]
            if run["ts"] <= event["ts"] < run["ts"] + max(run["dur"], 0.001)
        )
        return str(found)

    arrows = []
    for end in ends.values():
        start, finish = end["s"], end["f"]
        assert start["ts"] <= finish["ts"]
        assert finish["bp"] == "e"
        assert (start["name"], start["cat"]) == (finish["name"], finish["cat"])
        arrows.append((task_at(start), task_at(finish)))
    return arrows


@pytest.mark.embedded("a log of what runs elsewhere has no starts and no executors")
def test_arrows_go_from_who_made_a_blob_to_who_read_it(log_of: Any, tmp_path: Path) -> None:
    made: list[Task] = []

    def make() -> list[Task]:
        layer: list[Task] = [call("fill", config={"size": 20_000, "byte": 1}) for _ in range(4)]
        made.extend(layer)
        for number in range(5):
            kind = EXECUTORS[number % 2]
            layer = [
                call("concat", layer[i - 1].output, layer[i].output, executor=kind)
                for i in range(4)
            ]
            made.extend(layer)
        made.append(tasks.Concat([each.output for each in layer]))
        return made

    log_of(make, cpus=2)
    arrows = check_arrows(trace_of(tmp_path / "run.jsonl"))

    def id_of(made: Task) -> str:
        return f"{made.id[0]}/{made.id[1]}"

    expected = [
        (id_of(made[4 * layer + i + shift]), id_of(made[4 * layer + 4 + i]))
        for layer in range(5)
        for i in range(4)
        for shift in (0, -1 if i else 3)
    ] + [(id_of(made[20 + i]), id_of(made[24])) for i in range(4)]
    assert sorted(arrows) == sorted(expected)


def test_arrows_of_a_made_up_log(tmp_path: Path) -> None:
    events = [
        *executor(1, "example1", 2.0, 9.0),
        *executor(2, "model", 2.0, 9.0),
        # Its result came late, when the next one had begun already; the last has no time to tell.
        *task(1, 2.0, 4.0, 0.5, began=_at(2.5), outputs=[[10, 5], [11, 6]]),
        *task(2, 2.5, 4.1, 0.5, began=_at(3.0), inputs=[[1, 3]], outputs=[[12, 7]]),
        *task(3, 4.2, 6.0, 0.0, executor=2, began=_at(5.0), inputs=[[10, 5], [12, 7], [99, 1]]),
        *task(4, 4.2, 6.5, 1.0, executor=2, inputs=[[11, 6]]),
    ]
    trace = trace_of(write_log(tmp_path / "run.jsonl", events))
    assert sorted(check_arrows(trace)) == [("1/1", "1/3"), ("1/1", "1/4"), ("1/2", "1/3")]
    first = next(e for e in trace if e["ph"] == "s" and e["args"]["id"] == "1/10")
    assert first["args"]["bytes"] == 5
    assert (first["pid"], first["ts"]) == (1, pytest.approx(3.0e6, abs=0.01))


def _at(seconds: float) -> float:
    from event_logs import BEGAN

    return BEGAN + seconds


def test_a_life_has_queue_spawn_run_and_seal(tmp_path: Path) -> None:
    events = [
        *executor(1, "example1", 3.0, 9.0),  # started at 2.5
        *task(1, 4.0, 6.0, 1.0, began=_at(4.5)),  # ready at 1.5
    ]
    trace = trace_of(write_log(tmp_path / "run.jsonl", events))
    life = [(e["ph"], e["name"], round(e["ts"] / 1e6, 3)) for e in trace if e.get("id") == "1/1"]
    phases = [("inputs", 1.0), ("queue", 1.5), ("spawn", 2.5), ("queue", 3.0), ("sent", 4.0),
              ("run", 4.5), ("seal", 5.5)]  # fmt: skip
    ends = [begin for _, begin in phases[1:]] + [6.0]
    inner = [
        part
        for (name, begin), end in zip(phases, ends, strict=True)
        for part in (("b", name, begin), ("e", name, end))
    ]
    assert life == [("b", "example1/work", 1.0), *inner, ("e", "example1/work", 6.0)]


# ---- page


def test_page_unfolds_a_failure(log_of: Any, tmp_path: Path) -> None:
    def make() -> list[Task]:
        return [
            call("fail", blob("</pre><script>")),
            call("throw_std", executor="cpptester", retries=1),
        ]

    log_of(make)
    text = page(run_of(tmp_path), "run.jsonl")
    failures = text[text.index('<section id="failures">') :].split("</section>")[0]
    traceback, twice = failures.split('<details class="failure">')[1:]
    assert "Traceback (most recent call last):" in traceback.split("<pre>")[1]
    assert "raise ValueError(message.get_str())" in traceback
    assert '<div class="headline">ValueError: &lt;/pre&gt;&lt;script&gt;</div>' in traceback
    assert "  2. task in process" in twice.split("<pre>")[1]
