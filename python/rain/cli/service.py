"""A running service as the commands see it: found, and asked how it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from rain.cli.forms import HTTP_PORT, SERVER_PORT, Address, address_text, check_tls, parse_server
from rain.cli.registry import STANDALONE, Entry, complete_addresses, the_service
from rain.common.errors import ConfigError, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 4.0


@dataclass
class Service:
    """A server, or a standalone governor.

    Attributes
    ----------
    entry : Entry or None
        What the registry has of it: None on another machine.
    socket : str
        Of a standalone governor.
    server, http : address
        Of a server.
    """

    entry: Entry | None
    tls: str | None
    socket: str = ""
    server: Address = ("", 0)
    http: Address = ("", 0)

    @property
    def address(self) -> str:
        return self.socket or address_text(self.server)

    def status(self) -> dict[str, Any]:
        """Return how it is. Raises ConnectionFailed, saying what is there instead."""
        if self.socket:
            return dict(self.ask("status"))
        try:
            return _fetch(self.http, self.tls)
        except NoPages:  # by default they are for the server's own machine
            from rain.dashboard.status import add_counts

            status = dict(self.ask("status"))
            governors = status["governors"]
            sessions = [session for governor in governors for session in governor["sessions"]]
            counts = add_counts(governor["tasks"] for governor in governors)
            return {"sessions": sessions, "tasks": counts, **status}

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Ask over the connection that clients use."""
        if self.socket:
            from rain.engine import standalone

            return standalone.ask(self.socket, operation, **arguments)
        from rain.engine import cluster_questions

        return cluster_questions.ask(*self.server, self.tls, operation, **arguments)


class NoPages(ConnectionFailed):
    """Nothing listens where a server has its pages."""


def find_service(address: str | None, tls: str | None, http_port: int | None) -> Service:
    """Return the service of an address, or the only one of this user on this machine.

    Raises
    ------
    NoService, ConfigError
    """
    from rain.engine.standalone import socket_path

    if address is not None and address.startswith("unix:"):
        address = socket_path(address)
    entry = the_service(address)
    if entry is not None and entry.kind == STANDALONE:
        return Service(entry, None, socket=entry.address)
    if entry is not None:
        server = _reachable(parse_server(entry.address, SERVER_PORT))
        http = _reachable(parse_server(entry.http, HTTP_PORT))
        return Service(entry, check_tls(tls or entry.tls or None), server=server, http=http)
    assert address is not None
    if "/" in address:
        return Service(None, None, socket=socket_path(address) or address)
    try:
        server = parse_server(address, SERVER_PORT)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return Service(
        None, check_tls(tls), server=server, http=(server[0], http_port or HTTP_PORT)
    )  # fmt: skip


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --tls and --http-port, which find_service() takes."""
    function = click.option(
        "--http-port",
        type=click.IntRange(1, 65535),
        metavar="N",
        help=f"Of a server on another machine. Default: {HTTP_PORT}.",
    )(function)
    function = click.option(
        "--tls", type=click.Path(), metavar="DIR", help="Certificates, of a server with --tls."
    )(function)
    return function


address_argument = click.argument("address", required=False, shell_complete=complete_addresses)
address_option = click.option(
    "--server",
    "address",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    help="Of the service, if several run here or it is on another machine.",
)


def task_counts(status: dict[str, Any]) -> dict[str, int]:
    """Return how many tasks of a service are in which state."""
    return {state: int(count) for state, count in status.get("tasks", {}).items()}


def unfinished(status: dict[str, Any]) -> int:
    counts = task_counts(status)
    return sum(counts.get(state, 0) for state in ("waiting", "ready", "running"))


def _reachable(address: Address) -> Address:
    """Return what to connect to where something listens on all addresses."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _fetch(address: Address, tls: str | None) -> dict[str, Any]:
    """GET /rain/status.json."""
    import http.client
    import ssl

    where = address_text(address)
    connection: http.client.HTTPConnection
    if tls is None:
        connection = http.client.HTTPConnection(*address, timeout=_SECONDS)
    else:
        context = ssl.create_default_context(cafile=os.path.join(tls, "ca.pem"))
        context.check_hostname = False  # the CA is the cluster's own
        connection = http.client.HTTPSConnection(*address, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", "/rain/status.json")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise ConnectionFailed(
                f"{where} is a web server, but no Rain server's: it answers {answer.status} "
                f"{answer.reason} where a Rain server tells its status"
            )
        status = json.loads(body)
        if not isinstance(status, dict) or "governors" not in status:
            raise ValueError
    except TimeoutError as error:
        raise ConnectionFailed(
            f"{where} does not answer within {_SECONDS:.0f} s: no Rain server's pages, or one that "
            "hangs"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectionFailed(
            f"{where}: its certificate is not one to trust with {tls}: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise ConnectionFailed(f"{where}: TLS failed: {error.reason or error}") from error
    except OSError as error:
        if isinstance(error, ConnectionFailed):
            raise
        import socket

        if isinstance(error, socket.gaierror):
            raise ConnectionFailed(f"there is no host {address[0]!r}") from error
        if isinstance(error, ConnectionResetError) and tls is None:
            raise ConnectionFailed(
                f"{where}: the connection was closed at once: these are no Rain server's pages, or "
                "those of one that wants TLS (--tls DIR)"
            ) from error
        why = os.strerror(error.errno) if error.errno else str(error)
        kind = NoPages if isinstance(error, ConnectionRefusedError) else ConnectionFailed
        raise kind(
            f"{where}: {why}; a server's pages are at port {HTTP_PORT} by default "
            "(--http-listen of the server, --http-port here)"
        ) from error
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionFailed(
            f"{where} is no Rain server's pages: what it says is not what they say"
        ) from error
    finally:
        connection.close()
    return status
