"""A service and its clients, each a process: what they do for each other, and how they die."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    ConnectionFailed,
    OutputDir,
    RainException,
    Task,
    TaskException,
    blob,
    directory,
    remote,
)
from rain.client.tasks import Execute
from rain.engine import frames, mirror, standalone, trees
from services import Service, service
from tasks import call, contains, works
from world import exists, launchers_of, line, pauses, processes_of, program, tell, wait_until


@pytest.fixture
def running(place: Path, commands: dict[str, Any]) -> Iterator[Service]:
    with service(place, commands) as running:
        yield running


@pytest.fixture
def client(running: Service) -> Iterator[Client]:
    with Client(running.address) as client:
        yield client


def status(running: Service) -> dict[str, Any]:
    return dict(standalone.ask(running.path, "status"))


def sessions(running: Service) -> list[dict[str, Any]]:
    return list(status(running)["sessions"])


def spinning(running: Service) -> list[int]:
    """Executor processes of the service in the task "spin"."""
    pids = [pid for each in status(running)["governors"][0]["executors"] for pid in each["pids"]]
    return [pid for pid in pids if pauses(pid)]


# ---- work ----


def test_tasks_of_all_kinds_run_there(client: Client, running: Service) -> None:
    @remote()
    def where(ctx: Any) -> str:
        return f"{os.getppid()}"

    with client.new_session("mine") as session:
        works("cpptester", session)
        works("pytester", session)
        assert where().output.fetch().load() != f"{os.getpid()}"
        shown = sessions(running)
        assert [(each["name"], each["tasks"]["finished"]) for each in shown] == [("mine", 3)]
        contains(shown[0]["client"], f"(process {os.getpid()})")
    assert sessions(running) == []
    assert client.info()["executors"] == ["cpptester", "py", "pytester"]
    assert sorted(client.executors["cpptester"].tasks())[0] == "abort"


def test_large_data_go_there_and_back(client: Client, running: Service) -> None:
    data = os.urandom(1 << 20) * 40
    with client.new_session() as session:
        given = blob(data)
        passed = [call(f"{tester}/echo", given) for tester in ("cpptester", "pytester")]
        for task in passed:
            task.keep_outputs()
        for task in passed:
            assert task.output.fetch().get_bytes() == data
        empty = call("cpptester/echo", b"")
        assert empty.output.fetch().get_bytes() == b""
        # It is there once, and here as long as somebody looks at it.
        store = client.info()["store"]
        assert 1 <= store["blobs"] <= 3
        assert session.active


def test_what_is_large_is_in_the_service_once(client: Client, running: Service) -> None:
    """It is received into the store, and sent from there: there never was another copy."""
    size = 128 << 20

    def peak() -> int:
        """The most that the service had resident, shared memory included."""
        text = Path(f"/proc/{running.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in text.splitlines())
        return int(fields["VmHWM"].split()[0]) << 10

    with client.new_session():
        before = peak()
        passed = call("cpptester/echo", blob(os.urandom(1 << 20) * (size >> 20))).output
        assert len(passed.fetch()) == size
        assert size <= peak() - before < 1.5 * size


@pytest.mark.parametrize("tester", ["cpptester", "pytester"])
def test_directories_go_there_and_back(client: Client, tmp_path: Path, tester: str) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "file").write_text("x")
    (tmp_path / "mine" / "program").write_text("#!/bin/sh\n")
    (tmp_path / "mine" / "program").chmod(0o755)
    (tmp_path / "mine" / "link").symlink_to("deep/file")
    with client.new_session() as session:
        given = directory(str(tmp_path / "mine"))
        passed = Task((given,), (OutputDir("out"),), task_type=f"{tester}/echo")
        passed.output.keep()
        session.submit()
        passed.output.fetch().write(str(tmp_path / "copy"))
    copy = tmp_path / "copy"
    assert (copy / "deep" / "file").read_text() == "x"
    assert os.access(copy / "program", os.X_OK)
    assert not os.access(copy / "deep" / "file", os.X_OK)
    assert os.readlink(copy / "link") == "deep/file"


def test_programs_run_there(client: Client) -> None:
    with client.new_session():
        task = Execute(["sh", "-c", "echo $PPID"], stdout=True)
        assert task.output.fetch().get_bytes().strip() != str(os.getpid()).encode()


def test_many_small_tasks(client: Client) -> None:
    with client.new_session() as session:
        first = [call("cpptester/hello", b"%d" % number) for number in range(3000)]
        second = [call("pytester/hello", task) for task in first[:500]]
        for task in (*first[-10:], *second):
            task.keep_outputs()
        session.submit()
        session.wait_all()
        assert second[7].output.fetch().get_bytes() == b"Hello Hello 7!!"
        assert first[-1].output.fetch().get_bytes() == b"Hello 2999!"


def test_failures_are_told_as_of_ones_own(client: Client) -> None:
    with client.new_session(on_error="continue"):
        task = call("pytester/fail", b"on purpose")
        after = call("cpptester/hello", task)
        task.session.submit()
        with pytest.raises(TaskException) as caught:
            task.wait()
        contains(caught.value, "on purpose", "test_standalone.py")
        with pytest.raises(TaskException):
            after.wait()
    with client.new_session() as session:
        call("pytester/fail", b"again")
        session.submit()
        with pytest.raises(TaskException, match="again"):
            session.wait_all()
    works("cpptester", client.new_session())


def test_cancelled_tasks_are_stopped_there(client: Client, running: Service) -> None:
    with client.new_session(on_error="continue") as session:
        spin = call("pytester/spin")
        session.submit()
        wait_until(lambda: spinning(running), "the task that spins")
        spin.cancel()
        wait_until(lambda: not spinning(running), "its end")
        works("pytester", session)


def test_what_tasks_say_comes_here(
    client: Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    @remote()
    def chatty(ctx: Any) -> str:
        print("printed")
        ctx.log("info", "logged")
        return "1"

    with caplog.at_level(logging.INFO, "rain.executor"), client.new_session() as session:
        task = chatty()
        task.keep_outputs()
        session.submit()
        task.wait()
        assert task.logs() == "printed\n"
        wait_until(lambda: "logged" in caplog.messages)


def test_what_the_client_asks(client: Client) -> None:
    shared = client.put(bytes(100_000))
    for _ in range(2):
        with client.new_session():
            assert len(call("cpptester/echo", shared).output.fetch().get_bytes()) == 100_000
    assert {line.executor for line in client.ping()} == {"cpptester"}
    pids = client.info()["executor_pids"]
    assert [line.pid for line in client.ping()] == pids
    with client.new_session() as session:
        kept = call("cpptester/fill", size=1 << 20, byte=1).output
        kept.fetch()
        lines = [each for each in client.store() if each.id == (session.session_id, kept.id.id)]
        assert [each.size for each in lines] == [1 << 20]


def test_no_room_for_inputs_fails_their_tasks(place: Path, commands: dict[str, Any]) -> None:
    with (
        service(place, commands, memory=32 << 20, spill=False) as small,
        Client(small.address) as client,
        client.new_session(on_error="continue") as session,
    ):
        task = call("cpptester/echo", bytes(64 << 20))
        session.submit()
        with pytest.raises(RainException) as caught:
            task.wait()
        contains(caught.value, "its inputs found no place")
        works("cpptester", session)


def test_inputs_go_to_disk_while_the_store_is_in_use(place: Path, commands: dict[str, Any]) -> None:
    data = [os.urandom(1 << 20) * 20 for _ in range(2)]
    with (
        service(place, commands, memory=32 << 20, spill=str(place)) as small,
        Client(small.address) as client,
        client.new_session(),
    ):
        call("pytester/keep", data[0]).output.fetch()  # looks at it from now on
        assert call("cpptester/echo", data[1]).output.fetch().get_bytes() == data[1]
        assert client.info()["store"]["spill_written_bytes"] >= len(data[1])


# ---- several ----

CLIENT = """
    client = Client(sys.argv[1])
    session = client.new_session("theirs", on_error="continue")
    with session.bind_only():
        kept = call("cpptester/fill", size=20 << 20, byte=1).output
        kept.fetch()
        spin = call("pytester/spin")
        after = [call("cpptester/hello", spin) for _ in range(100)]
        session.submit()
    say("spins")
    try:
        spin.wait()
    except RainException as error:
        say(type(error).__name__, str(error).replace("\\n", "; "))
    for attempt in (
        client.new_session, spin.wait, lambda: works("cpptester", session),
        client.info, client.store, client.ping, lambda: client.executors["pytester"].tasks(),
    ):
        try:
            attempt()
            say("nothing")
        except RainException as error:
            say(type(error).__name__, str(error).replace("\\n", "; "))
    client.close()
    say("closed")
