"""Sessions that run tasks, in C++ and Python executors."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain._core import INLINE_LIMIT_BYTES as LIMIT
from rain.client import (
    Client,
    DataObject,
    DataObjectState,
    DependencyFailed,
    ExecutorDied,
    InvalidGraph,
    Output,
    RainException,
    Session,
    SessionClosed,
    SessionException,
    StoreFull,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    UsageError,
    WaitTimeout,
    blob,
    pickled,
)
from world import pauses

MakeClient = Callable[..., Client]
BOTH = ["cpptester", "pytester"]

pytestmark = pytest.mark.engines


def call(method: str, *inputs: Any, executor: str = "cpptester", **arguments: Any) -> Task:
    arguments.setdefault("outputs", 1)
    return Task(inputs, task_type=f"{executor}/{method}", **arguments)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.002)


def is_at_work(task: Task) -> bool:
    """Whether "spin" has begun. A task elsewhere does not say so, but its process shows it."""
    client = task.session.client
    assert client is not None
    return task.state is TaskState.assigned or any(map(pauses, client.info()["executor_pids"]))


# ---- results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", BOTH)
def test_fetch_submits_and_keeps_what_was_not(session: Session, executor: str) -> None:
    task = call("hello", blob("world"), executor=executor)
    assert task.output.fetch().get_bytes() == b"Hello world!"
    assert task.output.is_kept()
    assert task.state is TaskState.finished
    assert task.output.state is DataObjectState.finished
    assert session.task_count == 0


def test_snippet_without_names_runs(executors: dict[str, Any]) -> None:
    with Client(executors=executors).new_session() as session:
        t = call("hello", blob("Hello world"))
        assert t.output.fetch().get_bytes() == b"Hello Hello world!"
        client = session.client
        assert client is not None
    del client
    gc.collect()


def test_languages_pass_data_on(session: Session) -> None:
    first = call("hello", blob("x"))
    second = call("hello", first, executor="pytester")
    third = call("hello", second)
    assert third.output.fetch().get_str() == "Hello Hello Hello x!!!"


def test_submitted_but_not_kept_cannot_be_fetched(session: Session) -> None:
    task = call("hello", blob("x"))
    session.submit()
    with pytest.raises(RainException, match=r"Can't fetch object .* without keep flag\."):
        task.output.fetch()
    with pytest.raises(RainException, match="cannot keep submitted data object"):
        task.output.keep()


def test_constant_can_be_fetched(session: Session) -> None:
    assert blob("text").fetch().get_str() == "text"
    assert blob(b"").fetch().get_bytes() == b""
    assert pickled({"a": [1]}).fetch().load() == {"a": [1]}


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 5_000_001])
def test_bytes_survive_the_way_at_any_size(session: Session, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    for executor in BOTH:
        instance = call("concat", blob(data), executor=executor).output.fetch()
        assert instance.get_bytes() == data
        assert len(instance) == size
        assert instance.info.size == size


def test_large_blob_is_copied_by_nobody(make_client: MakeClient) -> None:
    client = make_client(record=True)
    with client.new_session() as session:
        data = blob(os.urandom(1 << 20))
        tasks = [call("echo", call("fill", config={"size": 1 << 20, "byte": 7}, executor=e))
                 for e in BOTH]  # fmt: skip
        session.keep_all()
        for task in tasks:
            assert task.output.fetch().get_bytes() == b"\7" * (1 << 20)
        call("sum_doubles", data).output.fetch()
    assert [report.copied_bytes for report in client.report()] == [0] * 5


@pytest.mark.embedded("data that are fetched from elsewhere are copies")
def test_passed_through_input_is_the_same_memory(session: Session) -> None:
    data = blob(bytes(1 << 20))
    data.keep()
    task = call("echo", data)
    assert task.output.fetch()._address == data.fetch()._address


def test_instance_outlives_everything(make_client: MakeClient) -> None:
    client = make_client()
    with client.new_session():
        large = call("fill", config={"size": 1 << 20, "byte": 7}).output.fetch()
        small = call("hello", blob("x")).output.fetch()
        view = memoryview(large)
    client.close()
    del client
    gc.collect()
    assert large.get_bytes() == b"\7" * (1 << 20)
    assert small.get_bytes() == b"Hello x!"
    del large
    assert view.readonly
    assert view.nbytes == 1 << 20
    assert view[-1] == 7
    with pytest.raises(TypeError):
        view[0] = 1


def test_several_outputs_with_labels(session: Session) -> None:
    task = call("split", blob(b"aabbcc"), outputs=["one", "two", Output("three")])
    task.keep_outputs()
    session.submit()
    task.wait()
    assert [i.get_bytes() for i in task.fetch_outputs()] == [b"aa", b"bb", b"cc"]
    assert task.outputs["two"].fetch().get_bytes() == b"bb"


@pytest.mark.parametrize("executor", BOTH)
def test_attributes_travel_both_ways(session: Session, executor: str) -> None:
    data = blob(b"in", label="in", content_type="user/x")
    data.spec.user["of object"] = [1, {"a": None}]
    task = Task(
        [("first", data)],
        [Output("out", content_type="json")],
        task_type=f"{executor}/attributes",
        config={"factor": 0.5},
        name="group/name",
        user_spec={"of task": True},
    )
    task.output.spec.user["of output"] = 5
    instance = task.output.fetch()
    seen = instance.load()
    assert seen["task_type"] == f"{executor}/attributes"
    assert (seen["name"], seen["config"], seen["user"]) == (
        "group/name",
        {"factor": 0.5},
        {"of task": True},
    )
    (first,) = seen["inputs"]
    assert (first["label"], first["content_type"]) == ("first", "user/x")
    assert first["spec_user"] == {"of object": [1, {"a": None}]}
    assert seen["outputs"][0]["label"] == "out"
    assert seen["outputs"][0]["spec_user"] == {"of output": 5}
    assert instance.info.user == {
        "numbers": [1, -2, 0.5, 2**64 - 1],
        "nested": {"a": None, "b": True},
    }
    assert instance.content_type == "json" == task.output.content_type
    assert task.info is not None
    assert task.info.user == {"seen_inputs": 1}
    assert task.output.info is not None
    assert task.output.info.user == instance.info.user


def test_debug_text_is_kept_with_the_task(session: Session) -> None:
    task = call("debug", blob("first"), blob("second"))
    session.submit()
    task.wait()
    assert task.info is not None
    assert task.info.debug.split() == ["first", "second"]


def test_instance_is_written_loaded_and_viewed(session: Session, tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    numbers = np.arange(10_000, dtype=np.float64)
    instance = call("concat", blob(numbers)).output.fetch()
    assert np.array_equal(np.frombuffer(instance), numbers)
    instance.write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == numbers.tobytes()
    instance.link(tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == numbers.nbytes
    with pytest.raises(RainException, match="can't decode None content_type"):
        instance.load()
    value = blob([1, 2], encode="json").fetch()
    assert value.load(cache=True) is value.load(cache=True)
    assert value.load() == [1, 2]
    assert repr(value) == "<DataInstance size=6>"


def test_array_in_any_order_is_sent_in_c_order(session: Session) -> None:
    np = pytest.importorskip("numpy")
    for array in (np.arange(60_000).reshape(200, 300).T, np.arange(10)[::2]):
        assert blob(array).fetch().get_bytes() == array.tobytes()


# ---- waiting ------------------------------------------------------------------------------------


def test_waits_for_objects_too(session: Session) -> None:
    task = call("sleep", config={"seconds": 0.05})
    task.output.keep()
    session.submit()
    session.wait([task.output])
    assert task.output.state is DataObjectState.finished


def test_unsubmitted_and_foreign_items_are_refused(session: Session) -> None:
    task = call("hello", blob("x"))
    with pytest.raises(RainException, match=r"Task .* is not submitted"):
        task.wait()
    with pytest.raises(RainException, match=r"Object .* is not submitted\."):
        task.output.wait()
    with pytest.raises(TypeError, match="Neither Task or DataObject: 17"):
        session.wait([17])  # type: ignore[list-item]
    with pytest.raises(RainException, match="is not tasks nor dataobject"):
        session.update([17])  # type: ignore[list-item]
    session.wait([])


def test_wait_some_returns_who_is_done(session: Session) -> None:
    slow = call("spin")
    quick = call("hello", blob("x"))
    session.submit()
    assert session.wait_some([slow, quick]) == [quick]
    slow.cancel()
    assert session.wait_some([slow]) == [slow]


def test_wait_all_waits_for_tasks_that_nobody_holds(session: Session) -> None:
    for _ in range(100):
        call("hello", blob("x"))
    last = call("count_calls")
    last.output.keep()
    session.submit()
    session.wait_all()
    assert last.state is TaskState.finished


def test_wait_ends_after_its_timeout(session: Session) -> None:
    task = call("spin")
    session.submit()
    for wait in (task.wait, session.wait_all, task.output.wait):
        with pytest.raises(WaitTimeout, match=r"not finished after 0\.01 s"):
            wait(timeout=0.01)
    with pytest.raises(TimeoutError):
        session.wait_some([task], timeout=0)
    task.cancel()


def test_many_threads_wait_at_once(client: Client) -> None:
    results: list[int] = []

    def work(number: int) -> None:
        with client.new_session(f"thread {number}"):
            for i in range(10):
                text = f"{number} {i}"
                fetched = call("hello", blob(text), executor=BOTH[i % 2]).output.fetch()
                assert fetched.get_str() == f"Hello {text}!"
            results.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(6))


def test_later_submits_use_kept_objects(session: Session) -> None:
    first = call("hello", blob("x"))
    first.output.keep()
    session.submit()
    first.wait()
    second = call("hello", first)
    assert second.output.fetch().get_str() == "Hello Hello x!!"


# ---- life of data -------------------------------------------------------------------------------


def test_unkept_object_is_removed(session: Session) -> None:
    task = call("hello", blob("x"))
    output = task.output
    output.fetch()
    output.unkeep()
    assert not output.is_kept()
    assert output.state is DataObjectState.removed
    with pytest.raises(RainException, match="without keep flag"):
        output.fetch()
    with pytest.raises(RainException, match="is not kept"):
        session.unkeep([output])
    call("hello", output)
    with pytest.raises(InvalidGraph, match="its data are gone"):
        session.submit()


def test_data_go_with_the_last_handle(client: Client) -> None:
    def blobs() -> int:
        client._engine.drain()
        return client._engine.store_usage()["blobs"]

    def large() -> Task:
        task = call("fill", config={"size": 1 << 20, "byte": 1})
        task.output.keep()
        return task

    with client.new_session() as session:
        task = large()
        session.submit()
        task.wait()
        assert blobs() == 1
        del task
        gc.collect()
        until(lambda: blobs() == 0, "removed with its task")

        task = large()
        output = task.output
        session.submit()
        task.wait()
        consumer = call("echo", output)
        del task
        gc.collect()
        assert blobs() == 1
        assert consumer.inputs[0] is output
        del output
        gc.collect()
        consumer.output.fetch()
        consumer.output.unkeep()
        until(lambda: blobs() == 0, "removed with its object")


def test_close_of_a_session_removes_its_data(client: Client) -> None:
    with client.new_session() as session:
        output = call("fill", config={"size": 1 << 20, "byte": 1}).output
        instance = output.fetch()
        assert client._engine.store_usage()["blobs"] == 1
    assert not session.active
    assert session.client is None
    assert output.state is DataObjectState.removed
    del instance
    gc.collect()
    until(lambda: client._engine.store_usage()["blobs"] == 0, "removed with its session")
    with pytest.raises(SessionClosed, match="Session is closed"):
        output.fetch()


# ---- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", BOTH)
def test_failure_says_what_where_and_who(session: Session, executor: str) -> None:
    task = call("fail", blob("on purpose"), executor=executor, name="the task")
    with pytest.raises(TaskException) as caught:
        task.output.fetch()
    error = caught.value
    text = str(error)
    assert text.startswith(f"Task {task!r} failed\nMessage: ")
    assert "on purpose" in error.message
    assert ("Traceback" in error.message) == (executor == "pytester")
    assert f"Task created at:\n{error.created_at}" in text
    assert f'  File "{__file__}", line' in error.created_at
    assert "test_failure_says_what_where_and_who" in error.created_at
    assert error.task is task
    assert error.task_id == task.id
    assert task.state is TaskState.failed
    assert task.info is not None
    assert "on purpose" in task.info.error


def test_failed_session_raises_the_same_from_everything(session: Session) -> None:
    task = call("throw_std")
    other = call("hello", blob("x"))
    other.output.keep()
    session.submit()
    for use in (
        task.wait,
        session.wait_all,
        other.wait,
        other.output.fetch,
        other.output.unkeep,
        other.update,
        session.submit,
        lambda: session.wait_some([other]),
    ):
        with pytest.raises(TaskException, match="thrown on purpose"):
            use()


def test_failing_task_needs_no_living_handle(session: Session) -> None:
    call("throw_std")
    gc.collect()
    session.submit()
    with pytest.raises(TaskException, match=r"Task <Task .* cpptester/throw_std> failed") as caught:
        session.wait_all()
    assert caught.value.task is None
    assert "test_failing_task_needs_no_living_handle" in caught.value.created_at


def test_other_sessions_go_on(client: Client) -> None:
    with client.new_session() as failing:
        call("throw_std")
        failing.submit()
        with client.new_session():
            assert call("hello", blob("x")).output.fetch().get_str() == "Hello x!"
        with pytest.raises(TaskException):
            failing.wait_all()


def test_continue_aborts_only_what_depends(client: Client) -> None:
    with client.new_session(on_error="continue") as session:
        bad = call("throw_std")
        dependent = call("hello", bad)
        good = call("hello", blob("x"))
        session.keep_all()
        session.submit()
        session.wait_all()
        assert [t.state for t in (bad, dependent, good)] == [
            TaskState.failed,
            TaskState.aborted,
            TaskState.finished,
        ]
        assert good.output.fetch().get_str() == "Hello x!"
        with pytest.raises(TaskException, match="thrown on purpose"):
            session.wait([good, bad])
        for use in (dependent.wait, dependent.output.fetch):
            with pytest.raises(DependencyFailed, match="was aborted") as caught:
                use()
            assert caught.value.task is dependent
            assert caught.value.origin_id == bad.id
            assert str(bad.id) in caught.value.message


@pytest.mark.parametrize("executor", BOTH)
@pytest.mark.parametrize(
    ("method", "what"),
    [("segfault", "SIGSEGV"), ("abort", "SIGABRT"), ("exit", "exit code: 3")],
)
def test_death_of_an_executor_is_reported(
    client: Client, executor: str, method: str, what: str
) -> None:
    with client.new_session():
        task = call(method, executor=executor, config={"code": 3})
        with pytest.raises(ExecutorDied) as caught:
            task.output.fetch()
        assert what in str(caught.value)
        assert executor in str(caught.value)
        assert "stderr" in caught.value.report
        assert "run time" in caught.value.report
    with client.new_session():
        assert call("hello", blob("x"), executor=executor).output.fetch().get_str() == "Hello x!"


def test_unknown_executor_and_method_are_named(session: Session) -> None:
    with pytest.raises(UsageError, match="did you mean 'cpptester'"):
        call("hello", executor="cptester")
    with pytest.raises(UsageError, match="has no '/'"):
        Task((), 1, task_type="hello")
    with pytest.raises(TaskException, match=r"it has: .*hello"):
        call("helo").output.fetch()


def test_impossible_graphs_are_refused_whole(client: Client) -> None:
    with client.new_session() as session:
        good = call("hello", blob("x"))
        call("hello", blob("y"), cpus=1000)
        with pytest.raises(InvalidGraph, match=r"needs 1000 cpus"):
            session.submit()
        assert good.state is None
        assert session.task_count == 2
    with client.new_session() as session:
        lonely = DataObject("lonely")
        with pytest.raises(InvalidGraph, match="neither producer nor data"):
            session.submit()
        Task((), [lonely], task_type="cpptester/count_calls")
        session.submit()
        session.wait_all()
    with client.new_session() as session:
        a, b = DataObject("a"), DataObject("b")
        Task((a,), [b], task_type="cpptester/echo")
        Task((b,), [a], task_type="cpptester/echo")
        with pytest.raises(InvalidGraph, match="cycle"):
            session.submit()


@pytest.mark.embedded("constants are in a store of the client's")
def test_full_store_is_a_typed_error(make_client: MakeClient) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session(on_error="continue"):
        with pytest.raises(StoreFull) as caught:
            blob(bytes(256 << 20))
        assert isinstance(caught.value, MemoryError)
        big = call("fill", config={"size": 256 << 20, "byte": 1})
        with pytest.raises(TaskException) as failed:
            big.output.fetch()
        assert "268435456" in str(failed.value) or "256" in str(failed.value)
        assert call("hello", blob("x")).output.fetch().get_str() == "Hello x!"


def test_executor_that_never_registers_is_reported(make_client: MakeClient, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho why it ended >&2\nexit 7\n")
    program.chmod(0o755)
    silent = ["sleep", "1000"]
    client = make_client(
        executors={"quits": str(program), "silent": {"command": silent, "start_seconds": 0.2}}
    )
    with client.new_session(), pytest.raises(ExecutorDied, match="why it ended"):
        call("x", executor="quits").output.fetch()
    with client.new_session(), pytest.raises(ExecutorDied, match="within 200 ms of its start"):
        call("x", executor="silent").output.fetch()


# ---- cancel and signals -------------------------------------------------------------------------


@pytest.mark.parametrize("executor", BOTH)
def test_cancelled_task_says_so_and_the_session_goes_on(session: Session, executor: str) -> None:
    task = call("spin", executor=executor)
    dependent = call("hello", task)
    session.submit()
    until(lambda: is_at_work(task), "at work")
    task.cancel()
    with pytest.raises(TaskCancelled, match="was cancelled"):
        task.wait()
    assert task.state is TaskState.cancelled
    assert dependent.state is TaskState.cancelled
    assert call("hello", blob("x"), executor=executor).output.fetch().get_str() == "Hello x!"


def test_session_cancels_some_or_all(session: Session) -> None:
    tasks = [call("spin") for _ in range(5)]
    session.submit()
    session.cancel(tasks[:2])
    assert [t.state for t in tasks[:2]] == [TaskState.cancelled] * 2
    session.cancel([tasks[2].output])
    assert tasks[2].state is TaskState.cancelled
    session.cancel()
    session.wait_all()
    assert {t.state for t in tasks} == {TaskState.cancelled}
    with pytest.raises(RainException, match="is not submitted"):
        call("spin").cancel()


@pytest.mark.parametrize("what", ["task", "object", "session", "some"])
def test_interrupt_ends_the_wait_and_cancels_its_tasks(session: Session, what: str) -> None:
    task = call("spin")
    task.output.keep()
    session.submit()
    waits: dict[str, Callable[[], object]] = {
        "task": task.wait,
        "object": task.output.fetch,
        "session": session.wait_all,
        "some": lambda: session.wait_some([task]),
    }

    def interrupt() -> None:
        until(lambda: is_at_work(task), "at work")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        waits[what]()
    thread.join()
    assert task.state is TaskState.cancelled
    assert call("hello", blob("x")).output.fetch().get_str() == "Hello x!"


def test_signal_handler_that_returns_ends_no_wait(session: Session) -> None:
    seen: list[int] = []
    task = call("sleep", config={"seconds": 0.3})
    session.submit()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    thread = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        thread.start()
        task.wait()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert task.state is TaskState.finished


# ---- asyncio ------------------------------------------------------------------------------------


def test_tasks_can_be_awaited(client: Client) -> None:
    async def one(number: int) -> str:
        with client.new_session() as session:
            task = call("hello", blob(str(number)), executor=BOTH[number % 2])
            task.output.keep()
            session.submit()
            return (await task).output.fetch().get_str()

    async def main() -> list[str]:
        return await asyncio.gather(*(one(n) for n in range(20)))

    assert asyncio.run(main()) == [f"Hello {n}!" for n in range(20)]


def test_awaited_failure_raises_and_a_cancelled_wait_cancels_no_task(client: Client) -> None:
    async def main() -> None:
        with client.new_session(on_error="continue") as session:
            bad, slow = call("throw_std"), call("spin")
            session.submit()
            with pytest.raises(TaskException, match="thrown on purpose"):
                await bad
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.wait_async([slow]), 0.05)
            assert slow._state in (1, 2, 3)
            slow.cancel()
            with pytest.raises(TaskCancelled):
                await session.wait_async([slow.output])
            with pytest.raises(RainException, match="is not submitted"):
                await call("spin")

    asyncio.run(main())


# ---- ends ---------------------------------------------------------------------------------------


def test_closed_client_says_so(client: Client) -> None:
    with client.new_session() as session:
        task = call("hello", blob("x"))
        task.output.fetch()
        client.close()
        client.close()
        assert client.closed
        assert not session.active
        for use in (client.new_session, session.submit, task.output.fetch):
            with pytest.raises(UsageError, match=r"closed"):
                use()
        with pytest.raises(SessionClosed):
            blob("y")
    assert "closed" in repr(client)


def test_close_ends_waits_of_other_threads(client: Client) -> None:
    session = client.new_session()
    with session.bind_only():
        task = call("spin")
    session.submit()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            task.wait()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: is_at_work(task), "at work")
    client.close()
    thread.join()
    assert isinstance(caught[0], (SessionException, UsageError))


def test_client_that_is_dropped_ends(executors: dict[str, Any]) -> None:
    def run() -> str:
        session = Client(executors=executors).new_session()
        with session.bind_only():
            return call("hello", blob("x")).output.fetch().get_str()

    assert run() == "Hello x!"
    gc.collect()


def test_task_holds_its_client(executors: dict[str, Any]) -> None:
    def make() -> Task:
        session = Client(executors=executors).new_session()
        with session.bind_only():
            return call("hello", blob("x"))

    task = make()
    gc.collect()
    assert task.output.fetch().get_str() == "Hello x!"
    client = task.session.client
    assert client is not None
    client.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_told_and_disturbs_nobody(client: Client) -> None:
    with client.new_session() as session:
        task = call("hello", blob("x"))
        session.keep_all()
        session.submit()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = []
            for use in (client.new_session, task.wait, task.output.fetch, session.cancel):
                try:
                    use()
                    said.append("nothing")
                except BaseException as error:
                    said.append(f"{type(error).__name__}: {error}")
            client.close()
            os.write(writing, json.dumps(said).encode())
            os._exit(0)
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        said = json.loads(os.read(reading, 10_000))
        os.close(reading)
        assert len(said) == 4
        for line in said:
            assert line.startswith("UsageError: this Client was made in another process")
            assert "create a new Client" in line
        assert task.output.fetch().get_str() == "Hello x!"


def test_program_that_just_ends_leaves_nothing(census: Path, cpptester: Path) -> None:
    program = f"""
