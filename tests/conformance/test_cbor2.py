"""What cbor-2 adds: shared memory, several calls in flight, cancel, shutdown."""

from __future__ import annotations

import os
import struct
import time
from itertools import pairwise
from pathlib import Path

import pytest
from calls import SESSION, In, Out, Tester
from fake_governor import (
    CANCEL_REQUESTED,
    DONE,
    INLINE_LIMIT,
    RETRACTED,
    STARTED,
    Executor,
    Region,
    make_memfd,
)
from kinds import NEW, Start

new_protocol = pytest.mark.parametrize("kind", NEW)
MIB = 1 << 20


def maps(tester: Tester) -> list[str]:
    """Permissions of the regions that the process has mapped."""
    return [line.split()[1] for line in map_lines(tester)]


def map_lines(tester: Tester) -> list[str]:
    lines = Path(f"/proc/{tester.executor.process.pid}/maps").read_text().splitlines()
    return [line for line in lines if "memfd:region" in line]


def input_region(tester: Tester, number: int, data: bytes, offset: int = 0) -> In:
    """A region for reading with `data` in it, as an input."""
    region = tester.executor.add_region(number, MIB)
    region.memory[offset : offset + len(data)] = data
    tester.executor.send_region(region)
    return In((region, offset, len(data)))


def with_room(start: Start, kind: str, size: int = MIB, threads: int = 1) -> tuple[Tester, Region]:
    tester = start(kind, threads)
    region = tester.executor.add_region(1, size)
    tester.executor.lease(region, [(0, size)])
    return tester, region


def serves(tester: Tester) -> bool:
    return tester.call("hello", [b"again"]).data == b"Hello again!"


# ---- Registration -------------------------------------------------------------------------------


@new_protocol
def test_registers_its_threads_and_features(start: Start, kind: str) -> None:
    registered = start(kind, threads=3).executor.registered
    assert registered["threads"] == 3
    assert "board" in registered["features"]
    assert registered["tasklib"]


@new_protocol
def test_works_without_a_call_board(start: Start, kind: str) -> None:
    tester = start(kind, begin=False)
    tester.executor.expect_register()
    tester.executor.send("welcome", {"credit": 1, "inline_limit": 1000, "more": ["to", "come"]})
    assert serves(tester)


@new_protocol
def test_ignores_keys_it_does_not_know(shared: Start, kind: str) -> None:
    tester = shared(kind)
    sequence, call = tester.make_call("hello", [b"x"])
    call["in"][0]["later"] = {"version": 9}
    tester.executor.send("call", {"signature": [1, None], **call})
    assert tester.result(sequence).data == b"Hello x!"


# ---- Shared memory ------------------------------------------------------------------------------


