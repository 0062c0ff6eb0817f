"""``rain server``: the process that clients and governors connect to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rain.cli.forms import Address, ServiceCommand, address_text, check_tls, demand_tls
from rain.cli.options import directory_option, ready_file_option, server_options

if TYPE_CHECKING:
    from contextlib import ExitStack


@click.command(name="server", cls=ServiceCommand, short_help="Start a server.")
@server_options
@directory_option("--logdir", "Where logs go.", "/tmp/rain-logs/server-HOSTNAME-PID")
@ready_file_option("the server listens")
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
