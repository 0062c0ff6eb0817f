"""Tasks and data objects as futures: result, exception, callbacks, as_completed, map."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rain.client import (
    Client,
    DataInstance,
    Output,
    RainException,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    WaitTimeout,
    as_completed,
    blob,
    pickled,
)

pytestmark = pytest.mark.engines

MakeClient = Callable[..., Client]


def call(method: str, *inputs: Any, executor: str = "cpptester", **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"{executor}/{method}", **arguments)


@pytest.fixture
def lenient(client: Client) -> Any:
    """An active session in which tasks may fail."""
    with client.new_session(on_error="continue") as session:
        yield session


# ---- result, exception, done --------------------------------------------------------------------


def test_result_is_the_loaded_value_if_the_content_type_says_how(session: Session) -> None:
    assert call("echo", pickled({"a": [1, 2]})).result() == {"a": [1, 2]}
    assert call("echo", blob("ä")).output.result() == "ä"
    assert call("echo", blob([1], encode="json")).result() == [1]


def test_result_is_bytes_like_without_a_content_type(session: Session) -> None:
    result = call("echo", blob(b"abc")).result()
    assert isinstance(result, DataInstance)
    assert bytes(result) == b"abc"


def test_result_of_several_outputs_is_a_list_and_of_none_is_none(session: Session) -> None:
    many = call("repeat", blob("x"), outputs=[Output("a"), Output("b")], executor="pytester")
    assert many.result() == ["x", "x"]
    assert call("repeat", outputs=0).result() is None


def test_result_of_a_constant(session: Session) -> None:
    assert pickled(7).result() == 7


def test_result_needs_the_keep_flag(session: Session) -> None:
    task = call("echo", blob("x"))
    session.submit()
    with pytest.raises(RainException, match="without keep flag"):
        task.result()


def test_result_and_exception_of_a_failed_task(lenient: Session) -> None:
    task = call("fail", blob("no luck"))
    assert not task.done()
    with pytest.raises(TaskException, match="no luck"):
        task.result()
    assert task.done()
    assert task.output.done()
    assert isinstance(task.exception(), TaskException)
    assert "no luck" in str(task.output.exception())
    good = call("echo", blob("x"))
    assert good.exception() is None


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_waits_that_time_out(session: Session, timeout: float) -> None:
    task = call("spin")
    task.keep_outputs()
    session.submit()
    for wait in (task.result, task.output.result, task.exception, task.output.exception):
        with pytest.raises(WaitTimeout):
            wait(timeout)
    with pytest.raises(WaitTimeout, match="1 of 1 items are not done"):
        next(as_completed([task], timeout))
    assert not task.done()
    task.cancel()


def test_a_timeout_of_nan_is_an_error(session: Session) -> None:
    task = call("spin")
    task.keep_outputs()
    session.submit()
    for wait in (task.result, task.output.result, task.exception):
        with pytest.raises(ValueError, match="NaN"):
            wait(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        as_completed([task], math.nan)
    task.cancel()


def test_timeout_zero_gives_what_is_done(session: Session) -> None:
    task = call("echo", blob("x"))
    task.result()
    assert task.result(0) == "x"
    assert task.exception(0) is None
    assert list(as_completed([task], 0)) == [task]


# ---- callbacks ----------------------------------------------------------------------------------


def test_callbacks_are_called_once_on_a_thread_of_the_client(lenient: Session) -> None:
    heard: list[tuple[Any, str]] = []
    done = threading.Event()

    def note(item: Any) -> None:
        heard.append((item, threading.current_thread().name))
        if len(heard) == 4:
            done.set()

    good, bad = call("echo", blob("x")), call("fail", blob("y"))
    lenient.submit()
    good.add_done_callback(note)
    bad.add_done_callback(note)
    good.output.add_done_callback(note)
    good.wait()
    good.add_done_callback(note)
    assert done.wait(20)
    assert sorted(repr(item) for item, _ in heard) == sorted(
        repr(item) for item in (good, bad, good.output, good)
    )
    assert {name for _, name in heard} == {"rain-callbacks"}
    assert threading.current_thread().name != "rain-callbacks"


def test_exceptions_of_callbacks_are_logged(
    lenient: Session, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    task = call("echo", blob("x"))
    lenient.submit()

    def wrong(item: Any) -> None:
        raise ZeroDivisionError("in the callback")

    task.add_done_callback(wrong)
    task.add_done_callback(lambda item: done.set())
    assert done.wait(20)
    (record,) = [r for r in caplog.records if r.name == "rain.client"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_a_callback_may_use_the_session(lenient: Session) -> None:
    results: list[str] = []
    done = threading.Event()

    def next_one(item: Any) -> None:
        with lenient.bind_only():
            results.append(call("echo", blob("second")).result())
        done.set()

    task = call("echo", blob("first"))
    lenient.submit()
    task.add_done_callback(next_one)
    assert done.wait(20)
    assert results == ["second"]


def test_close_calls_back_what_is_pending(make_client: MakeClient) -> None:
    client = make_client()
    heard: list[Any] = []
    with client.new_session() as session:
        task = call("spin")
        session.submit()
        task.add_done_callback(lambda item: heard.append(item.exception()))
        client.close()
    (error,) = heard
    assert isinstance(error, RainException)


def test_a_draft_cannot_call_back(session: Session, graph: Session) -> None:
    with pytest.raises(RainException, match="is not submitted"):
        Task((), 1, task_type="cpptester/x", session=session).add_done_callback(print)
    with pytest.raises(RainException, match="is not submitted"):
        Task((), 1, task_type="cpptester/x", session=graph).add_done_callback(print)


def test_callbacks_pending_at_the_programs_end_are_called(cpptester: Any) -> None:
    program = (
        "from rain.client import Client, Task\n"
        f"client = Client(executors={{'cpptester': {str(cpptester)!r}}})\n"
        "session = client.new_session()\n"
        "task = Task((), 1, task_type='cpptester/spin', session=session)\n"
        "session.submit()\n"
        "task.add_done_callback(lambda t: print('called', t.state.name))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("called cancelled\n", "")


# ---- as_completed, await ------------------------------------------------------------------------


def test_as_completed_gives_each_item_once_in_the_order_of_their_ends(lenient: Session) -> None:
    gate = call("spin")
    tasks = [call("echo", blob(str(n))) for n in range(20)]
    bad = call("fail", blob("y"))
    constant = blob("c")
    lenient.submit()
    items = [gate, *tasks, tasks[0].output, bad, constant, tasks[0]]
    seen = []
    for item in as_completed(items):
        assert item.done()
        seen.append(item)
        if len(seen) == 23:
            gate.cancel()
    assert seen[-1] is gate
    assert len(seen) == len({id(item) for item in seen}) == 24


def test_as_completed_of_nothing(client: Client) -> None:
    assert list(as_completed([])) == []


def test_as_completed_refuses_drafts(session: Session) -> None:
    with pytest.raises(RainException, match="is not submitted"):
        as_completed([call("echo", blob("x"))])


def test_as_completed_for_async_for(lenient: Session) -> None:
    async def collect() -> list[Any]:
        return [task.result() async for task in as_completed(tasks)]

    tasks = [call("echo", blob(str(n))) for n in range(10)]
    lenient.keep_all()
    lenient.submit()
    assert sorted(asyncio.run(collect())) == [str(n) for n in range(10)]

    async def too_late() -> None:
        async for _ in as_completed([spin], 0.01):
            pass

    spin = call("spin")
    lenient.submit()
    with pytest.raises(WaitTimeout):
        asyncio.run(too_late())
    spin.cancel()


@pytest.mark.embedded("Dask has threads of its own")
def test_await_takes_tasks_and_objects_and_no_thread(session: Session) -> None:
    async def wait() -> None:
        tasks = [call("echo", blob(str(n))) for n in range(50)]
        session.keep_all()
        session.submit()
        threads = threading.active_count()
        assert await tasks[0] is tasks[0]
        assert await tasks[1].output is tasks[1].output
        for n, task in enumerate(await asyncio.gather(*tasks)):
            assert task.result() == str(n)
        assert threading.active_count() == threads

    asyncio.run(wait())


def interrupt_soon() -> threading.Timer:
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.parametrize("wait", ["result", "exception", "as_completed", "map"])
def test_ctrl_c_cancels_what_is_waited_for_and_nothing_else(lenient: Session, wait: str) -> None:
    awaited, other = call("spin"), call("spin")
    awaited.keep_outputs()
    lenient.submit()
    results = None
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - one of several waits
        if wait == "result":
            awaited.result()
        elif wait == "exception":
            awaited.exception()
        elif wait == "as_completed":
            next(as_completed([awaited]))
        else:
            results = lenient.map("cpptester/spin", ["x"])
            next(results)
    timer.join()
    if results is not None:
        awaited.cancel()
        with pytest.raises(TaskCancelled):
            next(results)
    assert isinstance(awaited.exception(), TaskCancelled)
    assert not other.done()
    other.cancel()
    assert call("echo", blob("on")).result() == "on"


# ---- map, submit_task ---------------------------------------------------------------------------


class Echo(Task):
    TASK_TYPE = "cpptester/echo"

    def __init__(self, value: str) -> None:
        super().__init__((blob(value),), 1)


def add(a: int, b: int = 0) -> int:
    return a + b


def fail_at_2(n: int) -> int:
    if n == 2:
        raise ValueError("it is two")
    return n


def test_map_of_a_task_type_a_class_and_a_function(session: Session) -> None:
    assert [bytes(x) for x in session.map("cpptester/concat", ["a", "b"], [b"c", blob("d")])] == [
        b"ac",
        b"bd",
    ]
    assert list(session.map(Echo, "xyz")) == ["x", "y", "z"]
    results = session.map(add, range(10), range(100))
    assert len(results) == 10
    assert len(results.tasks) == 10
    assert list(results) == [2 * n for n in range(10)]
    assert list(results) == []
    assert list(session.map(add, [])) == []


def test_map_in_chunks_makes_fewer_tasks(session: Session) -> None:
    results = session.map(add, range(10), chunksize=4)
    assert len(results.tasks) == 3
    assert list(results) == list(range(10))
    with pytest.raises(ValueError, match="plain Python function"):
        session.map("cpptester/echo", "ab", chunksize=2)
    with pytest.raises(ValueError, match="chunksize"):
        session.map(add, [1], chunksize=0)
    with pytest.raises(TypeError, match="at least one iterable"):
        session.map(add)
    with pytest.raises(TypeError, match="takes a task type"):
        session.map(7, [1])


def test_map_goes_on_behind_a_failure(lenient: Session) -> None:
    results = lenient.map(fail_at_2, range(4))
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(Exception, match="it is two"):
        next(results)
    assert next(results) == 3
    with pytest.raises(StopIteration):
        next(results)


def test_submit_task(session: Session) -> None:
    assert session.submit_task(add, 1, b=2).result() == 3
    assert session.submit_task(dict, session=1, name=2, outputs=3).result() == {
        "session": 1,
        "name": 2,
        "outputs": 3,
    }
    assert session.submit_task("cpptester/echo", "x").result() == "x"
    assert session.submit_task(lambda a: a * 2, [1]).result() == [1, 1]
