"""rain.tasklib.testing: tasks in the test's own process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rain import tasklib
from rain.tasklib import Context, DataInstance
from rain.tasklib.testing import Result, TaskError, call, make_input, try_call

executor = tasklib.Executor("example")


@executor.task
def hello(ctx: Context, name: DataInstance) -> bytes:
    return b"Hello " + bytes(name) + b"!"


@executor.task
def seen(ctx: Context, *inputs: DataInstance) -> str:
    return " ".join(f"{data.content_type or 'bytes'}:{len(data)}" for data in inputs)


@executor.task
def by_label(ctx: Context) -> dict[str, bytes]:
    return {spec.label: spec.label.encode() for spec in ctx.outputs}


@executor.task
def said(ctx: Context) -> str:
    ctx.debug("one {}", 1)
    ctx.attributes["answer"] = [ctx.attributes["question"], ctx.config]
    assert not ctx.cancelled()
    return f"{ctx.task_type} {ctx.name!r} {ctx.cpus} {ctx.resources}"


@executor.task
def fail(ctx: Context, key: str) -> None:
    raise {"KeyError": KeyError("k"), "exit": SystemExit(3), "ctrl-c": KeyboardInterrupt()}[key]


@executor.task
def files(ctx: Context, data: DataInstance) -> str:
    assert data.path is not None
    top = Path(data.path)
    return ",".join(sorted(each.name for each in top.iterdir())) if data.is_directory else "file"


@executor.task
def nested(ctx: Context, name: DataInstance) -> DataInstance:
    output = call(executor, "hello", bytes(name)).output
    ctx.debug("after")  # this call's context works as before
    return output


def test_outputs_are_instances() -> None:
    result = call(executor, "hello", b"World")
    assert isinstance(result.output, DataInstance)
    assert result.output.get_bytes() == b"Hello World!"
    again = call(executor, "hello", result.output)
    assert bytes(again.output) == b"Hello Hello World!!"


def test_inputs_are_read_only_and_of_the_executors_class() -> None:
    class Special(DataInstance):
        __slots__ = ()

    class Other(tasklib.Executor):
        data_type = Special

    other = Other("other")

    @other.task
    def f(ctx: Context, data: Special) -> bytes:
        assert type(data) is Special
        assert memoryview(data).readonly
        return b""

    assert type(call(other, "f", bytearray(100_000)).output) is Special


def test_plain_values_are_what_typed_tasks_take() -> None:
    inputs: list[Any] = [b"12", "text", np.zeros(2), np.float32(1), 1.5, None, [1], {"a": True}]
    assert call(executor, "seen", *inputs).load() == (
        "bytes:2 text:4 user/ndarray:16 user/ndarray:4 cbor:5 cbor:1 cbor:2 cbor:4"
    ).replace("cbor:5", f"cbor:{len(bytes(make_input(executor, 1.5)))}")


def test_other_content_types_are_made_on_request() -> None:
    inputs = [
        make_input(executor, {1, 2}, "pickle"),
        make_input(executor, b"{}", "json"),
        make_input(executor, {}, "json"),
    ]
    assert [data.content_type for data in inputs] == ["pickle", "json", "json"]
    assert [data.load() for data in inputs] == [{1, 2}, {}, {}]
    with pytest.raises(TypeError, match=r'a set is no input; make_input\(.*"pickle"\)'):
        call(executor, "seen", {1})


def test_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    assert call(executor, "files", tmp_path).load() == "a"
    assert call(executor, "files", tmp_path / "a").load() == "file"
    assert call(executor, "hello", tmp_path / "a").output.get_bytes() == b"Hello 1!"


def test_outputs_by_number_and_label() -> None:
    result = call(executor, "by_label", outputs=("l", "r"))
    assert [output.get_bytes() for output in result.outputs] == [b"l", b"r"]
    with pytest.raises(ValueError, match="gave 2 outputs"):
        result.output  # noqa: B018


def test_what_the_task_asks_and_says() -> None:
    result = call(executor, "said", config={"n": 1}, attributes={"question": 42})
    assert result.load() == "example/said '' 1 {}"
    assert result.debug == "one 1"
    assert result.attributes == {"answer": [42, {"n": 1}]}


def test_a_failure_is_raised_with_its_cause_or_given_as_data() -> None:
    with pytest.raises(TaskError, match=r"Traceback[^$]*KeyError: 'k'") as caught:
        call(executor, "fail", "KeyError")
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None

    result = try_call(executor, "fail", "exit", outputs=0)
    assert isinstance(result, Result)
    assert isinstance(result.exception, SystemExit)
    assert result.error is not None
    assert result.error.endswith("SystemExit: 3")
    assert result.outputs == []
    with pytest.raises(TaskError):
        result.output  # noqa: B018


def test_what_is_wrong_with_the_call_has_no_cause() -> None:
    with pytest.raises(TaskError, match=r"missing 1 required positional argument: 'name'"):
        call(executor, "hello")
    with pytest.raises(TaskError, match=r"^Task produced 0 outputs, but expected 1$|No returned"):
        call(executor, "hello", b"", outputs=0)
    with pytest.raises(ValueError, match="Method 'example/helo' not found in executor 'example'"):
        call(executor, "helo")


def test_ctrl_c_ends_the_test() -> None:
    with pytest.raises(KeyboardInterrupt):
        try_call(executor, "fail", "ctrl-c")


def test_a_task_may_try_a_task() -> None:
    result = call(executor, "nested", b"x")
    assert result.output.get_bytes() == b"Hello x!"
    assert result.debug == "after"


def test_several_threads_may_try_tasks() -> None:
    found: list[bytes] = []

    def run(i: int) -> None:
        for _ in range(50):
            found.append(call(executor, "hello", str(i).encode()).output.get_bytes())

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"Hello {i}!".encode() for i in range(4) for _ in range(50))


def test_outputs_live_as_long_as_somebody_looks() -> None:
    made = tasklib.Executor("short")

    @made.task
    def f(ctx: Context) -> np.ndarray:
        return ctx.zeros(100_000) + 1

    array = call(made, "f").load()
    del made, f
    assert array.sum() == 100_000
    assert not array.flags.writeable


def test_pytest_shows_the_line_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from rain import tasklib\n"
        "from rain.tasklib.testing import call\n"
        'executor = tasklib.Executor("x")\n'
        "@executor.task\n"
        "def f(x: float) -> float:\n"
        "    return x / 0  # the line\n"
        "def test_f():\n"
        '    assert call(executor, "f", 1.0).load() == 1  # the call\n'
    )
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    shown = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True).stdout
    assert "return x / 0  # the line" in shown
    assert "# the call" in shown
    assert "ZeroDivisionError" in shown
    assert "result.check()" not in shown
