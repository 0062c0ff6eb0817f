"""Executors that abuse shared memory: that costs them and their task. The error says what was
wrong, others go on, and the store's accounts are as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, DataObject, ExecutorDied, Session, TaskCancelled, blob
from tasks import call, contains, works
from world import wait_until

MiB = 1 << 20
Start = Callable[..., Session]

# What the failure says, by trick.
DEADLY: dict[str, tuple[str, ...]] = {
    "unaligned_offset": ("sent a blob of 64 bytes at offset", "as output: "),
    "size_of_everything": ("sent a blob of 9223372036854775807 bytes at offset",),
    "one_byte_too_many": ("sent a blob of 1099511627776 bytes at offset",),
    "overlapping_outputs": ("sent a blob of 4096 bytes at offset", "overlap"),
    "one_place_for_two_outputs": ("sent a blob of 4096 bytes at offset", "overlap"),
    "region_of_nobody": ("sent a blob of 64 bytes at offset", "of region 47"),
    "region_of_somebody_else": ("sent a blob of 64 bytes at offset", "as output: "),
    "sealed_after_return": ("sent a blob of 1048576 bytes at offset", "as output: "),
    "held_what_it_was_not_sent": ("holds input 7, which is no shared blob",),
    "printed_backwards": ("result.printed: a range that ends before it begins (at byte ",),
    "returned_twice": ("region ",),
    "returned_for_somebody_else": ("region ",),
    "descriptor": ("a descriptor",),
    "descriptor_flood": ("descriptors than the 64",),
    "lease_flood": ("asked for room",),
}
# The first call ends well, the next one finds what was done.
LATE: dict[str, tuple[str, ...]] = {
    "sealed_twice": ("sent a blob of 1048576 bytes at offset", "overlap"),
}
# Nothing was running any more: nobody's task.
BETWEEN = ["released_twice", "released_while_called", "answers_two_times"]


@pytest.fixture
def start(
    make_client: Callable[..., Client], scripted: Callable[..., dict[str, Any]], tmp_path: Path
) -> Start:
    def start(trick: str, **options: Any) -> Session:
        executor = scripted(trick, tmp_path / "done", program="hostile.py", max_processes=1)
        client = make_client({"scripted": executor}, memory="64 MiB", **options)
        return client.new_session(on_error="continue")

    return start


def accounts(session: Session) -> dict[str, int]:
    """What must be as before: blobs and views; and no region but warm ones beside the leases."""
    assert session.client is not None
    usage = session.client.info()["store"]
    return {key: usage[key] for key in ("blobs", "blobs_bytes", "views", "waiting")}


def data(session: Session, size: int = MiB) -> DataObject:
    with session.bind_only():
        obj = blob(b"d" * size)
        obj.keep()
        call("cpptester/read_ends", obj).output.fetch()  # from now on it is where tasks run
    return obj


def others_go_on(session: Session) -> None:
    """Small and large outputs of others, and the trickster's type again."""
    works("cpptester", session)
    with session.bind_only():
        large = call("pytester/fill", size=8 * MiB, byte=3).output.fetch()
        assert large.get_bytes() == b"\3" * (8 * MiB)
        again = call("scripted/echo", b"again")
        assert again.output.fetch().get_bytes() == b"again"


def settle(session: Session, before: dict[str, int], shared: DataObject) -> None:
    assert shared.fetch().get_bytes() == b"d" * len(shared.fetch())
    assert session.client is not None
    if session.client.info()["store"]["spilled_blobs"] == 1:  # the shared one
        before = before | {"blobs": 0, "blobs_bytes": 0}
    wait_until(lambda: accounts(session) == before, f"{before} in the store")


@pytest.mark.parametrize("trick", DEADLY)
def test_abuse_costs_the_executor_and_its_task(start: Start, trick: str) -> None:
    session = start(trick)
    works("cpptester", session)
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        bad = call("scripted/echo", shared, outputs=2 if "output" in trick else 1)
        good = call("cpptester/fill", size=MiB, byte=2)
        good.output.keep()
        session.submit()
    with pytest.raises(ExecutorDied) as caught:
        bad.wait()
    assert caught.value.task is bad
    contains(
        caught.value, "Executor error: ", "(executor 'scripted' (process ", "scripted/echo",
        *DEADLY[trick],
    )  # fmt: skip
    assert good.output.fetch().get_bytes() == b"\2" * MiB
    good.output.unkeep()
    others_go_on(session)
    settle(session, before, shared)


@pytest.mark.parametrize("trick", LATE)
def test_abuse_of_an_earlier_output_costs_the_later_task(start: Start, trick: str) -> None:
    session = start(trick)
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        first = call("scripted/echo", shared).output
        assert len(first.fetch()) == MiB
        with pytest.raises(ExecutorDied) as caught:
            call("scripted/echo", shared).output.fetch()
        contains(caught.value, "Executor error: ", *LATE[trick])
        assert len(first.fetch()) == MiB
    del first
    others_go_on(session)
    settle(session, before, shared)


