"""`rain tls init`: certificates with which two sides let each other in, and nobody else."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from rain.cli.app import rain

pytest.importorskip("cryptography")
NAMES = ("ca-key.pem", "ca.pem", "cert.pem", "key.pem")


def init(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(rain, ["tls", "init", str(folder), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(rain, ["tls", "init", str(folder), *options])
    assert done.exit_code == 1
    return done.stderr


def context(folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    """As Dask makes it: both sides show a certificate of the CA; names don't matter."""
    made = ssl.create_default_context(purpose, cafile=str(folder / "ca.pem"))
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return made


def greet(server: Path, client: Path) -> bytes:
    """What a client with these certificates hears from a server with those."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with context(server, ssl.Purpose.CLIENT_AUTH).wrap_socket(
                theirs, server_side=True
            ) as stream:
                stream.sendall(b"hello")
        except (ssl.SSLError, OSError):
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context(client, ssl.Purpose.SERVER_AUTH).wrap_socket(ours) as stream:
            return stream.recv(5)
    finally:
        ours.close()
        thread.join()


def test_files_are_private_and_let_each_other_in(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    assert "rain start" in init(folder)
    assert sorted(path.name for path in folder.iterdir()) == list(NAMES)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {(folder / name).stat().st_mode & 0o777 for name in NAMES} == {0o600}
    assert greet(folder, folder) == b"hello"


def test_certificates_of_another_ca_are_not_let_in(tmp_path: Path) -> None:
    init(tmp_path / "ours")
    init(tmp_path / "theirs")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        greet(tmp_path / "ours", tmp_path / "theirs")


def test_a_certificate_of_our_name_and_their_key_is_not_let_in(tmp_path: Path) -> None:
    init(tmp_path / "ours")
    init(tmp_path / "theirs")
    shutil.copy(tmp_path / "ours" / "ca.pem", tmp_path / "theirs" / "ca.pem")
    try:
        heard = greet(tmp_path / "ours", tmp_path / "theirs")
    except (ssl.SSLError, ConnectionError):
        heard = b""
    assert heard == b"", "TLS 1.3: a client may learn by its first read that it isn't let in"


def test_renewed_certificates_and_old_ones_know_each_other(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    init(old)
    shutil.copytree(old, new)
    told = json.loads(init(new, "--renew", "--days", "30", "--json"))
    assert told["days"] == 30
    assert (old / "ca.pem").read_bytes() == (new / "ca.pem").read_bytes()
    assert (old / "cert.pem").read_bytes() != (new / "cert.pem").read_bytes()
    assert greet(old, new) == b"hello"
    assert greet(new, old) == b"hello"


def test_what_services_may_use_is_not_overwritten(tmp_path: Path) -> None:
    init(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    assert "--renew" in refused(tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


def test_renewing_needs_a_ca(tmp_path: Path) -> None:
    assert "no ca.pem and ca-key.pem" in refused(tmp_path, "--renew")
    init(tmp_path)
    (tmp_path / "ca-key.pem").write_text("damaged")
    assert "is damaged" in refused(tmp_path, "--renew")


def test_dask_takes_them(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    init(tmp_path)
    program = """
import asyncio, sys
from distributed import Security
from distributed.comm import connect, listen
files = {name: f"{sys.argv[1]}/{name}.pem" for name in ("ca", "cert", "key")}
both = {f"tls_{role}_{kind}": files[kind] for role in ("client", "scheduler") for kind in ("cert", "key")}
security = Security(tls_ca_file=files["ca"], require_encryption=True, **both)
async def main():
    async def answer(comm):
        await comm.write(await comm.read() + 1)
        await comm.close()
    async with listen("tls://127.0.0.1:0", answer, **security.get_listen_args("scheduler")) as listener:
        comm = await connect(listener.contact_address, **security.get_connection_args("client"))
        await comm.write(41)
        print(await comm.read())
        await comm.close()
asyncio.run(main())
"""  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "42", done.stderr


def test_a_key_that_others_can_read_is_refused_by_clients_too(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    from rain.common.errors import ConfigError
    from rain.engine import dask_process

    folder = tmp_path / "certificates"
    assert CliRunner().invoke(rain, ["tls", "init", str(folder)]).exit_code == 0
    assert dask_process.security(str(folder)) is not None
    (folder / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by other users: chmod 600"):
        dask_process.security(str(folder))
