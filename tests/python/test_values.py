"""Values in shared memory: in place, released early, written privately, with their hints."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rain.client import Client, RainException, Session, TaskException, blob, remote, tasks
from rain.client.output import Output

N = 100_000  # of doubles: a blob in shared memory
BYTES = N * 8


def address(array: np.ndarray[Any, Any]) -> int:
    return array.__array_interface__["data"][0]


def blobs_bytes(client: Client) -> int:
    return client.info()["store"]["blobs_bytes"]


@pytest.fixture
def recording(make_client: Callable[..., Client]) -> Client:
    return make_client(cpus=2, record=True)


# ---- early release ------------------------------------------------------------------------------


@pytest.mark.embedded("what is looked at is a copy of the client's, and not in info()")
def test_the_end_of_a_with_block_gives_the_memory_back(client: Client) -> None:
    with client.new_session() as session:
        obj = blob(np.arange(float(N)))
        with obj.fetch() as data:
            session.unkeep((obj,))
            assert data.as_array().sum() == N * (N - 1) / 2
            gc.collect()
            assert blobs_bytes(client) == BYTES
        assert client.store() == []
        assert blobs_bytes(client) == 0
        assert repr(data) == "<DataInstance released>"


def test_what_was_released_says_so(session: Session, tmp_path: Path) -> None:
    data = blob(np.arange(float(N))).fetch()
    data.load(cache=True)
    data.release()
    data.release()
    uses: list[Callable[[], Any]] = [
        data.load, data.as_array, data.get_bytes, data.get_str, lambda: len(data),
        lambda: bytes(data), lambda: data.load(cache=True), lambda: data.as_array(copy="on-write"),
        data.__enter__, lambda: data.write(tmp_path / "x"),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ValueError, match="were released"):
            use()
    assert not (tmp_path / "x").exists()


VIEWS: dict[str, Callable[[Any], Any]] = {
    "as_array": lambda data: data.as_array(),
    "load": lambda data: data.load(),
    "memoryview": lambda data: memoryview(data).cast("d"),
    "frombuffer": lambda data: np.frombuffer(data),
    "frombuffer of a memoryview": lambda data: np.frombuffer(memoryview(data)),
    "ndarray of a memoryview": lambda data: np.ndarray(N, buffer=memoryview(data)),
    "ndarray": lambda data: np.ndarray(N, buffer=data),
    "slice of a view": lambda data: data.as_array()[:],
    "on-write": lambda data: data.as_array(copy="on-write"),
    "from_dlpack": lambda data: np.from_dlpack(data),
}


@pytest.mark.embedded("what is looked at is a copy of the client's, and not in info()")
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_keeps_the_pages_after_the_release(client: Client, name: str) -> None:
    with client.new_session():
        data = blob(np.arange(float(N))).fetch()  # nobody has the object any more
        view = VIEWS[name](data)
        data.release()
        gc.collect()
        assert blobs_bytes(client) == BYTES
        for _ in range(5):
            blob(np.full(N, -1.0))  # would take these pages
        assert np.array_equal(view, np.arange(float(N)))
    assert blobs_bytes(client) == BYTES
    del view, data
    gc.collect()
    assert blobs_bytes(client) == 0


def test_views_outlive_client_and_release_until_the_interpreter_ends(
    tmp_path: Path, cpptester: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import gc
            import numpy as np
            from rain.client import Client, blob

            def main():
                kept = []
                with Client() as client:
                    with client.new_session() as session:
                        for take in (
                            lambda data: data.as_array(),
                            lambda data: np.ndarray(100_000, buffer=memoryview(data)),
                            lambda data: np.ndarray(100_000, buffer=data),
                            lambda data: data.as_array(copy="on-write"),
                        ):
                            with blob(np.arange(100_000.0)).fetch() as data:
                                kept.append(take(data)[5:])
                        late = blob(np.arange(100_000.0)).fetch()
                kept.append(late.as_array(copy="on-write")[5:])
                gc.collect()
                kept[-1][0] = 5
                print([float(view[0]) for view in kept], float(sum(view[-1] for view in kept)))
                globals()["kept"] = kept

            main()
            """
        )
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{[5.0] * 5} {99_999.0 * 5}\n"


