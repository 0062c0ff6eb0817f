"""The engines of clients whose tasks run elsewhere, by what Client() was given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rain.common.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain import _core

_SERVER_PORT = 7210
_FORMS = (
    'write Client("host", 7210) or Client("host:7210") for a server, or Client("unix:PATH") for a '
    "governor on this machine (rain governor --standalone)"
)


# Arguments of Client that are for the governors of a Dask cluster, too.
DASK_OPTIONS = ("config", "executors", "cpus", "memory", "resources", "task_memory", "spill")


class RemoteExecutor:
    """What a client knows of an executor type that is registered elsewhere."""

    __slots__ = ("language", "name")

    def __init__(self, name: str, language: str) -> None:
        self.name = name
        self.language = language


class RemoteExecutors(Mapping[str, RemoteExecutor]):
    """The executor types of a client, of which there may come more."""

    def __init__(self, languages: dict[str, str]) -> None:
        self._languages = languages  # the engine's own

    def __getitem__(self, name: str) -> RemoteExecutor:
        return RemoteExecutor(name, self._languages[name])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._languages))

    def __len__(self) -> int:
        return len(self._languages)


def connect(
    address: Any, port: Any, tls: Any, dask: Any, **options: Any
) -> tuple[_core.Engine, RemoteExecutors]:
    """Return an engine that runs tasks there, and the executors there are.

    `options` are for the governors of a Dask cluster, see DASK_OPTIONS.

    Raises
    ------
    UsageError
        The address has no such form.
    ConnectionFailed
    """
    if dask is not None:
        if address is not None or port is not None or tls is not None:
            raise UsageError("Client(dask=...) is connected already: leave address, port, tls out")
        from rain.engine import cluster

        engine, languages = cluster.connect_dask(dask, **options)
    elif (path := _socket_path(address)) is not None:
        if port is not None or tls is not None:
            raise UsageError(f"{address!r} is a path: leave port and tls out")
        from rain.engine import standalone

        engine, languages = standalone.connect(path)
    else:
        host, number = parse_server(address, port)
        from rain.engine import cluster

        engine, languages = cluster.connect(host, number, tls=tls)
    return engine, RemoteExecutors(languages)


def _socket_path(address: Any) -> str | None:
    if not isinstance(address, str):
        return None
    if "://" in address:
        raise UsageError(f"{address!r} is no address: {_FORMS}")
    from rain.engine.standalone import socket_path

    return socket_path(address)


def parse_server(address: Any, port: Any) -> tuple[str, int]:
    """Return host and port of a server. Raises UsageError."""
    if not isinstance(address, str):
        raise UsageError(f"Client({address!r}, {port!r}): {_FORMS}")
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9_.%-]+))(?::([0-9]+))?", address)
    if found is None:
        raise UsageError(f"{address!r} is no address: {_FORMS}")
    own = found[3]
    if own is not None and port is not None:
        raise UsageError(f"Client({address!r}, {port!r}) has two ports: give one")
    number = _SERVER_PORT if own is None and port is None else own if port is None else port
    try:
        number = int(number)
    except (TypeError, ValueError):
        raise UsageError(f"{number!r} is no port: it is a number from 1 to 65535") from None
    if not 1 <= number <= 65535:
        raise UsageError(f"{number} is no port: it is a number from 1 to 65535")
    return found[1] or found[2], number
