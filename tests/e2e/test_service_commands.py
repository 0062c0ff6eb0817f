"""`rain start`, `server`, `governor`, `status`, `stop`: with real processes.

What only the start of processes is about is in tests/python/test_cli_start.py and test_cli_ssh.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rain_command import RAIN, run_rain
from sshd import running_sshd
from world import DEADLINE_SECONDS, children_of, exists, wait_until

pytest.importorskip("distributed")

TASKS = """
from rain.client import Client, blob, remote, tasks

@remote()
def speak(ctx):
    print("a task speaks", flush=True)
    return b""

with Client().new_session() as session:
    speak().output.fetch()
    parts = [tasks.Concat((blob(b"x" * i), blob(b"y"))) for i in range(20)]
    whole = tasks.Concat([part.output for part in parts])
    whole.output.keep()
    session.submit()
    print(len(whole.output.fetch().get_bytes()))
"""
SLEEPING = """
import sys
from rain.client import Client, blob, tasks
with Client(*sys.argv[2:]).new_session() as session:
    tasks.Sleep(blob(b"x"), float(sys.argv[1]))
    session.submit()
    print("submitted", flush=True)
    session.wait_all()
print("done", flush=True)
"""


def session_members(pid: int) -> list[int]:
    """The leader of a session and its descendants, as far as they run."""
    return [member for member in (pid, *children_of(pid)) if exists(member)]


class Home:
    """A user's surroundings: run directories, temporary files, and what was started in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.tmp = folder / "tmp"
        for made in (self.runtime, self.tmp):
            made.mkdir()
        self.environment = os.environ | {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.tmp),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.processes: list[subprocess.Popen[str]] = []

    def rain(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run_rain(*arguments, cwd=self.folder, env=self.environment)

    def spawn(self, *arguments: str | Path) -> subprocess.Popen[str]:
        number = len(self.processes)
        with open(self.folder / f"{number}.err", "w") as errors:
            process = subprocess.Popen(
                [*RAIN, *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=self.folder,
                env=self.environment, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def errors(self, process: subprocess.Popen[str]) -> str:
        return (self.folder / f"{self.processes.index(process)}.err").read_text()

    def ready(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Spawn a server or a governor and wait until it is ready."""
        file = self.folder / f"{len(self.processes)}.ready"
        process = self.spawn(*arguments, "--ready-file", file)
        wait_until(
            lambda: file.exists() or process.poll() is not None, f"no end: {self.errors(process)}"
        )
        assert process.poll() is None, self.errors(process)
        assert file.read_text() == "ready\n"
        return process

    def server(self, *options: str) -> tuple[subprocess.Popen[str], str]:
        """A server on free ports, and its address."""
        listen = ("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
        process = self.ready("server", *(options or listen))
        (entry,) = (self.runtime / "rain").glob(f"server-{process.pid}.json")
        return process, json.loads(entry.read_text())["address"]

    def start(self, *options: str | Path) -> dict[str, Any]:
        """`rain start` on free ports; gives what it tells."""
        done = self.rain(
            "start", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--json",
            "--logdir", self.folder / "logs", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def status(self) -> dict[str, Any]:
        done = self.rain("status", "--json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def pids(self) -> list[int]:
        entries = (self.runtime / "rain").glob("*.json")
        return [json.loads(entry.read_text())["pid"] for entry in entries]

    def is_empty(self) -> bool:
        """Whether nothing is left but the parents of default directories."""
        names = {path.name for path in self.tmp.rglob("*")}
        return names <= {"rain-logs", "rain-work"} and not list(self.runtime.iterdir())

    def left(self) -> list[Path]:
        return [*self.tmp.rglob("*"), *self.runtime.rglob("*")]


@pytest.fixture
def home() -> Iterator[Home]:
    home = Home(Path(tempfile.mkdtemp(prefix="rh")))  # short: sockets lie in it
    yield home
    if (home.runtime / "rain").exists():
        for pid in home.pids():
            if exists(pid):
                os.kill(pid, signal.SIGKILL)
    for process in home.processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    shutil.rmtree(home.folder, ignore_errors=True)


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """The command with which a sshd of ours is reached."""
    with running_sshd(tmp_path) as command:
        yield command


@pytest.fixture
def config(home: Home, pytester_command: list[str]) -> Path:
    file = home.folder / "executors.toml"
    file.write_text(f"[executors.pytester]\ncommand = {json.dumps(pytester_command)}\n")
    return file


def script(home: Home, text: str) -> Path:
    file = home.folder / "script.py"
    file.write_text(text)
    return file


# ---- a life of a service


def test_a_service_is_started_used_watched_and_stopped(home: Home, config: Path) -> None:
    told = home.start("--simple", "--governor-config", config)
    members = [told["pid"], *(governor["pid"] for governor in told["governors"])]
    assert all(exists(pid) for pid in members)
    assert sorted(home.pids()) == sorted(members)

    done = home.rain("run", "--server", told["address"], script(home, TASKS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sum(range(20)) + 20)

    status = home.status()
    (governor,) = status["governors"]
    assert governor["pid"] == members[1]
    assert "pytester" in [executor["type"] for executor in governor["executors"]]
    table = home.rain("status")
    assert table.stdout.startswith(f"server {told['address']}: 1 governor")
    assert "pytester" in table.stdout

    logs = home.rain("logs", "py")
    assert logs.returncode == 0, logs.stderr
    assert logs.stdout == "a task speaks\n"
    unknown = home.rain("logs", "unheard-of")
    assert unknown.returncode == 1
    assert "no executor of type 'unheard-of'" in unknown.stderr
    store = home.rain("store", "--json")
    assert [line["governor"] for line in json.loads(store.stdout)] == [governor["name"]]

    everyone = [pid for member in members for pid in session_members(member)]
    stopped = home.rain("stop")
    assert stopped.returncode == 0, stopped.stderr
    wait_until(lambda: not any(map(exists, everyone)), "the end of all processes")
    assert home.is_empty(), home.left()
    assert home.rain("status").returncode == 1


def test_several_local_governors_share_the_work(home: Home) -> None:
    told = home.start("--local-governors=[1,1]", "--workdir", home.folder / "work")
    status = home.status()
    assert [governor["cpus"] for governor in status["governors"]] == [1, 1]
    assert len({governor["name"] for governor in status["governors"]}) == 2
    assert sorted(os.listdir(home.folder / "work")) == ["governor-0", "governor-1"]
    done = home.rain("run", "--server", told["address"], script(home, TASKS))
    assert done.returncode == 0, done.stderr
    assert home.rain("stop").returncode == 0
    assert [os.listdir(home.folder / "work" / name) for name in ("governor-0", "governor-1")] == [
        [], []
    ]  # fmt: skip


def test_a_standalone_governor_is_a_service_without_dask(home: Home, config: Path) -> None:
    governor = home.ready("governor", "--standalone", "--config", config, "--cpus", "1")
    socket_path = home.runtime / "rain" / "governor.sock"
    assert socket_path.stat().st_mode & 0o777 == 0o600
    maps = Path(f"/proc/{governor.pid}/cmdline").read_text()
    assert "standalone" in maps
    done = home.rain("run", "--server", "unix:", script(home, TASKS))
    assert done.returncode == 0, done.stderr
    status = home.status()
    assert status["kind"] == "standalone"
    assert status["governors"][0]["cpus"] == 1
    assert "0 data objects" in home.rain("store").stdout
    (pid,) = (e["pids"][0] for e in status["governors"][0]["executors"] if e["type"] == "py")
    assert home.rain("logs", str(pid)).stdout == "a task speaks\n"
    everyone = session_members(governor.pid)
    stopped = home.rain("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert governor.wait(DEADLINE_SECONDS) == 0
    wait_until(lambda: not any(map(exists, everyone)), "the end of all processes")
    assert home.is_empty(), home.left()


@pytest.mark.parametrize("standalone", [True, False], ids=["standalone", "server"])
def test_stop_asks_before_it_ends_running_tasks(home: Home, standalone: bool) -> None:
    if standalone:
        home.ready("governor", "--standalone")
        address = "unix:"
    else:
        address = home.start("--simple")["address"].replace("127.0.0.1", "localhost")
    client = home.spawn("run", script(home, SLEEPING), "1000", address)
    assert client.stdout is not None
    assert client.stdout.readline() == "submitted\n", home.errors(client)
    wait_until(lambda: home.status()["tasks"].get("running"), "the task's begin")
    refused = home.rain("stop")
    assert refused.returncode == 1
    assert "1 task of" in refused.stderr
    assert "has not ended" in refused.stderr
    assert "--force" in refused.stderr
    assert home.pids()
    forced = home.rain("stop", "--force")
    assert forced.returncode == 0, forced.stderr
    assert "were killed" not in forced.stderr
    assert client.wait(DEADLINE_SECONDS) != 0
    last = home.errors(client).splitlines()[-1]  # nothing of the machinery's follows
    assert last.startswith("rain.common.errors.ServerLost: "), home.errors(client)
    assert home.is_empty(), home.left()


def test_stop_waits_for_tasks_if_asked(home: Home) -> None:
    home.ready("governor", "--standalone")
    client = home.spawn("run", "--server", "unix:", script(home, SLEEPING), "1.5")
    assert client.stdout is not None
    assert client.stdout.readline() == "submitted\n", home.errors(client)
    stopped = home.rain("stop", "--wait")
    assert stopped.returncode == 0, stopped.stderr
    assert client.wait(DEADLINE_SECONDS) == 0, home.errors(client)
    assert client.stdout.readline() == "done\n"


def test_a_server_may_have_an_ipv6_address(home: Home) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    _, address = home.server("--listen", "[::1]:0", "--http-listen", "127.0.0.1:0")
    assert address.startswith("[::1]:")
    home.ready("governor", address)
    done = home.rain("run", "--server", address, script(home, TASKS))
    assert done.returncode == 0, done.stderr


# ---- ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_each_process_cleanly(home: Home, number: signal.Signals) -> None:
    server, address = home.server()
    governor = home.ready("governor", address)
    alone = home.ready("governor", "--standalone")
    everyone = [p for leader in (governor, alone) for p in session_members(leader.pid)]
    for process in (governor, server, alone):
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == 0, home.errors(process)
        assert "Traceback" not in home.errors(process)
    wait_until(lambda: not any(map(exists, everyone)), "the end of all processes")
    assert home.is_empty(), home.left()


def test_a_server_that_was_killed_is_forgotten_and_its_governor_ends(home: Home) -> None:
    server, address = home.server()
    governor = home.ready("governor", address)
    server.kill()
    server.wait()
    assert governor.wait(DEADLINE_SECONDS) == 1
    assert address in home.errors(governor)
    assert home.rain("status").returncode == 1
    assert not list(home.runtime.iterdir())
    assert not list((home.tmp / "rain-work").iterdir())
    (logs,) = (home.tmp / "rain-logs").iterdir()
    assert logs.name == f"server-{socket.gethostname()}-{server.pid}", "what it could not remove"


# ---- refusals


def test_a_port_in_use_is_said(home: Home) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        for options in (
            ("--listen", str(port), "--http-listen", "0"),
            ("--listen", "0", "--http-listen", str(port)),
        ):
            done = home.rain("server", *options)
            assert done.returncode == 1
            assert "Address already in use" in done.stderr
            assert str(port) in done.stderr
            assert "Traceback" not in done.stderr
        started = home.rain(
            "start", "--simple", "--listen", str(port), "--http-listen", "0",
            "--logdir", home.folder / "logs",
        )  # fmt: skip
        assert started.returncode == 1
        assert "Address already in use" in started.stderr


def test_a_server_that_is_none_is_named(home: Home) -> None:
    server, _ = home.server()
    (entry,) = (home.runtime / "rain").glob("server-*.json")
    http = json.loads(entry.read_text())["http"]
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        quiet = f"127.0.0.1:{silent.getsockname()[1]}"
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            nobody = f"127.0.0.1:{free.getsockname()[1]}"
        for where, message in (
            (http, "is a web server"),
            (quiet, "says nothing"),
            (nobody, "Connection refused"),
            ("no-such-host.invalid", "there is no host"),
        ):
            done = home.rain("governor", where)
            assert done.returncode == 1
            assert "Connecting to server failed: " in done.stderr
            assert message in done.stderr
            assert "Traceback" not in done.stderr
    assert server.poll() is None


def test_a_scheduler_of_dask_alone_is_no_server(home: Home) -> None:
    program = """
import asyncio
from distributed import Scheduler
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        print(scheduler.address.split("//")[1], flush=True)
        await scheduler.finished()
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=home.environment
    ) as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        for command in (("governor", address), ("stop", address, "--force")):
            done = home.rain(*command)
            assert done.returncode == 1
            assert f"{address} is a Dask scheduler without Rain" in done.stderr
            assert "Traceback" not in done.stderr
        scheduler.kill()


def test_a_server_whose_pages_are_not_reached_is_asked_otherwise(home: Home) -> None:
    """As from another machine: without its entry in the registry, and at another HTTP port."""
    server, address = home.server()
    home.ready("governor", address, "--cpus", "1")
    client = home.spawn("run", "--server", address, script(home, SLEEPING), "1000")
    assert client.stdout is not None
    assert client.stdout.readline() == "submitted\n", home.errors(client)
    for entry in (home.runtime / "rain").glob("server-*.json"):
        entry.unlink()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    elsewhere = (address, "--http-port", str(port))
    status = json.loads(home.rain("status", *elsewhere, "--json").stdout)
    assert [governor["cpus"] for governor in status["governors"]] == [1]
    refused = home.rain("stop", *elsewhere)
    assert refused.returncode == 1
    assert "1 task of" in refused.stderr
    assert "has not ended" in refused.stderr
    stopped = home.rain("stop", *elsewhere, "--force")
    assert stopped.returncode == 0, stopped.stderr
    for process in home.processes:
        process.wait(DEADLINE_SECONDS)
    assert server.returncode == 0


def test_a_second_governor_of_a_name_is_refused(home: Home) -> None:
    _, address = home.server()
    first = home.ready("governor", address, "--name", "twin")
    second = home.rain("governor", address, "--name", "twin")
    assert second.returncode == 1
    assert "has a governor named 'twin' already" in second.stderr
    assert first.poll() is None


def test_a_workdir_is_one_governors(home: Home) -> None:
    work = home.folder / "work"
    first = home.ready("governor", "--standalone", "--workdir", work)
    second = home.rain("governor", "--standalone", "--workdir", work, "--socket", home.folder / "s")
    assert second.returncode == 1
    assert f"in use by another governor (process {first.pid})" in second.stderr
    first.terminate()
    assert first.wait(DEADLINE_SECONDS) == 0
    assert os.listdir(work) == []
    home.ready("governor", "--standalone", "--workdir", work)


def test_a_socket_is_one_services(home: Home) -> None:
    first = home.ready("governor", "--standalone")
    second = home.rain("governor", "--standalone")
    assert second.returncode == 1
    assert "a service has" in second.stderr
    assert first.poll() is None
    assert home.rain("status").returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--config", "missing.toml"), "missing.toml: No such file"),
        (("--config", "broken.toml"), "is not TOML"),
        (("--ready-file", "missing/ready"), "it can't be written"),
        (("--workdir", "broken.toml"), "is no directory"),
        (("--logdir", "broken.toml/x"), "is no directory"),
        (("--cpus=-999",), "leaves no CPU"),
        (("--cpus=0",), "runs nothing"),
    ],
)
def test_wrong_options_of_a_governor_end_it_with_1(
    home: Home, options: tuple[str, ...], message: str
) -> None:
    (home.folder / "broken.toml").write_text("[executors\n")
    done = home.rain("governor", "--standalone", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert home.is_empty(), home.left()


def test_a_workdir_on_a_full_disk_is_said(home: Home) -> None:
    small = home.folder / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=8k,nr_inodes=4 none {small} && touch {small}/1 {small}/2"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = f"{mount} {small}/3 && exec {sys.executable} -m rain governor --standalone"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{command} --workdir {small}"],
        capture_output=True, text=True, env=home.environment, timeout=DEADLINE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert str(small) in done.stderr
    assert "Traceback" not in done.stderr


# ---- TLS


def test_with_tls_only_holders_of_a_certificate_get_in(home: Home) -> None:
    pytest.importorskip("cryptography")
    tls, other = home.folder / "tls", home.folder / "other"
    for folder in (tls, other):
        assert home.rain("tls", "init", folder).returncode == 0
    told = home.start("--simple", "--tls", tls)
    address = told["address"]
    assert len(home.status()["governors"]) == 1, "the registry knows the certificates"
    done = home.rain("run", "--server", address, script(home, TASKS))
    assert done.returncode == 0, done.stderr
    for options, message in (((), "wants TLS"), (("--tls", other), "not one to trust")):
        refused = home.rain("governor", address, *options)
        assert refused.returncode == 1
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(home.status()["governors"]) == 1
    assert home.rain("stop").returncode == 0


# ---- over ssh


def test_a_governor_over_ssh_runs_tasks_and_ends_with_its_server(home: Home, ssh: str) -> None:
    hosts = home.folder / "hosts"
    hosts.write_text("localhost\nlocalhost\n")
    told = home.start(
        "--governor-host-file", hosts, "--ssh", ssh, "--workdir", home.folder / "work",
        "--remote-init", f"export XDG_RUNTIME_DIR={home.runtime} TMPDIR={home.tmp}",
    )  # fmt: skip
    (governor,) = told["governors"]
    assert governor["host"] == "localhost"
    assert [line["pid"] for line in home.status()["governors"]] == [governor["pid"]]
    done = home.rain("run", "--server", told["address"], script(home, TASKS))
    assert done.returncode == 0, done.stderr
    everyone = session_members(governor["pid"])
    assert home.rain("stop").returncode == 0
    wait_until(lambda: not any(map(exists, everyone)), "the end of all processes")
    assert home.is_empty(), home.left()