def test_a_task_releases_its_input_and_keeps_a_view(session: Session) -> None:
    @remote()
    def look(ctx: Any, data: Any) -> Any:
        import numpy as np

        views = [data.as_array(), np.ndarray(data.size // 8, buffer=memoryview(data))]
        with data:
            pass
        try:
            data.load()
        except ValueError as error:
            said = str(error)
        return f"{[float(view.sum()) for view in views]} {data!r} {data.content_type} {said}"

    told = look(blob(np.ones(N))).output.fetch().get_str()
    assert told.startswith("[100000.0, 100000.0] <DataInstance released> user/ndarray these data")


def test_a_released_input_is_no_result(session: Session) -> None:
    @remote()
    def give(ctx: Any, data: Any) -> Any:
        data.release()
        return data

    with pytest.raises(ValueError, match="were released"):
        give(blob(np.ones(N))).output.fetch()


# ---- copies on request --------------------------------------------------------------------------


def test_a_copy_on_write_is_private_and_lies_on_other_addresses(session: Session) -> None:
    data = blob(np.arange(float(N)).reshape(100, -1)).fetch()
    own = data.as_array(copy="on-write")
    assert own.flags.writeable
    assert own.shape == (100, N // 100)
    assert address(own) != data._address
    own[0] = -1.0
    assert data.as_array()[0, 1] == 1.0
    assert own[0, 1] == -1.0
    assert np.array_equal(own[1:], data.as_array()[1:])
    assert data.as_array(copy="on-write")[0, 1] == 1.0


def private_kib(first: int) -> int:
    """Memory of this process alone in the mapping that has an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            inside = start <= first < end
        elif inside and fields[0] == "Private_Dirty:":
            return int(fields[1])
    raise LookupError(hex(first))


def test_pages_that_are_not_written_cost_nothing(session: Session) -> None:
    data = blob(np.ones(4 << 20, np.uint8)).fetch()
    own = data.as_array(copy="on-write")
    assert own.sum() == 4 << 20
    assert private_kib(address(own)) == 0
    own[:: 1 << 20] = 2  # 4 pages, or the huge ones that they are in
    assert 16 <= private_kib(address(own)) < 4 << 10


def test_small_and_empty_data_are_copied_when_they_are_to_be_written(session: Session) -> None:
    for array in (np.arange(3), np.empty((0, 2))):
        data = blob(array).fetch()
        own = data.as_array(copy="on-write")
        own += 1
        assert np.array_equal(own, array + 1)
        assert np.array_equal(data.as_array(), array)


def test_a_file_is_written_privately(session: Session, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(float(N)))
    data = tasks.Load(str(tmp_path / "x.npy")).output.fetch()
    own = data.as_array(copy="on-write")
    own[:] = 0
    assert data.as_array()[-1] == N - 1
    assert np.load(tmp_path / "x.npy")[-1] == N - 1


def test_a_task_writes_privately(recording: Client) -> None:
    @remote()
    def add(ctx: Any, data: Any) -> Any:
        own = data.as_array(copy="on-write")
        own[0] = 7
        return [own[0], data.as_array()[0], bool(own[1] == data.as_array()[1])].__repr__()

    with recording.new_session():
        obj = blob(np.arange(float(N)))
        obj.keep()
        assert "7.0" in add(obj).output.fetch().get_str()
        assert obj.fetch_array()[0] == 0.0


def test_copy_must_be_one_of_three(session: Session) -> None:
    with pytest.raises(ValueError, match='True, False or "on-write"'):
        blob(b"x").fetch().as_array(copy="never")  # type: ignore[arg-type]


# ---- read-only ----------------------------------------------------------------------------------


def write(ctx: Any, data: Any) -> None:
    data.as_array()[0] = 1


def write_out(ctx: Any, data: Any) -> None:
    import numpy as np

    np.add(data.as_array(), 1, out=data.as_array())


def write_bytes(ctx: Any, data: Any) -> None:
    memoryview(data)[0] = 1


@pytest.mark.parametrize("function", [write, write_out, write_bytes])
def test_the_error_of_a_task_that_writes_to_its_input_says_what_to_do(
    recording: Client, function: Any
) -> None:
    with recording.new_session(), pytest.raises(TaskException, match="read-only") as caught:
        remote()(function)(blob(np.ones(N))).output.fetch()
    assert 'as_array(copy="on-write")' in str(caught.value)
    assert "ctx.empty" in str(caught.value)
    (report,) = recording.report()
    assert "read-only" in report.error
    assert "Hint" not in report.error


def test_an_instance_refuses_to_be_written_and_says_what_to_do(session: Session) -> None:
    data = blob(b"abc").fetch()
    with pytest.raises(TypeError, match=r"as_array\(copy=True\)"):
        data[0] = 1

    @remote()
    def item(ctx: Any, data: Any) -> Any:
        data[0] = 1

    with pytest.raises(TypeError, match=r"as_array\(copy=True\)"):
        item(blob(b"abc")).output.fetch()


# ---- DLPack -------------------------------------------------------------------------------------


def test_dlpack_shares_the_pages_and_stays_read_only(session: Session) -> None:
    data = blob(np.arange(float(N))).fetch()
    array = np.from_dlpack(data)
    assert address(array) == data._address
    assert not array.flags.writeable
    assert data.__dlpack_device__() == (1, 0)


def test_a_library_that_can_t_take_read_only_data_is_told_what_to_do(session: Session) -> None:
    with pytest.raises(BufferError, match=r"as_array\(copy=True\)"):
        blob(np.arange(float(N))).fetch().__dlpack__()


def test_a_task_gives_its_input_to_dlpack(session: Session) -> None:
    @remote()
    def same(ctx: Any, data: Any) -> str:
        import numpy as np

        return str(address_of(np.from_dlpack(data)) == address_of(data.as_array()))

    def address_of(array: Any) -> Any:
        return array.__array_interface__["data"]

    assert same(blob(np.ones(N))).output.fetch().get_str() == "True"


# ---- .npy ---------------------------------------------------------------------------------------

NPY_BEGIN = b"\x93NUMPY\x01\0\x3a\0"
NPY = {
    "matrix": np.arange(N, dtype="<f8").reshape(100, -1),
    "fortran": np.asfortranarray(np.arange(N, dtype="<i4").reshape(100, -1)),
    "strided": np.arange(2 * N)[::2],
    "scalar": np.array(2.5),
    "empty": np.empty((0, 3), "<f4"),
    "big endian": np.arange(N, dtype=">i8"),
    "structs": np.zeros(N, dtype=[("n", "<i4"), ("x", "<f8", (2,)), ("ü", "S3")]),
    "dates": np.arange(N).astype("datetime64[s]"),
}


@pytest.mark.parametrize("name", NPY)
def test_an_npy_file_is_an_array_in_place(session: Session, name: str, tmp_path: Path) -> None:
    array = NPY[name]
    np.save(tmp_path / "x.npy", array)
    load = tasks.Load(str(tmp_path / "x.npy"), Output(content_type="user/npy"))
    for data in (load.output.fetch(), blob(array, encode="user/npy").fetch()):
        for found in (data.load(), data.as_array()):
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert array.ndim < 2 or found.flags.f_contiguous == array.flags.f_contiguous
            assert np.array_equal(found, array)
            assert not found.flags.writeable
            if array.nbytes:
                assert 0 < address(found) - data._address < 1000
    (tmp_path / "y.npy").write_bytes(blob(array, encode="user/npy").fetch().get_bytes())
    assert np.array_equal(np.load(tmp_path / "y.npy"), array)


def test_a_task_takes_an_npy_file_and_gives_one(recording: Client) -> None:
    @remote()
    def double(ctx: Any, data: Any) -> Any:
        return ctx.blob(data.as_array() * 2, encode="user/npy")

    with recording.new_session():
        found = double(blob(NPY["fortran"], encode="user/npy")).output.fetch_array()
    assert np.array_equal(found, NPY["fortran"] * 2)
    (report,) = recording.report()
    assert report.copied_bytes == report.output_bytes  # of the product, which lay elsewhere


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"abc", "don't begin"),
        (b"\x93NUMPY\x09\0\x05\0{}   ", "version 9"),
        (b"\x93NUMPY\x01\0\xff\0{'descr'", ""),
        (NPY_BEGIN + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9,)}   ", "small"),
        (NPY_BEGIN + b"{'descr': '|O', 'fortran_order': False, 'shape': (0,)}    ", "object"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_npy_file_are_an_error(session: Session, data: bytes, why: str) -> None:
    instance = blob(data, content_type="user/npy").fetch()
    with pytest.raises(RainException, match=f"no array of a .npy file: .*{why}"):
        instance.load()


def test_arrays_of_objects_are_refused_as_npy(session: Session) -> None:
    with pytest.raises(TypeError, match="pickle it"):
        blob(np.array([object()]), encode="user/npy")


# ---- results in place ---------------------------------------------------------------------------


def make(ctx: Any, dtype: Any, shape: Any) -> Any:
    array = ctx.zeros(shape, dtype)
    array.reshape(-1).view("u1")[:] = 1
    return array


MADE = [
    ("<f8", (100, 1000)),
    ([("n", "<i4"), ("x", "<f8", (2,))], (N,)),
    (">i8", (N,)),
    ("datetime64[D]", (10, N // 10)),
    ("<f4", ()),
    ("<f4", (0, 3)),
]


@pytest.mark.parametrize(("dtype", "shape"), MADE)
def test_what_ctx_empty_gave_arrives_with_shape_and_dtype(
    recording: Client, dtype: Any, shape: Any
) -> None:
    @remote()
    def told(ctx: Any, data: Any) -> str:
        array = data.load()
        return f"{array.dtype} {array.shape} {array.flags.writeable}"

    with recording.new_session():
        task = remote()(make)(dtype, shape)
        task.output.keep()
        assert told(task).output.fetch().get_str() == f"{np.dtype(dtype)} {shape} False"
        array = task.output.fetch_array()
        assert (array.dtype, array.shape) == (np.dtype(dtype), shape)
        assert array.tobytes() == b"\x01" * array.nbytes
    reports = recording.report()
    assert len(reports) == 2
    if array.nbytes >= 1 << 16:
        assert reports[0].copied_bytes == 0
    assert reports[1].input_bytes >= array.nbytes


def test_slices_from_the_start_are_results_without_a_copy(recording: Client) -> None:
    @remote()
    def head(ctx: Any) -> Any:
        array = ctx.zeros((N, 2))
        array[:, 1] = 3
        return array[: N // 2]

    with recording.new_session():
        found = head().output.fetch_array()
    assert found.shape == (N // 2, 2)
    assert found.sum() == 3 * N // 2
    (report,) = recording.report()
    assert (report.copied_bytes, report.output_bytes) == (0, N * 8)


@pytest.mark.parametrize("what", ["array.T", "array[:, ::2]", "array[::-1]", "array.T.copy()"])
def test_what_is_not_contiguous_is_copied_once(recording: Client, what: str) -> None:
    @remote()
    def give(ctx: Any, what: Any) -> Any:
        return eval(what, {"array": ctx.zeros((400, 300)) + np.arange(300.0)})

    expected = eval(what, {"array": np.zeros((400, 300)) + np.arange(300.0)})
    with recording.new_session():
        found = give(what).output.fetch_array()
    assert np.array_equal(found, expected)
    (report,) = recording.report()
    assert report.copied_bytes == report.output_bytes == expected.nbytes


def test_arrays_of_executors_in_python_keep_shape_and_dtype(
    make_client: Callable[..., Client], tmp_path: Path
) -> None:
    program = tmp_path / "arrays.py"
    program.write_text(
        textwrap.dedent(
            """
            from rain import tasklib

            executor = tasklib.Executor("arrays")

            @executor.task
            def ramp(ctx):
                array = ctx.empty((200, 300), "<i4")
                array[:] = range(300)
                return array

            @executor.task
            def raw(ctx):
                return ctx.blob(ctx.zeros(5), "user/raw")

            @executor.task
            def two(ctx):
                array = ctx.zeros((100_000, 2))
                array[:, 1] = 1
                return array[:10], array

            executor.start()
            """
        )
    )
    client = make_client(executors={"arrays": [sys.executable, str(program)]}, record=True)
    with client.new_session():
        executor = client.executors["arrays"]
        found = executor.ramp().output.fetch_array()
        assert (found.dtype, found.shape, found[7, 299]) == (np.int32, (200, 300), 299)
        assert executor.raw().output.fetch().content_type == "user/raw"
        (first, second) = executor.two(outputs=2).outputs
        first.keep()
        second.keep()
        assert first.fetch_array().sum() == 10
        assert second.fetch_array().sum() == 100_000
    assert client.report()[0].copied_bytes == 0


# ---- the client's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f8", "datetime64[s]", "S8"])
def test_an_array_that_is_not_contiguous_is_put_where_it_stays(
    client: Client, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(2 * N).astype("<i8").astype(dtype).reshape(-1, 1000)[:, ::2]
    monkeypatch.setattr(np, "ascontiguousarray", None)  # no copy before the one
    with client.new_session() as session:
        for given in (array, array.T):
            constants = session.put(given), blob(given), client.put(given)
            for obj in constants[:2]:
                obj.keep()
            for obj in constants:
                found = obj.fetch_array()
                assert found.dtype == given.dtype
                assert np.array_equal(found, given)
