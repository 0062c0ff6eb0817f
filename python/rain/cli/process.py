"""Being a server or a governor: directories, ready file, log, signals, registry."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from rain.cli.filesystems import filesystem, is_shared
from rain.cli.registry import Entry, enter, leave, make_private
from rain.common.errors import ConfigError, RainException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

log = logging.getLogger("rain")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LEVELS = {
    "off": logging.CRITICAL + 1,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}


class Ended(BaseException):
    """A signal asks the process to end before its loop takes signals itself."""


def set_up_log() -> None:
    """Log to standard error: the level is that of $RAIN_LOG or $RUST_LOG, by default info."""
    filters = os.environ.get("RAIN_LOG") or os.environ.get("RUST_LOG") or ""
    words = [part.rpartition("=")[2].strip().lower() for part in filters.split(",")]
    known = [_LEVELS[word] for word in words if word in _LEVELS]
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(min(known) if known else logging.INFO)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM, SIGINT and SIGHUP end the process with its directories removed: exit 0."""

    def end(number: int, _: FrameType | None) -> None:
        raise Ended(signal.Signals(number).name)

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        yield
    except Ended as ended:
        log.info("ended by %s", ended)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def default_directory(purpose: str, kind: str) -> str:
    """Return the directory of a process without --logdir or --workdir, as Rain 0.4 names them.

    Below /tmp/rain-logs and /tmp/rain-work, unless those are another user's.
    """
    parent = os.path.join(tempfile.gettempdir(), f"rain-{purpose}")
    with suppress(FileNotFoundError):
        if os.lstat(parent).st_uid != os.getuid():
            parent += f"-{os.getuid()}"
    make_private(parent)
    return os.path.join(parent, f"{kind}-{socket.gethostname()}-{os.getpid()}")


def open_log_directory(path: str | None, kind: str) -> str:
    """Make the directory for logs, with its parents, and return its absolute path."""
    return _made(path, "--logdir") if path else _made(default_directory("logs", kind), "--logdir")


@contextmanager
def log_directory(path: str | None, kind: str) -> Iterator[str]:
    """As open_log_directory(); a default one to which nothing was written is removed at the end."""
    folder = open_log_directory(path, kind)
    try:
        yield folder
    finally:
        if path is None:
            with suppress(OSError):
                os.rmdir(folder)


@contextmanager
def work_directory(path: str | None, kind: str) -> Iterator[str]:
    """Make a private directory for data and sockets below `path`, which no other governor has.

    It is removed at the end, and a default `path`, too.

    Raises
    ------
    ConfigError
        It is used by another governor, or is no directory.
    OSError
        It can't be made, or the disk is full.
    """
    folder = _made(path or default_directory("work", kind), "--workdir")
    if is_shared(folder):
        log.warning(
            "--workdir %s is on a file system that machines share (%s): it is slow, and sockets "
            "may not work there; a directory on a disk of this machine is better",
            folder, filesystem(folder),
        )  # fmt: skip
    lock = _lock(folder)
    own = os.path.join(folder, f"{kind}-{os.getpid()}")
    try:
        make_private(own)
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):
            os.unlink(os.path.join(folder, _LOCK))
        os.close(lock)
        if path is None:
            with suppress(OSError):
                os.rmdir(folder)


_LOCK = "rain.lock"


def _lock(folder: str) -> int:
    """Return the descriptor that holds the lock on a work directory."""
    path = os.path.join(folder, _LOCK)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:  # its owner ended just now, and removed it
                os.close(fd)
                continue
            os.truncate(fd, 0)
            os.write(fd, f"{os.getpid()}\n".encode())
        except BlockingIOError as error:
            owner = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            raise ConfigError(
                f"--workdir {folder} is in use by another governor (process {owner or 'unknown'}): "
                "give each its own"
            ) from error
        except OSError as error:
            os.close(fd)
            raise OSError(error.errno, error.strerror, path) from error
        return fd


def _made(path: str, option: str) -> str:
    folder = os.path.abspath(path)
    try:
        existed = os.path.isdir(folder)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not existed:
            os.chmod(folder, 0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{option} {folder}: it, or what it lies in, is no directory") from error
    except OSError as error:
        raise ConfigError(f"{option} {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {folder}: {os.strerror(errno.EACCES)}: it can't be written to")
    return folder


class ReadyFile:
    """The file that says a process is ready. One of an earlier process is removed at once.

    Raises
    ------
    ConfigError
        Nothing can be written there.
    """

    def __init__(self, path: str | None) -> None:
        self.path = None if path is None else os.path.abspath(path)
        if self.path is None:
            return
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
            self._write_draft()
        except OSError as error:
            raise self._error(error) from error

    def write(self) -> None:
        """Say it, at once and whole."""
        if self.path is None:
            return
        try:
            self._write_draft()
            os.rename(self._draft, self.path)
        except OSError as error:
            raise self._error(error) from error

    def remove(self) -> None:
        if self.path is not None:
            for path in (self._draft, self.path):
                with suppress(OSError):
                    os.unlink(path)

    @property
    def _draft(self) -> str:
        return f"{self.path}.{os.getpid()}"

    def _write_draft(self) -> None:
        with open(self._draft, "w") as file:
            file.write("ready\n")

    def _error(self, error: OSError) -> ConfigError:
        return ConfigError(f"--ready-file {self.path}: {error.strerror}: it can't be written")


class Presence:
    """Says that this process is ready: registry and ready file, both taken back at its end."""

    def __init__(self, ready_file: str | None) -> None:
        self._file = ReadyFile(ready_file)
        self._entry: Entry | None = None

    def announce(self, entry: Entry) -> None:
        self._entry = enter(entry)
        self._file.write()

    def __enter__(self) -> Presence:
        return self

    def __exit__(self, *_: object) -> None:
        leave(self._entry)
        self._file.remove()


def run_process(body: Callable[[ExitStack], Any]) -> None:
    """Run a server or governor: errors are one line in the log and exit code 1.

    `body` gets a stack for what has to be taken back at the end.
    """
    set_up_log()
    with ended_by_signals():
        try:
            with ExitStack() as stack:
                body(stack)
        except BrokenPipeError:
            raise
        except (RainException, OSError) as error:
            raise click.ClickException(_told(error)) from error


def _told(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None or isinstance(error, RainException):
        return str(error)
    text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if error.errno == errno.EADDRINUSE:
        text += "; is a server running there already? 'rain status' shows it"
    return text
