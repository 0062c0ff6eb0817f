"""The socket of a service, which one service at a time has."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat

from rain.common.errors import ConfigError


class Listener:
    """The socket, and that nobody else has its path: a lock on a file beside it, while it lives.

    The lock says whether the socket of that name is a dead service's, which is replaced.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = -1
        self._bound = False
        _make_folder(os.path.dirname(path))
        self._lock = _lock(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def open(self) -> None:
        try:
            if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                raise ConfigError(f"{self.path} is no socket: remove it, or give another --socket")
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        # Nobody can connect before it is ours alone.
        mask = os.umask(0o177)
        try:
            self.socket.bind(self.path)
        except OSError as error:
            raise ConfigError(f"no socket can be made at {self.path}: {error}") from error
        finally:
            os.umask(mask)
        self._bound = True
        self.socket.listen(512)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        with contextlib.suppress(OSError):
            if self._bound:
                os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.unlink(_lock_path(self.path))
        os.close(self._lock)


def _make_folder(folder: str) -> None:
    """Make the socket's directory, or see that no other user can put another socket there."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.stat(folder)
    except OSError as error:
        raise ConfigError(
            f"the socket's directory {folder} can't be made: {error.strerror}"
        ) from error
    if status.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"the socket's directory {folder} belongs to another user")
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"other users may write to the socket's directory {folder}: chmod go-w {folder}"
        )


def _lock_path(path: str) -> str:
    return f"{path}.lock"


def _lock(path: str) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(_lock_path(path), flags, 0o600)
        except OSError as error:
            raise ConfigError(f"no service can have {path}: {error}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            if error.errno != errno.EWOULDBLOCK:
                raise
            raise ConfigError(
                f"a service has {path} already (process {owner or 'unknown'}): use that, stop it, "
                "or give another --socket"
            ) from error
        if os.fstat(fd).st_nlink:
            os.truncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
            return fd
        os.close(fd)  # its owner ended just now, and removed it
