"""`rain start --governor-host-file`: governors that a real sshd on loopback starts.

The sshd is the test's own, on a port of its own. What it starts pretends: service_program.py.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import running_sshd
from test_cli_start import Started
from world import DEADLINE_SECONDS, exists, wait_until


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command with which a sshd of ours is reached."""
    with running_sshd(tmp_path_factory.mktemp("ssh")) as command:
        yield command


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    for process in started.processes():
        if exists(process["pid"]):
            os.kill(process["pid"], signal.SIGKILL)


def hosts(started: Started, *names: str) -> Path:
    file = started.folder / "hosts"
    file.write_text("# where governors run\n\n" + "".join(f"  {name} \n" for name in names))
    return file


ALL = ("--listen", "0.0.0.0", "--insecure")


def test_each_host_gets_a_governor_once(ssh: str, started: Started) -> None:
    config = started.folder / "executors.toml"
    config.write_text("[executors]\n")
    done = started.start(
        *ALL, "--ssh", ssh, "--governor-host-file", hosts(started, "n1", "n2", "n1"),
        "--governor-config", "executors.toml", "--workdir", "work",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    server, *governors = started.arguments()
    assert server[:3] == ["server", "--listen", "0.0.0.0:7210"]
    assert sorted(governors) == [
        ["governor", f"{socket.gethostname()}:7210", "--insecure", "--config", str(config),
         "--workdir", str(started.folder / "work" / f"governor-{index}"),
         "--logdir", f"{started.logs}/governor-{index}"]
        for index in (0, 1)
    ]  # fmt: skip
    for process in started.processes():
        assert exists(process["pid"])
        assert os.getsid(process["pid"]) == process["pid"]
    assert "2 governors" in done.stdout


def test_pbs_tells_the_hosts(ssh: str, started: Started) -> None:
    done = started.start(
        *ALL, "--autoconf=pbs", "--ssh", ssh, PBS_NODEFILE=str(hosts(started, "n1", "n1"))
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(started.arguments()) == 2


def test_the_shell_of_the_host_is_prepared(ssh: str, started: Started) -> None:
    witness = started.folder / "witness"
    done = started.start(
        *ALL, "--ssh", ssh, "--governor-host-file", hosts(started, "n1"),
        "--remote-init", f"export FAKE_FAIL=governor-0:5; pwd >{witness}; cat",
    )  # fmt: skip
    assert witness.read_text().strip() == str(started.folder), "it runs where rain start does"
    assert done.returncode == 1, "what it exports reaches the governor"
    assert "'governor-0' terminated with exit code 5" in done.stderr
    assert "no licence found" in done.stderr
    assert started.all_gone()


@pytest.mark.parametrize(
    ("commands", "message"),
    [("false", "--remote-init failed with exit code 1"), ("if", "ended with exit code 2")],
)
def test_commands_of_the_host_that_fail_are_said(
    ssh: str, started: Started, commands: str, message: str
) -> None:
    done = started.start(
        *ALL, "--ssh", ssh, "--governor-host-file", hosts(started, "n1"), "--remote-init", commands
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert started.all_gone()
    assert len(started.arguments()) == 1, "no governor was started"


def test_the_host_of_the_server_leaves_it_a_cpu(ssh: str, started: Started) -> None:
    done = started.start(
        *ALL, "-S", "--ssh", ssh, "--governor-host-file", hosts(started, "n1")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--cpus=-1" in started.arguments()[1]


def test_one_that_fails_takes_those_of_other_hosts_with_it(ssh: str, started: Started) -> None:
    done = started.start(
        *ALL, "--ssh", ssh, "--governor-host-file", hosts(started, "n1", "n2"),
        FAKE_FAIL="governor-1:3", FAKE_DEAF="governor-0",
    )  # fmt: skip
    assert done.returncode == 1
    assert "'governor-1' terminated with exit code 3" in done.stderr
    assert "found on n2 in" in done.stderr
    wait_until(started.all_gone, "the governors' end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing_on_hosts(
    ssh: str, started: Started, number: signal.Signals
) -> None:
    options = (*ALL, "--ssh", ssh, "--governor-host-file", hosts(started, "n1", "n2"))
    with started.starting(*options, FAKE_HANG="governor-1") as start:
        wait_until(lambda: started.processes()[2:], "the start of two governors")
        start.send_signal(number)
        assert start.wait(timeout=DEADLINE_SECONDS) == 128 + number
    wait_until(started.all_gone, "the governors' end")


def test_a_host_that_cannot_be_reached_is_said(started: Started) -> None:
    refusing = started.folder / "ssh.sh"
    refusing.write_text("echo 'no route to this host' >&2; exit 255\n")
    done = started.start(
        *ALL, "--ssh", f"sh {refusing}", "--governor-host-file", hosts(started, "n1")
    )
    assert done.returncode == 1
    assert "ssh to n1 ended with exit code 255" in done.stderr
    assert "no route to this host" in done.stderr
    assert started.all_gone()


def test_no_ssh_is_said(started: Started) -> None:
    done = started.start(
        *ALL, "--ssh", "/no/ssh", "--governor-host-file", hosts(started, "n1")
    )  # fmt: skip
    assert done.returncode == 1
    assert "is ssh installed?" in done.stderr
    assert started.all_gone()


def test_a_server_on_loopback_serves_hosts_that_are_this_one(ssh: str, started: Started) -> None:
    done = started.start("--ssh", ssh, "--governor-host-file", hosts(started, "localhost"))
    assert done.returncode == 0, done.stderr
    assert started.arguments()[1][1] == "127.0.0.1:7210"