@pytest.mark.parametrize("trick", BETWEEN)
def test_abuse_between_tasks_costs_no_task(start: Start, trick: str) -> None:
    session = start(trick)
    assert session.client is not None
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        others = session.client.info()["executor_pids"]
        assert len(call("scripted/echo", shared).output.fetch()) in (4, MiB)
        wait_until(lambda: {*session.client.info()["executor_pids"]} <= {*others}, "its end")
    others_go_on(session)
    settle(session, before, shared)


def test_leases_kept_by_an_endless_call_come_back_with_its_cancellation(
    start: Start, tmp_path: Path
) -> None:
    session = start("keeps_all_leases_in_a_call")
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        bad = call("scripted/echo", shared)
        session.submit()
        wait_until((tmp_path / "done.took").exists, "that it has taken everything")
        works("cpptester", session)  # what needs no room goes on
        waiting = call("cpptester/fill", size=8 * MiB, byte=4)
        waiting.output.keep()
        session.submit()
        bad.cancel()
        with pytest.raises(TaskCancelled):
            bad.wait()
        assert waiting.output.fetch().get_bytes() == b"\4" * (8 * MiB)
        waiting.output.unkeep()
    others_go_on(session)
    settle(session, before, shared)


@pytest.mark.parametrize("spill", [True, False])
def test_an_idle_executor_that_keeps_all_leases_ends_when_others_need_room(
    start: Start, spill: bool
) -> None:
    session = start("keeps_all_leases_after_its_call", spill=spill)
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        assert call("scripted/echo", shared).output.fetch().get_bytes() == b"done"
        large = call("cpptester/fill", size=32 * MiB, byte=4).output.fetch()
        assert large.get_bytes()[-1] == 4
        del large
    others_go_on(session)
    settle(session, before, shared)


def test_an_idle_executor_that_never_releases_ends_when_others_need_room(start: Start) -> None:
    session = start("keeps_every_input")
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        for _ in range(12):  # they can be neither freed nor spilled
            made = call("cpptester/fill", size=4 * MiB, byte=1)
            assert call("scripted/echo", made).output.fetch().get_bytes() == b"done"
        assert accounts(session)["views"] == 12
        large = call("cpptester/fill", size=32 * MiB, byte=4).output.fetch()
        assert large.get_bytes()[-1] == 4
        del large
    others_go_on(session)
    settle(session, before, shared)


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_writing_after_the_seal_changes_that_blob_and_nothing_else(
    start: Start, tmp_path: Path
) -> None:
    session = start("writes_after_the_seal")
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        beside = call("cpptester/fill", size=MiB, byte=6).output
        beside.fetch()
        bad = call("scripted/echo", shared).output
        assert bad.fetch().get_bytes()[:4] in (b"good", b"evil")
        wait_until((tmp_path / "done.wrote").exists)
        assert bad.fetch().get_bytes()[:4] == b"evil"
        assert beside.fetch().get_bytes() == b"\6" * MiB
        del bad, beside
        call("scripted/echo", shared).output.fetch()
    settle(session, before, shared)


def test_descriptors_allow_neither_writing_what_is_read_nor_another_size(start: Start) -> None:
    session = start("tampers_with_descriptors")
    shared = data(session, 8 * MiB)  # in no region that an executor may be lent to write in
    with session.bind_only():
        said = call("scripted/echo", shared).output.fetch().get_bytes()
    assert said == b"map write punch shrink grow seal"
    assert shared.fetch().get_bytes() == b"d" * (8 * MiB)


def test_absurd_numbers_are_somebodys_boast(make_client: Any, start: Start) -> None:
    session = start("boasts", record=True)
    shared = data(session)
    with session.bind_only():
        task = call("scripted/echo", shared)
        assert task.output.fetch().get_bytes() == b"done"
        assert isinstance(task.logs(), str)
        assert task.info.duration is None or task.info.duration >= 0
        assert call("scripted/echo", shared).output.fetch().get_bytes() == b"done"
    assert session.client is not None
    contains(session.client.report(), "3 tasks: 3 finished")
    works("cpptester", session)


def test_a_scribbled_board_spoils_the_scribblers_calls_alone(start: Start) -> None:
    session = start("scribbles_on_the_board")
    shared = data(session)
    before = accounts(session)
    with session.bind_only():
        assert call("scripted/echo", shared).output.fetch().get_bytes() == b"done"
        lost = [call("scripted/echo", shared) for _ in range(3)]
        session.submit()
        works("cpptester", session)
        for task in lost:
            task.cancel()
        for task in lost:
            with pytest.raises(TaskCancelled):
                task.wait()
    works("cpptester", session)
    works("pytester", session)
    settle(session, before, shared)
