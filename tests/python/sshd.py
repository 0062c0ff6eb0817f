"""A sshd of the tests' own, on a port of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
DEADLINE_SECONDS = 30.0


def _need(condition: object, reason: str) -> None:
    if not condition:
        if os.environ.get("RAIN_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def running_sshd(folder: Path) -> Iterator[str]:
    """Gives the command with which it is reached, whatever the name of the host."""
    _need(SSHD and shutil.which("ssh"), "no sshd: apt install openssh-server")
    assert SSHD is not None
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nAcceptEnv FAKE_*\n"
    )
    (folder / "ssh_config").write_text(
        f"Host *\nHostname 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\n"
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
        "StrictHostKeyChecking accept-new\nBatchMode yes\nLogLevel ERROR\nSendEnv FAKE_*\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd has itself locked in
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while subprocess.run(["ssh", "-F", folder / "ssh_config", "any", "true"]).returncode:
            assert daemon.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"ssh -F {folder}/ssh_config"
    finally:
        daemon.terminate()
        daemon.wait()
