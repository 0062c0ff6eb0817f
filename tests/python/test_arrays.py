"""numpy arrays as data: shape and dtype go along, views keep what they show."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rain.client import Client, RainException, Session, Task, blob, remote
from rain.common import ndarray

ARRAYS = {
    "matrix": np.arange(60_000, dtype="<f8").reshape(200, 300),
    "transposed": np.arange(60_000, dtype="<i4").reshape(200, 300).T,
    "strided": np.arange(10)[::2],
    "scalar": np.array(2.5),
    "empty": np.empty((0, 3), "<f4"),
    "bools": np.array([True, False]),
    "dates": np.array(["2026-01-01", "2026-11-24"], "datetime64[D]"),
    "structs": np.array([(1, 2.5)], dtype=[("n", "<i4"), ("x", "<f8", (2,))]),
    "big endian": np.arange(5, dtype=">i8"),
    "text": np.array(["a", "ünï"]),
}


@remote()
def double(ctx: Any, data: Any) -> Any:
    return data.load() * 2


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back_as_it_was(session: Session, name: str) -> None:
    array = ARRAYS[name]
    for found in (blob(array).fetch().load(), blob(array).fetch_array()):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)
        assert not found.flags.writeable


def test_a_task_gets_the_array(session: Session) -> None:
    array = ARRAYS["transposed"]
    assert np.array_equal(double(blob(array)).output.fetch_array(), array * 2)


def test_a_constant_of_the_client_is_an_array_in_every_session(client: Client) -> None:
    constant = client.put(ARRAYS["matrix"])
    for _ in range(2):
        with client.new_session():
            assert double(constant).output.fetch_array().shape == (200, 300)


def test_a_session_makes_constants_while_another_is_active(client: Client) -> None:
    session = client.new_session()
    with client.new_session():
        constant = session.put(ARRAYS["matrix"], "m")
    assert (constant.session, constant.label) == (session, "m")
    assert np.array_equal(constant.fetch_array(), ARRAYS["matrix"])


def test_other_data_are_an_array_of_bytes(session: Session) -> None:
    array = blob(b"abc").fetch_array()
    assert (array.dtype, array.tolist()) == (np.uint8, [97, 98, 99])
    assert blob(ARRAYS["matrix"], content_type="user/raw").fetch_array().shape == (480_000,)


def test_a_view_refuses_to_be_changed_and_a_copy_does_not(session: Session) -> None:
    data = blob(ARRAYS["matrix"]).fetch()
    with pytest.raises(ValueError, match="read-only"):
        data.as_array()[0, 0] = 1
    copy = data.as_array(copy=True)
    copy[0, 0] = -1
    assert data.as_array()[0, 0] == 0


def test_a_view_outlives_session_and_client(make_client: Callable[..., Client]) -> None:
    client = make_client()
    with client.new_session():
        view = double(blob(ARRAYS["matrix"])).output.fetch_array()[3:5]
    client.close()
    gc.collect()
    assert np.array_equal(view, ARRAYS["matrix"][3:5] * 2)


def test_arrays_of_objects_are_refused_with_the_way_out(session: Session) -> None:
    before = session.dataobj_count
    with pytest.raises(TypeError, match="pickle it"):
        blob(np.array([object()]))
    assert session.dataobj_count == before


def test_data_that_only_say_to_be_an_array_are_an_error(session: Session) -> None:
    data = blob(b"abc", content_type="user/ndarray").fetch()
    with pytest.raises(RainException, match="need the attribute 'ndarray' with dtype and shape"):
        data.as_array()


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("|O", [1]),  # whose items would be addresses
        ([["a", "|O"]], [1]),
        ("<f8", [-1]),
        ("<f8", [2]),
        ("<f4", [1]),
        ("<f8", [2**63]),
        ("<f8", "ab"),
        ("nothing", [1]),
    ],
)
def test_what_does_not_fit_the_bytes_is_an_error(dtype: Any, shape: Any) -> None:
    with pytest.raises(RainException, match="that fit their 8 bytes, not"):
        ndarray.load(b"\1" * 8, {"dtype": dtype, "shape": shape})


def test_zeros_are_zeros_also_on_used_pages(session: Session) -> None:
    @remote()
    def dirty(ctx: Any) -> Any:
        array = ctx.empty(300_000, np.uint8)
        array.fill(255)
        return array

    @remote()
    def clean(ctx: Any) -> Any:
        return ctx.zeros((300, 1000), np.uint8)

    for _ in range(5):
        assert dirty().output.fetch_array().min() == 255
        found = clean().output.fetch_array()
        assert (found.shape, found.max()) == ((300, 1000), 0)


def test_a_task_looks_at_its_input_in_place(session: Session) -> None:
    @remote()
    def look(ctx: Any, data: Any) -> str:
        array = data.as_array()
        own = data.as_array(copy=True)
        own += 1
        return f"{array.flags.writeable} {array.shape} {array[0, 1]} {own[0, 1]}"

    task: Task = look(blob(ARRAYS["matrix"]))
    assert task.output.fetch().get_str() == "False (200, 300) 1.0 2.0"