"""


def test_clients_dont_see_each_other(running: Service, commands: dict[str, Any]) -> None:
    with Client(running.address) as one, Client(running.address) as other:
        ours, theirs = one.new_session("a"), other.new_session("b", on_error="continue")
        assert ours.session_id == theirs.session_id
        results = []
        for number, session in enumerate((ours, theirs)):
            with session.bind_only():
                results.append(call("cpptester/fill", size=10_000 + number, byte=number).output)
        assert [each.fetch().get_bytes()[:1] for each in results] == [b"\0", b"\1"]
        with ours.bind_only(), pytest.raises(TaskException):
            call("cpptester/fail", b"x").output.fetch()
        works("cpptester", theirs)
        assert {each["name"] for each in sessions(running)} == {"a", "b"}
        assert 10_001 in [each[3] for each in standalone.ask(running.path, "store")[0]["blobs"]]
        assert 10_001 not in [each.size for each in one.store()]
        one.close()
        works("pytester", theirs)
        assert {each["name"] for each in sessions(running)} == {"b"}


@pytest.mark.parametrize("how", ["SIGKILL", "os._exit", "exec"])
def test_a_client_that_vanishes_takes_its_sessions_and_tasks_with_it(
    running: Service, commands: dict[str, Any], client: Client, how: str
) -> None:
    session = client.new_session()
    works("cpptester", session)
    text = CLIENT
    if how != "SIGKILL":
        end = {"os._exit": "os._exit(3)", "exec": "os.execvp('sleep', ['sleep', '600'])"}[how]
        text = text.replace(
            "    try:\n        spin.wait()", f"    hear()\n    {end}\n    try:\n        spin.wait()"
        )
    with program(text, commands, running.address) as process:
        assert line(process) == "spins"
        wait_until(lambda: spinning(running))
        assert len(sessions(running)) == 2
        blobs = client.info()["store"]["blobs"]
        assert blobs >= 1
        if how == "SIGKILL":
            process.kill()
        else:
            tell(process)
        wait_until(lambda: len(sessions(running)) == 1, "the end of its session")
        wait_until(lambda: not spinning(running), "the end of its task")
        wait_until(lambda: client.info()["store"]["blobs"] < blobs, "the end of its data")
    running.wait_for(f"(process {process.pid}) is gone")
    works("pytester", session)


def test_a_stopped_client_disturbs_nobody(
    running: Service, commands: dict[str, Any], client: Client
) -> None:
    with program(CLIENT, commands, running.address) as process:
        assert line(process) == "spins"
        process.send_signal(signal.SIGSTOP)
        works("cpptester", client.new_session())
        running.process.terminate()
        assert running.wait() == 0
        process.send_signal(signal.SIGCONT)
        contains(line(process), "was stopped: it got SIGTERM")


def test_a_fork_of_a_client_is_none(running: Service, commands: dict[str, Any]) -> None:
    text = """
        client = Client(sys.argv[1])
        session = client.new_session()
        works("cpptester", session)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            for attempt in (client.info, client.new_session, session.wait_all):
                try:
                    attempt()
                    say("nothing")
                except RainException as error:
                    say(str(error))
            client.close()
            os.write(write, b"x")
            os.read(0, 1)  # until the test has seen enough
            os._exit(0)
        os.read(read, 1)
        say(child)
        works("cpptester", session)
        say("works")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with program(text, commands, running.address) as process:
        for _ in range(3):
            contains(line(process), "create a new Client")
        child = int(line(process))
        assert line(process) == "works"
        wait_until(lambda: not sessions(running), "the end of its session")
        assert exists(child)
    wait_until(lambda: not exists(child))


