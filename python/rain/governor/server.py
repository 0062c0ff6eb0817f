"""`rain server`: Dask's scheduler in this process, with the relay."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os

from rain.engine import dask_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CLOSE_SECONDS = 2.5


def run(
    *,
    listen: tuple[str, int],
    http_listen: tuple[str, int],
    tls: str | None,
    log_directory: str,
    ready: Callable[[int, int], None],
) -> None:
    """Serve until SIGTERM, SIGINT, SIGHUP or a client's "stop".

    Parameters
    ----------
    listen, http_listen : (address, port)
        Port 0: any.
    tls : path, optional
        Folder of ``rain tls init``.
    log_directory : path
        Where people find this server's output; it is only told.
    ready : callable
        Called with both ports once they listen.

    Raises
    ------
    OSError
        An address cannot be listened on.
    ConfigError
        Of the TLS folder, or distributed is not installed.
    """
    dask_process.configure()
    if tls is not None:
        dask_process.encrypt_pages(tls)
    try:
        with dask_process.scratch_in(log_directory):
            asyncio.run(_serve(listen, http_listen, tls, log_directory, ready))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and error.filename is None:
            error.filename = f"{listen[0]}:{listen[1]}"
        raise


async def _serve(
    listen: tuple[str, int],
    http_listen: tuple[str, int],
    tls: str | None,
    log_directory: str,
    ready: Callable[[int, int], None],
) -> None:
    import warnings

    from distributed import Scheduler

    from rain.governor.relay import Relay

    signals = dask_process.Signals()
    relay = Relay(log_directory=log_directory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a busy port, which is an error here
        scheduler = Scheduler(
            host=dask_process.bracketed(listen[0]),
            port=listen[1],
            protocol=dask_process.scheme(tls),
            security=dask_process.security(tls),
            dashboard=True,
            dashboard_address=f"{http_listen[0]}:{http_listen[1]}",
            plugins=(relay,),
        )
    try:
        http_port = scheduler.http_server.port
        if http_listen[1] not in (0, http_port):
            raise OSError(
                errno.EADDRINUSE,
                os.strerror(errno.EADDRINUSE),
                f"{http_listen[0]}:{http_listen[1]}",
            )
        try:
            await scheduler
        except RuntimeError as error:  # Dask's wrapping
            raise error.__cause__ or error from None
        ready(scheduler.port, http_port)
        await signals.before(scheduler.finished())
    finally:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it is chatty when it closes
        with contextlib.suppress(asyncio.TimeoutError):  # its sockets end with the process
            await asyncio.wait_for(scheduler.close(reason="the server ends"), _CLOSE_SECONDS)
        signals.ignore()
