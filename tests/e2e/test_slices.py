"""Parts of data objects: the same pages, no copy, and what stays true of the whole meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from places import copies, place_of, read_ends
from rain.client import Client, DataObject, Session, TaskException, blob, directory, remote
from rain.client.tasks import Concat, Execute, Slice
from tasks import call, contains, works
from world import wait_until

MiB = 1 << 20
C, PY = "cpptester", "pytester"
MakeClient = Callable[..., Client]


@pytest.fixture
def recorded(make_client: MakeClient) -> Client:
    return make_client(record=True)


def pattern(size: int) -> bytes:
    """Bytes of which any few differ from any others near them."""
    return b"".join(i.to_bytes(4, "little") for i in range((size + 3) // 4))[:size]


def kept(obj: DataObject) -> DataObject:
    obj.keep()
    return obj


def offset_in(place: str) -> tuple[str, int]:
    file, _, offset = place.partition(" +")
    return file, int(offset)


def distance(part: str, whole: str) -> int:
    """From the place of `whole` to that of `part`, in the same memory."""
    assert offset_in(part)[0] == offset_in(whole)[0]
    return offset_in(part)[1] - offset_in(whole)[1]


# ---- the client ---------------------------------------------------------------------------------


@pytest.mark.embedded("what is looked at is a copy of the client's")
@pytest.mark.parametrize("reader", [C, PY])
def test_a_slice_is_the_same_pages_for_tasks_and_client(recorded: Client, reader: str) -> None:
    data = pattern(MiB)
    with recorded.new_session() as session:
        whole = kept(blob(data))
        before = kept(call(f"{C}/echo", whole).output)  # its slice is made before it is there
        parts = [kept(whole[1000:900_001]), kept(before[-900_000:]), kept(whole[5:][7:-9])]
        session.submit()
        session.wait_all()
        ranges = [(1000, 900_001), (MiB - 900_000, MiB), (12, MiB - 9)]
        for part, (begin, end) in zip(parts, ranges, strict=True):
            assert part.fetch().get_bytes() == data[begin:end]
            assert distance(place_of(part), place_of(whole)) == begin
            (found,) = read_ends(reader, part)
            assert found["size"] == end - begin
            assert (found["first"], found["last"]) == (data[begin], data[end - 1])
            assert found["place"] == place_of(part)
        late = whole[4096:-4096]  # of what is finished
        assert late.fetch().get_bytes() == data[4096:-4096]
        assert not any(copies(recorded).values())


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (None, None), (0, 10), (3, None), (None, -3), (-3, None), (-30, 5), (5, 30), (30, 40),
        (7, 3), (-1, -5), (10, 10), (0, 0), (2**80, None), (-(2**80), 2**80), (-(2**63), None),
    ],
)  # fmt: skip
def test_ranges_mean_what_they_mean_in_python(
    session: Session, begin: int | None, end: int | None
) -> None:
    import numpy as np

    small, large = pattern(10), pattern(200_000)
    rows = np.arange(40_000).reshape(10, 4000)
    cut = {obj: kept(blob(obj)[begin:end]) for obj in (small, large)}
    of_rows = kept(blob(rows)[begin:end])
    session.submit()
    for obj, part in cut.items():
        assert part.fetch().get_bytes() == obj[begin:end]
    found = of_rows.fetch_array()
    assert found.dtype == rows.dtype
    assert found.shape == rows[begin:end].shape
    assert (found == rows[begin:end]).all()


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_a_slice_of_an_array_is_its_rows_whoever_made_it(recorded: Client) -> None:
    import numpy as np

    array = np.arange(300_000, dtype=np.float32).reshape(300, 100, 10)
    with recorded.new_session() as session:
        constant = kept(blob(array))
        made = kept(call(f"{C}/typed_transpose", blob(array[:, :, 0].astype(np.int32))).output)
        middle, turned = kept(constant[100:-50]), kept(made[10:90])
        again = kept(middle[1:-1])
        session.submit()
        assert (middle.fetch_array() == array[100:-50]).all()
        assert middle.content_type == "user/ndarray"
        assert distance(place_of(middle), place_of(constant)) == 100 * 4000
        assert (again.fetch_array() == array[101:-51]).all()
        expected = array[:, :, 0].T[10:90].astype(np.int32)
        assert (turned.fetch_array() == expected).all()
        structured = np.zeros(10_000, [("a", "<i4"), ("b", "<f8", (2,))])
        structured["a"] = range(10_000)
        assert (blob(structured)[5000:].fetch_array() == structured[5000:]).all()
        assert not any(copies(recorded).values())


def test_a_part_of_a_directory_has_its_path(session: Session, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "large").write_bytes(b"large" * 40_000)
    (tmp_path / "small").write_bytes(b"tiny")
    whole = kept(directory(tmp_path))
    large = kept(whole["sub/large"])
    assert whole["small"].fetch().get_bytes() == b"tiny"
    assert large.fetch().get_bytes() == b"large" * 40_000
    assert large[10:90_000].fetch().get_bytes() == b"large" * 17_998
    listed = call(f"{PY}/list_directory", whole["sub/"])
    assert listed.output.fetch().get_bytes() == b"large=" + b"large" * 40_000


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_files_of_a_directorys_part_are_the_same_files(session: Session, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "large").write_bytes(pattern(200_000))
    whole = kept(directory(tmp_path))
    sub = kept(whole["sub/"])
    session.submit()
    paths = [Path(str(whole.fetch()._path), "sub"), Path(str(sub.fetch()._path))]  # type: ignore[attr-defined]
    inodes = {(path / "large").stat().st_ino for path in paths}
    assert len(inodes) == 1


def test_what_is_no_part_is_refused_at_once(session: Session, tmp_path: Path) -> None:
    obj, folder = blob(b"abc"), directory(tmp_path)
    refused: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: obj[::2], ValueError, r"obj\[::2\]: a part without a copy has no step"),
        (lambda: obj[::-1], ValueError, "has no step"),
        (lambda: obj[0], TypeError, "single items are in what fetch"),  # type: ignore[index]
        (lambda: obj["a"], TypeError, "but this is a blob"),
        (lambda: obj["a":], TypeError, "begin must be an int or None, not 'a'"),  # type: ignore[misc]
        (lambda: folder[1:2], TypeError, "a directory has no bytes"),
        (lambda: Slice(folder, 1), TypeError, "Blob expected"),
        (lambda: iter(obj), TypeError, "not iterable"),  # type: ignore[call-overload]
        (lambda: b"a" in obj, TypeError, "not "),  # type: ignore[operator]
    ]
    for attempt, error, text in refused:
        with pytest.raises(error, match=text):
            attempt()
    works(C, session)


def test_what_turns_out_to_be_no_part_fails_the_slice_alone(make_client: MakeClient) -> None:
    with make_client().new_session(on_error="continue") as session:
        scalar = call(f"{PY}/return_of", expression="ctx.blob(b'12345678', 'user/ndarray')").output
        no_file = directory(Path(__file__).parent)["nothing"]
        sub = directory(Path(__file__).parent)["old"]  # a directory
        bad = [kept(scalar[1:2]), kept(no_file), kept(sub)]
        session.submit()
        texts = [
            "attribute 'ndarray' has no dtype and shape",
            "nothing",
            "expects type blob, but dir",
        ]
        for obj, text in zip(bad, texts, strict=True):
            with pytest.raises(TaskException) as caught:
                obj.wait()
            contains(caught.value, text)
        works(C, session)


# ---- tasks --------------------------------------------------------------------------------------


@pytest.mark.embedded("what is looked at is a copy of the client's")
@pytest.mark.parametrize("tester", [C, PY])
def test_a_task_returns_parts_of_its_inputs_without_a_copy(recorded: Client, tester: str) -> None:
    data = pattern(3 * MiB + 1)
    with recorded.new_session() as session:
        whole = kept(blob(data))
        pieces = call(f"{tester}/split", whole, outputs=3)
        pieces.keep_outputs()
        of_slice = kept(call(f"{tester}/part", whole[MiB + 3 :], offset=5, size=MiB).output)
        least = kept(call(f"{tester}/part", whole, offset=77, size=8 << 10).output)
        session.submit()
        session.wait_all()
        size = len(data)
        for i, piece in enumerate(pieces.outputs):
            begin = size * i // 3
            assert piece.fetch().get_bytes() == data[begin : size * (i + 1) // 3]
            assert distance(place_of(piece), place_of(whole)) == begin
        assert of_slice.fetch().get_bytes() == data[MiB + 8 : 2 * MiB + 8]
        assert distance(place_of(of_slice), place_of(whole)) == MiB + 8
        assert distance(place_of(least), place_of(whole)) == 77
        assert not any(copies(recorded).values())


@pytest.mark.parametrize("tester", [C, PY])
def test_a_task_returns_rows_of_an_array_without_a_copy(recorded: Client, tester: str) -> None:
    import numpy as np

    array = np.arange(100_000).reshape(100, 1000)
    with recorded.new_session():
        cut = kept(call(f"{tester}/rows", blob(array), begin=20, end=80).output)
        cut = kept(call(f"{C if tester == PY else PY}/rows", cut, begin=10, end=50).output)
        assert (cut.fetch_array() == array[30:70]).all()
        assert not any(copies(recorded).values())


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_a_remote_function_returns_part_of_an_array_without_a_copy(recorded: Client) -> None:
    import numpy as np

    @remote()
    def middle(ctx: Any, data: Any) -> Any:
        return data.load()[1000:-1000]

    array = np.arange(100_000.0)
    with recorded.new_session():
        whole = kept(blob(array))
        cut = kept(middle(middle(whole)).output)
        assert (cut.fetch_array() == array[2000:-2000]).all()
        assert distance(place_of(cut), place_of(whole)) == 2000 * 8
        by_task = [task.copied_bytes for task in recorded.report()]
        assert len(by_task) == 2
        assert not any(by_task)


@pytest.mark.parametrize("tester", [C, PY])
def test_a_part_of_data_that_are_a_file_is_a_part_of_that_file(
    recorded: Client, tester: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(pattern(MiB))
    with recorded.new_session() as session:
        file = directory(tmp_path)["large"]
        part = kept(file[4097:])
        smaller = kept(call(f"{tester}/part", part, offset=3, size=500_000).output)
        whole_file = kept(call(f"{tester}/part", file, offset=3, size=500_000).output)
        session.submit()
        assert smaller.fetch().get_bytes() == pattern(MiB)[4100:504_100]
        assert whole_file.fetch().get_bytes() == pattern(MiB)[3:500_003]
        assert not any(copies(recorded).values())
        (line,) = [line for line in recorded.store() if line.id == tuple(part.id)]
        assert line.place == "file"
        assert line.where.endswith(" +4097")


@pytest.mark.parametrize("tester", [C, PY])
def test_a_slice_where_no_number_may_lie_is_read_all_the_same(
    recorded: Client, tester: str
) -> None:
    import numpy as np

    numbers = np.arange(20_000.0)
    with recorded.new_session():
        odd = blob(b"x" + numbers.tobytes() + b"yy")[1:-2]
        total = call(f"{tester}/sum_doubles", odd).output.fetch().get_bytes()
        assert np.frombuffer(total)[0] == numbers.sum()
        copied = sum(copies(recorded).values())
        assert copied == (numbers.nbytes if tester == C else 0)  # Python reads it where it lies


def test_programs_get_a_slice_as_a_file(session: Session) -> None:
    whole = blob(pattern(MiB))
    counted = Execute(["wc", "-c", whole[10:600_010]], stdout=True)
    joined = Concat([whole[:300_000], whole[300_000:]])
    counted.keep_outputs()
    joined.keep_outputs()
    session.submit()
    assert int(counted.output.fetch().get_bytes().split()[0]) == 600_000
    assert joined.output.fetch().get_bytes() == pattern(MiB)


# ---- the store ----------------------------------------------------------------------------------


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_memory_stays_until_the_last_slice_and_counts_once(make_client: MakeClient) -> None:
    client = make_client(spill=False, memory="128 MiB")
    with client.new_session() as session:
        whole = kept(call(f"{C}/fill", size=16 * MiB, byte=3).output)
        parts = [kept(whole[i * 4 * MiB : (i + 1) * 4 * MiB]) for i in range(4)]
        overlapping = kept(whole[MiB : 5 * MiB])
        small = kept(whole[:100])
        session.submit()
        session.wait_all()
        lines = {line.id: line for line in client.store()}
        assert [lines[tuple(obj.id)].shared for obj in (whole, *parts, overlapping)] == [
            False, True, True, True, True, True,
        ]  # fmt: skip
        assert client.store().total("region") == 16 * MiB
        assert re.fullmatch(r"region \d+ \+\d+", lines[tuple(parts[1].id)].where)
        assert client.info()["store"]["blobs"] == 1
        whole.unkeep()
        assert client.info()["store"]["blobs_bytes"] == 16 * MiB
        assert client.store().total("region") == 16 * MiB
        view = memoryview(parts[3].fetch())
        for part in (*parts, overlapping):
            part.unkeep()
        assert client.info()["store"]["blobs"] == 1  # the client looks at it
        assert bytes(view[:3]) == b"\x03\x03\x03"
        del view, part
        wait_until(lambda: client.info()["store"]["blobs"] == 0, "the end of the blob")
        assert small.fetch().get_bytes() == b"\x03" * 100


@pytest.mark.parametrize("keep_whole", [True, False])
@pytest.mark.parametrize("tester", [C, PY])
def test_a_spilled_blob_takes_its_slices_along(
    make_client: MakeClient, tester: str, keep_whole: bool
) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session() as session:
        data = pattern(8 * MiB)
        whole = kept(call(f"{tester}/echo", blob(data)).output)
        parts = [kept(whole[: 3 * MiB]), kept(whole[MiB + 1 : -1])]
        session.submit()
        session.wait_all()
        if not keep_whole:
            whole.unkeep()
        more = [kept(call(f"{C}/fill", size=8 * MiB, byte=i).output) for i in range(8)]
        session.submit()
        session.wait_all()
        lines = {line.id: line for line in client.store()}
        assert {lines[tuple(part.id)].place for part in parts} == {"spilled"}
        assert client.info()["store"]["spilled_bytes"] >= 8 * MiB
        expected = [data[: 3 * MiB], data[MiB + 1 : -1]]
        for part, content in zip(parts, expected, strict=True):
            assert part.fetch().get_bytes() == content
            assert call(f"{tester}/echo", part).output.fetch().get_bytes() == content
        middle = call(f"{tester}/part", parts[1], offset=7, size=2 * MiB)
        assert middle.output.fetch().get_bytes() == data[MiB + 8 : 3 * MiB + 8]
        assert more[7].fetch().get_bytes() == b"\x07" * (8 * MiB)


@pytest.mark.parametrize("tester", [C, PY])
def test_a_task_may_keep_a_slice_for_longer_than_its_call(
    make_client: MakeClient, tester: str
) -> None:
    client = make_client()
    with client.new_session() as session:
        data = pattern(MiB)
        part = blob(data)[3:-3]
        call(f"{tester}/keep", part).output.fetch()
        del part
        assert client.info()["store"]["views"] == 1
        call(f"{C}/fill", size=MiB, byte=255).output.fetch()
        assert call(f"{tester}/release").output.fetch().get_bytes() == data[3:-3]
        wait_until(lambda: client.info()["store"]["views"] == 0, "the release of the slice")
        works(tester, session)


def test_a_slice_of_a_failed_task_fails_with_its_error(make_client: MakeClient) -> None:
    with make_client().new_session(on_error="continue") as session:
        part = kept(call(f"{C}/fail", b"no luck").output[1:2])
        session.submit()
        with pytest.raises(TaskException, match="no luck"):
            part.wait()
