"""What may go wrong in remote functions: it costs that task, and the next one runs."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    ExecutorDied,
    RainException,
    Remote,
    Session,
    SessionClosed,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    blob,
    remote,
)


def fetched(task: Task) -> bytes:
    data: bytes = task.output.fetch().get_bytes()
    return data


@remote()
def pid(ctx: Any) -> Any:
    return str(os.getpid())


@remote(auto_encode="pickle")
def result_of(ctx: Any, make: Callable[[], Any]) -> Any:
    return make()


@remote()
def effect_of(ctx: Any, act: Callable[[], Any]) -> Any:
    act()
    return b"done"


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Iterator[Session]:
    """Failures concern nothing else; there is one process."""
    with make_client(executors={}, cpus=1).new_session(on_error="continue") as session:
        yield session


@pytest.fixture
def same_process(session: Session) -> Iterator[None]:
    """What the test does costs no process."""
    before = fetched(pid())
    yield
    assert fetched(pid()) == before


def failure(task: Task) -> TaskException:
    task.session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    assert task.state is TaskState.failed
    return caught.value


# ---- what cannot be pickled ---------------------------------------------------------------------


class Endless:
    def __reduce__(self) -> Any:
        return Endless, (Endless(),)


class Exiting:
    def __reduce__(self) -> Any:
        raise SystemExit(3)


@pytest.mark.parametrize("make", [threading.Lock, Endless], ids=["lock", "endless"])
def test_function_that_cannot_be_pickled_is_refused_with_its_name(
    graph: Session, make: Callable[[], Any]
) -> None:
    held = make()

    @remote()
    def holder(ctx: Any) -> Any:
        return held

    with pytest.raises(RainException, match="remote function 'holder' cannot be pickled"):
        holder()


@pytest.mark.parametrize("make", [threading.Lock, Endless], ids=["lock", "endless"])
def test_argument_that_cannot_be_pickled_is_refused_with_its_name(
    graph: Session, make: Callable[[], Any]
) -> None:
    with pytest.raises(RainException, match="argument 'make' of remote function 'result_of'"):
        result_of([make()])


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (threading.Lock, "cannot pickle"),
        (Endless, "recursion"),
        (Exiting, "SystemExit"),
    ],
    ids=["lock", "endless", "exiting"],
)
def test_result_that_cannot_be_pickled_fails_the_task(make: Callable[[], Any], text: str) -> None:
    assert text in failure(result_of(make)).message


@pytest.mark.usefixtures("same_process")
def test_generator_function_fails_the_task() -> None:
    @remote(outputs=2)
    def pair(ctx: Any) -> Any:
        yield b"a"
        yield b"b"

    @remote()
    def single(ctx: Any) -> Any:
        yield b"a"

    assert "not a sequence type): <generator" in failure(pair()).message
    assert "Invalid result object: <generator" in failure(single()).message
    assert "cannot pickle 'generator'" in failure(result_of(lambda: (i for i in "ab"))).message


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_wrong_number_of_results_fails_the_task(count: int) -> None:
    task = Remote(lambda ctx, n: [b""] * n, outputs=2, name="f")(count)
    assert f"should return 2 outputs, got {count}" in failure(task).message


@pytest.mark.usefixtures("same_process")
def test_wrong_labels_of_results_fail_the_task() -> None:
    task = Remote(lambda ctx: {"a": b"", "c": b""}, outputs=["a", "b"], name="f")()
    error = failure(task)
    assert isinstance(error, KeyError)
    assert error.args == ("b",)


def test_result_over_four_gibibytes(make_client: Callable[..., Client]) -> None:
    size = (4 << 30) + 5
    client = make_client(executors={}, cpus=1)
    budget = client.info()["store"]["budget_bytes"]
    if budget < size + (1 << 20):
        pytest.skip(f"the store may have {budget} bytes here, and this needs {size}")

    @remote()
    def in_place(ctx: Any) -> Any:
        memory = ctx.alloc(size)  # pages that nobody touches take no memory
        memoryview(memory)[:: size - 1] = b"\1\2"
        return memory

    @remote()
    def edges(ctx: Any, data: Any) -> Any:
        view = memoryview(data)
        return f"{len(view)} {view[0]} {view[-1]}"

    with client.new_session():
        task = in_place()
        task.output.keep()
        assert fetched(edges(task)) == f"{size} 1 2".encode()
        with memoryview(task.output.fetch()) as view:  # type: ignore[arg-type]
            assert (len(view), view[0], view[-1]) == (size, 1, 2)


# ---- sessions and clients -----------------------------------------------------------------------


def test_tasks_of_a_closed_session_are_refused(session: Session) -> None:
    assert session.client is not None
    other = session.client.new_session()
    with other.bind_only():
        kept, never = pid(), pid()
    kept.output.keep()
    other.submit()
    kept.wait()
    other.close()
    for use in (kept.wait, kept.output.fetch, never.wait, other.submit, other.wait_all):
        with pytest.raises(SessionClosed, match="Session is closed"):
            use()
    with pytest.raises(SessionClosed, match="Session is closed"):
        pid(session=other)
    with pytest.raises(SessionClosed, match="Session is closed"), other.bind_only():
        pid()


def test_client_and_session_are_refused_as_part_of_a_task(session: Session) -> None:
    client = session.client

    @remote()
    def uses_client(ctx: Any) -> Any:
        client.new_session()  # type: ignore[union-attr]

    @remote()
    def submits(ctx: Any) -> Any:
        session.submit()

    with pytest.raises(
        RainException, match=r"'uses_client'.* it belongs to this process"
    ) as caught:
        uses_client()
    assert "make a Client() of its own" in str(caught.value)
    with pytest.raises(RainException, match="'submits' cannot be pickled: it refers to <Session"):
        submits()
    for thing in (client, session):
        with pytest.raises(RainException, match=r"argument 'make' of.* it belongs to this process"):
            result_of(thing)


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize("act", [lambda: pid(), lambda: blob("x"), lambda: pid().session.submit()])
def test_task_cannot_add_to_its_session(act: Callable[[], Any]) -> None:
    error = failure(effect_of(act))
    assert "No active session: a task cannot add tasks" in error.message
    assert "Return the data and make the tasks in the client's program" in error.message


def test_task_may_have_a_client_of_its_own(session: Session) -> None:
    @remote()
    def outer(ctx: Any) -> Any:
        with Client(cpus=1) as client, client.new_session():
            return pid().output.fetch().get_bytes()

    assert fetched(outer()) != fetched(pid())


# ---- exceptions ---------------------------------------------------------------------------------


class TooManyArguments(Exception):  # noqa: N818
    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)


class ExitsOnUnpickling(Exception):  # noqa: N818
    def __setstate__(self, state: Any) -> None:
        raise SystemExit(4)

    def __reduce__(self) -> Any:
        return type(self), self.args, {"x": 1}


class HasNoText(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


def throw(error: BaseException) -> None:
    raise error


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(
    "error",
    [lambda: TooManyArguments(1, 2), lambda: ExitsOnUnpickling("x"), lambda: Exception(Exiting())],
    ids=["init", "setstate", "reduce"],
)
def test_exception_that_misbehaves_is_a_task_exception(error: Callable[[], Exception]) -> None:
    caught = failure(effect_of(lambda: throw(error())))
    assert type(caught) is TaskException
    assert type(error()).__name__ in caught.message


@pytest.mark.usefixtures("same_process")
def test_exception_without_text_fails_the_task() -> None:
    assert "HasNoText" in failure(effect_of(lambda: throw(HasNoText()))).message


def test_exception_that_hangs_when_pickled_ends_with_cancel(
    session: Session, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"

    class Hanging(Exception):  # noqa: N818
        def __reduce__(self) -> Any:
            begun.touch()
            threading.Event().wait()

    task = effect_of(lambda: throw(Hanging()))
    session.submit()
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.wait()
    assert fetched(pid())


@pytest.mark.usefixtures("same_process")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_exception_group_arrives_as_one() -> None:
    def act() -> None:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])  # noqa: F821

    error: Any = failure(effect_of(act))
    assert type(error).__name__ == "ExceptionGroup"
    assert [repr(each) for each in error.exceptions] == ["ValueError('one')", "KeyError('two')"]
    assert isinstance(error.__cause__, Exception)
    assert "KeyError: 'two'" in str(error.__cause__)
    with pytest.raises(KeyError):
        raise error.exceptions[1]


@pytest.mark.usefixtures("same_process")
def test_huge_text_of_an_exception_is_cut() -> None:
    error = failure(effect_of(lambda: throw(ValueError("x" * (50 << 20)))))
    assert type(error) is TaskException
    assert "ValueError: xxxxxxxx" in error.message
    assert len(error.message) < 2 << 20


@pytest.mark.usefixtures("same_process")
def test_deep_recursion_fails_the_task() -> None:
    def deeper() -> None:
        deeper()

    assert isinstance(failure(effect_of(deeper)), RecursionError)


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda: sys.exit("bye"), "SystemExit: bye"),
        (lambda: throw(KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda: throw(GeneratorExit()), "GeneratorExit"),
    ],
    ids=["exit", "interrupt", "generator"],
)
def test_what_ends_programs_fails_the_task(act: Callable[[], Any], text: str) -> None:
    error = failure(effect_of(act))
    assert type(error) is TaskException
    assert text in error.message


def test_end_of_the_process_is_told_and_the_next_task_gets_another(session: Session) -> None:
    before = fetched(pid())
    error = failure(effect_of(lambda: os._exit(7)))
    assert isinstance(error, ExecutorDied)
    assert f"(process {int(before)}): it ended with exit code: 7" in error.message
    assert "a task must not end its process" in error.report
    assert fetched(pid()) != before


@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(
    "act", [lambda: os.closerange(0, 3), lambda: (sys.stdout.close(), sys.stderr.close())]
)
def test_function_that_closes_stdout_disturbs_no_later_one(
    session: Session, act: Callable[[], Any], tmp_path: Path
) -> None:
    @remote()
    def say(ctx: Any, path: str) -> Any:
        with open(path, "w") as file:
            print("out")
            print("err", file=sys.stderr)
            os.system("echo child")
            file.write("mine")
        return b""

    assert fetched(effect_of(act)) == b"done"
    path = tmp_path / "file"
    task = say(str(path))
    session.submit()
    task.wait()
    assert task.logs() == "out\nchild\nerr\n"
    assert path.read_text() == "mine"
