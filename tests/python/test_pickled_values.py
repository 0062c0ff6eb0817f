"""Pickles with large buffers: one blob, written once, loaded in place."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from rain.client import Client, RainException, Session, blob, pickled, remote
from rain.common import pickles
from rain.common.content_type import decode_value, encode_value

pytestmark = pytest.mark.engines

N = 100_000


@dataclass
class Model:
    name: str
    weights: dict[str, np.ndarray[Any, Any]]


def address(array: np.ndarray[Any, Any]) -> int:
    return array.__array_interface__["data"][0]


def model() -> Model:
    return Model(
        "m",
        {
            "a": np.arange(float(N)),
            "b": np.asfortranarray(np.arange(N, dtype="i4").reshape(100, -1)),
            "small": np.arange(3),
        },
    )


def assert_in(data: Any, array: np.ndarray[Any, Any]) -> None:
    start = np.frombuffer(memoryview(data), np.uint8)
    assert address(start) <= address(array) <= address(start) + len(start) - array.nbytes
    assert (address(array) - address(start)) % 64 == 0
    assert not array.flags.writeable


@pytest.fixture(scope="module", autouse=True)
def _threads_of_others() -> None:
    """pandas and pyarrow start threads when they are first used, and keep them."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": np.arange(float(N)), "s": ["a"] * N})
    pandas.testing.assert_frame_equal(pickle.loads(pickle.dumps(frame, 5)), frame)


@pytest.fixture
def recording(make_client: Callable[..., Client]) -> Client:
    return make_client(cpus=2, record=True)


