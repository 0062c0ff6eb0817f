"""Options that the commands which start services have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rain.cli.forms import HTTP_PORT, SERVER_PORT, listen_option

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def security_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --tls and --insecure."""
    function = click.option(
        "--insecure",
        is_flag=True,
        help="Let other machines connect without TLS: whoever reaches the port is trusted.",
    )(function)
    return click.option(
        "--tls",
        type=click.Path(),
        metavar="DIR",
        help="Certificates, made by 'rain tls init DIR', with which both sides know each other.",
    )(function)


def server_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --listen and --http-listen of a server, --tls and --insecure."""
    function = security_options(function)
    function = listen_option(
        "--http-listen",
        port=HTTP_PORT,
        default=f"127.0.0.1:{HTTP_PORT}",
        help="PORT, IP or IP:PORT of the server for browsers, 'rain status' and metrics.",
    )(function)
    return listen_option(
        "-l",
        "--listen",
        port=SERVER_PORT,
        default=f"127.0.0.1:{SERVER_PORT}",
        help="PORT, IP or IP:PORT of the server for clients and governors.",
    )(function)


def directory_option(name: str, what: str, default: str | None) -> _Decorator:
    """Make --logdir or --workdir; `what` is a sentence, `default` a path for people."""
    text = what if default is None else f"{what} Default: {default}."
    return click.option(name, type=click.Path(), metavar="DIR", help=text)


def ready_file_option(when: str) -> _Decorator:
    return click.option(
        "--ready-file", type=click.Path(), metavar="FILE", help=f"Is written when {when}."
    )
