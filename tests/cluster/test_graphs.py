"""Graphs on two governors: the same API, the same results."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, cluster
from rain.client import (
    Client,
    DependencyFailed,
    InvalidGraph,
    OutputDir,
    RainException,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    TaskTimeout,
    blob,
    directory,
    tasks,
)
from rain.common.errors import ConnectionFailed
from tasks import call, contains
from world import wait_until


@pytest.mark.parametrize("tester", ["cpptester", "pytester"])
def test_a_task_runs_on_a_governor(session: Session, tester: str) -> None:
    assert call(f"{tester}/hello", b"you").output.fetch().get_bytes() == b"Hello you!"


def test_lines_of_tasks_came_when_the_client_is_closed(
    shared: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rain.executor")
    with shared.client() as client, client.new_session() as session:
        for _ in range(4):
            call("cpptester/say", log=[[20, "said"]], debug=[], repeat=50, then="return")
        session.submit()
        session.wait_all()
    assert sum(record.getMessage() == "said" for record in caplog.records) == 200


def test_a_task_that_ran_on_a_governor_is_reproduced_here(client: Client, place: Path) -> None:
    with client.new_session(on_error="continue") as session:
        reason = call("cpptester/fill", size=100_000, byte=66)
        reason.keep_outputs()
        bad = call("pytester/fail", reason)
        session.submit()
        session.wait_all()
        command = bad.reproduce(place / "alone")
    done = subprocess.run(shlex.split(command), capture_output=True, text=True)
    assert done.returncode != 0
    contains(done.stderr, "B" * 100, "task 'pytester/fail' failed after ")


def test_a_wide_graph_uses_both_governors(session: Session, shared: Cluster, place: Path) -> None:
    """Each half waits until the other has begun: one governor alone has cpus for shared."""
    waits = [call("gates/meet", directory=str(place / "meet"), of=4) for _ in range(4)]
    total = tasks.Concat(waits)
    total.keep_outputs()
    session.submit()
    pids = total.output.fetch().get_bytes().split()
    assert {shared.governor_of(int(pid)).name for pid in pids} == {"g1", "g2"}


def test_objects_pass_between_submits_and_governors(session: Session) -> None:
    pieces = [call("cpptester/fill", size=100_000 + i, byte=65 + i) for i in range(8)]
    for piece in pieces:
        piece.keep_outputs()
    session.submit()
    session.wait(pieces)
    whole = call("pytester/concat", *pieces)
    assert whole.output.fetch().get_bytes() == b"".join(
        bytes([65 + i]) * (100_000 + i) for i in range(8)
    )
    for i, piece in enumerate(pieces):
        assert len(piece.output.fetch().get_bytes()) == 100_000 + i


def test_a_long_chain_and_a_fan(session: Session) -> None:
    step: Task = call("cpptester/echo", b"x" * 20_000)
    for _ in range(300):
        step = call("cpptester/echo", step)
    fan = [call("cpptester/concat", step, b"%d" % i) for i in range(50)]
    last = call("pytester/concat", *fan)
    expected = b"".join(b"x" * 20_000 + b"%d" % i for i in range(50))
    assert last.output.fetch().get_bytes() == expected


def test_uploads_reach_every_consumer(client: Client, session: Session) -> None:
    large = blob(os.urandom(3_000_000))
    shared = client.put(b"s" * 500_000)
    both = [call("cpptester/concat", large, shared, b"%d" % i) for i in range(6)]
    for task in both:
        task.keep_outputs()
    session.submit()
    results = [task.output.fetch().get_bytes() for task in both]
    assert {len(each) for each in results} == {3_500_001}
    assert {each[-1:] for each in results} == {b"%d" % i for i in range(6)}


def test_directories_travel(session: Session, place: Path) -> None:
    (place / "tree" / "inner").mkdir(parents=True)
    (place / "tree" / "inner" / "a").write_text("one")
    uploaded = call("pytester/list_directory", directory(place / "tree"))
    uploaded.keep_outputs()
    made = call("pytester/make_directory", outputs=OutputDir("d"), **{"x/y": "two"})
    listed = call("pytester/list_directory", made)
    listed.keep_outputs()
    made.keep_outputs()
    assert uploaded.output.fetch().get_bytes() == b"inner/a=one"
    assert listed.output.fetch().get_bytes() == b"x/y=two"
    fetched = made.output.fetch()
    fetched.write(place / "out")
    assert (place / "out" / "x" / "y").read_text() == "two"


def test_continue_lets_what_does_not_depend_run(session: Session) -> None:
    bad = call("pytester/fail", b"no")
    good = call("cpptester/hello", b"a")
    after_both = call("pytester/concat", bad, good)
    after_good = call("pytester/concat", good)
    for task in (bad, good, after_both, after_good):
        task.keep_outputs()
    session.submit()
    with pytest.raises(TaskException, match="no"):
        bad.wait()
    with pytest.raises(DependencyFailed) as caught:
        after_both.wait()
    assert caught.value.origin_id == bad.id
    assert after_good.output.fetch().get_bytes() == b"Hello a!"


def test_a_later_submit_takes_what_a_running_task_makes_and_nobody_keeps(
    session: Session, place: Path
) -> None:
    note, go = place / "running", place / "go"
    slow = call("gates/wait_for", file=str(go), note=str(note))
    session.submit()
    wait_until(note.exists, "it runs")
    late = call("pytester/concat", slow, slow)
    late.keep_outputs()
    session.submit()
    go.touch()
    late.wait()


def test_fail_ends_the_session_on_all_governors(client: Client, shared: Cluster) -> None:
    with client.new_session() as session:
        spins = [call("pytester/spin") for _ in range(3)]
        session.submit()
        bad = call("pytester/fail", b"the end")
        session.submit()
        with pytest.raises(TaskException, match="the end"):
            session.wait_all()
        assert {task.state for task in spins} == {TaskState.cancelled}
        assert bad.state is TaskState.failed
    with client.new_session() as session:  # no cpu is held by what spun
        assert [call("cpptester/hello", b"%d" % i).output.fetch() for i in range(4)]


def test_a_running_task_is_cancelled_where_it_runs(session: Session, place: Path) -> None:
    note = place / "note"
    spin = call("gates/wait_for", file=str(place / "never"), note=str(note))
    session.submit()
    wait_until(note.exists, "it runs")
    spin.cancel()
    assert spin.state is TaskState.cancelled
    with pytest.raises(TaskCancelled):
        spin.wait()
    assert call("pytester/hello", b"b").output.fetch().get_bytes() == b"Hello b!"


def test_timeouts_and_retries_are_the_governors(session: Session) -> None:
    slow = Task([], task_type="pytester/spin", timeout=0.3)
    failing = Task([blob(b"x")], task_type="pytester/fail", retries=2)
    session.submit()
    with pytest.raises(TaskTimeout):
        slow.wait()
    with pytest.raises(TaskException) as caught:
        failing.wait()
    assert len(caught.value.attempts) == 3


def test_a_crash_of_an_executor_is_its_tasks_alone(session: Session) -> None:
    """Trap 8: nobody else is blamed, and no governor goes with it."""
    others = [call("pytester/hello", b"%d" % i) for i in range(4)]
    crash = call("pytester/segfault")
    for task in others:
        task.keep_outputs()
    session.submit()
    with pytest.raises(TaskException) as caught:
        crash.wait()
    contains(caught.value, "SIGSEGV")
    assert [task.output.fetch().get_bytes() for task in others]


def test_what_no_governor_can_run_is_an_error_at_submit(session: Session) -> None:
    with pytest.raises(RainException, match="nosuch"):
        call("nosuch/task").output.fetch()


def test_more_cpus_than_any_governor_has_is_an_error_at_submit(session: Session) -> None:
    Task([], task_type="pytester/pid", cpus=3)
    with pytest.raises(InvalidGraph, match="cpus"):
        session.submit()


def test_an_executor_of_one_governor_is_used_there(place: Path, commands: dict[str, Any]) -> None:
    plain = {name: command for name, command in commands.items() if name != "gates"}
    with cluster(place, plain, governors=1) as made:
        made.add_governor("special", executors={"gates": commands["gates"]})
        with made.client() as client, client.new_session() as session:
            specials = [call("gates/meet", directory=str(place / f"m{i}"), of=1) for i in range(5)]
            mixed = call("cpptester/concat", *specials)
            mixed.keep_outputs()
            session.submit()
            pids = mixed.output.fetch().get_bytes().split()
            assert len(pids) == 5
            assert {made.governor_of(int(pid)).name for pid in pids} == {"special"}


def test_progress_reports_and_infos_come_from_the_governors(shared: Cluster) -> None:
    with shared.client(record=True) as client, client.new_session() as session:
        done = [call("cpptester/hello", b"%d" % i) for i in range(20)]
        for task in done:
            task.keep_outputs()
        session.submit()
        session.progress(file=open(os.devnull, "w"))  # noqa: SIM115
        report = client.report()
        assert len(report) == 20
        assert {task.state for task in done} == {TaskState.finished}
        assert len(client.info()["executors"]) >= 2
        assert json.dumps(client.get_server_info(), default=str)


def test_the_first_task_starts_before_the_last_is_submitted(session: Session) -> None:
    first = call("cpptester/hello", b"1")
    first.keep_outputs()
    session.submit()
    first.wait()
    second = call("cpptester/concat", first, b"2")
    assert second.output.fetch().get_bytes() == b"Hello 1!2"


def test_later_submits_wait_for_objects_and_not_for_parts(session: Session, place: Path) -> None:
    """Trap 13, too: the private means by which Dask's scheduler is told are still there."""
    ready = call("cpptester/hello", b"x")
    ready.keep_outputs()
    gate = call("gates/wait_for", ready, file=str(place / "gate"))  # of the same part
    session.submit()
    ready.wait()
    later = call("cpptester/concat", ready, b"later")
    later.keep_outputs()
    session.submit()
    assert later.output.fetch().get_bytes() == b"Hello x!later"
    assert gate.state is not TaskState.finished
    (place / "gate").touch()
    gate.wait()


