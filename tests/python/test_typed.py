"""Annotated tasks: what registration makes of annotations, and what isn't the same in C++.

What both languages do is in tests/conformance/test_typed.py.
"""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NewType, Optional

import numpy as np
import pytest
from numpy.typing import NDArray
from rain import tasklib
from rain.common.content_type import decode_value, encode_value
from rain.tasklib import Context, DataInstance
from rain.tasklib.testing import TaskError, call, make_input, try_call

if TYPE_CHECKING:
    from collections import Counter  # noqa: F401 - on purpose: not there when the program runs

FloatArray = NDArray[np.float64]
Metres = NewType("Metres", float)


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass
class Track:
    name: str
    points: list[Point]
    weights: dict[str, int] = field(default_factory=dict)
    start: Optional[Point] = None  # noqa: UP045 - that spelling, too
    more: Any = None


@dataclass
class Chain:
    next: Chain | None


@pytest.fixture
def executor() -> tasklib.Executor:
    return tasklib.Executor("x")


def error_of(executor: tasklib.Executor, name: str, *inputs: Any, **options: Any) -> str:
    error = try_call(executor, name, *inputs, **options).error
    assert error is not None
    return error


# ---- What a call looks like ---------------------------------------------------------------------


def test_functions_without_annotations_get_context_and_instances(
    executor: tasklib.Executor,
) -> None:
    @executor.task
    def f(first, *rest):  # type: ignore[no-untyped-def]
        return f"{type(first).__name__} {[type(each).__name__ for each in rest]}"

    assert call(executor, "f", 1.0, b"").load() == "Context ['DataInstance', 'DataInstance']"


def test_annotations_that_say_nothing_change_nothing(executor: tasklib.Executor) -> None:
    @executor.task
    def plain(c: Context, a: DataInstance, b: Any, *rest: object) -> dict[str, bytes]:
        return {spec.label: bytes(a) for spec in c.outputs}

    @executor.task
    def result_alone(context, name) -> bytes:  # type: ignore[no-untyped-def]
        assert isinstance(context, Context)
        return bytes(name)

    outputs = call(executor, "plain", b"1", b"2", outputs=("l", "r")).outputs
    assert [output.get_bytes() for output in outputs] == [b"1", b"1"]
    assert call(executor, "result_alone", b"1").output.get_bytes() == b"1"


def test_the_context_may_be_left_out_or_have_any_name(executor: tasklib.Executor) -> None:
    @executor.task
    def without(text: str) -> int:
        return len(text)

    @executor.task
    def named(ctx, text: str) -> str:  # type: ignore[no-untyped-def]
        return f"{text} {ctx.task_type}"

    @executor.task
    def annotated(c: Context, text: str) -> str:
        return f"{text} {c.task_type}"

    @executor.task
    def nothing() -> float:
        return 1.5

    assert call(executor, "without", "four").load() == 4
    assert call(executor, "named", "a").load() == "a x/named"
    assert call(executor, "annotated", "a").load() == "a x/annotated"
    assert call(executor, "nothing").load() == 1.5


def test_parameters_without_annotation_are_instances(executor: tasklib.Executor) -> None:
    @executor.task
    def f(ctx: Context, x: float, rest) -> DataInstance:  # type: ignore[no-untyped-def]
        assert isinstance(rest, DataInstance)
        return rest

    assert call(executor, "f", 1, b"bytes").output.get_bytes() == b"bytes"


def test_defaults_and_any_number_of_inputs(executor: tasklib.Executor) -> None:
    @executor.task
    def f(x: float, by: float = 2, *, unused: int = 0) -> float:
        return x * by

    @executor.task
    def total(first: float, *rest: float) -> float:
        return first + sum(rest)

    assert call(executor, "f", 3).load() == 6
    assert call(executor, "f", 3, 3).load() == 9
    assert error_of(executor, "f") == (
        "Invalid number of arguments, expected = 1 to 2, but got = 0"
    )
    assert call(executor, "total", 1).load() == 1
    assert call(executor, "total", 1, 2, 3).load() == 6
    assert error_of(executor, "total", 1, 2, "x") == (
        "parameter 3 'rest': expected float64 scalar, found text"
    )
    assert error_of(executor, "total").endswith("expected = 1 or more, but got = 0")


def test_methods_and_decorated_functions_are_tasks(executor: tasklib.Executor) -> None:
    class Model:
        def scale(self, x: float) -> float:
            return 2 * x

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @executor.task
    @logged
    def half(ctx: Context, x: float) -> float:
        return x / 2

    executor.add_task("scale", Model().scale)
    executor.add_task("partial", functools.partial(lambda ctx, x: x))
    assert call(executor, "scale", 2).load() == 4
    assert call(executor, "half", 2).load() == 1
    assert call(executor, "partial", b"1").output.get_bytes() == b"1"


