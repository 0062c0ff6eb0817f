"""Executors that don't start, or say what no executor may say: the task says why, nobody else is
concerned, and the next task gets a process that works."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, ExecutorDied, Session, TaskException, TaskState
from tasks import call, contains, works
from world import wait_until

Scripted = Callable[..., dict[str, Any]]

# What the failure says, by trick.
AT_START: dict[str, tuple[str, ...]] = {
    "exits_at_once": (
        "Executor unexpectedly terminated with exit code: 7 before it registered",
        "executor 'scripted'",
        "last lines of stderr:\nscripted: no such library",
    ),
    "never_connects": (
        "it did not register within 300 ms of its start: it never connected",
        "Does the program call Executor::start()?",
        "last lines of stderr:\nscripted: thinking",
    ),
    "never_registers": ("it did not register within 300 ms of its start, though it connected",),
    "closes_at_once": ("Closed connection without registration",),
    "other_type": ("registered with invalid type; expected = scripted, got = somebody",),
    "other_id": ("registered with invalid id; expected = ", "got = 4711"),
    "other_protocol": (
        "registered with invalid protocol; expected = cbor-1 or cbor-2, got = cbor-7",
    ),
    "registers_twice": ("registered twice",),
    "first_says_something_else": ("Not registered by first message",),
    "starts_with_random_bytes": (
        "Not registered by first message",
        "found a negative integer (at byte 0)",
    ),
    "starts_with_oversize_frame": ("a frame of 134217729 bytes", "134217728"),
    "starts_with_empty_frame": ("a frame of length 0",),
}
IN_A_TASK: dict[str, tuple[str, ...]] = {
    "oversize_frame": ("a frame of 134217729 bytes", "134217728"),
    "empty_frame": ("a frame of length 0",),
    "random_bytes": ("expected a message [name, map], found", "(at byte 0)"),
    "ends_in_a_frame": ("closed in the middle of a frame",),
    "map_instead_of_message": ("expected a message [name, map], found a map (at byte 0)",),
    "unknown_message": ('unknown message "resolt" (at byte 1)',),
    "result_without_task": ('result: key "task" is missing (at byte 8)',),
    "result_and_more": ("(at byte ",),
    "success_as_text": ("result.success: expected a bool, found a text (at byte ",),
    "outputs_as_map": ("result.outputs: expected an array, found a map (at byte ",),
    "unknown_key": ('result: unknown key "outpots"; known are task, success', "(at byte "),
    "result_for_another_task": ("sent a result for task 1/104, but task 1/14 was called",),
    "cached_what_it_never_got": ("cached object 1/4711, which it was never sent",),
    "unknown_location": ('location: unknown variant "pigeon"; known are path, memory', "(at byte "),
    "region_never_leased": ("blob of 64 bytes at offset", "of region 1"),
    "offset_behind_region": ("blob of 64 bytes at offset", "of region "),
    "size_behind_region": ("blob of 1099511627776 bytes at offset", "of region "),
    "offset_and_size_overflow": ("blob of 9223372036854775807 bytes at offset",),
    "slice_behind_input": ("sent as output 2 bytes at offset 1 of input", "which has 2 bytes"),
    "slice_far_behind_input": ("sent as output 9223372036854775807 bytes", "which has 2 bytes"),
    "slice_larger_than_input": ("sent as output 3 bytes at offset 0", "which has 2 bytes"),
    "slice_of_a_file": ("sent part of a file as output",),
    "released_what_it_never_held": ("released a blob that it doesn't hold (region 1, offset 0)",),
    "returned_what_it_never_had": ("region 4711",),
    "log_of_no_call": ("sent a line for the log of call 4711, which is not in flight",),
    "debug_of_no_call": ("sent a line for the log of call 4711, which is not in flight",),
}
# The task failed, its executor goes on.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "too_few_outputs": ("Some of outputs were not produced",),
    "no_location": ("came without a location",),
    "cached_location": ("Cached result occured in result",),
    "path_outside": ("Path of dataobject is not in executor dir: /etc/passwd is outside",),
    "path_upwards": ("Path of dataobject is not in executor dir", "leads to /"),
    "path_of_link_to_outside": ("Path of dataobject is not in executor dir", "/etc/passwd"),
    "path_relative": ("Path of dataobject is not absolute: out.txt",),
    "path_of_nothing": ("/nothing: No such file or directory",),
    "other_object_unknown": ("id: 4711", "only the task's own inputs can be passed through"),
}


@pytest.fixture
def start(
    make_client: Callable[..., Client], scripted: Scripted, tmp_path: Path
) -> Callable[..., Session]:
    def start(trick: str, on_error: Any = "continue", **options: Any) -> Session:
        executor = scripted(trick, tmp_path / "done", **options)
        return make_client({"scripted": executor}).new_session(on_error=on_error)

    return start


def failure_of(session: Session) -> TaskException:
    """Of a first task; the other ones work before, during and after it."""
    works("cpptester", session)
    with session.bind_only():
        bad = call("scripted/echo", b"in")
        good = call("cpptester/hello", b"there")
        good.keep_outputs()
        session.submit()
    with pytest.raises(TaskException) as caught:
        bad.wait()
    assert caught.value.task is bad
    contains(caught.value, "call(", os.path.basename(__file__), "Task created at:")
    assert good.output.fetch().get_bytes() == b"Hello there!"
    with session.bind_only():
        assert call("scripted/echo", b"again").output.fetch().get_bytes() == b"again"
    works("cpptester", session)
    return caught.value


@pytest.mark.parametrize("trick", AT_START)
def test_executor_that_starts_wrongly_fails_its_task_and_nothing_else(
    trick: str, start: Callable[..., Session]
) -> None:
    seconds = 0.3 if trick.startswith("never_") else 60
    failure = failure_of(start(trick, start_seconds=seconds))
    assert isinstance(failure, ExecutorDied)
    contains(failure, "scripted", *AT_START[trick])
    contains(failure.report, "stderr")


@pytest.mark.parametrize("trick", IN_A_TASK)
def test_nonsense_from_an_executor_costs_that_executor_and_its_task(
    trick: str, start: Callable[..., Session]
) -> None:
    failure = failure_of(start(trick))
    assert isinstance(failure, ExecutorDied)
    contains(
        failure, "Executor error: ", "(executor 'scripted' (process ", "scripted/echo",
        *IN_A_TASK[trick],
    )  # fmt: skip
    contains(failure.report, "run time ", "peak memory ", "stderr is empty")


@pytest.mark.parametrize("trick", OUTPUTS)
def test_output_that_cannot_be_taken_fails_its_task_alone(
    trick: str, start: Callable[..., Session]
) -> None:
    failure = failure_of(start(trick))
    assert not isinstance(failure, ExecutorDied)
    contains(failure.message, *OUTPUTS[trick])


def test_result_after_the_result_is_a_death_between_tasks(start: Callable[..., Session]) -> None:
    session = start("two_results")
    client = session.client
    assert client is not None
    with session.bind_only():
        assert call("scripted/echo", b"in").output.fetch().get_bytes() == b"first"
        wait_until(lambda: not client.info()["executor_pids"], "the end of the liar")
        assert call("scripted/echo", b"again").output.fetch().get_bytes() == b"again"
    works("cpptester", session)


def test_executor_that_dies_at_every_start_fails_each_task_once(
    make_client: Callable[..., Client], scripted: Scripted
) -> None:
    executor = scripted("exits_at_once", Path(os.devnull).parent / "nowhere" / "x")
    session = make_client({"scripted": executor}).new_session(on_error="continue")
    with session.bind_only():
        tasks = [call("scripted/echo", b"in") for _ in range(3)]
    session.submit()
    for task in tasks:
        with pytest.raises(ExecutorDied, match="before it registered"):
            task.wait()
    works("cpptester", session)


@pytest.mark.parametrize("trick", ["exits_at_once", "random_bytes", "path_outside"])
def test_with_on_error_fail_the_first_failure_is_the_sessions(
    trick: str, start: Callable[..., Session]
) -> None:
    session = start(trick, on_error="fail")
    with session.bind_only():
        bad = call("scripted/echo", b"in")
        after = call("cpptester/hello", bad)
        beside = call("cpptester/sleep", seconds=1e6)
    session.submit()
    with pytest.raises(TaskException) as caught:
        session.wait_all()
    assert caught.value.task is bad
    assert [task.state for task in (bad, after, beside)] == [
        TaskState.failed, TaskState.cancelled, TaskState.cancelled,
    ]  # fmt: skip
    with pytest.raises(TaskException) as later:
        beside.wait()
    assert later.value.task is bad
    assert session.client is not None
    works("cpptester", session.client.new_session())


def test_failed_dependencies_name_their_ancestor(start: Callable[..., Session]) -> None:
    session = start("exits_at_once")
    with session.bind_only():
        bad = call("scripted/echo", b"in")
        last = call("cpptester/hello", call("cpptester/hello", bad))
    session.submit()
    with pytest.raises(TaskException) as caught:
        last.wait()
    assert caught.value.origin_id == bad.id
    assert last.state is TaskState.aborted
    contains(
        caught.value, "was aborted", f"task {bad.id}, which it depends on, failed: ", "exit code: 7"
    )
