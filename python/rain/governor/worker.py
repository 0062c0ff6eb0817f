"""`rain governor HOST`: a Dask worker in this process, which owns this machine's governor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time

from rain.common.errors import ConnectionFailed, RainException
from rain.engine import dask_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rain.governor.host import Host

_log = logging.getLogger("rain.governor")

_REGISTER_SECONDS = 10.0
_CLOSE_SECONDS = 2.5
_THREADS = 10  # for Dask: parts are limited by a resource, and what waits takes no thread

# What Dask puts into its workers' environment, for numpy in threads of theirs.
_DASK_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run(
    *,
    server: tuple[str, int],
    listen: tuple[str, int],
    cpus: int,
    config: str | None,
    work_directory: str,
    log_directory: str,
    tls: str | None,
    name: str,
    ready: Callable[[], None],
) -> None:
    """Run tasks for a server until SIGTERM, SIGINT or SIGHUP, or until the server ends.

    Parameters
    ----------
    server, listen : (address, port)
        Where the server is; where other governors and clients reach this one (port 0: any).
    cpus : int
        How many tasks run at once.
    config : path, optional
        TOML file of executors.
    work_directory, log_directory : path
        For data and sockets; where people find this process' output.
    tls : path, optional
        Folder of ``rain tls init``.
    name : str
        In the cluster: no two are the same.
    ready : callable
        Called once the governor is registered with the server.

    Raises
    ------
    ConnectionFailed
        There is no server, it refuses this governor, or it is gone.
    ConfigError
    """
    from rain.governor.host import Host

    dask_process.configure()
    security = dask_process.security(tls)
    with Host.start(
        name=name, config_file=config, cpus=cpus, run_directory=work_directory,
        log_directory=log_directory,
    ) as host:  # fmt: skip
        asyncio.run(
            _serve(host, server, listen, work_directory, security, dask_process.scheme(tls), ready)
        )


async def _serve(
    host: Host,
    server: tuple[str, int],
    listen: tuple[str, int],
    work_directory: str,
    security: Any,
    scheme: str,
    ready: Callable[[], None],
) -> None:
    from distributed import Worker

    from rain.governor.plugin import GovernorPlugin

    signals = dask_process.Signals()
    where = f"{dask_process.bracketed(server[0])}:{server[1]}"
    plugin = GovernorPlugin(host=host)
    worker = Worker(
        f"{scheme}://{where}",
        host=dask_process.bracketed(listen[0]),
        port=listen[1],
        name=host.name,
        nthreads=_THREADS,
        memory_limit=0,  # most of this process' memory is the blob store's
        resources=plugin.resources(),
        local_directory=work_directory,
        security=security,
        plugins=(plugin,),
        dashboard=False,
        dashboard_address="127.0.0.1:0",  # Dask's page of health, which knows no TLS
    )
    try:
        try:
            if await signals.before(asyncio.wait_for(worker, _REGISTER_SECONDS)):
                return
        except asyncio.TimeoutError as error:
            raise ConnectionFailed(
                f"the server at {where} did not answer within {_REGISTER_SECONDS:.0f} s"
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            raise ConnectionFailed(_why_refused(where, host.name, error)) from error
        ready()
        if not await signals.before(worker.finished()) and not plugin.retired:
            raise ConnectionFailed(f"the connection to the server at {where} has ended")
        if plugin.retired:
            raise RainException(plugin.retired)
    finally:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it is chatty when it closes
        # What breaks here, as its connections do, must not hide why the governor ends.
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(
                worker.close(timeout=1, executor_wait=False, reason="the governor ends"),
                _CLOSE_SECONDS,
            )
        signals.ignore()


def _why_refused(where: str, name: str, error: BaseException) -> str:
    text = ""
    cause: BaseException | None = error
    while cause is not None:  # Dask wraps what happened
        text = str(cause)
        if "name taken" in text:
            return (
                f"the server at {where} has a governor named {name!r} already: give another --name"
            )
        cause = cause.__cause__
    return f"the server at {where} refuses this governor: {text}"


@contextlib.contextmanager
def own_environment() -> Iterator[None]:
    """Without what Dask's nanny has put into this process' environment for its own sake."""
    import dask

    spawned = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    taken = {}
    for name in {*_DASK_VARIABLES, *spawned}:
        value = os.environ.get(name)
        if value is not None and str(spawned.get(name, 1)) == value:
            taken[name] = os.environ.pop(name)
    try:
        yield
    finally:
        os.environ.update(taken)


async def start_host(seconds: float, **options: Any) -> Host:
    """Start a Host within a deadline, in a thread that nobody waits for beyond it.

    Raises
    ------
    TimeoutError, RainException
    """
    from rain.governor.host import Host

    loop = asyncio.get_running_loop()
    started: asyncio.Future[Host] = loop.create_future()

    def settle(host: Host | None, error: BaseException | None) -> None:
        if not started.done():
            if host is not None:
                started.set_result(host)
            elif error is not None:
                started.set_exception(error)
        elif host is not None:  # too late
            threading.Thread(target=host.close, daemon=True).start()

    def start() -> None:
        host, failure = None, None
        try:
            with own_environment():
                host = Host.start(**options)
        except Exception as error:
            failure = error
        try:
            loop.call_soon_threadsafe(settle, host, failure)
        except RuntimeError:  # the worker has ended meanwhile
            if host is not None:
                host.close()

    threading.Thread(target=start, name="rain-start", daemon=True).start()
    began = time.monotonic()
    try:
        return await asyncio.wait_for(started, seconds)
    except asyncio.TimeoutError:
        raise TimeoutError(
            f"the governor was not up after {time.monotonic() - began:.0f} s"
        ) from None
