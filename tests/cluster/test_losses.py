"""Governors and servers that are lost, that come late, and clients that vanish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, cluster
from rain.client import (
    Client,
    ExecutorDied,
    RainException,
    RainWarning,
    TaskException,
    blob,
    tasks,
)
from rain.common.errors import ConnectionFailed
from rain.governor import relay
from tasks import call, contains
from world import exists, launchers_of, wait_until

SMALL = 100  # bytes of a result that comes along with the end of its task


def test_a_killed_governor_changes_no_result(two: Cluster, place: Path) -> None:
    note, gate = place / "note", place / "gate"
    client = two.client()
    with client.new_session() as session:
        large = blob(os.urandom(500_000))
        first = [call("cpptester/concat", large, b"%d" % i) for i in range(16)]
        held = [call("gates/wait_for", task, file=str(gate), note=str(note)) for task in first]
        last = [call("pytester/concat", task, b"!") for task in held]
        for task in (*first, *last):
            task.keep_outputs()
        session.submit()
        wait_until(lambda: note.exists() and note.read_text().count("\n") >= 4, "all cpus wait")
        two.kill(two.governor_of(int(note.read_text().split()[0])))
        gate.touch()
        results = [task.output.fetch().get_bytes() for task in last]
        assert [each[-1:] for each in results] == [b"!"] * 16
        assert len({each[:500_000] for each in results}) == 1
        assert [each[500_000:-1] for each in results] == [b"%d" % i for i in range(16)]
        assert [len(task.output.fetch().get_bytes()) > 500_000 for task in first] == [True] * 16
    with pytest.warns(RainWarning, match=r"governor g\d was lost"):
        client.close()


@pytest.mark.parametrize("half", ["outer", "inner"])
def test_a_governor_whose_launcher_is_killed_leaves_the_cluster(
    two: Cluster, place: Path, half: str
) -> None:
    note, gate = place / "note", place / "gate"
    client = two.client()
    with client.new_session() as session:
        made = [call("cpptester/fill", size=100_000, byte=i) for i in range(8)]
        for task in made:
            task.keep_outputs()
        session.submit()
        session.wait_all()
        held = [call("gates/wait_for", task, file=str(gate), note=str(note)) for task in made]
        for task in held:
            task.keep_outputs()
        session.submit()
        wait_until(lambda: note.exists() and note.read_text().count("\n") >= 4, "all cpus wait")
        lost = two.governor_of(int(note.read_text().split()[0]))
        launchers = launchers_of(f"{place}/work-{lost.name}")
        os.kill(launchers[half == "inner"], signal.SIGKILL)
        assert lost.wait() == 1
        contains("\n".join(lost.errors), "the governor's launcher", "was killed")
        gate.touch()
        for i, task in enumerate(held):
            assert task.output.fetch().get_bytes() == bytes([i]) * 100_000
            assert made[i].output.fetch().get_bytes() == bytes([i]) * 100_000
    with pytest.warns(RainWarning, match="was lost"):
        client.close()


@pytest.mark.parametrize("size", [SMALL, 20_000])
def test_what_runs_again_when_a_governor_is_killed_at_90_percent(
    two: Cluster, place: Path, size: int
) -> None:
    """What was at work there, and what only it had: results that are small the client has."""
    note, gate = place / "note", place / "gate"
    n, n_done = 160, 144

    def runs() -> list[tuple[int, str]]:
        lines = note.read_text().split("\n")[:-1] if note.exists() else []
        return [(int(number), work) for number, work in map(str.split, lines)]

    client = two.client()
    with client.new_session() as session:
        made = []
        for number in range(n):
            given = {"note": str(note), "number": number, "size": size}
            if number < n_done:
                made.append(call("gates/count", **given))
            else:
                made.append(call("gates/count_and_wait", gate=str(gate), **given))
            made[-1].keep_outputs()
            if number == n_done - 1:
                session.submit()
                session.wait_all()
        session.submit()
        wait_until(lambda: len(runs()) == n_done + 4, "all cpus wait")
        before = runs()
        lost = two.governors[1]
        two.kill(lost)
        gate.touch()
        for number, task in enumerate(made):
            assert task.output.fetch().get_bytes() == bytes([number]) * size
        after = runs()
    again = sorted(number for number, _ in after[len(before) :] if number in dict(before))
    theirs = {number for number, work in before if work == f"work-{lost.name}"}
    at_work = {number for number in theirs if number >= n_done}
    assert 0 < len(at_work) <= 2
    assert again == sorted(at_work if size == SMALL else theirs)
    with pytest.warns(RainWarning, match="run again") as told:
        client.close()
    parts = {str(each.message) for each in told if "run again" in str(each.message)}
    assert size != SMALL or len(parts) <= 2 * relay.PARTS_IN_FLIGHT


def stored(made: Cluster) -> set[int]:
    """Ids of objects that are in the stores of the governors."""
    from rain.engine import cluster_questions

    answers = cluster_questions.ask("127.0.0.1", made.port, None, "store")
    return {blob[0][1] for answer in answers for blob in answer["blobs"]}


def test_a_second_run_keeps_what_is_wanted_alone(place: Path, commands: dict[str, Any]) -> None:
    with cluster(place, commands, governors=1) as made:
        client = made.client()
        with client.new_session() as session:
            first = call("cpptester/fill", size=100_000, byte=1)
            second = call("cpptester/concat", first, b"2")  # in the same part
            for task in (first, second):
                task.keep_outputs()
            session.submit()
            session.wait_all()
            other = call("cpptester/concat", first, b"3")  # in another one
            other.keep_outputs()
            session.submit()
            session.wait_all()
            session.unkeep([first.output])
            ids = {task.output.id[1] for task in (second, other)}
            wait_until(lambda: stored(made) == ids, "it is unkept")
            made.add_governor("g2")
            made.kill(made.governors[0])
            assert second.output.fetch().get_bytes()[-1:] == b"2"
            assert other.output.fetch().get_bytes()[-1:] == b"3"
            wait_until(lambda: stored(made) == ids, f"only they are there: {stored(made)}, {ids}")
            session.unkeep([second.output])
            wait_until(lambda: stored(made) == {other.output.id[1]}, "one is left")
            session.unkeep([other.output])
            wait_until(lambda: not stored(made), "nothing is left")
        with pytest.warns(RainWarning, match="run again"):
            client.close()


def test_data_that_only_the_dead_had_are_made_again(two: Cluster) -> None:
    client = two.client(record=True)
    with client.new_session() as session:
        made = [call("cpptester/fill", size=200_000, byte=i) for i in range(8)]
        for task in made:
            task.keep_outputs()
        session.submit()
        session.wait_all()
        two.kill(two.governors[0])
        for i, task in enumerate(made):
            assert task.output.fetch().get_bytes() == bytes([i]) * 200_000
    report = client.report()
    assert report.notes
    for line in report.notes:
        contains(line, "run again, on governor g2", "lost with governor g1", "made again: 1:")
        assert line in str(report)
    assert client.report().notes == []
    with pytest.warns(RainWarning, match="run again"):
        client.close()


def test_an_upload_that_is_lost_is_uploaded_again(two: Cluster) -> None:
    """Trap 5: what Dask calls scattered data could not be recovered."""
    content = os.urandom(2_000_000)
    client = two.client()
    with client.new_session() as session:
        constant = blob(content)
        constant.keep()
        first = call("pytester/pid", outputs=1)
        whose = call("cpptester/concat", constant, b"1")
        for task in (first, whose):
            task.keep_outputs()
        session.submit()
        session.wait_all()
        two.kill(two.governors[0])
        again = call("cpptester/concat", constant, b"2")
        assert again.output.fetch().get_bytes() == content + b"2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        client.close()


@pytest.mark.parametrize("there", [True, False])
def test_an_upload_that_nobody_needs_any_more_is_there_for_a_second_run(
    place: Path, commands: dict[str, Any], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Unless the client is short of memory: then the error says so."""
    from rain.engine import cluster_parts

    content = os.urandom(500_000)
    if not there:
        monkeypatch.setattr(cluster_parts, "_MOST_ASIDE", 0)
    with cluster(place, commands, governors=1) as made:
        client = made.client()
        with client.new_session() as session:
            task = call("cpptester/concat", content, b"1")
            task.keep_outputs()
            session.submit()
            task.wait()
            made.add_governor("g2")
            made.kill(made.governors[0])
            if there:
                assert task.output.fetch().get_bytes() == content + b"1"
            else:
                with pytest.raises(RainException, match="and was short of memory"):
                    task.output.fetch()
            session.unkeep([task.output])
            link: Any = client._engine._link  # type: ignore[attr-defined]
            wait_until(lambda: not link._sessions[1].uploads, "the client lets go of it")
            assert link._aside_bytes == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RainWarning)
            client.close()


