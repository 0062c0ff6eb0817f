"""Where a client runs: as PID 1, not as root, with children of its own, on bad file systems."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, RainWarning
from tasks import call, contains
from world import AS_NOBODY, NOBODY, need, outcome, program, wait_until

WORK = """
    with Client(executors=executors, cpus=2) as client:
        works("cpptester", client.new_session())
        works("pytester", client.new_session())
        with client.new_session():
            for tester in ("cpptester", "pytester"):
                bad = call(tester + "/abort")
                try:
                    bad.output.fetch()
                except ExecutorDied as error:
                    assert "SIGABRT" in str(error), error
        works("cpptester", client.new_session())
"""
WORK = WORK.replace("new_session()", "new_session(on_error='continue')")


# ---- Processes ---------------------------------------------------------------------------------


def test_client_may_be_pid_1(commands: dict[str, Any]) -> None:
    wrap = ["unshare", "--pid", "--fork", "--mount-proc"]
    need(*wrap)
    text = (
        WORK
        + """
    left = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    try:
        say("child", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        pass
    say(os.getpid(), left)
"""
    )
    with program(text, commands, wrap=wrap) as process:
        assert outcome(process) == "1 []"


def test_client_need_not_be_root(commands: dict[str, Any], place: Path) -> None:
    need(*AS_NOBODY)
    os.chown(place, NOBODY, NOBODY)
    text = WORK + "\n    say(os.getuid(), os.listdir(os.environ['TMPDIR']))\n"
    environment = os.environ | {"HOME": str(place)}
    with program(text, commands, wrap=AS_NOBODY, env=environment, cwd=place) as process:
        assert outcome(process) == f"{NOBODY} []"


def test_sigchld_handler_and_os_wait_see_nothing_of_ours(commands: dict[str, Any]) -> None:
    text = (
        """
    seen = []
    signal.signal(signal.SIGCHLD, lambda *_: seen.append("SIGCHLD"))
    ended = []
    def wait_for_children():
        try:
            while True:
                ended.append(os.wait()[0])
        except ChildProcessError:
            pass
    own = os.posix_spawn("/bin/sleep", ["sleep", "1000"], os.environ)
    waiter = threading.Thread(target=wait_for_children)
    waiter.start()
    """
        + WORK
        + """
    assert not seen, seen
    os.kill(own, signal.SIGKILL)
    waiter.join()
    assert ended == [own], (ended, own)
    assert set(seen) == {"SIGCHLD"}, seen
    say("fine")
    """
    )
    with program(text, commands) as process:
        assert outcome(process) == "fine"


def test_ignored_sigchld_disturbs_nothing(commands: dict[str, Any]) -> None:
    text = "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n" + WORK + "    say('fine')\n"
    with program(text, commands) as process:
        assert outcome(process) == "fine"


@pytest.mark.embedded("a service's directories stay with it")
def test_other_users_process_is_turned_away_and_the_executor_comes_after_it(
    make_client: Callable[..., Client], scripted: Callable[..., Any], tmp_path: Path
) -> None:
    need(*AS_NOBODY)
    client = make_client({"scripted": scripted("waits_for_go", tmp_path / "late")})
    with client.new_session():
        task = call("scripted/echo", b"mine").output
        task.keep()
        task.session.submit()
        pattern = client.info()["run_directory"] + "/executors/work/*/socket"
        wait_until(lambda: glob.glob(pattern), "the executor's socket")
        (path,) = glob.glob(pattern)
        os.chmod(path, 0o777)
        stranger = """if True:
            import socket, sys
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(sys.argv[1])
            try:
                peer.sendall(b"\\0\\0\\0\\0")
                print("heard", peer.recv(100))
            except (BrokenPipeError, ConnectionResetError):
                print("heard b''")
        """
        said = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", stranger, path],
            check=True, capture_output=True, text=True, cwd="/",
        ).stdout  # fmt: skip
        assert said == "heard b''\n"
        (tmp_path / "late.go").touch()
        assert task.fetch().get_bytes() == b"mine"
    with pytest.warns(RainWarning) as caught:
        client.close()
    contains(
        caught[0].message,
        f"turned away a connection of user {NOBODY} to the socket of executor 'scripted'",
    )


# ---- File systems ------------------------------------------------------------------------------


def test_full_file_system_is_refused_with_a_way_out(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    need("unshare", "--mount")
    text = """
    import subprocess
    place = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place], check=True)
    with open(place + "/filler", "wb", 0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError as error:
            assert error.errno == 28, error
    for options in ({"run_directory": place}, {}):
        os.environ["TMPDIR"] = place
        try:
            Client(executors=executors, **options)
        except SystemCallError as error:
            say(isinstance(error, OSError), error.errno, error)
        assert os.listdir(place) == ["filler"], os.listdir(place)
    os.unlink(place + "/filler")
    with Client(executors=executors, run_directory=place) as client:
        assert client.info()["run_directory"].startswith(place + "/")
        works("cpptester", client.new_session())
    say(os.listdir(place))
    """
    with program(text, commands, tmp_path, wrap=["unshare", "--mount"]) as process:
        first, second, rest = outcome(process).splitlines()
    for said in (first, second):
        contains(
            said, "True 28", "cannot make a run directory: ", f"({tmp_path}/rain-",
            "No space left on device", "name another place by the environment variable TMPDIR",
            "Client(run_directory=...)",
        )  # fmt: skip
    assert rest == "[]"


def test_large_blobs_pass_beside_a_tiny_shared_memory_file_system(
    commands: dict[str, Any],
) -> None:
    need("unshare", "--mount")
    text = """
    import subprocess
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/dev/shm"], check=True)
    size = 256 << 20
    with Client(executors=executors, memory="1 GiB") as client:
        with client.new_session() as session:
            made = call("cpptester/fill", size=size, byte=7)
            (end,) = json.loads(call("pytester/read_ends", made).output.fetch().get_bytes())
            say(end["size"] == size, end["first"], end["last"], os.listdir("/dev/shm"))
    """
    with program(text, commands, wrap=["unshare", "--mount"]) as process:
        assert outcome(process) == "True 7 7 []"


def test_no_tracker_of_multiprocessing_knows_of_shared_blobs(commands: dict[str, Any]) -> None:
    text = """
    @remote()
    def tracked(ctx, data):
        import os, sys
        tracker = sys.modules.get("multiprocessing.resource_tracker")
        with open("/proc/self/maps") as maps:
            assert "/memfd:" in maps.read()
        found = tracker and tracker._resource_tracker._pid
        return repr((found, "multiprocessing.shared_memory" in sys.modules)).encode()
    with Client(executors=executors) as client:
        with client.new_session() as session:
            data = call("cpptester/fill", size=1 << 20, byte=7).output
            data.keep()
            said = tracked(data).output.fetch().get_str()
            view = memoryview(data.fetch())
            tracker = sys.modules.get("multiprocessing.resource_tracker")
            say(said, tracker and tracker._resource_tracker._pid)
    cycle = [view]  # it is there until the interpreter's end
    cycle.append(cycle)
    """
    with program(text, commands) as process:
        assert outcome(process) == "(None, False) None"


def test_built_in_tasks_say_when_the_disk_is_full_and_the_next_ones_run(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    need("unshare", "--mount")
    text = """
    import subprocess
    from rain.client.tasks import Execute, LoadDir, MakeDirectory
    place = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", place], check=True)
    source = os.path.join(os.path.dirname(place), "large")
    with open(source, "wb") as file:
        file.write(bytes(8 << 20))
    os.mkdir(source + ".d")
    os.rename(source, source + ".d/file")
    with Client(run_directory=place) as client:
        with client.new_session(on_error="continue") as session:
            def fails(task):
                task.keep_outputs()
                session.submit()
                try:
                    task.wait()
                    say("ran")
                except TaskException as error:
                    say(error.message.replace("\\n", "; "))
            large = blob(bytes(8 << 20))
            large.keep()
            fails(Execute("head -c 8388608 /dev/zero", stdout=True))
            fails(Execute(["cp", Input("in", path="x", dataobj=large), Output("out")]))
            fails(LoadDir(source + ".d"))
            fails(MakeDirectory([("a/b", large)]))
            good = Execute("echo good", stdout=True, shell=True)
            good.keep_outputs()
            session.submit()
            say(good.output.fetch().get_str().strip())
    say(os.listdir(place))
    """
    place = tmp_path / "place"
    place.mkdir()
    with program(text, commands, place, wrap=["unshare", "--mount"]) as process:
        *failures, good, rest = outcome(process).splitlines()
    assert len(failures) == 4, failures
    for failure in failures:
        assert "No space left on device" in failure or "exit code 1" in failure, failure
    assert (good, rest) == ("good", "[]")


def test_file_system_that_fills_up_fails_the_tasks_that_need_it(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    need("unshare", "--mount")
    text = """
    import subprocess
    place = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M,nr_inodes=200", "none", place],
                   check=True)
    with Client(executors=executors, cpus=2, run_directory=place) as client:
        with client.new_session(on_error="continue") as session:
            works("cpptester", session)
            fillers = []
            for size in (65536, 0):  # until there is no room, then until there are no inodes
                try:
                    while True:
                        fillers.append(place + f"/filler{len(fillers)}")
                        with open(fillers[-1], "wb", 0) as file:
                            file.write(bytes(size))
                except OSError as error:
                    assert error.errno == 28, error
            works("cpptester", session)
            big = call("cpptester/fill", size=8 << 20, byte=1).output.fetch()
            assert len(big.get_bytes()) == 8 << 20
            task = call("pytester/hello", b"x")
            session.submit()
            try:
                task.wait()
                say("ran")
            except TaskException as error:
                say(type(error).__name__, str(error).replace("\\n", "; "))
            for path in fillers:
                if os.path.exists(path):
                    os.unlink(path)
            works("pytester", session)
            works("cpptester", session)
    say(os.listdir(place))
    """
    with program(text, commands, tmp_path, wrap=["unshare", "--mount"]) as process:
        said, rest = outcome(process).splitlines()
    contains(said, "ExecutorDied", "No space left on device", "pytester")
    assert rest == "[]"


def test_read_only_file_system_is_refused_with_a_way_out(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    need("unshare", "--mount")
    text = """
    import subprocess
    place = sys.argv[1]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
    for options in ({"run_directory": place}, {}):
        os.environ["TMPDIR"] = place
        try:
            Client(executors=executors, **options)
        except SystemCallError as error:
            say(error.errno, error)
    os.environ["XDG_RUNTIME_DIR"] = place
    os.environ["TMPDIR"] = sys.argv[2]
    with Client(executors=executors) as client:
        say(client.info()["run_directory"])
        works("cpptester", client.new_session())
    """
    elsewhere = os.environ["TMPDIR"]
    with program(text, commands, tmp_path, elsewhere, wrap=["unshare", "--mount"]) as process:
        first, second, third = outcome(process).splitlines()
    for said in (first, second):
        contains(
            said, "30 ", "cannot make a run directory: ", f"{tmp_path}/rain-",
            "Read-only file system", "TMPDIR or by Client(run_directory=...)",
        )  # fmt: skip
    assert third.startswith(elsewhere + "/rain-")


def test_missing_run_directory_is_named(commands: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        Client(executors=commands, run_directory=tmp_path / "nowhere")
    contains(caught.value, "cannot make a run directory", f"{tmp_path}/nowhere")


@pytest.mark.embedded("a service's directories stay with it")
def test_very_long_run_directory_works(
    make_client: Callable[..., Client], tmp_path: Path, tester: str
) -> None:
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    client = make_client(run_directory=deep)
    with client.new_session():
        assert call(f"{tester}/hello", b"x").output.fetch().get_bytes() == b"Hello x!"
    client.close()
    assert list(deep.iterdir()) == []


def test_environment_of_the_client_reaches_executors_and_config_goes_before(
    make_client: Callable[..., Client], pytester_command: list[str], tmp_path: Path
) -> None:
    executor = {"command": pytester_command, "env": {"RAIN_E2E_SAYS": "config"}}
    os.environ["RAIN_E2E_SAYS"] = "client"
    try:
        client = make_client({"pytester": executor})
        with client.new_session():
            question = "__import__('os').environ['RAIN_E2E_SAYS']"
            said = call("pytester/return_of", expression=question).output.fetch().get_bytes()
    finally:
        del os.environ["RAIN_E2E_SAYS"]
    assert said == b"config"