@pytest.mark.parametrize(
    "value",
    [
        None, 150, "ü", [1, 2.5, "x"] * 10_000, {"k": (1, b"\x96\x97")}, np.arange(10), b"x" * N,
        bytearray(b"x" * N), {"a": np.ones(10)}, {1, 2}, complex,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_large_buffer_is_the_pickle_that_it_always_was(value: Any) -> None:
    assert encode_value(value, "pickle") == pickle.dumps(value)


def test_an_exception_is_a_pickle_that_pickle_reads() -> None:
    # Not the same bytes once Dask is imported, which has exceptions pickled its own way.
    error = pickle.loads(encode_value(ValueError("x"), "pickle"))
    assert type(error) is ValueError
    assert error.args == ("x",)


@pytest.mark.parametrize("encode", ["pickle", "cloudpickle"])
def test_arrays_in_a_constant_are_views_of_the_blob(session: Session, encode: str) -> None:
    obj = blob(model(), encode=encode)
    obj.keep()
    data = obj.fetch()
    assert data.content_type == encode
    found = data.load()
    for key, array in model().weights.items():
        assert np.array_equal(found.weights[key], array)
    assert_in(data, found.weights["a"])
    assert_in(data, found.weights["b"])
    assert found.weights["b"].flags.f_contiguous
    assert address(obj.result().weights["a"]) == address(found.weights["a"])
    with pytest.raises(ValueError, match="read-only"):
        found.weights["a"][0] = 1


def test_a_constant_is_pickled_into_shared_memory_with_no_bytes_in_between(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = []

    def dumps(value: Any, by_value: bool, alloc: Any, original: Any = pickles.dumps) -> Any:
        made = original(value, by_value, lambda size: rooms.append(alloc(size)) or rooms[-1])
        assert made is rooms[0]
        return made

    monkeypatch.setattr(pickles, "dumps", dumps)
    data = pickled(model()).fetch()
    assert type(rooms[0]).__name__ == "Room"
    assert address(np.frombuffer(memoryview(rooms[0]), np.uint8)) == data._address
    assert np.array_equal(data.load().weights["a"], np.arange(float(N)))
    rooms.clear()


def test_a_task_loads_in_place_and_gives_one_blob(recording: Client) -> None:
    @remote(outputs=["pickle", "bytes"])
    def double(ctx: Any, data: Any) -> Any:
        import numpy as np

        value = data.load()
        array = value.weights["a"]
        inside = (
            array.__array_interface__["data"][0]
            - np.frombuffer(memoryview(data), np.uint8).__array_interface__["data"][0]
        )
        value.weights["a"] = array * 2
        return ctx.pickled(value), str((inside % 64 == 0, 0 < inside < 4096, array.flags.writeable))

    with recording.new_session():
        task = double(pickled(model()))
        task.outputs["pickle"].keep()
        task.outputs["bytes"].keep()
        assert task.outputs["bytes"].fetch().get_str() == "(True, True, False)"
        data = task.outputs["pickle"].fetch()
        found = data.load()
    assert np.array_equal(found.weights["a"], np.arange(float(N)) * 2)
    assert_in(data, found.weights["a"])
    (report,) = recording.report()
    assert report.copied_bytes <= report.output_bytes < report.copied_bytes + 100


@pytest.mark.parametrize("how", ["remote", "auto_encode", "plain"])
def test_results_are_pickled_in_place(session: Session, how: str) -> None:
    def give(ctx: Any) -> Any:
        return {"a": np.arange(float(N)), "lambda": lambda: 5}

    if how == "plain":
        task = session.submit_task(lambda: give(None))
    else:
        function = remote(auto_encode="pickle")(give)
        task = function() if how == "auto_encode" else remote(outputs=_encoded())(give)()
    found = task.result()
    data = task.output.fetch()
    assert np.array_equal(found["a"], np.arange(float(N)))
    assert_in(data, found["a"])
    assert found["lambda"]() == 5


def _encoded() -> Any:
    from rain.client import Output

    return Output(encode="pickle")


def test_map_gives_arrays_in_place(session: Session) -> None:
    found = list(session.map(lambda n: (n, np.full(N, n)), range(4)))
    assert [int(array.sum()) for _, array in found] == [0, N, 2 * N, 3 * N]
    assert not any(array.flags.writeable for _, array in found)


def test_buffers_of_the_user_are_beside_the_stream(session: Session) -> None:
    value = [pickle.PickleBuffer(bytearray(b"ab") * N), pickle.PickleBuffer(b"cd" * N), "end"]
    data = pickled(value).fetch()
    first, second, end = data.load()
    assert (bytes(first), bytes(second), end) == (b"ab" * N, b"cd" * N, "end")
    assert first.readonly
    assert_in(data, np.frombuffer(first, np.uint8))


def test_a_pandas_frame_is_loaded_in_place(session: Session) -> None:
    import pandas

    frame = pandas.DataFrame({"x": np.arange(float(N)), "y": np.arange(N)})
    data = pickled({"frame": frame}).fetch()
    found = data.load()["frame"]
    pandas.testing.assert_frame_equal(found, frame)
    assert_in(data, found["x"].to_numpy())


def test_an_arrow_table_in_a_pickle_is_loaded_in_place(session: Session) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"x": np.arange(float(N))})
    data = pickled([table]).fetch()
    (found,) = data.load()
    assert found == table
    assert_in(data, found["x"].chunk(0).to_numpy())


def test_the_bytes_are_a_pickle_followed_by_its_buffers() -> None:
    array = np.arange(float(N))
    data = bytes(encode_value(array, "pickle"))
    count, magic = struct.unpack("<Q8s", data[-16:])
    offset, size = struct.unpack("<QQ", data[-32:-16])
    assert (count, magic, size, offset % 64) == (1, b"\0rain-p\x01", array.nbytes, 0)
    assert data[offset : offset + size] == array.tobytes()
    assert np.array_equal(pickle.loads(data, buffers=[data[offset : offset + size]]), array)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:-16] + struct.pack("<Q", 1 << 40) + data[-8:], "can't have"),
        (lambda data: data[:-32] + struct.pack("<Q", 1 << 40) + data[-24:], "outside"),
        (lambda data: data[:-24] + struct.pack("<Q", 1 << 63) + data[-16:], "outside"),
    ],
)
def test_a_wrong_table_is_an_error(change: Any, why: str) -> None:
    data = change(bytes(encode_value(np.arange(float(N)), "pickle")))
    with pytest.raises(RainException, match=why):
        decode_value(data, "pickle")


def test_what_cannot_be_pickled_raises_as_before(session: Session) -> None:
    import threading

    with pytest.raises(TypeError, match="pickle"):
        pickled([np.arange(float(N)), threading.Lock()])


def test_no_room_leads_to_disk_as_for_bytes(make_client: Callable[..., Client]) -> None:
    client = make_client(memory=16 << 20)
    with client.new_session():
        objects = [pickled([np.full(1 << 20, i)]) for i in range(5)]  # 8 MiB each
        for obj in objects:
            obj.keep()
        for i, obj in enumerate(objects):
            assert obj.fetch().load()[0].sum() == i << 20
