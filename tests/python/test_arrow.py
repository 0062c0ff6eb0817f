"""Content type "arrow": tables opened in place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rain.client import Client, RainException, Session, blob, remote

pyarrow = pytest.importorskip("pyarrow")

N = 100_000


def table() -> Any:
    return pyarrow.table(
        {
            "x": np.arange(float(N)),
            "n": pyarrow.array([None if i % 7 == 0 else i for i in range(N)], pyarrow.int32()),
            "s": pyarrow.array([f"row {i}" for i in range(N)]),
            "d": pyarrow.array(["a", "b"] * (N // 2)).dictionary_encode(),
        }
    )


def buffers_of(found: Any) -> list[Any]:
    return [
        buffer
        for column in found.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None and buffer.size > 0
    ]


def assert_in(data: Any, address: int, size: int) -> None:
    assert data._address <= address <= data._address + len(data) - size


@pytest.fixture(scope="module", autouse=True)
def _threads_of_others() -> None:
    """pyarrow and pandas start threads when they are first used, and keep them."""
    table().to_pandas()


@pytest.fixture
def recording(make_client: Callable[..., Client]) -> Client:
    return make_client(cpus=2, record=True)


def test_a_table_is_opened_in_place(session: Session) -> None:
    data = blob(table(), encode="arrow").fetch()
    found = data.load()
    assert found == table()
    assert len(buffers_of(found)) == 6
    for buffer in buffers_of(found):
        assert_in(data, buffer.address, buffer.size)
    assert not any(buffer.is_mutable for buffer in buffers_of(found))


def test_a_table_outlives_data_session_and_client(make_client: Callable[..., Client]) -> None:
    client = make_client()
    with client.new_session(), blob(table(), encode="arrow").fetch() as data:
        found = data.load()
    client.close()
    assert found == table()


def test_a_batch_is_a_table(session: Session) -> None:
    batch = table().to_batches()[0]
    assert blob(batch, encode="arrow").fetch().load() == table()


def test_a_table_in_chunks_without_rows_or_columns(session: Session) -> None:
    for each in (
        pyarrow.concat_tables([table()] * 3),
        table()[:0],
        pyarrow.table({}),
        table()[5:70_000],
    ):
        assert blob(each, encode="arrow").fetch().load() == each


def test_tasks_take_and_give_tables_in_place(recording: Client) -> None:
    @remote()
    def double(ctx: Any, data: Any) -> Any:
        import numpy as np
        import pyarrow
        import pyarrow.compute

        found = data.load()
        start = np.frombuffer(memoryview(data), np.uint8).__array_interface__["data"][0]
        inside = all(
            start <= buffer.address < start + len(data)
            for column in found.columns
            for buffer in column.chunk(0).buffers()
            if buffer
        )
        ctx.attributes["inside"] = inside
        x = pyarrow.compute.multiply(found["x"], 2.0)
        return ctx.blob(found.set_column(0, "x", x), encode="arrow")

    with recording.new_session():
        task = double(blob(table(), encode="arrow"))
        task.output.keep()
        data = task.output.fetch()
        found = data.load()
        assert task.info.user["inside"] is True
    assert found["x"].to_numpy()[-1] == 2.0 * (N - 1)
    for buffer in buffers_of(found):
        assert_in(data, buffer.address, buffer.size)
    (report,) = recording.report()
    assert report.copied_bytes == report.output_bytes == len(data)  # written once


def test_a_frame_comes_back_as_a_frame_in_place(session: Session) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"x": np.arange(float(N)), "n": np.arange(N), "s": [f"row {i}" for i in range(N)]},
        index=pandas.RangeIndex(10, N + 10),
    )
    frame.attrs["unit"] = "m"
    data = blob(frame, encode="arrow").fetch()
    found = data.load()
    pandas.testing.assert_frame_equal(found, frame)
    assert found.attrs == {"unit": "m"}
    for name in ("x", "n"):
        array = found[name].to_numpy()
        assert_in(data, array.__array_interface__["data"][0], array.nbytes)
        assert not array.flags.writeable


def test_a_task_gives_a_frame(session: Session) -> None:
    pandas = pytest.importorskip("pandas")

    @remote(auto_load=True, auto_encode="arrow")
    def double(ctx: Any, frame: Any) -> Any:
        return frame * 2

    frame = pandas.DataFrame({"x": np.arange(5.0)}, index=list("abcde"))
    found = double(blob(frame, encode="arrow")).result()
    pandas.testing.assert_frame_equal(found, frame * 2)


def test_a_table_that_was_made_of_a_frame_stays_a_table(session: Session) -> None:
    pandas = pytest.importorskip("pandas")
    made = pyarrow.Table.from_pandas(pandas.DataFrame({"x": [1, 2]}))
    assert blob(made, encode="arrow").fetch().load().equals(made, check_metadata=True)


def test_what_is_no_table_is_refused(session: Session) -> None:
    with pytest.raises(RainException, match=r"pandas DataFrames, and what has .*, not list"):
        blob([1, 2], encode="arrow")


def test_bytes_that_are_no_table_are_an_error(session: Session) -> None:
    with pytest.raises(RainException, match="3 bytes are no table in Arrow's IPC stream format"):
        blob(b"abc", content_type="arrow").fetch().load()


def test_without_pyarrow_the_error_says_what_to_install(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = blob(table(), encode="arrow").fetch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    with pytest.raises(RainException, match=r"pip install 'rain-tasklib\[arrow\]'"):
        data.load()
