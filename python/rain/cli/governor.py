"""``rain governor``: what runs tasks on one machine, for a server or alone."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import click

from rain.cli.forms import (
    SERVER_PORT,
    Address,
    ServiceCommand,
    WrongUsage,
    address_text,
    check_tls,
    demand_tls,
    is_loopback,
    listen_option,
    parse_cpus,
    parse_server,
    read_by,
)
from rain.cli.options import directory_option, ready_file_option, security_options
from rain.common.text import count_text

if TYPE_CHECKING:
    from contextlib import ExitStack


@click.command(name="governor", cls=ServiceCommand, short_help="Start a governor.")
@click.argument(
    "server_address",
    metavar="SERVER_ADDRESS",
    required=False,
    callback=read_by(lambda text: parse_server(text, SERVER_PORT)),
)
@click.option("--standalone", is_flag=True, help="Without a server: a service on a Unix socket.")
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(),
    metavar="PATH",
    help="Of --standalone. Default: governor.sock in the user's private directory.",
)
@listen_option(
    "-l", "--listen",
    port=0,
    default=None,
    help="PORT, IP or IP:PORT for the server and other governors. Default: a free port, on "
    "127.0.0.1 or where the server is reached from.",
)  # fmt: skip
@click.option(
    "--cpus",
    metavar="N",
    default="detect",
    show_default=True,
    callback=read_by(lambda text: parse_cpus(text, _detected_cpus())),
    help="How many tasks run at once: 'detect', a number, or -N: all but N ('--cpus=-1').",
)
@click.option("--config", type=click.Path(), metavar="FILE", help="TOML file of executors.")
@click.option("--name", metavar="NAME", help="Its name in the cluster. Default: HOSTNAME-PID.")
@security_options
@directory_option("--workdir", "Where data and sockets go.", "/tmp/rain-work/governor-HOSTNAME-PID")
@directory_option("--logdir", "Where logs go.", "/tmp/rain-logs/governor-HOSTNAME-PID")
@ready_file_option("the governor is registered with the server")
def command(
    server_address: Address | None,
    standalone: bool,
    socket_path: str | None,
    listen: Address | None,
    cpus: int,
    config: str | None,
    name: str | None,
    tls: str | None,
    insecure: bool,
    workdir: str | None,
    logdir: str | None,
    ready_file: str | None,
) -> None:
    """Run tasks of clients until SIGTERM or Ctrl-C, for the server at SERVER_ADDRESS.

    SERVER_ADDRESS is HOST or HOST:PORT (port 7210). With --standalone there is no server: clients
    of this user on this machine connect to the governor's Unix socket.
    """
    if standalone == (server_address is not None):
        raise WrongUsage(
            "--standalone has no server: leave SERVER_ADDRESS out"
            if standalone
            else "Missing argument 'SERVER_ADDRESS': where the server is, or --standalone"
        )
    if standalone and (listen or tls or insecure or name):
        raise WrongUsage(
            "--standalone listens on a Unix socket, which this user alone can connect to: "
            "--listen, --tls, --insecure and --name are for governors of a server"
        )
    if socket_path and not standalone:
        raise WrongUsage("--socket is for --standalone")

    from rain.cli.process import (
        Presence,
        log,
        log_directory,
        run_process,
        work_directory,
    )
    from rain.cli.registry import GOVERNOR, STANDALONE, directory, make_private, this_process

    def run_standalone(stack: ExitStack) -> None:
        file = _check_config(config)
        presence = stack.enter_context(Presence(ready_file))
        path = standalone_socket(socket_path or "unix:")
        if socket_path is None:
            make_private(directory())
        logs = stack.enter_context(log_directory(logdir, "governor"))
        work = stack.enter_context(work_directory(workdir, "governor"))

        def ready() -> None:
            log.info("listening on %s with %s", path, count_text(cpus, "cpu"))
            presence.announce(this_process(STANDALONE, path, log_directory=logs))

        from rain.governor import unix_service

        unix_service.serve(
            socket=path, cpus=cpus, config=file, work_directory=work, log_directory=logs,
            ready=ready,
        )  # fmt: skip

    def run_for_server(stack: ExitStack) -> None:
        from rain.engine import cluster_questions

        assert server_address is not None
        folder = check_tls(tls)
        file = _check_config(config)
        presence = stack.enter_context(Presence(ready_file))
        own = listen or (own_address(server_address[0]), 0)
        option = "--listen" if listen else f"--listen (as the server is {server_address[0]})"
        warning = demand_tls({option: own}, folder, insecure)
        if warning:
            log.warning("%s", warning)
        logs = stack.enter_context(log_directory(logdir, "governor"))
        work = stack.enter_context(work_directory(workdir, "governor"))
        try:
            cluster_questions.check_server(*server_address, folder)
        except ConnectionError as error:
            raise click.ClickException(f"Connecting to server failed: {error}") from error
        called = name or f"{socket.gethostname()}-{os.getpid()}"

        def ready() -> None:
            log.info(
                "governor %s with %d cpus is registered with %s",
                called, cpus, address_text(server_address),
            )  # fmt: skip
            presence.announce(
                this_process(
                    GOVERNOR,
                    address_text(server_address),
                    log_directory=logs,
                    tls=folder or "",
                    name=called,
                )
            )

        from rain.governor import worker

        worker.run(
            server=server_address, listen=own, cpus=cpus, config=file, work_directory=work,
            log_directory=logs, tls=folder, name=called, ready=ready,
        )  # fmt: skip

    run_process(run_standalone if standalone else run_for_server)


def standalone_socket(path: str) -> str:
    """Return the absolute path of a socket; "unix:" is the default one. Raises UsageError."""
    from rain.engine.standalone import socket_path

    return socket_path(path) or os.path.abspath(path)


def own_address(server: str) -> str:
    """Return the address of this machine from which the server is reached."""
    if is_loopback(server):
        return "127.0.0.1"
    try:
        family, kind, _, _, address = socket.getaddrinfo(server, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"  # connecting will say what is wrong


def _detected_cpus() -> int:
    from rain._core import usable_cpus

    return usable_cpus()


def _check_config(path: str | None) -> str | None:
    """Return the absolute path of a file of executors that can be read and is right."""
    if path is None:
        return None
    from rain.config import read_file

    path = os.path.abspath(path)
    read_file(path)
    return path
