"""``rain stop``: the end of a service."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from rain.cli.output import count_text, json_option, print_json
from rain.cli.registry import Entry, governors_of
from rain.cli.service import Service, address_argument, connection_options, find_service, unfinished
from rain.common.errors import ConnectionFailed, RainException

if TYPE_CHECKING:
    from collections.abc import Sequence

_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_WAIT_POLL_SECONDS = 0.5


@click.command(name="stop", short_help="End a running service.")
@address_argument
@connection_options
@click.option("--force", is_flag=True, help="Also if tasks are running: they are killed.")
@click.option("--wait", is_flag=True, help="First wait until no task is left.")
@json_option
def command(
    address: str | None,
    tls: str | None,
    http_port: int | None,
    force: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """End a server and its governors, or a standalone governor.

    ADDRESS is HOST:PORT of a server or the socket of a standalone governor. Without it, the one
    that this user runs on this machine. With tasks running nothing is ended, and the exit code is
    1, unless --force or --wait says what to do.
    """
    if force and wait:
        raise click.UsageError("--force and --wait exclude each other")
    service = find_service(address, tls, http_port)
    if not force:
        _until_idle(service, wait)
    ended: list[Entry] = []
    killed: list[int] = []
    if service.entry is not None:
        ended = [service.entry, *([] if service.socket else governors_of(service.entry))]
        killed = end(ended)
    else:
        service.ask("stop")
        _until_deaf(service)
    if as_json:
        print_json({"address": service.address, "pids": [e.pid for e in ended], "killed": killed})
    elif killed:
        click.echo(
            f"Warning: did not end within {_END_SECONDS:.0f} s and were killed: {killed}", err=True
        )
    else:
        click.echo(f"{service.address} has ended")


def _until_idle(service: Service, wait: bool) -> None:
    """Return when no task is left. Raises RainException if some are and nobody waits."""
    while True:
        try:
            count = unfinished(service.status())
        except ConnectionFailed as error:
            if service.entry is None:
                raise
            raise RainException(
                f"{error}. So it isn't known whether tasks run there: --force ends it anyway"
            ) from error
        if not count:
            return
        if not wait:
            raise RainException(
                f"{count_text(count, 'task')} of {service.address} "
                f"{'has' if count == 1 else 'have'} not ended ('rain status' shows more): --wait "
                "waits, --force kills what runs"
            )
        time.sleep(_WAIT_POLL_SECONDS)


def _until_deaf(service: Service) -> None:
    """Return when nothing listens there any more. Raises RainException if that takes long."""
    deadline = time.monotonic() + _END_SECONDS
    while _listens(service):
        if time.monotonic() > deadline:
            raise RainException(
                f"{service.address} was told to end, and still listens after {_END_SECONDS:.0f} s"
            )
        time.sleep(_WAIT_POLL_SECONDS)


def _listens(service: Service) -> bool:
    try:
        if service.socket:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.settimeout(_END_SECONDS)
                connected.connect(service.socket)
        else:
            socket.create_connection(service.server, timeout=_END_SECONDS).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def end(processes: Sequence[Entry]) -> list[int]:
    """End processes with SIGTERM, and those that don't with SIGKILL, whose pids are returned."""
    _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    left = list(processes)
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [entry for entry in left if entry.alive]
    _signal(left, signal.SIGKILL)
    return [entry.pid for entry in left]


def _signal(processes: Sequence[Entry], number: int) -> None:
    for entry in processes:
        if entry.alive:
            with suppress(ProcessLookupError):
                os.kill(entry.pid, number)