from rain.client import Client, Task, blob
client = Client(executors={{"cpptester": {str(cpptester)!r}}})
session = client.new_session(default=True)
task = Task((blob("x"),), 1, task_type="cpptester/hello")
print(task.output.fetch().get_str())
spinning = Task((), 1, task_type="cpptester/spin")
session.submit()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("Hello x!\n", "", 0)
    until(lambda: not os.listdir(census), "run directory removed")


def test_info_and_report_say_what_ran(make_client: MakeClient) -> None:
    client = make_client(record=True)
    with client.new_session():
        call("hello", call("hello", blob("x")), executor="pytester", name="second").output.fetch()
    info = client.info()
    assert info["executors"] == ["cpptester", "py", "pytester"]
    assert len(info["executor_pids"]) == 2
    assert os.path.isdir(info["run_directory"])
    first, second = client.report()
    assert (first.task_type, first.language) == ("cpptester/hello", "C++")
    assert (second.language, second.name) == ("Python", "second")
    assert {first.process, second.process} == set(info["executor_pids"])
    assert (first.output_bytes, second.input_bytes) == (8, 8)
    assert second.seconds > 0
    assert second.state is TaskState.finished
    assert client.report() == []
    with pytest.raises(UsageError, match="record=True"):
        make_client().report()