# ---- the end of the service ----


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_clients_of_a_dead_service_are_told(
    running: Service, commands: dict[str, Any], mark: str, number: str
) -> None:
    why = {"SIGKILL": "is gone", "SIGTERM": "was stopped: it got SIGTERM"}[number]
    with program(CLIENT, commands, running.address) as process:
        assert line(process) == "spins"
        wait_until(lambda: spinning(running))
        pids = spinning(running)
        running.process.send_signal(getattr(signal, number))
        running.wait()
        for _ in range(8):
            said = line(process)
            contains(said, why, running.path)
        assert line(process) == "closed"
        assert process.wait() == 0
        wait_until(lambda: not any(map(exists, pids)), "the end of its executors")
        wait_until(lambda: not processes_of(mark), "the end of all that it started")
    if number == "SIGKILL":
        os.unlink(running.path)
        os.unlink(running.path + ".lock")


def test_a_client_without_anything_to_do_notices_it_at_the_next_call(running: Service) -> None:
    client = Client(running.address)
    works("cpptester", client.new_session())
    os.kill(running.process.pid, signal.SIGTERM)
    running.wait()
    with pytest.raises(ConnectionFailed, match="was stopped"):
        client.info()
    with pytest.raises(RainException, match="was stopped"):
        works("cpptester", client.new_session())
    client.close()
    with pytest.raises(ConnectionFailed, match="there is no service on"):
        Client(running.address)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP", "stop"])
