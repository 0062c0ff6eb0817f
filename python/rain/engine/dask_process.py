"""How a process of ours uses Dask distributed: its settings, its noise, TLS, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from rain.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_MISSING = (
    "the cluster needs Dask distributed, which is not installed: pip install rain-tasklib[cluster]"
)

# A worker's memory is mostly pages shared with executors, which the blob store accounts for.
_SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    # The relay counts deaths by what had begun; Dask blames whatever waited there, too.
    "distributed.scheduler.allowed-failures": 1000,
    "distributed.scheduler.worker-ttl": "30s",
    # Pages that show things: who reaches them may change nothing, and go nowhere through them.
    "distributed.scheduler.http.routes": [
        f"distributed.http.{name}"
        for name in (
            "scheduler.prometheus",
            "scheduler.info",
            "scheduler.json",
            "health",
            "statics",
        )
    ],
    "distributed.comm.timeouts.connect": "5s",
    "distributed.comm.timeouts.tcp": "15s",
    "distributed.admin.low-level-log-length": 1000,
    "distributed.admin.events-log-length": 1000,
    "distributed.admin.tick.limit": "1h",
    "distributed.diagnostics.nvml": False,
}


def import_distributed() -> Any:
    """Import distributed, which is quiet then, if the program has not done so already.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    if "distributed" in sys.modules:
        return sys.modules["distributed"]
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(f"{_MISSING} ({error})") from error
    for name in list(logging.root.manager.loggerDict):
        if name == "distributed" or name.startswith("distributed."):
            logger = logging.getLogger(name)
            if logger.level in (logging.NOTSET, logging.DEBUG, logging.INFO):
                logger.setLevel(logging.WARNING)
    # That a server is lost is what calls raise, without tracebacks of attempts to reconnect.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    return distributed


def configure() -> Any:
    """As import_distributed, and make the settings those of a process that is only ours."""
    distributed = import_distributed()
    import dask

    dask.config.set(_SETTINGS)
    for name in ("distributed.worker", "distributed.core", "tornado.application", "asyncio"):
        logging.getLogger(name).addFilter(_is_no_broken_connection)
    return distributed


def _is_no_broken_connection(record: logging.LogRecord) -> bool:
    """Who ends for one says so himself, in one line. (CommClosedError is an OSError.)"""
    return not (record.exc_info and isinstance(record.exc_info[1], OSError))


def client_settings() -> Any:
    """A context in which a client connects: Dask reads them then."""
    import dask

    names = ("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp")
    return dask.config.set({name: _SETTINGS[name] for name in names})


def security(folder: str | None) -> Any:
    """Return Dask's Security for a folder of ``rain tls init``, None for none.

    Raises
    ------
    ConfigError
        The folder lacks a file, or others can read the key.
    """
    if folder is None:
        return None
    paths = {}
    for name in ("ca.pem", "cert.pem", "key.pem"):
        paths[name] = os.path.join(os.path.abspath(folder), name)
        if not os.path.isfile(paths[name]):
            raise ConfigError(
                f"there is no {paths[name]}: `rain tls init {folder}` makes what TLS needs"
            )
    key = paths["key.pem"]
    if os.stat(key).st_mode & 0o077:
        raise ConfigError(f"{key} can be read by other users: chmod 600 {key}")
    try:
        distributed = import_distributed()
        pair = {}
        for role in ("scheduler", "worker", "client"):
            pair[f"tls_{role}_cert"] = paths["cert.pem"]
            pair[f"tls_{role}_key"] = paths["key.pem"]
        made = distributed.Security(tls_ca_file=paths["ca.pem"], require_encryption=True, **pair)
        made.get_connection_args("client")  # reads the files
        return made
    except (OSError, ValueError) as error:
        raise ConfigError(f"the certificates in {folder} cannot be used: {error}") from error


def encrypt_pages(folder: str) -> None:
    """Have the HTTP server of this process' scheduler use TLS, with our certificate."""
    import dask

    dask.config.set(
        {
            "distributed.scheduler.dashboard.tls.cert": os.path.join(folder, "cert.pem"),
            "distributed.scheduler.dashboard.tls.key": os.path.join(folder, "key.pem"),
        }
    )


@contextlib.contextmanager
def scratch_in(folder: str) -> Iterator[None]:
    """Within, Dask has its directory of locks, which it would leave behind, below `folder`."""
    import tempfile

    import dask

    with (
        tempfile.TemporaryDirectory(
            prefix="dask-", dir=folder or None, ignore_cleanup_errors=True
        ) as scratch,
        dask.config.set({"temporary-directory": scratch}),
    ):
        yield


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def scheme(folder: str | None) -> str:
    return "tcp" if folder is None else "tls"


class Signals:
    """Ends a coroutine by SIGTERM, SIGINT or SIGHUP. Made in the loop's thread, the main one."""

    _SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.caught = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in self._SIGNALS:
            loop.add_signal_handler(number, self.caught.set)

    def ignore(self) -> None:
        """From now on they change nothing: this process is about to end, with what it has to say.

        The loop would write of a signal to a pipe that it has closed, and then die of the next.
        """
        loop = asyncio.get_running_loop()
        signal.pthread_sigmask(signal.SIG_BLOCK, self._SIGNALS)
        for number in self._SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._SIGNALS)

    async def before(self, awaitable: Any) -> bool:
        """Await something; True if a signal came first, and the something was cancelled."""
        work = asyncio.ensure_future(awaitable)
        wait = asyncio.ensure_future(self.caught.wait())
        await asyncio.wait((work, wait), return_when=asyncio.FIRST_COMPLETED)
        wait.cancel()
        if work.done():
            await work
            return False
        work.cancel()
        await asyncio.wait((work,), timeout=1)
        return True
