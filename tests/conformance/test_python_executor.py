"""What is particular to executors in Python."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from calls import Tester
from fake_governor import Executor
from kinds import PYTHON, Start
from rain import tasklib

both_protocols = pytest.mark.parametrize("kind", PYTHON)


def evaluate(tester: Tester, expression: str) -> bytes:
    return tester.call("return_of", config={"expression": expression}).data


def test_import_is_light() -> None:
    heavy = {"numpy", "asyncio", "tomllib", "typing", "inspect", "traceback", "pickle", "enum"}
    program = "import sys, rain.tasklib; print(*sys.modules)"
    before = subprocess.check_output([sys.executable, "-Sc", "import sys; print(*sys.modules)"])
    after = subprocess.check_output([sys.executable, "-c", program])
    assert not heavy & (set(after.decode().split()) - set(before.decode().split()))


def test_a_decorated_function_stays_a_function() -> None:
    executor = tasklib.Executor("x")

    @executor.task
    def one(ctx: tasklib.Context) -> bytes:
        return b"1"

    @executor.task(name="second")
    def two(ctx: tasklib.Context) -> bytes:
        return b"2"

    assert callable(one)
    assert two.__name__ == "two"


def test_wrong_registrations_are_refused() -> None:
    for name in ("", "a/b"):
        with pytest.raises(ValueError, match="is no executor type"):
            tasklib.Executor(name)
    executor = tasklib.Executor("x")
    with pytest.raises(TypeError, match="task 'n': 3 is not callable"):
        executor.add_task("n", 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one thread"):
        executor.start(0)


def test_contexts_and_instances_are_made_by_executors_alone() -> None:
    for kind in (tasklib.Context, tasklib.DataInstance, tasklib.Buffer):
        with pytest.raises(TypeError, match="cannot create"):
            kind()


@both_protocols
def test_inputs_are_read_only_buffers(shared: Start, kind: str) -> None:
    tester = shared(kind)
    expression = (
        "(lambda view: f'{view.readonly} {view.nbytes} {bytes(view)}')"
        "(memoryview(ctx.blob(b'abc')))"
    )
    assert evaluate(tester, expression) == b"True 3 b'abc'"


@both_protocols
def test_values_are_encoded_and_decoded_by_content_type(shared: Start, kind: str) -> None:
    tester = shared(kind)
    assert evaluate(tester, "ctx.blob({'a': [1, None]}, encode='json')") == b'{"a": [1, null]}'
    assert evaluate(tester, "repr(ctx.pickled({'a': 1}).load())") == b"{'a': 1}"
    assert evaluate(tester, "ctx.blob('text').load()") == b"text"
    result = tester.call("return_of", config={"expression": "ctx.blob(b'?').load()"})
    assert "can't decode None content_type" in result.error


@both_protocols
def test_sigint_ends_the_process_and_no_task(start: Start, kind: str) -> None:
    tester = start(kind)
    assert evaluate(tester, "b'warm'") == b"warm"
    tester.executor.process.send_signal(signal.SIGINT)
    assert tester.executor.wait_exit() == -signal.SIGINT


@both_protocols
def test_a_handler_of_the_program_runs_by_the_next_call(start: Start, kind: str) -> None:
    tester = start(kind)
    assert tester.call("handle_sigterm", outputs=0).success
    tester.executor.process.send_signal(signal.SIGTERM)
    assert tester.call("hello", [b"x"]).data == b"Hello x!"
    assert "SIGTERM was handled" in tester.executor.logs()


def test_threads_of_one_process_allocate_at_the_same_time(start: Start) -> None:
    tester = start("python-cbor-2", threads=4)
    tester.executor.lease(tester.executor.add_region(1, 64 << 20), [(0, 64 << 20)])
    config = {"size": 100_000}
    calls = [tester.make_call("fill", config=config | {"byte": i}) for i in range(200)]
    tester.executor.send_raw(b"".join(Executor.frame(["call", call]) for _, call in calls))
    for i, (sequence, _) in enumerate(calls):
        result = tester.result(sequence)
        assert result.data == bytes([i]) * 100_000
        assert result.raw.get("copied", 0) == 0


def test_threads_that_a_task_starts_may_allocate(start: Start) -> None:
    """Even when the task has returned before they got their memory."""
    tester = start("python-cbor-2")
    sequence = tester.send_call(
        "return_of",
        config={
            "expression": "__import__('threading').Thread(target=ctx.alloc, args=(100_000,))"
            ".start() or b'returned'"
        },
    )
    request = tester.executor.wait_message("lease_request")
    region = tester.executor.add_region(1, 1 << 20)
    tester.executor.lease(region, [(0, 1 << 20)], request["request"])
    assert tester.result(sequence).data == b"returned"
    assert evaluate(tester, "ctx.alloc(1 << 20)") == b"\0" * (1 << 20)
