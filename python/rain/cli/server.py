"""``rain server``: the process that clients and governors connect to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rain.cli.forms import (
    HTTP_PORT,
    SERVER_PORT,
    Address,
    ServiceCommand,
    address_text,
    check_tls,
    demand_tls,
    listen_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack


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


@click.command(name="server", cls=ServiceCommand, short_help="Start a server.")
@listen_option(
    "-l",
    "--listen",
    port=SERVER_PORT,
    default=f"127.0.0.1:{SERVER_PORT}",
    help="PORT, IP or IP:PORT for clients and governors.",
)
@listen_option(
    "--http-listen",
    port=HTTP_PORT,
    default=f"127.0.0.1:{HTTP_PORT}",
    help="PORT, IP or IP:PORT for browsers, 'rain status' and metrics.",
)  # fmt: skip
@security_options
@click.option(
    "--logdir",
    type=click.Path(),
    metavar="DIR",
    help="Where logs go. Default: /tmp/rain-logs/server-HOSTNAME-PID.",
)
@click.option(
    "--ready-file", type=click.Path(), metavar="FILE", help="Is written when the server listens."
)
def command(
    listen: Address,
    http_listen: Address,
    tls: str | None,
    insecure: bool,
    logdir: str | None,
    ready_file: str | None,
) -> None:
    """Run a server until SIGTERM or Ctrl-C: clients connect to it, and governors.

    It runs no task itself: 'rain governor HOST' adds a machine, 'rain start' does both.
    """
    from rain.cli.process import Presence, log, log_directory, run_process
    from rain.cli.registry import SERVER, this_process

    def serve(stack: ExitStack) -> None:
        folder = check_tls(tls)
        warning = demand_tls({"--listen": listen, "--http-listen": http_listen}, folder, insecure)
        if warning:
            log.warning("%s", warning)
        presence = stack.enter_context(Presence(ready_file))
        logs = stack.enter_context(log_directory(logdir, "server"))

        def ready(port: int, http_port: int) -> None:
            address, http = (listen[0], port), (http_listen[0], http_port)
            log.info("listening on %s, pages on %s", address_text(address), address_text(http))
            presence.announce(
                this_process(
                    SERVER,
                    address_text(address),
                    http=address_text(http),
                    log_directory=logs,
                    tls=folder or "",
                )
            )

        from rain.governor import server

        server.run(
            listen=listen, http_listen=http_listen, tls=folder, log_directory=logs, ready=ready
        )

    run_process(serve)
