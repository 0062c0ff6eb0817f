"""`python -m rain.executor` under a governor of either protocol, called as by Rain 0.4's client."""

from __future__ import annotations

import pickle
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from calls import In, Out, Tester
from fake_governor import Executor


@pytest.fixture(params=["cbor-1", "cbor-2"])
def py(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tester]:
    command = [sys.executable, "-m", "rain.executor"]
    with Executor(command, tmp_path / "executor", request.param) as executor:
        executor.start()
        yield Tester(executor, "py")


def function_input(function: Any, number: int = 700) -> In:
    return In(cloudpickle.dumps(function), number=number, content_type="cloudpickle")


def config(*args: Any, **named: Any) -> dict[str, Any]:
    def text(value: Any) -> str:
        return b64encode(cloudpickle.dumps(value)).decode()

    return {
        "args": [text(arg) for arg in args],
        "kwargs": {key: text(arg) for key, arg in named.items()},
        "encode_outputs": [None],
    }


class Placeholder:
    """Pickles as old clients wrote data objects."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __reduce__(self) -> Any:
        from rain.executor.executor import unpickle_input_object

        return unpickle_input_object, self.arguments


def test_calls_a_function_with_inputs_in_the_place_of_data_objects(py: Tester) -> None:
    def join(ctx: Any, a: Any, b: Any, *, times: int) -> bytes:
        return (a.get_bytes() + b["key"].encode()) * times

    given = config(
        Placeholder("a{0}", 1, False, None), {"key": Placeholder("b{0}", 2, True, "text")}, times=2
    )
    inputs = [function_input(join), b"Hello ", b"you"]
    assert py.call("", inputs, config=given).data == b"Hello youHello you"


def test_function_is_unpickled_once(py: Tester) -> None:
    def count(ctx: Any) -> str:
        ctx.function.calls = getattr(ctx.function, "calls", 0) + 1
        return str(ctx.function.calls)

    data = function_input(count)
    assert [py.call("", [data], config=config()).data for _ in range(3)] == [b"1", b"2", b"3"]
    other = function_input(count, number=701)
    assert py.call("", [other], config=config()).data == b"1"


def test_content_types_and_attributes_of_inputs_are_seen(py: Tester) -> None:
    def look(ctx: Any, a: Any) -> Any:
        ctx.info.user["seen"] = [a.content_type, a.load(), a.info.user["k"]]
        return a

    data = In(b"[1]", content_type="text", info={"content_type": "json", "user": {"k": 5}})
    result = py.call(
        "", [function_input(look), data], config=config(Placeholder("a{0}", 1, False, None))
    )
    assert result.success, result.error
    assert result.info["user"]["seen"] == ["json", [1], 5]
    assert result.raw["outputs" if "outputs" in result.raw else "out"]


def test_staged_file_is_sent_as_path(py: Tester) -> None:
    def stage(ctx: Any) -> Any:
        with open("made", "w") as file:
            file.write("by hand")
        return ctx.stage_file("made", content_type="text")

    result = py.call("", [function_input(stage)], config=config())
    assert result.data == b"by hand"
    assert result.outputs[0].content_type == "text"


def test_failure_carries_the_traceback_and_the_executor_goes_on(py: Tester) -> None:
    def fail(ctx: Any) -> None:
        raise ValueError("on purpose")

    result = py.call("", [function_input(fail)], config=config())
    assert not result.success
    assert "ValueError: on purpose" in result.error
    if "exception" in result.raw:
        assert pickle.loads(result.raw["exception"]).args == ("on purpose",)
    assert py.call("", [function_input(lambda ctx: b"on", 702)], config=config()).data == b"on"


@pytest.mark.parametrize("wrong", [None, 5, [], {}, {"args": 1, "kwargs": {}}, {"args": []}])
def test_wrong_config_is_an_error_of_the_task(py: Tester, wrong: Any) -> None:
    result = py.call("", [function_input(lambda ctx: b"")], config=wrong)
    assert not result.success
    assert "config" in result.error or "TypeError" in result.error


def test_several_outputs(py: Tester) -> None:
    two = function_input(lambda ctx: {"b": b"B", "a": [1]})
    given = {**config(), "encode_outputs": ["json", None]}
    result = py.call("", [two], [Out("a"), Out("b")], config=given)
    assert [output.data for output in result.outputs] == [b"[1]", b"B"]
    assert result.outputs[0].content_type == "json"
