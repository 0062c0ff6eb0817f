"""What tasks say while they run, on the client: log lines, debug text of the dead, pings, announced
signatures. For both of our libraries."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ExecutorDied, Session, SignatureMismatch, blob, remote
from tasks import call, contains
from world import is_stopped, wait_until

MakeClient = Callable[..., Client]


class Listener(logging.Handler):
    """Keeps the records of tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self) -> list[tuple[str, int, str]]:
        return [(each.name, each.levelno, each.getMessage()) for each in self.records]


@pytest.fixture
def heard() -> Iterator[Listener]:
    logger = logging.getLogger("rain.executor")
    listener = Listener()
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    yield listener
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(listener)


def say(tester: str, then: str = "return", repeat: int = 1, **what: Any) -> Any:
    config = {"log": [], "debug": [], "repeat": repeat, "then": then} | what
    return call(f"{tester}/say", **config)


def test_lines_come_while_the_task_runs(session: Session, tester: str, heard: Listener) -> None:
    with session.bind_only():
        task = say(tester, "spin", log=[[20, "begun: 50 °"], [40, "trouble"]])
    session.submit()
    wait_until(lambda: len(heard.records) == 2, "the lines")
    name = f"rain.executor.{tester}"
    assert heard.lines() == [(name, 20, "begun: 50 °"), (name, 40, "trouble")]
    record: Any = heard.records[0]
    assert (record.task_id, record.task_type) == (task.id, f"{tester}/say")
    assert record.executor_pid in session.client.info()["executor_pids"]
    assert record.threadName != "MainThread"
    session.cancel()


def test_all_lines_came_when_the_client_is_closed(
    make_client: MakeClient, tester: str, heard: Listener, tmp_path: Path, engine: str
) -> None:
    client = make_client(events=tmp_path / "events")
    with client.new_session() as session, session.bind_only():
        say(tester, repeat=100, log=[[10, "again"]])
        session.submit()
        session.wait_all()
    client.close()
    assert len(heard.records) == 100

    if engine != "embedded":
        return  # a log of what runs elsewhere has no lines of tasks
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    logged = [event for event in events if event["event"] == "log"]
    assert len(logged) == 100
    assert (logged[0]["level"], logged[0]["text"]) == (10, "again")


def test_what_is_too_much_is_dropped_and_counted(
    make_client: MakeClient, tester: str, heard: Listener
) -> None:
    client = make_client()
    with client.new_session() as session, session.bind_only():
        task = say(tester, repeat=30_000, log=[[20, "z" * 400]])
        task.keep_outputs()
        session.submit()
        assert task.output.fetch().get_bytes() == b"said"
    client.close()
    came = sum(record.getMessage() == "z" * 400 for record in heard.records)
    dropped = sum(
        record.args[0]
        for record in heard.records
        if "were dropped" in record.msg and isinstance(record.args, tuple)
    )
    assert came + dropped == 30_000


def test_a_handler_that_raises_or_uses_the_client_does_no_harm(
    session: Session, tester: str, heard: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    class Rude(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(session.client.executors[tester].tasks())  # needs the token
            raise RuntimeError("not a good handler")

    rude = Rude()
    logger = logging.getLogger(f"rain.executor.{tester}")
    logger.addHandler(rude)
    try:
        with session.bind_only():
            task = say(tester, log=[[20, "one"], [20, "two"]])
            assert task.output.fetch().get_bytes() == b"said"
        wait_until(lambda: len(seen) == 2)
    finally:
        logger.removeHandler(rude)
    assert "say" in seen[0]


def test_a_dead_process_leaves_its_debug_text(session: Session, tester: str) -> None:
    with session.bind_only():
        task = say(tester, "abort", debug=["read 12 rows", "row 13: °"])
    session.submit()
    with pytest.raises(ExecutorDied) as caught:
        task.wait()
    assert caught.value.debug == "read 12 rows\nrow 13: °"
    contains(caught.value, "SIGABRT", "Debug:\nread 12 rows\nrow 13: °")


def test_remote_functions_log(client: Client, heard: Listener) -> None:
    @remote()
    def noisy(ctx: Any) -> bytes:
        import logging

        ctx.log("info", "at {}", 7)
        with ctx.logging("mine", level=logging.WARNING):
            logging.getLogger("mine").warning("half %s", "full")
            logging.getLogger("mine.part").error("bad")
            logging.getLogger("mine").setLevel(logging.DEBUG)
            logging.getLogger("mine").info("not this")
        logging.getLogger("mine").warning("nor this")
        try:
            ctx.log("loud", "no")
        except ValueError as error:
            return str(error).encode()
        return b""

    with client.new_session():
        text = noisy().output.fetch().get_bytes()
    contains(text.decode(), "there is no level 'loud'", "critical")
    client.close()
    name = "rain.executor.py"
    assert heard.lines() == [(name, 20, "at 7"), (name, 30, "half full"), (name, 40, "bad")]


# ---- Ping ---------------------------------------------------------------------------------------


def test_ping_tells_who_answers(client: Client, heard: Listener) -> None:
    assert client.ping() == []
    with client.new_session(on_error="continue") as session, session.bind_only():
        client.executors["pytester"].tasks()  # starts one
        busy = say("cpptester", "spin", log=[[20, "busy"]])
        session.submit()
        wait_until(lambda: heard.records)
        lines = {line.executor: line for line in client.ping(0.2)}
        assert lines["pytester"].answered
        assert lines["pytester"].seconds >= 0
        assert lines["pytester"].pid in client.info()["executor_pids"]
        assert lines["cpptester"].can_answer
        assert not lines["cpptester"].answered
        busy.cancel()
    assert all(line.answered for line in client.ping(None))


def test_ping_of_an_old_executor(
    make_client: MakeClient, scripted: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "done").touch()  # so that it does nothing wrong
    client = make_client({"scripted": scripted("exits_at_once", tmp_path / "done")})
    client.executors["scripted"].tasks()
    (line,) = client.ping(None)
    assert (line.executor, line.can_answer, line.seconds) == ("scripted", False, None)


def test_ping_leaves_out_what_ends_meanwhile(client: Client) -> None:
    client.executors["cpptester"].tasks()
    (pid,) = client.info()["executor_pids"]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), "all its threads to stop")  # one that runs would answer
    (line,) = client.ping(0.05)
    assert line.seconds is None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: client.ping(0.05) == [])


