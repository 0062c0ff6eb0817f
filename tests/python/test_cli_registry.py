"""What runs for this user: entries come and go, and none outlives its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rain.cli import registry
from rain.cli.registry import GOVERNOR, SERVER, STANDALONE, Entry, NoService
from rain.common.errors import RainException


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def entered(kind: str, address: str, pid: int | None = None) -> Entry:
    pid = os.getpid() if pid is None else pid
    return registry.enter(Entry(kind, address, pid, registry.start_ticks(pid) or 0))


def test_an_entry_is_found_and_removed_without_a_trace(census: Path) -> None:
    assert registry.services() == []
    entry = entered(SERVER, "127.0.0.1:7210")
    assert registry.services() == [entry]
    assert Path(registry.directory()).stat().st_mode & 0o777 == 0o700
    registry.leave(entry)
    assert registry.services() == []
    assert not Path(registry.directory()).exists()


def test_entries_of_processes_that_are_gone_are_removed(
    census: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    entry = entered(SERVER, "127.0.0.1:7210", sleeper.pid)
    assert registry.services() == [entry]
    sleeper.kill()
    sleeper.wait()
    assert registry.services() == []
    assert not Path(entry.path).exists()


def test_a_process_id_that_is_anothers_by_now_is_stale(census: Path) -> None:
    entry = registry.enter(Entry(SERVER, "127.0.0.1:7210", os.getpid(), started=1))
    assert registry.services() == []
    assert not Path(entry.path).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": 1}'])
def test_what_cannot_be_read_stays(census: Path, content: str) -> None:
    registry.make_private(registry.directory())
    file = Path(registry.directory()) / "server-1.json"
    file.write_text(content)
    assert registry.services() == []
    assert file.exists()
    file.unlink()
    registry.leave(None)


def test_entries_of_newer_releases_are_read(census: Path) -> None:
    entry = entered(SERVER, "127.0.0.1:7210")
    file = Path(entry.path)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"new": [1], "path": "elsewhere"}))
    assert registry.services() == [entry]
    registry.leave(entry)


def test_the_only_service_needs_no_address(census: Path, sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(NoService, match="no service"):
        registry.the_service()
    server = entered(SERVER, "127.0.0.1:7210")
    governor = entered(GOVERNOR, "127.0.0.1:7210", sleeper.pid)
    assert registry.the_service() == server
    assert registry.governors_of(server) == [governor]
    registry.leave(governor)
    alone = entered(STANDALONE, "/run/x.sock", sleeper.pid)
    with pytest.raises(NoService, match=r"2 services run.*127\.0\.0\.1:7210.*/run/x\.sock"):
        registry.the_service()
    assert registry.the_service("/run/x.sock") == alone
    assert registry.the_service("localhost:7210") == server
    assert registry.the_service("10.0.0.1:7210") is None
    assert registry.governors_of(server) == []
    registry.leave(alone)
    registry.leave(server)


def test_a_server_on_all_addresses_is_found_by_the_local_one(census: Path) -> None:
    server = entered(SERVER, "0.0.0.0:7000")
    assert registry.the_service("127.0.0.1:7000") == server
    registry.leave(server)


def test_entries_are_json_that_other_programs_can_read(census: Path) -> None:
    entry = entered(SERVER, "127.0.0.1:7210")
    assert json.loads(Path(entry.path).read_text())["pid"] == os.getpid()
    registry.leave(entry)


def test_a_directory_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RainException, match="is no directory"):
        registry.make_private(str(tmp_path / "link"))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(RainException, match="another user"):
        registry.make_private(str(folder))