@new_protocol
def test_reads_inputs_where_they_lie(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    numbers = struct.pack("16384d", *range(16384))
    first = input_region(tester, 2, numbers, offset=4096)
    result = tester.call("sum_doubles", [first, In((first.at[0], 4096, 8 * 100))])
    assert struct.unpack("d", result.data) == (sum(range(16384)) + sum(range(100)),)
    assert result.raw.get("copied", 0) == 0
    assert result.raw.get("held", []) == []


@new_protocol
def test_writes_to_inputs_in_a_copy_of_its_own(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    shared = input_region(tester, 2, b"x" * 100_000, offset=4096 + 64)
    for data in (shared, b"x" * 10):
        result = tester.call("scribble", [data])
        assert bytes(result.data)[:2] == b"Xx"
        assert result.raw.get("held", []) == []
    assert bytes(tester.call("concat", [shared]).data) == b"x" * 100_000


@new_protocol
def test_maps_inputs_for_reading_only(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    assert tester.call("echo", [input_region(tester, 2, b"x" * 100_000)]).success
    assert sorted(maps(tester)) == ["r--s", "rw-s"]


@new_protocol
def test_large_outputs_lie_in_the_lease_and_were_not_copied(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    extents = []
    for size in (INLINE_LIMIT, 100_001, 70_000):
        result = tester.call("fill", config={"size": size, "byte": 9})
        assert result.data == b"\x09" * size
        number, offset, length = result.outputs[0].at
        assert (number, length) == (1, size)
        assert offset % 64 == 0
        assert result.raw.get("copied", 0) == 0
        extents.append((offset, offset + size))
    extents.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(extents))
    assert extents[-1][1] <= MIB


@new_protocol
def test_small_outputs_ride_in_the_message(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    result = tester.call("fill", config={"size": INLINE_LIMIT - 1, "byte": 9})
    assert result.outputs[0].at == b"\x09" * (INLINE_LIMIT - 1)


@new_protocol
def test_an_output_from_ordinary_memory_is_copied_once_and_counted(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    result = tester.call("fill_memory", config={"size": 200_000, "byte": 8})
    assert result.data == b"\x08" * 200_000
    assert result.raw["copied"] == 200_000
    assert result.outputs[0].at[0] == 1


@new_protocol
def test_a_governor_that_asks_hears_when_a_handler_began(start: Start, kind: str) -> None:
    tester = start(kind, begin=False)
    tester.executor.expect_register()
    tester.executor.welcome(features=("began",))
    before = time.monotonic_ns()
    for method, config in (("sleep", {"seconds": 0.01}), ("throw_std", None)):
        raw = tester.call(method, config=config).raw
        assert before <= raw["began"]
        assert raw["began"] + raw["ns"] <= time.monotonic_ns()
        before = raw["began"] + raw["ns"]


@new_protocol
def test_a_governor_that_does_not_ask_hears_no_begin(start: Start, kind: str) -> None:
    assert "began" not in start(kind).call("sleep", config={"seconds": 0}).raw


def slicing(start: Start, kind: str) -> Tester:
    """With a governor that takes slices."""
    tester = start(kind, begin=False)
    assert "slices" in tester.executor.expect_register()["features"]
    tester.executor.welcome(features=("slices",))
    tester.executor.lease(tester.executor.add_region(1, MIB), [(0, MIB)])
    return tester


@new_protocol
def test_parts_of_inputs_are_named_and_not_copied(start: Start, kind: str) -> None:
    tester = slicing(start, kind)
    data = bytes(range(256)) * 2048
    source = input_region(tester, 2, data, offset=4096)
    result = tester.call("split", [In(source.at, number=77)], outputs=3)
    begins = [len(data) * i // 3 for i in range(4)]
    assert [output.at for output in result.outputs] == [
        [[SESSION, 77], begin, end - begin] for begin, end in pairwise(begins)
    ]
    assert result.raw.get("copied", 0) == 0
    assert result.raw.get("held", []) == []
    assert serves(tester)


@new_protocol
def test_the_part_of_an_input_is_of_that_one(start: Start, kind: str) -> None:
    tester = slicing(start, kind)
    first = input_region(tester, 2, b"a" * 200_000)
    second = In((first.at[0], 300_001, 100_000), number=78)  # a slice itself, by its offset
    result = tester.call("part", [first, second], config={"offset": 5, "size": 70_000})
    assert result.outputs[0].at == [[SESSION, 78], 5, 70_000]
    small = tester.call("part", [first], config={"offset": 5, "size": 70})
    assert small.outputs[0].at == b"a" * 70


@new_protocol
def test_an_older_governor_gets_a_copy_of_the_part(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    data = bytes(range(256)) * 1024
    source = input_region(tester, 2, data)
    result = tester.call("part", [source], config={"offset": 3, "size": 100_000})
    assert result.data == data[3:100_003]
    assert result.outputs[0].at[0] == 1
    assert result.raw["copied"] == 100_000


@new_protocol
def test_a_part_of_a_file_is_an_input(start: Start, kind: str, tmp_path: Path) -> None:
    tester = slicing(start, kind)
    data = struct.pack("20000d", *range(20000))
    (tmp_path / "data").write_bytes(b"x" * 5000 + data + b"y")
    file = tmp_path / "data"
    inside = In((file, 5000, len(data)), number=79)
    total = tester.call("sum_doubles", [inside])
    assert struct.unpack("d", total.data) == (sum(range(20000)),)
    again = tester.call("part", [inside], config={"offset": 8, "size": 100_000})
    assert again.outputs[0].at == [[SESSION, 79], 8, 100_000]
    assert again.raw.get("copied", 0) == 0
    empty = tester.call("echo", [In((file, 5000, 0), number=80)])
    assert empty.outputs[0].at == [SESSION, 80]
    beyond = tester.call("sum_doubles", [In((file, 5000, len(data) + 2))])
    assert not beyond.success
    assert f"has no {len(data) + 2} bytes at offset 5000" in beyond.error
    assert serves(tester)


@new_protocol
def test_what_a_shrunk_output_leaves_is_free_again(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    for _ in range(9):
        config = {"size": 900_000, "byte": 1, "shrink_to": 100_000}
        result = tester.call("fill", config=config)
        if not result.success or result.outputs[0].at[1] > 0:
            break
    assert result.data == b"\x01" * 100_000
    # 100,000 bytes in 64-byte steps are taken: 948,544 are left, for one of 900,000.
    assert result.outputs[0].at == [1, 100_032, 100_000]


@new_protocol
def test_asks_for_room_and_goes_on_when_it_comes(start: Start, kind: str) -> None:
    tester = start(kind)
    sequence = tester.send_call("fill", config={"size": 3 * MIB, "byte": 5})
    request = tester.executor.wait_message("lease_request")
    assert request["size"] >= 3 * MIB
    region = tester.executor.add_region(4, 4 * MIB)
    tester.executor.lease(region, [(MIB, 3 * MIB)], request["request"])
    result = tester.result(sequence)
    assert result.outputs[0].at == [4, MIB, 3 * MIB]
    assert result.data == b"\x05" * (3 * MIB)


@new_protocol
def test_a_full_store_is_the_tasks_error(start: Start, kind: str) -> None:
    tester = start(kind)
    sequence = tester.send_call("fill", config={"size": 3 * MIB, "byte": 5})
    request = tester.executor.wait_message("lease_request")
    refusal = {"request": request["request"], "message": "the store is full; free something"}
    tester.executor.send("lease_refused", refusal)
    result = tester.result(sequence)
    assert not result.success
    assert "StoreFull" in result.error
    assert str(3 * MIB) in result.error
    assert "the store is full; free something" in result.error
    assert serves(tester)


@new_protocol
def test_the_governor_may_vanish_while_a_task_waits_for_room(start: Start, kind: str) -> None:
    tester = start(kind)
    tester.send_call("fill", config={"size": 3 * MIB, "byte": 5})
    tester.executor.wait_message("lease_request")
    tester.executor.socket.close()
    tester.executor.wait_exit()


@new_protocol
def test_writes_again_where_the_governor_freed(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind, size=128 << 10)
    config = {"size": 128 << 10, "byte": 1}
    first = tester.call("fill", config=config).outputs[0].at
    tester.executor.send("freed", {"region": 1, "extents": [first[1:]]})
    second = tester.call("fill", config=config | {"byte": 2})
    assert second.outputs[0].at == first
    assert second.data == b"\x02" * (128 << 10)


@new_protocol
def test_gives_back_leases_that_it_does_not_use(start: Start, kind: str) -> None:
    tester = start(kind)
    for number in (1, 2, 3, 4):
        tester.executor.lease(tester.executor.add_region(number, MIB), [(0, MIB)])
    assert set(tester.executor.wait_message("lease_returned")["regions"]) <= {1, 2, 3, 4}
    assert serves(tester)


@new_protocol
def test_a_region_that_is_leased_again_stays_mapped_where_it_was(start: Start, kind: str) -> None:
    tester, region = with_room(start, kind)
    tester.executor.send("lease_wanted", {})
    assert tester.executor.wait_message("lease_returned")["regions"] == [1]
    before = map_lines(tester)
    sequence = tester.send_call("fill", config={"size": MIB, "byte": 7})
    request = tester.executor.wait_message("lease_request")["request"]
    tester.executor.lease(region, [(0, MIB)], request)
    assert tester.result(sequence).data == b"\x07" * MIB
    assert map_lines(tester) == before


@new_protocol
def test_passes_a_shared_input_on_without_holding_it(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    data = input_region(tester, 2, b"x" * 100_000)
    data.number = 800
    result = tester.call("echo", [data])
    assert result.outputs[0].at == [SESSION, 800]
    assert result.raw.get("held", []) == []
    assert result.raw.get("copied", 0) == 0


@new_protocol
def test_tells_what_it_still_views_and_when_that_ends(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    first = input_region(tester, 2, b"a" * 70_000)
    second = In((first.at[0], 100_032, 70_000))
    first.at[0].memory[100_032:170_032] = b"b" * 70_000
    result = tester.call("keep", [b"inline", first, second])
    assert result.raw["held"] == [1, 2]
    assert serves(tester)
    assert not tester.executor.messages
    result = tester.call("release")
    assert result.data == b"inline" + b"a" * 70_000 + b"b" * 70_000
    released = tester.executor.wait_message("released")["blobs"]
    while len(released) < 2:
        released += tester.executor.wait_message("released")["blobs"]
    assert sorted(released) == [[2, 0, 70_000], [2, 100_032, 70_000]]


@new_protocol
def test_a_dropped_region_stays_mapped_as_long_as_it_is_viewed(start: Start, kind: str) -> None:
    tester, _ = with_room(start, kind)
    data = input_region(tester, 2, b"still here" * 7000)
    assert tester.call("keep", [data]).raw["held"] == [0]
    tester.executor.send("region_dropped", {"id": 2})
    assert serves(tester)
    assert len(maps(tester)) == 2
    assert tester.call("release").data == b"still here" * 7000
    tester.executor.wait_message("released")
    assert serves(tester)
    assert maps(tester) == ["rw-s"]


@new_protocol
def test_a_region_costs_one_descriptor_until_it_is_dropped(start: Start, kind: str) -> None:
    tester = start(kind)
    assert serves(tester)
    fds = f"/proc/{tester.executor.process.pid}/fd"
    before = len(os.listdir(fds))
    for number in range(1, 81):
        assert tester.call("echo", [input_region(tester, number, b"x")]).success
    assert len(os.listdir(fds)) == before + 80
    for number in range(1, 81):
        tester.executor.send("region_dropped", {"id": number})
    assert serves(tester)
    assert len(os.listdir(fds)) == before


def test_a_view_outlives_call_executor_and_connection(start: Start) -> None:
    tester, _ = with_room(start, "python-cbor-2")
    assert tester.call("keep", [input_region(tester, 2, b"for longer" * 7000)]).raw["held"] == [0]
    tester.executor.send("region_dropped", {"id": 2})
    tester.executor.send("shutdown", {})
    assert tester.executor.wait_exit() == 0, tester.executor.logs()
    assert "kept b'for longer'" in tester.executor.logs()


@pytest.mark.parametrize(
    ("expression", "size", "copied"),
    [
        ("ctx.empty((100, 200), 'f4')", 80_000, 0),
        ("ctx.empty(20_000)[:10_000]", 80_000, 0),
        ("ctx.empty((20_000, 1)).reshape(2, -1)", 160_000, 0),
        ("ctx.blob(ctx.empty(10_000), content_type='user/doubles')", 80_000, 0),
        ("memoryview(ctx.alloc(80_000))", 80_000, 0),
        ("ctx.empty(20_000)[10_000:]", 80_000, 80_000),
        ("ctx.empty(20_000)[::2]", 80_000, 80_000),
    ],
)
def test_numpy_arrays_in_shared_memory_are_returned_without_a_copy(
    shared: Start, expression: str, size: int, copied: int
) -> None:
    tester = shared("python-cbor-2")
    result = tester.call("return_of", config={"expression": expression})
    assert result.success, result.error
    assert result.outputs[0].at[2] == size
    assert result.raw.get("copied", 0) == copied


def test_one_array_may_be_several_outputs(shared: Start) -> None:
    expression = "[a := ctx.empty(10_000), a, a[:9_000]]"
    result = shared("python-cbor-2").call("return_of", outputs=3, config={"expression": expression})
    assert result.success, result.error
    data = [output.data for output in result.outputs]
    assert data == [data[0], data[0], data[0][:72_000]]


def test_an_array_of_objects_is_refused(shared: Start) -> None:
    expression = "__import__('numpy').array([object()] * 3)"
    result = shared("python-cbor-2").call("return_of", config={"expression": expression})
    assert "pickle" in result.error


# ---- Several calls ------------------------------------------------------------------------------


@new_protocol
def test_answers_many_calls_of_one_write(start: Start, kind: str) -> None:
    tester = start(kind)
    calls = [tester.make_call("hello", [str(i).encode()]) for i in range(50)]
    frames = b"".join(Executor.frame(["call", call]) for _, call in calls)
    tester.executor.send_raw(frames[:1001])
    tester.executor.send_raw(frames[1001:])
    for i, (sequence, _) in enumerate(calls):
        assert tester.result(sequence).data == f"Hello {i}!".encode()


@new_protocol
def test_threads_answer_in_any_order(start: Start, kind: str) -> None:
    tester = start(kind, threads=2)
    slow = tester.send_call("sleep", config={"seconds": 600})
    for _ in range(20):
        assert serves(tester)
    tester.executor.send("cancel", {"seq": slow, "task": (SESSION, 11)})
    assert tester.result(slow).raw["cancelled"]


@new_protocol
def test_threads_share_one_process(start: Start, kind: str) -> None:
    tester = start(kind, threads=4)
    calls = [tester.make_call("count_calls") for _ in range(64)]
    tester.executor.send_raw(b"".join(Executor.frame(["call", call]) for _, call in calls))
    counts = {int(tester.result(sequence).data) for sequence, _ in calls}
    assert counts == set(range(1, 65))


@new_protocol
def test_the_board_says_what_began_and_what_is_done(start: Start, kind: str) -> None:
    tester = start(kind, threads=2)
    board = tester.executor.board
    assert board is not None
    slow = tester.send_call("sleep", config={"seconds": 600})
    assert serves(tester)
    done = tester.executor.sequence
    tester.call("hello", [b"once more"])  # the call before is done by now
    assert board.phase(slow) == STARTED
    assert board.phase(done) == DONE
    board.set(slow, CANCEL_REQUESTED)
    assert tester.result(slow).raw["cancelled"]


@new_protocol
def test_a_retracted_call_is_skipped_without_an_answer(start: Start, kind: str) -> None:
    tester = start(kind)
    board = tester.executor.board
    assert board is not None
    retracted, first = tester.make_call("count_calls")
    kept, second = tester.make_call("count_calls")
    board.set(retracted, RETRACTED)
    frames = [Executor.frame(["call", call]) for call in (first, second)]
    tester.executor.send_raw(b"".join(frames))
    assert tester.result(kept).data == b"1"
    assert tester.call("count_calls").data == b"2"
    assert not tester.executor.results


@new_protocol
def test_a_running_task_sees_that_it_is_cancelled(start: Start, kind: str) -> None:
    tester = start(kind)
    board = tester.executor.board
    assert board is not None
    slow = tester.send_call("sleep", config={"seconds": 600})
    while board.phase(slow) != STARTED:
        assert tester.executor.process.poll() is None
    board.set(slow, CANCEL_REQUESTED)
    result = tester.result(slow)
    assert result.raw["cancelled"]
    assert not result.success
    assert serves(tester)


@new_protocol
def test_cancelling_what_is_done_or_unknown_does_no_harm(start: Start, kind: str) -> None:
    tester = start(kind)
    assert serves(tester)
    for sequence in (1, 99, 0):
        tester.executor.send("cancel", {"seq": sequence, "task": (SESSION, 11)})
    assert serves(tester)


# ---- The end, and nonsense ----------------------------------------------------------------------


@new_protocol
@pytest.mark.parametrize("threads", [1, 3])
def test_shutdown_ends_it(start: Start, kind: str, threads: int) -> None:
    tester = start(kind, threads)
    assert serves(tester)
    tester.executor.send("shutdown", {})
    assert tester.executor.wait_exit() == 0, tester.executor.logs()


def refused(tester: Tester) -> str:
    """The executor ends, and says why."""
    assert tester.executor.at_end()
    assert tester.executor.wait_exit() != 0
    return tester.executor.logs()


@new_protocol
def test_refuses_a_region_without_a_descriptor(start: Start, kind: str) -> None:
    tester = start(kind)
    tester.executor.send("region", {"id": 5, "size": MIB})
    assert "region 5 came without a descriptor" in refused(tester)


@new_protocol
@pytest.mark.parametrize("what", ["other size", "not sealed", "no memory"])
def test_refuses_a_region_that_might_shrink(start: Start, kind: str, what: str) -> None:
    tester = start(kind)
    if what == "no memory":
        fd = os.open("/dev/null", os.O_RDWR)
    else:
        fd = make_memfd(MIB, seal=what != "not sealed")
    size = MIB // 2 if what == "other size" else MIB
    tester.executor.send("region", {"id": 5, "size": size}, fd)
    os.close(fd)
    assert "region" in refused(tester)


@new_protocol
@pytest.mark.parametrize(
    ("offset", "size"), [(0, MIB + 1), (MIB, 1), (2**63 - 1, 1), (64, 2**63 - 1), (MIB, 2**62)]
)
def test_refuses_a_blob_that_leaves_its_region(
    start: Start, kind: str, offset: int, size: int
) -> None:
    tester = start(kind)
    region = input_region(tester, 2, b"x").at[0]
    tester.send_call("hello", [In((region, offset, size))])
    assert "region" in refused(tester)


@new_protocol
def test_refuses_a_blob_of_an_unknown_region(start: Start, kind: str) -> None:
    tester = start(kind)
    region = tester.executor.add_region(77, MIB)
    tester.send_call("hello", [In((region, 0, 1))])
    assert "77" in refused(tester)


@new_protocol
def test_refuses_an_input_without_data(start: Start, kind: str) -> None:
    tester = start(kind)
    _, call = tester.make_call("hello", [b"x"])
    del call["in"][0]["at"]
    tester.executor.send("call", call)
    assert "input 0" in refused(tester)


@new_protocol
def test_refuses_calls_before_its_welcome(start: Start, kind: str) -> None:
    tester = start(kind, begin=False)
    tester.executor.expect_register()
    tester.send_call("hello", [b"x"])
    assert "welcome" in refused(tester)


@new_protocol
def test_says_that_it_was_not_welcome(start: Start, kind: str) -> None:
    tester = start(kind, begin=False)
    tester.executor.expect_register()
    tester.executor.socket.close()
    assert tester.executor.wait_exit() != 0
    assert "instead of welcoming" in tester.executor.logs()


@new_protocol
def test_refuses_a_second_welcome(start: Start, kind: str) -> None:
    tester = start(kind)
    tester.executor.send("welcome", {"credit": 1, "inline_limit": 0})
    assert "second 'welcome'" in refused(tester)


@new_protocol
def test_a_directory_comes_as_a_path(shared: Start, kind: str, tmp_path: Path) -> None:
    directory = In(tmp_path, number=900, directory=True)
    result = shared(kind).call("echo", [directory], [Out(directory=True)])
    assert result.outputs[0].at == [SESSION, 900]