def test_aliases_new_types_and_annotated_mean_what_they_stand_for(
    executor: tasklib.Executor,
) -> None:
    @executor.task
    def f(ctx: Annotated[Context, 1], x: Metres, y: Annotated[DataInstance, "as it is"]) -> Metres:
        assert isinstance(y, DataInstance)
        return Metres(2 * x)

    assert call(executor, "f", 1, b"").load() == 2
    assert error_of(executor, "f", "1", b"").startswith("parameter 1 'x': expected float64 scalar")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of Python 3.12")
def test_type_statements(executor: tasklib.Executor) -> None:
    names: dict[str, Any] = {}
    program = """if True:
        type Number = float
        type Pairs[K, V] = list[dict[K, V]]
        def f(x: Number, pairs: Pairs[str, int]) -> Number: return x
    """
    exec(program, names)
    executor.add_task("f", names["f"])
    assert call(executor, "f", 1, [{"a": 1}]).load() == 1
    assert "key 'a'" in error_of(executor, "f", 1, [{"a": "1"}])


# ---- Registration -------------------------------------------------------------------------------


def bad(parameter: Any = None, result: Any = None) -> Callable[..., Any]:
    def f(x, y):  # type: ignore[no-untyped-def]
        pass

    f.__annotations__ = {
        name: kind for name, kind in (("x", parameter), ("return", result)) if kind is not None
    }
    return f


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (bad("Missing"), "parameter 'x': 'Missing' can't be resolved: NameError"),
        (bad("Counter[str]"), "not only under TYPE_CHECKING"),
        (bad(float, "np.nothing"), "the result: 'np.nothing' can't be resolved"),
        (bad(Iterator[float]), "parameter 'x': tasks don't take collections.abc.Iterator"),
        (bad(tuple[int, str]), "tasks don't take tuple"),
        (bad(float, Iterator[str]), "result: tasks don't return collections.abc.Iterator"),
        (bad(int | str), r"tasks don't take int \| str"),
        (bad(np.ndarray | None), "only values can be None"),
        (bad(list[bytes]), "<class 'bytes'> can't be part of a value"),
        (bad(dict[int, str]), "must be str"),
        (bad(NDArray[np.floating]), "is no dtype of its own; say which"),
        (bad(np.integer), "is no dtype of its own"),
        (bad(np.float16), "numbers of tasks have C\\+\\+'s types, not float16"),
        (bad(Chain), "field 'next' of Chain: Chain contains itself"),
    ],
)
def test_what_tasks_do_not_exchange_is_refused_at_once(
    executor: tasklib.Executor, function: Callable[..., Any], text: str
) -> None:
    with pytest.raises(TypeError, match=f"task 'f': the annotation of .*{text}"):
        executor.add_task("f", function)


def test_inputs_are_positional(executor: tasklib.Executor) -> None:
    def f(x: float, *, y: float) -> None: ...

    with pytest.raises(TypeError, match="'y' is keyword-only and has no default"):
        executor.add_task("f", f)


def test_annotations_cost_no_import_of_numpy_or_inspect() -> None:
    program = """if True:
        import sys
        from rain import tasklib
        executor = tasklib.Executor("x")
        @executor.task
        def f(ctx, text: str, factor: float) -> float: return factor
        print(*sys.modules)
    """
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert "rain.tasklib.typed" in loaded
    assert not {"numpy", "inspect", "dataclasses", "json"} & set(loaded)


# ---- Inputs and outputs -------------------------------------------------------------------------


def test_arrays_are_read_only_views_of_any_or_of_the_annotated_kind(
    executor: tasklib.Executor,
) -> None:
    @executor.task
    def kind(x: np.ndarray) -> str:
        assert not x.flags.writeable
        return f"{x.dtype} {x.shape}"

    @executor.task
    def floats(x: FloatArray) -> FloatArray:
        return x + 1

    assert call(executor, "kind", np.zeros((2, 0), np.uint8)).load() == "uint8 (2, 0)"
    assert call(executor, "kind", np.zeros(2, "M8[s]")).load() == "datetime64[s] (2,)"
    assert call(executor, "kind", np.zeros(1, [("a", "<i4")])).load() == "[('a', '<i4')] (1,)"
    assert error_of(executor, "kind", b"") == "parameter 1 'x': expected ndarray, found bytes"
    np.testing.assert_array_equal(call(executor, "floats", np.eye(2)).load(), np.eye(2) + 1)
    assert error_of(executor, "floats", np.zeros((2, 3), np.float32)) == (
        "parameter 1 'x': expected ndarray float64, found ndarray float32 of 2 dimensions"
    )
    assert error_of(executor, "floats", np.zeros(1, [("a", "<i4")])).endswith(
        'found ndarray [["a","<i4"]] of 1 dimension'
    )