def test_a_task_that_kills_its_governor_twice_fails_with_that_cause(
    two: Cluster, place: Path
) -> None:
    two.add_governor("g3")
    pids = [governor.pid for governor in two.governors]
    client = two.client()
    with client.new_session(on_error="continue") as session:
        killer = call("gates/kill_governor", pids=pids)
        killer.keep_outputs()
        session.submit()
        with pytest.raises(ExecutorDied) as caught:
            killer.wait()
        contains(caught.value, "was lost", "g")
        good = call("cpptester/hello", b"still")  # one governor is left
        assert good.output.fetch().get_bytes() == b"Hello still!"
    alive = [governor for governor in two.governors if exists(governor.pid)]
    assert len(alive) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        client.close()


def test_a_governor_that_joins_late_gets_work(place: Path, commands: dict[str, Any]) -> None:
    meeting = place / "meet"
    with (
        cluster(place, commands, governors=1) as made,
        made.client() as client,
        client.new_session() as session,
    ):
        waits = [call("gates/meet", directory=str(meeting), of=4) for _ in range(4)]
        for task in waits:
            task.keep_outputs()
        total = tasks.Concat(waits)
        total.keep_outputs()
        session.submit()
        wait_until(lambda: meeting.exists() and len(list(meeting.iterdir())) == 2, "two wait")
        made.add_governor("late")
        pids = total.output.fetch().get_bytes().split()
        assert {made.governor_of(int(pid)).name for pid in pids} == {"g1", "late"}


