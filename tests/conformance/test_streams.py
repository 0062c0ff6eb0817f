"""What executors say besides results: log and debug lines, pongs, their tasks, mismatches."""

from __future__ import annotations

from typing import Any

import pytest
from calls import Tester
from fake_governor import CANCEL_REQUESTED, DONE, STARTED
from kinds import ALL, NEW, TYPED, Start

new_protocol = pytest.mark.parametrize("kind", NEW)


def listening(start: Start, kind: str, threads: int = 1, **welcome: Any) -> Tester:
    """An executor of a governor that takes logs."""
    tester = start(kind, threads, begin=False)
    tester.executor.registered = tester.executor.expect_register()
    tester.executor.welcome(**({"features": ["log", "later"]} | welcome))
    return tester


def say(tester: Tester, then: str = "return", repeat: int = 1, **what: Any) -> int:
    config = {"log": [], "debug": [], "repeat": repeat, "then": then}
    return tester.send_call("say", config=config | what)


def wait_phase(tester: Tester, sequence: int, phase: int) -> None:
    assert tester.executor.board
    while tester.executor.board.phase(sequence) != phase:
        assert tester.executor.process.poll() is None, tester.executor.logs()


def stop(tester: Tester, sequence: int) -> dict[str, Any]:
    assert tester.executor.board
    tester.executor.board.set(sequence, CANCEL_REQUESTED)
    return tester.result(sequence).raw


# ---- Log ----------------------------------------------------------------------------------------


