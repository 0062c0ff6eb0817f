"""SIGKILL at any moment: soon no process, no file and no shared memory of ours is left."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, LauncherLost, RainException, TaskState
from tasks import call, contains, works
from world import exists, launchers_of, line, pauses, processes_of, program, wait_until

# Children and grandchildren that leave: another session, another parent, deaf to everything soft.
FAMILY = """
    import os, signal, time
    def forever():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for fd in range(3, 256):
            try:
                os.close(fd)
            except OSError:
                pass
        while True:
            signal.pause()
    if os.fork() == 0:
        forever()
    if os.fork() == 0:
        os.setsid()
        forever()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            forever()
        os._exit(0)
    os.wait()
"""
FAMILY_SIZE = 3
ABANDON = "exec(__import__('textwrap').dedent({text!r})) or 'born'"

CLIENT = """
    client = Client(executors=executors, cpus=2)
    with client.new_session(on_error="continue") as session:
        call("pytester/return_of", expression=sys.argv[1]).output.fetch()
        kept = call("cpptester/fill", size=3 << 20, byte=1).output
        kept.fetch()
        spins = [call(tester + "/spin") for tester in ("pytester", "cpptester")]
        session.submit()
        say(client.info()["run_directory"])
        while True:
            try:
                session.wait(spins)
            except RainException as error:
                say(type(error).__name__, str(error).replace("\\n", "; "))
                break
        with Client(executors=executors) as other:
            works("cpptester", other.new_session())
            works("pytester", other.new_session())
        client.close()
        held = [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")[:-1]]
        say("works again", open("/proc/self/maps").read().count("memfd"), str(held).count("memfd"))
"""


@pytest.fixture
def victim(
    commands: dict[str, Any], mark: str
) -> Iterator[tuple[subprocess.Popen[str], Path, list[int]]]:
    """A client whose tasks run, and left families behind; its run directory; its processes."""
    with program(CLIENT, commands, ABANDON.format(text=FAMILY)) as process:
        directory = Path(line(process))

        def complete() -> bool:
            return len([p for p in everything(mark, directory) if pauses(p)]) == 2 + FAMILY_SIZE

        wait_until(complete, "all processes of the client")
        yield process, directory, everything(mark, directory)


def everything(mark: str, directory: Path) -> list[int]:
    """Processes of the client, without itself and without this one."""
    launchers = {
        pid
        for pid, command in processes_of(str(directory)).items()
        if command.startswith("rain-launcher")
    }
    started = {pid for pid in processes_of(mark) if b"RAIN_EXECUTOR_ID=" in environment_of(pid)}
    return sorted(launchers | started)


def environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def check_nothing_is_left(pids: list[int], directory: Path, mark: str, what: str) -> None:
    def nothing() -> bool:
        return not everything(mark, directory) and not directory.exists()

    seconds = wait_until(
        nothing, f"the end of {processes_of(mark, str(directory))} and of {directory}"
    )
    print(f"{what}: nothing left after {seconds:.3f} s")
    assert not [pid for pid in pids if exists(pid)]


@pytest.mark.parametrize("which", ["client", "outer", "inner", "client_outer", "client_inner"])
def test_killed_client_or_launcher_leaves_nothing(which: str, victim: Any, mark: str) -> None:
    process, directory, pids = victim
    outer, inner = launchers_of(str(directory))
    targets = {"client": process.pid, "outer": outer, "inner": inner}
    for name in which.split("_"):
        os.kill(targets[name], signal.SIGKILL)
    if "client" in which:
        assert process.wait() == -signal.SIGKILL
    else:
        contains(
            line(process), "LauncherLost ", "The launcher, which starts and watches this Client's "
            "executors, was killed; its executors ended with it. Create a new Client",
        )  # fmt: skip
        assert line(process) == "works again 0 0"
    check_nothing_is_left(pids, directory, mark, which)


def test_client_that_ends_without_close_leaves_nothing(commands: dict[str, Any], mark: str) -> None:
    for how in ("os._exit(3)", "sys.exit(3)", "raise SystemExit(3)", "os.abort()"):
        text = CLIENT.partition("        while True")[0] + f"        {how}\n"
        with program(text, commands, ABANDON.format(text=FAMILY)) as process:
            directory = Path(line(process))
            assert process.wait() in (3, -signal.SIGABRT)
        check_nothing_is_left([], directory, mark, how)


def test_client_that_becomes_another_program_leaves_nothing(
    commands: dict[str, Any], mark: str
) -> None:
    text = (
        CLIENT.partition("        while True")[0] + "        os.execvp('sleep', ['sleep', '600'])"
    )
    with program(text, commands, ABANDON.format(text=FAMILY)) as process:
        directory = Path(line(process))
        check_nothing_is_left([], directory, mark, "exec")
        assert process.poll() is None


@pytest.mark.embedded("a service whose launcher is killed ends: test_standalone.py")
@pytest.mark.parametrize("half", ["outer", "inner"])
def test_dead_launcher_fails_running_tasks_and_the_next_client_works(
    make_client: Callable[..., Client], half: str
) -> None:
    client = make_client()
    pids = dict(zip(("outer", "inner"), launchers_of(client.info()["run_directory"]), strict=True))
    with client.new_session(on_error="continue") as session:
        works("cpptester", session)
        running = call("cpptester/spin")
        waiting = call("cpptester/hello", running)
        beside = [call("pytester/sleep", seconds=1e6) for _ in range(5)]
        session.submit()
        wait_until(lambda: client.info()["executor_pids"])
        executor = client.info()["executor_pids"][0]
        os.kill(pids[half], signal.SIGKILL)
        for task in (running, *beside, waiting):
            with pytest.raises(RainException) as caught:
                task.wait()
            contains(caught.value, "The launcher", "was killed", "Create a new Client")
        assert isinstance(caught.value, RainException)
        assert running.state is TaskState.failed
        wait_until(lambda: not exists(executor))
        with pytest.raises(RainException) as later:
            call("cpptester/hello", b"x").output.fetch()
        contains(later.value, "Create a new Client")
    with client.new_session(on_error="fail") as session, pytest.raises(LauncherLost) as lost:
        call("cpptester/hello", b"x").output.fetch()
    contains(lost.value, "Create a new Client")
    works("cpptester", make_client().new_session())
    client.close()
    works("pytester", make_client().new_session())


def test_killed_executor_takes_what_it_started_with_it(client: Client, mark: str) -> None:
    with client.new_session(on_error="continue") as session:
        call("pytester/return_of", expression=ABANDON.format(text=FAMILY)).output.fetch()
        pid = int(call("pytester/pid").output.fetch().get_bytes())

        def family() -> list[int]:
            return [p for p, command in processes_of(mark).items()
                    if "pytester" in command and p != pid]  # fmt: skip

        wait_until(lambda: len([p for p in family() if pauses(p)]) == FAMILY_SIZE)
        os.kill(pid, signal.SIGKILL)
        works("pytester", session)
        works("cpptester", session)
        wait_until(lambda: {*family()} <= {*client.info()["executor_pids"]}, "the family's end")


@pytest.mark.embedded("executors stay with the service")
def test_family_of_a_living_executor_ends_with_close(client: Client, mark: str) -> None:
    with client.new_session():
        call("pytester/return_of", expression=ABANDON.format(text=FAMILY)).output.fetch()
    assert len(processes_of(mark)) > FAMILY_SIZE
    client.close()
    assert processes_of(mark) == {}