# ---- Signatures ---------------------------------------------------------------------------------

SCALE = (
    "(x: ndarray float64 of 1 dimension, factor: float64 scalar) -> ndarray float64 of 1 dimension"
)


def test_typed_tasks_are_shown_with_what_they_take(client: Client) -> None:
    import inspect

    tasks = client.executors["cpptester"]
    scale = tasks.typed_scale
    assert repr(scale) == "<TaskMaker 'cpptester/typed_scale'>"
    assert tasks.hello.__doc__.startswith("Make a task 'cpptester/hello'")
    assert str(tasks.signatures()["typed_scale"]) == SCALE
    assert "hello" not in tasks.signatures()
    contains(repr(tasks), "hello, ", f"typed_scale{SCALE}")
    assert repr(scale) == f"<TaskMaker 'cpptester/typed_scale'{SCALE}>"
    assert scale.__doc__.startswith(f"typed_scale{SCALE}\n")
    parameters = inspect.signature(scale).parameters
    assert list(parameters) == ["x", "factor", "outputs", "options"]
    assert parameters["factor"].annotation == "float64 scalar"


def test_a_wrong_number_of_inputs_is_refused_when_the_task_is_made(client: Client) -> None:
    tasks = client.executors["cpptester"]
    with client.new_session(on_error="continue") as session:
        tasks.typed_scale(blob(b"x"))  # nothing is known yet
        assert session is not None
        tasks.tasks()
        with pytest.raises(SignatureMismatch) as caught:
            tasks.typed_scale(blob(b"x"))
        contains(
            caught.value,
            f"task 'cpptester/typed_scale' takes 2 inputs, got 1; it is typed_scale{SCALE}",
        )
        assert isinstance(caught.value, TypeError)
        tasks.hello(blob(b"x"), blob(b"y"))  # not typed: its own matter
        call("cpptester/typed_scale", b"x")  # a plain task: the executor's matter
        session.cancel()


# ---- Mismatch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trick", ["newer_message", "older_protocol"])
def test_an_error_says_which_side_to_rebuild(
    make_client: MakeClient,
    scripted: Callable[..., dict[str, Any]],
    tmp_path: Path,
    trick: str,
) -> None:
    client = make_client({"scripted": scripted(trick, tmp_path / "done")})
    with client.new_session(on_error="continue") as session, session.bind_only():
        task = call("scripted/echo", b"in")
        session.submit()
        with pytest.raises(ExecutorDied) as caught:
            task.wait()
    if trick == "newer_message":
        contains(caught.value, 'unknown message "tomorrow"', "the executor is rain-tasklib 999.0",
                 "the governor is older, upgrade the client's rain-tasklib to 999.0")  # fmt: skip
    else:
        contains(caught.value, "registered with invalid protocol", "cbor-0",
                 "the executor is rain-tasklib 0.0.1, the governor is rain-tasklib ",
                 "the executor is older, rebuild the executor against rain-tasklib ")  # fmt: skip


def test_a_program_ends_well_without_closing_its_client(census: Path) -> None:
    """The thread that hands lines over must have ended when Python finalizes."""
    text = (
        "from rain.client import Client, blob\n"
        "from rain.client.tasks import Concat\n"
        "with Client().new_session():\n"
        "    print(Concat((blob('a'), blob('b'))).output.fetch().get_str())\n"
    )
    for _ in range(5):  # it was a race
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ab\n", "")