@new_protocol
def test_log_lines_come_while_the_task_runs(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    sequence = say(tester, "spin", log=[[20, "begun"], [30, "half full: 50 °"]])
    first, second = (tester.executor.wait_message("log") for _ in range(2))
    assert first == {"seq": sequence, "level": 20, "text": "begun"}
    assert second == {"seq": sequence, "level": 30, "text": "half full: 50 °"}
    assert stop(tester, sequence)["cancelled"]


@new_protocol
def test_log_lines_of_a_short_task_come_before_its_result(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    for _ in range(3):  # the first call is not known to be short
        sequence = say(tester, log=[[10, "short"]])
        name, line = tester.executor.receive()
        assert (name, line["seq"], line["text"]) == ("log", sequence, "short")
        assert tester.result(sequence).data == b"said"


@new_protocol
def test_log_lines_of_a_method_that_was_short_come_though_it_takes_long_now(
    start: Start, kind: str
) -> None:
    tester = listening(start, kind)
    for _ in range(200):  # until the first, long calls of the method are forgotten
        tester.result(say(tester))
    sequence = say(tester, "spin", log=[[20, "unusual"]], debug=["slow"])
    assert tester.executor.wait_message("log")["text"] == "unusual"
    assert tester.executor.wait_message("debug")["text"] == "slow"
    assert stop(tester, sequence)["cancelled"]


@new_protocol
def test_long_log_lines_are_cut(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    tester.result(say(tester, log=[[20, "x" * 10_000]]))
    text = tester.executor.wait_message("log")["text"]
    assert text == "x" * 8192 + "... (1808 more bytes)"


@new_protocol
def test_a_flood_of_lines_does_not_wait_and_is_counted(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    lines = 20_000
    sequence = say(tester, repeat=lines, log=[[20, "y" * 500]])
    wait_phase(tester, sequence, DONE)  # though nobody reads
    came = lost = 0
    while not tester.executor.results:
        name, data = tester.executor.receive()
        if name == "result":
            tester.executor.results[data["seq"]] = data
            continue
        lost += data.get("lost", 0)
        came += data["text"] != ""
    assert tester.result(sequence).data == b"said"
    assert came + lost == lines
    assert lost > 0


@pytest.mark.parametrize("kind", [kind for kind in ALL if not kind.startswith("raw")])
def test_a_governor_that_knows_no_log_gets_none(start: Start, kind: str) -> None:
    tester = start(kind)
    config = {"log": [[30, "said aloud"]], "debug": ["and noted"], "repeat": 1, "then": "return"}
    result = tester.call("say", config=config)
    assert result.data == b"said"
    assert result.info["debug"] == "and noted"
    assert not tester.executor.messages
    assert f"{tester.type}/say: said aloud" in tester.executor.logs()


# ---- Debug --------------------------------------------------------------------------------------


@new_protocol
def test_debug_lines_come_while_the_task_runs_and_with_its_result(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    sequence = say(tester, "spin", debug=["one", "two"])
    said = ""
    while said != "one\ntwo":
        message = tester.executor.wait_message("debug")
        assert message["seq"] == sequence
        said += message["text"]
    assert stop(tester, sequence)["info"]["debug"] == "one\ntwo"


@new_protocol
def test_the_last_debug_line_is_sent_before_the_process_dies(start: Start, kind: str) -> None:
    tester = listening(start, kind)
    say(tester, "abort", debug=["begin", "here it breaks"])
    said = ""
    while said != "begin\nhere it breaks":
        said += tester.executor.wait_message("debug")["text"]
    assert tester.executor.at_end()


# ---- Ping ---------------------------------------------------------------------------------------


@new_protocol
def test_an_idle_executor_answers_pings(start: Start, kind: str) -> None:
    tester = start(kind)
    assert "ping" in tester.executor.registered["features"]
    for number in (1, 4_000_000_000):
        tester.executor.send("ping", {"number": number})
        assert tester.executor.wait_message("pong") == {"number": number}


@new_protocol
def test_an_idle_thread_answers_for_a_busy_one(start: Start, kind: str) -> None:
    tester = start(kind, threads=2)
    sequence = say(tester, "spin")
    wait_phase(tester, sequence, STARTED)
    tester.executor.send("ping", {"number": 1})
    assert tester.executor.wait_message("pong") == {"number": 1}
    assert stop(tester, sequence)["cancelled"]


@new_protocol
def test_a_busy_executor_answers_after_its_call(start: Start, kind: str) -> None:
    tester = start(kind)
    sequence = say(tester, "spin")
    wait_phase(tester, sequence, STARTED)
    tester.executor.send("ping", {"number": 1})
    assert stop(tester, sequence)["cancelled"]
    assert tester.executor.wait_message("pong") == {"number": 1}


# ---- What it announces --------------------------------------------------------------------------


@new_protocol
def test_announces_its_tasks(start: Start, kind: str) -> None:
    tasks = start(kind).executor.registered["tasks"]
    names = [task["name"] for task in tasks]
    assert names == sorted(names)
    assert {"hello", "say"} <= set(names)
    assert next(task for task in tasks if task["name"] == "hello") == {"name": "hello"}


@pytest.mark.parametrize("kind", [kind for kind in TYPED if kind.endswith("cbor-2")])
def test_announces_what_typed_tasks_take_and_give(start: Start, kind: str) -> None:
    tasks = {task["name"]: task for task in start(kind).executor.registered["tasks"]}
    assert tasks["typed_scale"] == {
        "name": "typed_scale",
        "in": [
            {"type": "ndarray float64 of 1 dimension", "name": "x"},
            {"type": "float64 scalar", "name": "factor"},
        ],
        "out": [{"type": "ndarray float64 of 1 dimension"}],
    }


# ---- Mismatch -----------------------------------------------------------------------------------


@new_protocol
@pytest.mark.parametrize(
    ("governor", "advice"),
    [
        ("0.0.1", "the governor is older, upgrade the client's rain-tasklib to "),
        ("999.0", "the executor is older, rebuild the executor against rain-tasklib 999.0"),
    ],
)
def test_says_which_side_to_rebuild(start: Start, kind: str, governor: str, advice: str) -> None:
    tester = listening(start, kind, tasklib=governor)
    tester.executor.send("tomorrow", {})
    assert tester.executor.at_end()
    assert tester.executor.wait_exit() != 0
    log = tester.executor.logs()
    own = tester.executor.registered["tasklib"]
    assert 'unknown message "tomorrow"' in log
    assert f"the executor is rain-tasklib {own}, the governor is rain-tasklib {governor}" in log
    assert advice in log