def test_without_a_server_every_call_fails_and_governors_end(two: Cluster, place: Path) -> None:
    client = two.client()
    session = client.new_session()
    with session.bind_only():
        done = call("cpptester/fill", size=100_000, byte=1)
        done.keep_outputs()
        session.submit()
        done.wait()
        waiting = call("gates/wait_for", file=str(place / "never"))
        session.submit()
    os.kill(two.server.pid, signal.SIGKILL)
    with pytest.raises(RainException, match="lost"):
        waiting.wait()
    with pytest.raises(RainException):
        done.output.fetch()
    with session.bind_only():
        call("cpptester/hello", b"x")
    with pytest.raises(RainException):
        session.submit()
    with pytest.raises(RainException):
        client.info()
    for governor in two.governors:
        assert governor.wait() != 0
        contains("\n".join(governor.errors), "the server at")
    client.close()


def test_a_client_that_vanishes_has_its_tasks_killed(two: Cluster, place: Path) -> None:
    note = place / "note"
    program = f"""
from rain.client import Client, Task
client = Client("127.0.0.1", {two.port})
session = client.new_session()
with session.bind_only():
    Task([], task_type="gates/wait_for", config={{"file": {str(place / "never")!r},
         "note": {str(note)!r}}})
    session.submit()
    session.wait_all()
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        wait_until(lambda: note.exists() and note.read_text(), "it runs")
        executor = int(note.read_text().split()[0])
        process.kill()
    wait_until(lambda: not exists(executor) or not _running(two, "gates"), "the task is killed")
    wait_until(lambda: not _has_sessions(two), "its session is closed")
    with two.client() as client, client.new_session():
        assert call("cpptester/hello", b"x").output.fetch().get_bytes() == b"Hello x!"


def _governors(made: Cluster) -> list[dict[str, Any]]:
    from rain.engine import cluster_questions

    status = cluster_questions.ask("127.0.0.1", made.port, None, "status")
    found: list[dict[str, Any]] = status["governors"]
    return found


def _has_sessions(made: Cluster) -> bool:
    return any(governor["sessions"] for governor in _governors(made))


def _running(made: Cluster, executor: str) -> int:
    """How many processes of an executor are in a call, on all governors."""
    types = [each for governor in _governors(made) for each in governor["executors"]]
    return sum(each["running"] for each in types if each["type"] == executor)


def test_what_a_second_run_fails_to_make_fails_what_needs_it(two: Cluster, place: Path) -> None:
    """The first run's end stays; the client hears from no task that its input is missing."""
    note = place / "note"
    client = two.client()
    with client.new_session(on_error="continue") as session:
        made = call("gates/once", file=str(note))
        made.keep_outputs()
        session.submit()
        made.wait()
        two.kill(two.governor_of(int(note.read_text())))
        after = call("pytester/concat", made, b"!")
        other = call("cpptester/hello", b"x")
        after.keep_outputs()
        other.keep_outputs()
        session.submit()
        with pytest.raises(TaskException, match="could not be made again"):
            after.wait()
        with pytest.raises(RainException, match="could not be made again"):
            made.output.fetch()
        assert other.output.fetch().get_bytes() == b"Hello x!"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        client.close()