def test_the_end_with_running_tasks_leaves_nothing(
    running: Service, client: Client, place: Path, mark: str, how: str
) -> None:
    @remote()
    def deaf(ctx: Any) -> None:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        print("deaf", flush=True)
        while True:
            signal.pause()

    def is_deaf() -> bool:
        logs = standalone.ask(running.path, "logs", executor="py")
        return any("deaf" in log["stdout"] for log in logs)

    assert (place / "rain").stat().st_mode & 0o777 == 0o700
    with client.new_session(on_error="continue") as session:
        call("cpptester/fill", size=20 << 20, byte=1).keep_outputs()
        at_work = [call("cpptester/spin"), deaf()]
        waiting = [call("cpptester/echo", task) for task in at_work for _ in range(100)]
        session.submit()
        wait_until(lambda: len(spinning(running)) == 2 and is_deaf())
        if how == "stop":
            standalone.ask(running.path, "stop")
        else:
            running.process.send_signal(getattr(signal, how))
        why = "it was asked to" if how == "stop" else f"it got {how}"
        assert running.wait() == 0
        assert running.said(f"ended: {why}")
        for task in (*at_work, *waiting):
            with pytest.raises(RainException, match=f"was stopped: {why}"):
                task.wait()
    assert list((place / "rain").iterdir()) == []
    wait_until(lambda: not processes_of(mark), "the end of all that it started")


# ---- what commands ask ----


def test_logs_of_tasks_and_executors(running: Service, client: Client) -> None:
    @remote()
    def chatty(ctx: Any) -> str:
        print("printed")
        return "1"

    with client.new_session() as session:
        task = chatty()
        task.keep_outputs()
        session.submit()
        task.wait()
        (mine,) = sessions(running)
        (log,) = standalone.ask(running.path, "logs", task=f"{mine['id']}/{task.id.id}")
        assert log["stdout"] == "printed\n"
        (log,) = standalone.ask(running.path, "logs", executor="py")
        assert "printed\n" in log["stdout"]
        (pid,) = client.info()["executor_pids"]
        assert standalone.ask(running.path, "logs", pid=pid) == [log]
        for wrong in ({"executor": "none"}, {"pid": 1}, {"task": "99/1"}, {"task": "1/999"}):
            with pytest.raises(RainException):
                standalone.ask(running.path, "logs", **wrong)
        with pytest.raises(RainException, match="does not know the question 'sing'"):
            standalone.ask(running.path, "sing")
        json.dumps(status(running))
        with pytest.raises(RainException, match="'x/y' is no task"):
            standalone.ask(running.path, "logs", task="x/y")
        for broken in ("learn_tasks", "announced_signature", "fetch", "ping"):
            with pytest.raises(RainException):
                standalone.ask(running.path, broken)
        works("cpptester", session)


