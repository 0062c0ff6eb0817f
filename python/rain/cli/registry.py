"""What runs for this user on this machine: a file for each server and governor.

A file is written when a process is ready and removed when it ends. One whose process is gone, or
whose process id is another's by now, is stale and removed by whoever reads it next. What can't be
read stays: it may be of a process of another release, which runs.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rain.common.errors import RainException

SERVER, GOVERNOR, STANDALONE = "server", "governor", "standalone"


@dataclass
class Entry:
    """One process that runs."""

    kind: str
    address: str  # of a server or of the governor's server: "ip:port"; standalone: the socket
    pid: int
    started: int  # by the kernel's clock, in ticks: with the pid it names a process for good
    http: str = ""  # "ip:port" of the server's pages
    log_directory: str = ""
    tls: str = ""
    name: str = ""
    path: str = field(default="", compare=False)  # of the entry's file

    @property
    def alive(self) -> bool:
        return start_ticks(self.pid) == self.started


_KEYS = {each.name for each in fields(Entry)} - {"path"}


class NoService(RainException):
    """There is no service that a command could mean, or more than one."""


def directory() -> str:
    """Return the private directory of entries and sockets; it need not exist."""
    from rain.engine.standalone import default_socket

    return os.path.dirname(default_socket())


def make_private(folder: str) -> None:
    """Make a directory that nobody else can look into, with its parents.

    Raises
    ------
    RainException
        It is another user's, a link, or open to others.
    OSError
    """
    parent = os.path.dirname(folder)
    if parent and not os.path.isdir(parent):
        os.makedirs(parent, mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise RainException(f"{folder} is in the way: it is no directory; move it away")
    if found.st_uid != os.getuid():
        raise RainException(f"{folder} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o077:
        os.chmod(folder, 0o700)


def enter(entry: Entry) -> Entry:
    """Write the entry of this process and return it; leave() removes it."""
    folder = directory()
    make_private(folder)
    entry.path = os.path.join(folder, f"{entry.kind}-{entry.pid}.json")
    values = asdict(entry)
    del values["path"]
    draft = f"{entry.path}.new"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(values, file)
    os.rename(draft, entry.path)
    return entry


def leave(entry: Entry | None) -> None:
    """Remove the entry, and the directory after the last one."""
    if entry is not None:
        with suppress(FileNotFoundError):
            os.unlink(entry.path)
    with suppress(OSError):  # others are in it
        os.rmdir(directory())


def entries() -> list[Entry]:
    """Return what runs, oldest first; stale entries are removed."""
    folder = directory()
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    if os.lstat(folder).st_uid != os.getuid():
        return []
    found = []
    for name in sorted(names):
        if not name.endswith(".json"):
            continue
        path = os.path.join(folder, name)
        entry = _read(path)
        if entry is None:
            continue
        if entry.alive:
            found.append(entry)
            continue
        with suppress(OSError):
            os.unlink(path)
    with suppress(OSError):
        os.rmdir(folder)
    return sorted(found, key=lambda entry: entry.started)


def services() -> list[Entry]:
    """Return the servers and standalone governors that run."""
    return [entry for entry in entries() if entry.kind != GOVERNOR]


def the_service(address: str | None = None) -> Entry | None:
    """Return the service of this address, or the only one.

    None: an address that is not one of this user on this machine.

    Raises
    ------
    NoService
        Without an address, if none runs or several do.
    """
    running = services()
    if address is not None:
        wanted = {address, os.path.abspath(address)}
        host, _, port = address.rpartition(":")
        if host in ("localhost", "127.0.0.1", "0.0.0.0"):
            wanted |= {f"{name}:{port}" for name in ("127.0.0.1", "0.0.0.0")}
        return next((entry for entry in running if entry.address in wanted), None)
    if not running:
        raise NoService(
            "no service of this user runs on this machine: 'rain start --simple' and 'rain "
            "governor --standalone' start one; for one on another machine give its address"
        )
    if len(running) > 1:
        known = ", ".join(entry.address for entry in running)
        raise NoService(f"{len(running)} services run, give the address of one: {known}")
    return running[0]


def complete_addresses(_: object, __: object, incomplete: str) -> list[str]:
    """Return what the shell can complete to: addresses of what runs here."""
    return [entry.address for entry in services() if entry.address.startswith(incomplete)]


def governors_of(service: Entry) -> list[Entry]:
    """Return the governors of a server that run on this machine."""
    _, _, port = service.address.rpartition(":")
    return [
        entry
        for entry in entries()
        if entry.kind == GOVERNOR
        and (entry.address == service.address or _here(entry.address, port))
    ]


def start_ticks(pid: int) -> int | None:
    """Return when the process started, None if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def this_process(kind: str, address: str, **values: Any) -> Entry:
    """Return an entry of this process."""
    return Entry(kind, address, os.getpid(), start_ticks(os.getpid()) or 0, **values)


def _here(address: str, port: str) -> bool:
    """Whether it is an address of this machine with this port."""
    import socket

    host, _, own = address.rpartition(":")
    return own == port and host in ("127.0.0.1", "localhost", socket.gethostname())


def _read(path: str) -> Entry | None:
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        known = {key: values[key] for key in values if key in _KEYS}
        return Entry(**known, path=path)
    except (OSError, ValueError, TypeError):
        return None