def test_arrays_that_were_made_in_place_are_not_copied(executor: tasklib.Executor) -> None:
    made = []

    @executor.task
    def f(ctx: Context, n: int) -> np.ndarray:
        array = ctx.zeros((n, 2))
        made.append(array.ctypes.data)
        return array

    assert call(executor, "f", 3000).load().ctypes.data == made[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, 1.5),
        (int, -(2**40)),
        (bool, True),
        (complex, 1 + 2j),
        (np.float32, np.float32(0.1)),
        (np.uint64, np.uint64(2**64 - 1)),
        (np.int8, np.int8(-5)),
        (np.complex64, np.complex64(1j)),
        (np.bool_, np.bool_(False)),
    ],
)
def test_numbers_are_arrays_without_dimensions(
    executor: tasklib.Executor, kind: type, value: Any
) -> None:
    def f(x):  # type: ignore[no-untyped-def]
        assert type(x) is kind
        return x

    f.__annotations__ = {"x": kind, "return": kind}
    executor.add_task("f", f)
    array = call(executor, "f", np.array(value, kind)).output.as_array()
    assert (array.dtype, array.shape, array[()]) == (np.dtype(kind), (), value)


def test_numbers_may_be_values_if_they_fit(executor: tasklib.Executor) -> None:
    @executor.task
    def small(x: np.int8) -> int:
        return int(x)

    assert call(executor, "small", 127).load() == 127
    assert error_of(executor, "small", 128) == (
        "parameter 1 'x': expected int8 scalar, found value 128"
    )


def test_bytes_and_text(executor: tasklib.Executor) -> None:
    @executor.task
    def kinds(a: bytes, b: memoryview, c: bytearray, d: str) -> list[str]:
        assert b.readonly
        return [type(each).__name__ for each in (a, b, c, d)]

    inputs = ["as bytes", np.zeros(2), b"", b"text"]
    assert call(executor, "kinds", *inputs).load() == ["bytes", "memoryview", "bytearray", "str"]
    assert error_of(executor, "kinds", b"", b"", b"", b"ab\xff") == (
        "parameter 4 'd': expected text, found bytes that are not UTF-8 from byte 2 on"
    )


def test_dataclasses_are_structs(executor: tasklib.Executor) -> None:
    @executor.task
    def f(track: Track, by: Annotated[Point, "how far"]) -> Track:
        assert all(type(point) is Point for point in track.points)
        track.points = [Point(p.x + by.x, p.y + by.y) for p in track.points]
        return track

    track = Track("t", [Point(1, 2)], {"a": 1}, Point(5), more=[1, {"b": None}])
    moved = call(executor, "f", track, {"x": 1}).load()
    assert moved == {
        "name": "t",
        "points": [{"x": 2.0, "y": 2.0}],
        "weights": {"a": 1},
        "start": {"x": 5.0, "y": 0.0},
        "more": [1, {"b": None}],
    }
    assert call(executor, "f", {"name": "t", "points": []}, Point(1)).load()["start"] is None
    errors = [
        ({"name": 1, "points": []}, "field 'name': expected a string, but the value is an integer"),
        ({"name": ""}, "no key 'points'; there are: name"),
        ({"name": "", "points": [{"x": "1"}]}, "field 'points': item 0: field 'x': expected a"),
        ([], "expected a map, but the value is an array"),
        ({"name": "", "points": [], "weights": {"k": 0.5}}, "field 'weights': key 'k': expected"),
    ]
    for value, text in errors:
        assert error_of(executor, "f", value, {"x": 1}).startswith(f"parameter 1 'track': {text}")


def test_dict_list_and_optional_values(executor: tasklib.Executor) -> None:
    @executor.task
    def f(d: dict, numbers: list[int], maybe: float | None) -> dict[str, Any]:  # type: ignore[type-arg]
        return {"d": d, "numbers": numbers, "maybe": maybe}

    result = call(executor, "f", {"a": [None]}, [1, 2**63], None).load()
    assert result == {"d": {"a": [None]}, "numbers": [1, 2**63], "maybe": None}
    assert call(executor, "f", {}, [], np.array(0.5)).load()["maybe"] == 0.5
    assert error_of(executor, "f", {}, [1, "2"], 1).startswith("parameter 2 'numbers': item 1: ")