def test_unkept_data_leave_the_governors(client: Client, session: Session) -> None:
    task = call("cpptester/fill", size=30_000_000, byte=1)
    task.keep_outputs()
    session.submit()
    task.wait()
    assert client.info()["store"]["blobs_bytes"] >= 30_000_000
    session.unkeep([task.output])
    wait_until(
        lambda: client.info()["store"]["blobs_bytes"] < 30_000_000, "the store is empty again"
    )


def test_an_output_that_was_not_kept_for_a_later_submit(session: Session, place: Path) -> None:
    """Either it gets there, or what needs it, and nothing else, says what to do."""
    note, gate = place / "note", place / "gate"
    made = call("gates/wait_for", b"x" * 20_000, file=str(gate), note=str(note))
    session.submit()
    wait_until(lambda: note.exists() and note.read_text(), "it runs")
    after, other = call("cpptester/concat", made, b"!"), call("cpptester/hello", b"x")
    last = call("pytester/concat", after)
    for task in (after, other, last):
        task.keep_outputs()
    session.submit()
    gate.touch()
    assert other.output.fetch().get_bytes() == b"Hello x!"
    failure = after.exception()
    if failure is None:
        assert last.output.fetch().get_bytes() == b"x" * 20_000 + b"!"
    else:
        contains(failure, "keep() it")
        with pytest.raises(DependencyFailed):
            last.wait()
    made.wait()


