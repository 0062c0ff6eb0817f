"""`rain start`: what it starts, and that nothing stays of a start that failed.

The processes are those of service_program.py; tests/e2e/test_service_commands.py has real ones.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rain.cli.app import rain
from rain.cli.start import _Interrupted, _interruptible
from rain.cli.starter import StartFailed, end_all
from rain_command import RAIN, run_rain
from world import DEADLINE_SECONDS, exists, wait_until

FAKE = f"{sys.executable} {Path(__file__).with_name('service_program.py')}"


class Started:
    """The processes of a start, as they told the journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.logs = folder / "logs"

    def environment(self, **variables: str) -> dict[str, str]:
        own = {"FAKE_JOURNAL": str(self.journal), "TMPDIR": str(self.folder)}
        return os.environ | own | variables

    def arguments_of(self, *options: str | Path) -> list[str]:
        return [
            "start", "--runprefix", FAKE, "--logdir", str(self.logs), *map(str, options)
        ]  # fmt: skip

    def start(self, *options: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return run_rain(
            *self.arguments_of(*options), cwd=self.folder, env=self.environment(**variables)
        )

    @contextmanager
    def starting(self, *options: str | Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs."""
        with subprocess.Popen(
            [*RAIN, *self.arguments_of(*options)], stderr=subprocess.PIPE, text=True,
            cwd=self.folder, env=self.environment(**variables),
        ) as process:  # fmt: skip
            yield process

    def processes(self) -> list[dict[str, Any]]:
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def arguments(self) -> list[list[str]]:
        """Without --ready-file, the last one."""
        assert all(process["arguments"][-2] == "--ready-file" for process in self.processes())
        return [process["arguments"][:-2] for process in self.processes()]

    def all_gone(self) -> bool:
        return not any(exists(process["pid"]) for process in self.processes())


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    for process in started.processes():
        if exists(process["pid"]):
            os.kill(process["pid"], signal.SIGKILL)


def test_simple_is_a_server_and_a_governor_that_stay(started: Started) -> None:
    done = started.start("--simple")
    assert done.returncode == 0, done.stderr
    logs = started.logs
    assert started.arguments() == [
        ["server", "--listen", "127.0.0.1:7210", "--http-listen", "127.0.0.1:7222",
         "--logdir", f"{logs}/server"],
        ["governor", "127.0.0.1:7210", "--cpus=detect", "--logdir", f"{logs}/governor-0"],
    ]  # fmt: skip
    assert {path.name for path in logs.iterdir()} == {
        f"{name}.{end}" for name in ("server", "governor-0") for end in ("out", "err")
    }, "the ready files are removed by the starter"
    assert logs.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in logs.iterdir()} == {0o600}
    for process in started.processes():
        assert exists(process["pid"])
        assert os.getsid(process["pid"]) == process["pid"]
    assert 'Client("127.0.0.1", 7210)' in done.stdout
    assert "rain stop" in done.stdout


def test_what_is_given_reaches_server_and_governors(started: Started) -> None:
    config = started.folder / "executors.toml"
    config.write_text("[executors]\n")
    done = started.start(
        "--local-governors=[2,1]", "-l", "127.0.0.1:7300", "--http-listen", "7301",
        "--governor-config", "executors.toml", "--workdir", "work", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    server, *governors = started.arguments()
    assert server[:5] == [
        "server", "--listen", "127.0.0.1:7300", "--http-listen", "127.0.0.1:7301",
    ]  # fmt: skip
    assert sorted(governors) == [
        ["governor", "127.0.0.1:7300", f"--cpus={cpus}", "--config", str(config),
         "--workdir", str(started.folder / "work" / f"governor-{index}"),
         "--logdir", f"{started.logs}/governor-{index}"]
        for cpus, index in ((1, 1), (2, 0))
    ]  # fmt: skip
    told = json.loads(done.stdout)
    assert told["address"] == "127.0.0.1:7300"
    pids = [told["pid"], *(governor["pid"] for governor in told["governors"])]
    assert sorted(pids) == sorted(process["pid"] for process in started.processes())
    assert [governor["name"] for governor in told["governors"]] == ["governor-0", "governor-1"]


def test_simple_leaves_a_cpu_to_the_server_if_asked(started: Started) -> None:
    assert started.start("--simple", "-S").returncode == 0
    assert "--cpus=-1" in started.arguments()[1]


def test_other_machines_are_let_in_if_that_is_said(started: Started) -> None:
    done = started.start("--simple", "--listen", "0.0.0.0", "--insecure")
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr
    assert "without TLS" in done.stderr
    server, governor = started.arguments()
    assert server[1:3] == ["--listen", "0.0.0.0:7210"]
    assert "--insecure" in server
    assert governor[1] == "127.0.0.1:7210"
    assert governor[governor.index("--listen") + 1] == "0.0.0.0:0"
    assert "--insecure" in governor


@pytest.mark.parametrize("name", ["server", "governor-0", "governor-1"])
def test_one_that_ends_early_takes_all_with_it(started: Started, name: str) -> None:
    done = started.start("--local-governors=[1,1]", FAKE_FAIL=f"{name}:3")
    assert done.returncode == 1
    assert (
        f"Process '{name}' terminated with exit code 3; process outputs can be found in "
        f"{started.logs}/{name}.{{out/err}}" in done.stderr
    )
    assert "no licence found" in done.stderr
    assert started.all_gone()
    assert not list(started.logs.glob("*ready*"))


def test_the_signal_that_ended_one_is_named(started: Started) -> None:
    with started.starting("--simple", FAKE_HANG="governor-0") as start:
        wait_until(lambda: started.processes()[1:], "a governor's start")
        os.kill(started.processes()[1]["pid"], signal.SIGKILL)
        _, errors = start.communicate(timeout=DEADLINE_SECONDS)
    assert start.returncode == 1
    assert "'governor-0' terminated with exit code 137 (SIGKILL)" in errors
    assert started.all_gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_start_leaves_nothing(started: Started, number: signal.Signals) -> None:
    with started.starting("--simple", FAKE_HANG="governor-0") as start:
        wait_until(lambda: started.processes()[1:], "a governor's start")
        start.send_signal(number)
        _, errors = start.communicate(timeout=DEADLINE_SECONDS)
    assert start.returncode == 128 + number
    assert number.name in errors
    assert "Traceback" not in errors
    assert started.all_gone()


def test_one_that_is_deaf_to_sigterm_is_killed(started: Started) -> None:
    done = started.start("--simple", FAKE_FAIL="governor-0:1", FAKE_DEAF="server")
    assert done.returncode == 1
    assert started.all_gone()


def test_logs_of_a_process_that_runs_are_not_taken_by_another(started: Started) -> None:
    assert started.start("--simple").returncode == 0
    log = started.logs / "server.err"
    log.write_text("what it said")
    again = started.start("--simple")
    assert again.returncode == 1
    assert "server.out is the output of a process that runs" in again.stderr
    assert log.read_text() == "what it said"
    assert len(started.processes()) == 2


def test_a_prefix_that_is_no_program_is_an_error(started: Started) -> None:
    done = run_rain(
        "start", "--simple", "--runprefix", "/no/such/one x", "--logdir", started.logs
    )  # fmt: skip
    assert done.returncode == 1
    assert "'server' can't be started: /no/such/one: No such file" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "No governors are specified."),
        (["--simple", "--local-governors=[1]"], "--simple and --local-governors"),
        (["--local-governors=4"], "Invalid format for --local-governors"),
        (["--local-governors=[4,"], "Invalid format for --local-governors"),
        (["--local-governors=[0]"], "Invalid format for --local-governors"),
        (["--local-governors=[true]"], "Invalid format for --local-governors"),
        (["--local-governors=[]"], "No governors are specified."),
        (["--simple", "--governor-host-file=hosts"], "Cannot combine remote & local governors"),
        (["--autoconf=pbs", "--governor-host-file=hosts"],
         "Options --autoconf=pbs and --governor-host-file are not compatible"),
        (["--autoconf=pbs"], "PBS_NODEFILE is not set"),
        (["--autoconf=slurm"], "'slurm' is not 'pbs'"),
        (["--governor-host-file=missing"], "host file missing: No such file or directory"),
        (["--governor-host-file=none"], "names no host"),
        (["--governor-host-file=option"], "is no name of a host"),
        (["--governor-host-file=hosts"], "can't reach a server on 127.0.0.1"),
        (["--simple", "--listen", "localhost"], "is no address to listen on"),
        (["--simple", "--listen", "1.2.3.4:x"], "is no address to listen on"),
        (["--simple", "--listen", "0.0.0.0"], "give --tls DIR"),
        (["--simple", "--http-listen", "[::1]:7222"], "IPv4 addresses only"),
        (["--simple", "--http-listen", "0.0.0.0"], "--http-listen 0.0.0.0:7222 can be reached"),
        (["--simple", "--tls", "missing"], "ca.pem: No such file"),
        (["--simple", "--governor-config=missing"], "No such file"),
        (["--simple", "--governor-config=hosts"], "is not TOML"),
        (["--simple", "--logdir=hosts"], "is no directory"),
        (["--simple", "--logdir=hosts/logs"], "is no directory"),
        (["--simple", "extra"], "unexpected extra argument"),
        (["--simple", "--wrong"], "No such option"),
    ],
)  # fmt: skip
def test_wrong_options_start_nothing_and_end_with_1(
    started: Started, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    (started.folder / "hosts").write_text("# mine\n\n  n1.example \nn2.example\n")
    (started.folder / "none").write_text("# none\n\n")
    (started.folder / "option").write_text("-oProxyCommand=sh\n")
    monkeypatch.chdir(started.folder)
    monkeypatch.setenv("FAKE_JOURNAL", str(started.journal))
    monkeypatch.setenv("PBS_NODEFILE", "")
    monkeypatch.setattr(tempfile, "tempdir", str(started.folder))
    done = CliRunner().invoke(rain, ["start", "--runprefix", FAKE, *options])
    assert done.exit_code == 1
    assert message in done.stderr
    assert not started.processes()


def test_a_signal_waits_while_a_process_is_started() -> None:
    noted = []

    def start() -> None:
        with _interruptible() as interruption:
            with interruption.held():
                os.kill(os.getpid(), signal.SIGTERM)
                noted.append("started")
            noted.append("never")

    with pytest.raises(_Interrupted):
        start()
    assert noted == ["started"]


def test_an_error_while_one_is_ended_does_not_keep_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def is_ready(self) -> bool:
            return True

        def ask_to_end(self) -> None:
            ended.append(self.name)
            if self.name == "b":
                raise StartFailed("no ssh")

        def is_gone(self) -> bool:
            return True

        def kill(self) -> None:
            ended.append(f"{self.name} killed")

    end_all([Fake(name) for name in "abc"])
    assert ended == ["c", "b", "a", "c killed", "b killed", "a killed"]
    assert "b may still run: no ssh" in capsys.readouterr().err