def test_classes_are_what_the_data_load_as(executor: tasklib.Executor) -> None:
    @executor.task
    def f(x: Exception) -> set:  # type: ignore[type-arg]
        return {str(x)}

    data = make_input(executor, pickle.dumps(ValueError("a")), "pickle")
    result = call(executor, "f", data)
    assert result.output.content_type == "pickle"
    assert result.load() == {"a"}
    other = make_input(executor, json.dumps({}).encode(), "json")
    expected = "parameter 1 'x': expected Exception, found "
    assert error_of(executor, "f", other) == expected + "data of content type 'json': a dict"
    assert error_of(executor, "f", b"").startswith(expected + "bytes")


@pytest.fixture(scope="module")
def arrow() -> tuple[Any, Any]:
    """pyarrow and pandas, after pyarrow has started the threads that it keeps."""
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    pa.set_cpu_count(1)
    data = encode_value(pa.Table.from_pandas(pd.DataFrame({"a": [1, 2]})), "arrow")
    decode_value(data, "arrow").to_pandas()
    return pa, pd


def test_tables_are_arrow(arrow: tuple[Any, Any], executor: tasklib.Executor) -> None:
    pa, pd = arrow

    def f(table, frame):  # type: ignore[no-untyped-def]
        assert type(table) is pa.Table
        assert type(frame) is pd.DataFrame
        return frame, table

    f.__annotations__ = {
        "table": pa.Table,
        "frame": pd.DataFrame,
        "return": tuple[pd.DataFrame, pa.Table],
    }
    executor.add_task("f", f)
    table = make_input(executor, pa.table({"a": [1, 2]}), "arrow")
    outputs = call(executor, "f", table, table).outputs
    assert [output.content_type for output in outputs] == ["arrow", "arrow"]
    assert outputs[0].load()["a"].tolist() == [1, 2]


RESULTS: list[tuple[Any, Any, str]] = [
    (float, "1", "result: expected float64 scalar, returned str"),
    (int, 1.5, "result: expected int64 scalar, returned float"),
    (int, 2**63, f"result: expected int64 scalar, returned int {2**63}"),
    (bool, 1, "result: expected bool scalar, returned int 1"),
    (str, b"", "result: expected text, returned bytes"),
    (None, 0, "result: expected None, returned int 0"),
    (np.ndarray, [1.0], "result: expected ndarray, returned list of 1"),
    (
        FloatArray,
        np.zeros(1, "f4"),
        "result: expected ndarray float64, returned ndarray float32 of",
    ),
    (Point, {}, "result: expected Point, returned dict"),
    (tuple[int, str], (1,), "result: expected tuple of 2, returned tuple of 1"),
    (tuple[int, str], (1, 2), "output 2: expected text, returned int 2"),
]


@pytest.mark.parametrize(("kind", "value", "text"), RESULTS)
def test_results_are_what_the_annotation_says(
    executor: tasklib.Executor, kind: Any, value: Any, text: str
) -> None:
    def f(x: float):  # type: ignore[no-untyped-def]
        return value

    f.__annotations__ = {"x": float, "return": kind}
    executor.add_task("f", f)
    assert error_of(executor, "f", 1).startswith(text)


def test_a_wrong_number_of_outputs_is_said_as_in_cpp(executor: tasklib.Executor) -> None:
    @executor.task
    def f(x: float) -> tuple[float, str]:
        return x, "a"

    assert error_of(executor, "f", 1, outputs=1) == "Task produced 2 outputs, but expected 1"


def test_several_outputs_without_types_are_as_in_tasks_without_annotations(
    executor: tasklib.Executor,
) -> None:
    @executor.task
    def labelled(ctx: Context, x: float) -> dict[str, bytes]:
        return {"b": b"2", "a": b"1"}

    @executor.task
    def listed(x: float) -> tuple:  # type: ignore[type-arg]
        return b"1", "2"

    for name, labels in (("labelled", ["a", "b"]), ("listed", ["a", "b"])):
        outputs = call(executor, name, 1, outputs=labels).outputs
        assert [output.get_bytes() for output in outputs] == [b"1", b"2"]


def test_tuples_of_any_length_are_as_many_outputs(executor: tasklib.Executor) -> None:
    @executor.task
    def f(ctx: Context, x: float) -> tuple[float, ...]:
        return (x,) * len(ctx.outputs)

    assert [output.load() for output in call(executor, "f", 1, outputs=3).outputs] == [1, 1, 1]


def test_an_instance_goes_whatever_the_annotation_says(executor: tasklib.Executor) -> None:
    @executor.task
    def f(ctx: Context, x: float) -> np.ndarray:
        return ctx.blob(b"1", content_type="json")  # type: ignore[return-value]

    assert call(executor, "f", 1).output.content_type == "json"


def test_the_tasks_own_errors_have_their_traceback(executor: tasklib.Executor) -> None:
    @executor.task
    def f(x: float) -> float:
        raise KeyError("mine")

    with pytest.raises(TaskError, match=r"in f\n.*mine"):
        call(executor, "f", 1)