def test_an_event_log_of_what_runs_there(running: Service, tmp_path: Path) -> None:
    log = tmp_path / "run.jsonl"
    with Client(running.address, events=str(log)) as client, client.new_session("mine"):
        assert call("pytester/hello", b"you").output.fetch().get_bytes() == b"Hello you!"
        (pid,) = client.info()["executor_pids"]
    events = [json.loads(line) for line in log.read_text().splitlines()]
    (finished,) = (each for each in events if each.get("state") == "finished")
    assert (finished["type"], finished["pid"]) == ("pytester/hello", pid)
    assert events[-1]["state"] == "closed"


# ---- when something is wrong ----


@pytest.mark.parametrize("busy", [False, True])
def test_a_service_that_hangs_does_not_keep_a_client_from_closing(
    running: Service, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(mirror, "_SEND_SECONDS", 0.2)
    monkeypatch.setattr(standalone, "_LEAVE_SECONDS", 0.2)
    client = Client(running.address)
    session = client.new_session()
    works("cpptester", session)
    running.process.send_signal(signal.SIGSTOP)
    try:
        if busy:  # in the middle of sending this
            with session.bind_only():
                call("cpptester/echo", blob(bytes(20 << 20)))
            session.submit()
        client.close()
    finally:
        running.process.send_signal(signal.SIGCONT)
    wait_until(lambda: not sessions(running), "the end of its session")
    with Client(running.address) as other:
        works("cpptester", other.new_session())


def test_directories_of_refused_submits_are_removed(running: Service, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    place = Path(status(running)["governors"][0]["work_directory"])

    def received() -> list[str]:
        return [path.name for path in place.iterdir() if path.name.startswith("received-")]

    def tree() -> Any:
        yield from trees.pack(str(tmp_path / "tree"))

    def broken() -> Any:
        yield from tree()
        yield bytes(frames._JOINED_BYTES)  # what is smaller waits for more
        wait_until(received, "the first directory")
        raise OSError("on purpose")

    connection, _ = standalone._greet(running.path)
    connection.send({"do": "open", "session": 1, "name": "x", "continue": False})
    submit = {"do": "submit", "session": 1, "submit": 1}
    connection.send(submit | {"data": [[1, "tree"]]}, [b"no batch", tree()])
    answer = connection.receive()
    assert answer is not None
    assert answer["is"] == "refused"
    assert received() == []
    with pytest.raises(OSError, match="on purpose"):
        connection.send(submit | {"data": [[1, "tree"], [2, "tree"]]}, [b"", tree(), broken()])
    assert str(connection.own_error) == "on purpose"
    wait_until(lambda: not sessions(running), "the end of its session")
    wait_until(lambda: received() == [], "the end of its directories")
    connection.close()


def test_who_asks_and_does_not_read_is_not_heard_for_a_while(running: Service) -> None:
    connection, _ = standalone._greet(running.path)
    number = 20_000

    def ask() -> None:
        for each in range(number):
            connection.send(
                {"do": "ask", "number": each, "operation": "executor_pids", "arguments": {}}
            )

    asker = threading.Thread(target=ask)
    asker.start()
    for each in range(number):
        answer = connection.receive()
        assert answer is not None
        assert answer["number"] == each
    asker.join()
    connection.shut_down()
    connection.close()


def test_a_service_whose_launcher_was_killed_ends(running: Service, client: Client) -> None:
    works("cpptester", client.new_session())
    place = status(running)["governors"][0]["work_directory"]
    for pid in launchers_of(place):
        os.kill(pid, signal.SIGKILL)
    assert running.wait() == 1
    with pytest.raises(ConnectionFailed, match="watches its executors, was killed"):
        client.info()
    shutil.rmtree(place, ignore_errors=True)  # the launcher's last work