def test_a_governor_that_ends_in_peace_takes_nothing_along(two: Cluster) -> None:
    client = two.client()
    with client.new_session() as session:
        made = [call("cpptester/fill", size=50_000, byte=i) for i in range(4)]
        for task in made:
            task.keep_outputs()
        session.submit()
        session.wait_all()
        assert two.governors[0].end() == 0
        assert [task.output.fetch().get_bytes()[:1] for task in made] == [
            bytes([i]) for i in range(4)
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        client.close()


def test_two_governors_of_one_name(two: Cluster, place: Path) -> None:
    from clusters import GOVERNOR, Process

    (place / "work-other").mkdir()
    again = Process(
        GOVERNOR, "g1", port=two.port, cpus=1, config=None, work=str(place / "work-other"), tls=None
    )
    assert again.wait() == 1
    contains("\n".join(again.errors), "g1", "already")


def test_a_server_without_governors_says_so(place: Path) -> None:
    with cluster(place, {}, governors=0) as made, pytest.raises(ConnectionFailed, match="governor"):
        made.client()


def test_a_port_that_is_taken_is_an_error(two: Cluster) -> None:
    from rain.governor import server

    with pytest.raises(OSError, match="in use"):
        server.run(
            listen=("127.0.0.1", two.port), http_listen=("127.0.0.1", 0), tls=None,
            log_directory="", ready=lambda *_: None,
        )  # fmt: skip
    with pytest.raises(OSError, match="in use"):
        server.run(
            listen=("127.0.0.1", 0), http_listen=("127.0.0.1", two.http_port), tls=None,
            log_directory="", ready=lambda *_: None,
        )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_both_cleanly_and_quietly(
    place: Path, commands: dict[str, Any], number: int
) -> None:
    """Trap 10: nothing of Dask's noise."""
    with cluster(place, commands, governors=1) as made:
        with made.client() as client, client.new_session():
            assert call("cpptester/hello", b"x").output.fetch().get_bytes() == b"Hello x!"
        assert made.governors[0].end(number) == 0
        assert made.server.end(number) == 0
        assert made.governors[0].errors == []
        assert made.server.errors == []


ENDING = """
import asyncio, os, signal
from rain.engine.dask_process import Signals

async def main():
    loop, signals = asyncio.get_running_loop(), Signals()
    assert not await signals.before(asyncio.sleep(0))
    close = loop._close_self_pipe

    def close_and_signal():
        close()
        os.kill(os.getpid(), signal.SIGTERM)

    loop._close_self_pipe = close_and_signal
    signals.ignore()

asyncio.run(main())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(os.getpid(), number)
"""


def test_signals_that_come_while_the_loop_ends_change_nothing() -> None:
    """As when a server that ends and somebody's SIGTERM both end a governor."""
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tls_is_demanded_by_both_sides(place: Path, commands: dict[str, Any]) -> None:
    from click.testing import CliRunner
    from rain.cli.app import rain

    result = CliRunner().invoke(rain, ["tls", "init", str(place / "tls")])
    assert result.exit_code == 0, result.output
    with cluster(place, commands, governors=2, tls=str(place / "tls")) as made:
        with made.client() as client, client.new_session() as session:
            pieces = [call("cpptester/fill", size=100_000, byte=i) for i in range(4)]
            whole = call("pytester/concat", *pieces)
            assert len(whole.output.fetch().get_bytes()) == 400_000
            assert session.active
        with pytest.raises(ConnectionFailed):
            Client("127.0.0.1", made.port)
