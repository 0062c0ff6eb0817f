"""Tasks whose signatures say what they take and give: encodings, and the texts of mismatches.

Both languages say the same; MISMATCHES has every text.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import minicbor
import pytest
from calls import In
from kinds import TYPED, Start

typed = pytest.mark.parametrize("kind", TYPED)


def array(dtype: str, shape: list[int], data: bytes) -> In:
    attribute = {"dtype": dtype, "shape": shape}
    return In(data, content_type="user/ndarray", user={"ndarray": attribute})


def doubles(*items: float) -> In:
    return array("<f8", [len(items)], struct.pack(f"<{len(items)}d", *items))


def scalar(number: float) -> In:
    return array("<f8", [], struct.pack("<d", number))


def text(words: str) -> In:
    return In(words.encode(), content_type="text")


def value(what: Any) -> In:
    return In(minicbor.dumps(what), content_type="cbor")


@typed
def test_arrays_and_scalars_travel_with_dtype_and_shape(shared: Start, kind: str) -> None:
    result = shared(kind).call("typed_scale", [doubles(1, 2, 3), scalar(0.5)])
    assert struct.unpack("<3d", result.data) == (0.5, 1, 1.5)
    (output,) = result.outputs
    assert output.content_type == "user/ndarray"
    assert output.info["user"] == {"ndarray": {"dtype": "<f8", "shape": [3]}}


@typed
@pytest.mark.parametrize("count", [0, 1, 100_000])
def test_arrays_of_any_size(shared: Start, kind: str, count: int) -> None:
    result = shared(kind).call("typed_scale", [doubles(*[2.0] * count), scalar(2)])
    assert result.data == struct.pack("<d", 4) * count


@pytest.mark.parametrize("kind", [kind for kind in TYPED if kind.endswith("cbor-2")])
def test_a_large_result_is_written_where_it_is_read(shared: Start, kind: str) -> None:
    result = shared(kind).call("typed_scale", [doubles(*[1.0] * 100_000), scalar(1)])
    (output,) = result.outputs
    assert len(output.at) == 3, "not in shared memory"
    assert result.raw.get("copied", 0) == 0


@typed
def test_arrays_have_dimensions(shared: Start, kind: str) -> None:
    matrix = array("<i4", [2, 3], struct.pack("<6i", *range(6)))
    result = shared(kind).call("typed_transpose", [matrix])
    assert struct.unpack("<6i", result.data) == (0, 3, 1, 4, 2, 5)
    assert result.outputs[0].info["user"] == {"ndarray": {"dtype": "<i4", "shape": [3, 2]}}


@typed
def test_what_the_producing_task_said_of_an_array_wins(shared: Start, kind: str) -> None:
    attribute = {"ndarray": {"dtype": "<f8", "shape": [1]}}
    produced = In(
        struct.pack("<d", 4),
        content_type="text",
        info={"size": 8, "content_type": "user/ndarray", "user": attribute},
    )
    assert shared(kind).call("typed_scale", [produced, scalar(2)]).data == struct.pack("<d", 8)


@typed
def test_structs_are_maps(shared: Start, kind: str) -> None:
    point = {"x": 1.5, "y": 2, "tags": ["a"], "more": None}
    result = shared(kind).call("typed_move", [value(point), text("b")])
    assert result.outputs[0].content_type == "cbor"
    assert minicbor.loads(result.data) == {"x": 2.5, "y": 2.0, "tags": ["a", "b"]}


@typed
def test_a_tuple_is_several_outputs(shared: Start, kind: str) -> None:
    anything = In(b"bytes", content_type="json", number=900)
    result = shared(kind).call("typed_parts", [text("four"), anything], outputs=3)
    assert result.success, result.error
    words, number, _ = result.outputs
    assert (words.data, words.content_type) == (b"four!", "text")
    assert (number.data, number.info["user"]["ndarray"]) == (
        struct.pack("<q", 4),
        {"dtype": "<i8", "shape": []},
    )


@typed
@pytest.mark.parametrize("flag", [array("|b1", [], b"\1"), value(True)])
def test_nothing_returned_is_no_output(shared: Start, kind: str, flag: In) -> None:
    result = shared(kind).call("typed_nothing", [flag], outputs=0)
    assert result.success, result.error
    assert not result.outputs


SCALE, MOVE = "typed_scale", "typed_move"
POINT = {"x": 1, "y": 2, "tags": []}
MISMATCHES: list[tuple[str, list[In], str]] = [
    (
        SCALE,
        [doubles(1), array("<i4", [2, 3], bytes(24))],
        "parameter 2 'factor': expected float64 scalar, found ndarray int32 of 2 dimensions",
    ),
    (
        SCALE,
        [scalar(1), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found float64 scalar",
    ),
    (
        SCALE,
        [doubles(1), array("<f4", [], bytes(4))],
        "parameter 2 'factor': expected float64 scalar, found float32 scalar",
    ),
    (
        SCALE,
        [array(">f8", [1], bytes(8)), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, "
        "found ndarray >f8 of 1 dimension",
    ),
    (
        SCALE,
        [text("1"), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found text",
    ),
    (
        SCALE,
        [In(bytes(8)), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found bytes",
    ),
    (
        SCALE,
        [In(bytes(8), content_type="pickle"), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, "
        "found data of content type 'pickle'",
    ),
    (
        SCALE,
        [value([1.0]), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found value",
    ),
    (
        SCALE,
        [array("<f8", [2], bytes(15)), scalar(1)],
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found ndarray whose attribute "
        '\'ndarray\' does not fit its 15 bytes: {"dtype":"<f8","shape":[2]}',
    ),
    (
        SCALE,
        [doubles(1), value("2")],
        "parameter 2 'factor': expected float64 scalar, found value \"2\"",
    ),
    (MOVE, [value(POINT), scalar(1)], "parameter 2 'tag': expected text, found float64 scalar"),
    (MOVE, [text("{}"), text("b")], "parameter 1 'point': expected value, found text"),
    (MOVE, [value({"x": 1}), text("b")], "parameter 1 'point': no key 'y'; there are: x"),
    (
        MOVE,
        [value(POINT | {"tags": ["a", 1]}), text("b")],
        "parameter 1 'point': field 'tags': item 1: expected a string, but the value is an "
        "integer: 1",
    ),
    (SCALE, [doubles(1)], "Invalid number of arguments, expected = 2, but got = 1"),
]


@typed
@pytest.mark.parametrize(("task", "inputs", "error"), MISMATCHES)
def test_a_mismatch_names_parameter_expected_and_found(
    shared: Start, kind: str, task: str, inputs: list[In], error: str
) -> None:
    result = shared(kind).call(task, list(inputs))
    assert not result.success
    assert result.error == error


@typed
def test_a_directory_is_no_array(shared: Start, kind: str, tmp_path: Path) -> None:
    result = shared(kind).call("typed_scale", [In(tmp_path, directory=True), scalar(1)])
    assert result.error == (
        "parameter 1 'x': expected ndarray float64 of 1 dimension, found directory"
    )