def test_a_cancelled_part_ends_for_those_who_wait_for_it(
    session: Session, place: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Dask does not take it away then: its other tasks need no more than its end."""
    note = place / "note"
    held = call("gates/wait_for", file=str(place / "never"), note=str(note))
    held.keep_outputs()
    session.submit()
    wait_until(lambda: note.exists() and note.read_text(), "it runs")
    apart = call("cpptester/hello", b"x")
    both = call("pytester/concat", held, apart)
    for task in (apart, both):
        task.keep_outputs()
    session.submit()
    held.cancel()
    assert apart.output.fetch().get_bytes() == b"Hello x!"
    with pytest.raises(DependencyFailed):
        both.wait()
    assert not [each for each in recwarn if "run again" in str(each.message)]


@pytest.mark.parametrize("failure", [ConnectionFailed("no answer"), ValueError("odd")])
def test_an_upload_that_fails(
    session: Session, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """It is tried again where the connection failed; else what needs it fails."""
    from rain.engine.cluster_data import ClusterLink

    request = ClusterLink._request
    failed = []

    async def fail_once(link: Any, address: str, operation: str, **arguments: Any) -> Any:
        if operation == "rain_upload" and not failed:
            failed.append(arguments["key"])
            raise failure
        return await request(link, address, operation, **arguments)

    monkeypatch.setattr(ClusterLink, "_request", fail_once)
    task = call("cpptester/concat", os.urandom(100_000), b"!")
    task.keep_outputs()
    session.submit()
    if isinstance(failure, ConnectionFailed):
        assert len(task.output.fetch().get_bytes()) == 100_001
    else:
        with pytest.raises(TaskException, match="ValueError: odd"):
            task.wait()
    assert failed


def test_a_governor_that_cannot_be_reached_directly(
    shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data come through the server, of which the client is told once, until it can be again."""
    client = shared.client()
    with client.new_session() as session:
        first = call("cpptester/fill", size=100_000, byte=1)
        made = [first, *(call("cpptester/concat", first, b"%d" % i) for i in range(2))]
        for task in made:
            task.keep_outputs()
        session.submit()
        session.wait_all()
        link: Any = client._engine._link  # type: ignore[attr-defined]

        connect = link._dask.rpc.connect

        async def refuse(address: str) -> Any:
            if address == link._dask.scheduler.addr:
                return await connect(address)
            raise OSError("no way there")

        with monkeypatch.context() as patch:
            patch.setattr(link._dask.rpc, "connect", refuse)
            for task in made[:2]:
                assert len(task.output.fetch().get_bytes()) >= 100_000
        governors = set(link._indirect)
        assert governors
        link._indirect = dict.fromkeys(governors, 0.0)  # the time to try again has come
        for task in made:
            assert len(task.output.fetch().get_bytes()) >= 100_000
        assert not link._indirect
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        client.close()
    through = [str(each.message) for each in told if "through the server" in str(each.message)]
    assert len(through) == len(governors)
