"""``rain start``: a server and governors, here or on other hosts."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import click

from rain.cli.forms import (
    Address,
    ServiceCommand,
    address_text,
    check_tls,
    demand_tls,
    is_loopback,
)
from rain.cli.options import directory_option, server_options
from rain.cli.output import json_option, print_json
from rain.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from rain.cli.starter import LocalProcess, Process, RemoteProcess

_ANY = ("0.0.0.0", "::")
_SSH = "ssh -o StrictHostKeyChecking=accept-new -o BatchMode=yes -o ConnectTimeout=15"


@dataclass
class Plan:
    """What is to be started."""

    listen: Address
    http_listen: Address
    log_directory: str
    work_directory: str | None = None
    config: str | None = None
    security: list[str] = field(default_factory=list)  # --tls DIR, or --insecure
    rain: list[str] = field(default_factory=list)  # the command, with what --runprefix says
    local: list[str] = field(default_factory=list)  # options of local governors, "" for none
    hosts: list[str] = field(default_factory=list)
    prepare: str = ""
    leave_cpu: bool = False
    ssh: list[str] = field(default_factory=list)

    def server_command(self) -> list[str]:
        return [
            *self.rain, "server", "--listen", address_text(self.listen),
            "--http-listen", address_text(self.http_listen), *self.security,
            "--logdir", os.path.join(self.log_directory, "server"),
        ]  # fmt: skip

    def governor_command(self, index: int, server: Address, options: list[str]) -> list[str]:
        command = [*self.rain, "governor", address_text(server), *options, *self.security]
        if self.config is not None:
            command += ["--config", self.config]
        if self.work_directory is not None:
            command += ["--workdir", os.path.join(self.work_directory, f"governor-{index}")]
        return [*command, "--logdir", os.path.join(self.log_directory, f"governor-{index}")]


class _Interrupted(BaseException):
    """A signal ends the start: what was started goes with it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@click.command(name="start", cls=ServiceCommand, short_help="Start a server and governors.")
@click.option("--simple", is_flag=True, help="A server and a governor with all CPUs, here.")
@click.option(
    "--local-governors",
    metavar="[N,…]",
    help='Governors here, with so many CPUs each: "[4,4,2]".',
)
@click.option(
    "--governor-host-file",
    type=click.Path(),
    metavar="FILE",
    help="Governors on the hosts of FILE, one a line, started over ssh.",
)
@click.option(
    "--autoconf",
    type=click.Choice(["pbs"]),
    help="pbs: governors on the hosts of $PBS_NODEFILE, started over ssh.",
)
@click.option(
    "--remote-init",
    metavar="COMMANDS",
    default="",
    help="What the shell of each host runs before its governor.",
)
@click.option(
    "-S",
    "reserve_cpu",
    is_flag=True,
    help="The governor on the host that runs the server leaves one CPU to it.",
)
@server_options
@click.option(
    "--governor-config", type=click.Path(), metavar="FILE", help="--config of all governors."
)
@click.option(
    "--runprefix", metavar="COMMAND", default="", help="Is put before each command that is run."
)
@click.option(
    "--ssh", metavar="COMMAND", default=_SSH, show_default=True, help="How hosts are reached."
)
@directory_option("--workdir", "Each governor has its --workdir below it.", None)
@directory_option("--logdir", "Logs of all.", "/tmp/rain-logs/rain-HOSTNAME-PID")
@json_option
def command(
    simple: bool,
    local_governors: str | None,
    governor_host_file: str | None,
    autoconf: str | None,
    remote_init: str,
    reserve_cpu: bool,
    listen: Address,
    http_listen: Address,
    tls: str | None,
    insecure: bool,
    governor_config: str | None,
    runprefix: str,
    ssh: str,
    workdir: str | None,
    logdir: str | None,
    as_json: bool,
) -> None:
    """Start a server and governors, wait until they are ready, and end; they stay.

    'rain status' shows them, 'rain stop' ends them. If one does not get ready, all are ended
    again, and the exit code is 1.
    """
    from rain.cli.process import log, open_log_directory, set_up_log
    from rain.cli.starter import rain_command

    set_up_log()
    local = _local_governors(simple, local_governors, reserve_cpu)
    hosts = _hosts(autoconf, governor_host_file)
    if local and hosts:
        raise ConfigError("Cannot combine remote & local governors")
    if not local and not hosts:
        raise ConfigError(
            "No governors are specified. Use --simple, --local-governors, --governor-host-file or "
            "--autoconf"
        )
    folder = check_tls(tls)
    warning = demand_tls({"--listen": listen, "--http-listen": http_listen}, folder, insecure)
    if warning:
        log.warning("%s", warning)
    config = _config(governor_config, here=bool(local))
    plan = Plan(
        listen,
        http_listen,
        open_log_directory(logdir, "rain"),
        None if workdir is None else os.path.abspath(workdir),
        config,
        ["--tls", folder] if folder else ["--insecure"] if insecure else [],
        [*runprefix.split(), *rain_command()],
        local,
        hosts,
        remote_init,
        reserve_cpu,
        shlex.split(ssh),
    )
    if hosts:
        _remote_server(plan)  # hosts that can't reach the server are said before anything starts
    try:
        with _interruptible() as interruption:
            server, governors = _start(plan, interruption)
    except _Interrupted as interrupted:
        click.echo(f"rain start: {interrupted}: what was started is ended", err=True)
        sys.exit(128 + interrupted.number)
    _tell(plan, server, governors, as_json)


def _start(
    plan: Plan, interruption: _Interruption
) -> tuple[LocalProcess, list[LocalProcess | RemoteProcess]]:
    from rain.cli.starter import LocalProcess, RemoteProcess, end_all, wait_until_ready

    logs = plan.log_directory
    started: list[Process] = []
    governors: list[LocalProcess | RemoteProcess] = []
    try:
        with interruption.held():
            server = LocalProcess("server", plan.server_command(), logs)
            started.append(server)
        wait_until_ready([server])
        _learn_ports(plan)
        for index, options in enumerate(plan.local):
            name = f"governor-{index}"
            command = plan.governor_command(index, _local_server(plan), options.split())
            if not is_loopback(plan.listen[0]):
                command += ["--listen", address_text((plan.listen[0], 0))]
            with interruption.held():
                governors.append(LocalProcess(name, command, logs))
                started.append(governors[-1])
        for index, host in enumerate(plan.hosts):
            command = plan.governor_command(index, _remote_server(plan), [])
            with interruption.held():
                governors.append(
                    RemoteProcess(
                        f"governor-{index}",
                        host,
                        command,
                        folder=logs,
                        ssh=plan.ssh,
                        prepare=plan.prepare,
                        leave_cpu=plan.leave_cpu,
                    )
                )
                started.append(governors[-1])
        wait_until_ready(governors)
    except BaseException:
        end_all(started)
        raise
    for process in (server, *governors):
        if isinstance(process, LocalProcess):
            process.let_go()
    return server, governors


def _learn_ports(plan: Plan) -> None:
    """Where the server listens on a free port: its entry says which."""
    from rain.cli.registry import services

    logs = os.path.join(plan.log_directory, "server")
    for entry in services():
        if entry.log_directory == logs:
            plan.listen = plan.listen[0], int(entry.address.rpartition(":")[2])
            plan.http_listen = plan.http_listen[0], int(entry.http.rpartition(":")[2])


def _local_server(plan: Plan) -> Address:
    """Return where governors here find the server."""
    host, port = plan.listen
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _remote_server(plan: Plan) -> Address:
    """Return where governors on other hosts find the server."""
    host, port = plan.listen
    if host in _ANY:
        return socket.gethostname(), port
    names = [name.rpartition("@")[2] for name in plan.hosts]
    elsewhere = next((name for name in names if not is_loopback(name)), None)
    if is_loopback(host) and elsewhere:
        raise ConfigError(
            f"a governor on {elsewhere} can't reach a server on {host}: say where it listens for "
            "other machines: --listen 0.0.0.0 with --tls DIR ('rain tls init DIR' makes it), or "
            "with --insecure"
        )
    return host, port


def _local_governors(simple: bool, text: str | None, reserve_cpu: bool) -> list[str]:
    """Return the options of each governor here."""
    if simple and text is not None:
        raise ConfigError("Cannot combine --simple and --local-governors")
    if simple:
        return ["--cpus=-1" if reserve_cpu else "--cpus=detect"]
    if text is None:
        return []
    import json

    try:
        counts = json.loads(text)
    except ValueError:
        counts = None
    if not isinstance(counts, list) or not all(type(n) is int and n > 0 for n in counts):
        raise ConfigError(
            f"Invalid format for --local-governors: {text!r} is no list of numbers of CPUs such "
            "as [4,4,2]"
        )
    return [f"--cpus={count}" for count in counts]


def _hosts(autoconf: str | None, file: str | None) -> list[str]:
    """Return the hosts of a host file, each once."""
    if autoconf is not None:
        if file is not None:
            raise ConfigError("Options --autoconf=pbs and --governor-host-file are not compatible")
        file = os.environ.get("PBS_NODEFILE")
        if not file:
            raise ConfigError(
                "--autoconf=pbs: variable PBS_NODEFILE is not set: is this a PBS job?"
            )
    if file is None:
        return []
    try:
        with open(file, encoding="utf-8") as stream:
            lines = [line.strip() for line in stream]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"host file {file}: {why}") from error
    hosts = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    for host in hosts:
        if host.startswith("-") or len(host.split()) > 1:
            raise ConfigError(f"host file {file}: {host!r} is no name of a host")
    if not hosts:
        raise ConfigError(f"host file {file} names no host")
    return hosts


def _config(path: str | None, here: bool) -> str | None:
    if path is None:
        return None
    path = os.path.abspath(path)
    if here:  # elsewhere other programs may be installed
        from rain.config import read_file

        read_file(path)
    return path


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Interruption:
    """What raises _Interrupted once a signal came: at once, or at the end of held()."""

    def __init__(self) -> None:
        self._number = 0  # of the signal that waits
        self._held = False

    def hear(self, number: int, _: FrameType | None) -> None:
        if self._held:
            self._number = number
        else:
            self._interrupt(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, a signal waits: what is started is noted, too, and so ended again."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._number:
            self._interrupt(self._number)

    def _interrupt(self, number: int) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _Interrupted(number)


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    """Within, SIGTERM, SIGINT and SIGHUP raise _Interrupted, once."""
    interruption = _Interruption()
    before = {number: signal.signal(number, interruption.hear) for number in _SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(
    plan: Plan,
    server: LocalProcess,
    governors: list[LocalProcess | RemoteProcess],
    as_json: bool,
) -> None:
    address, http = _local_server(plan), plan.http_listen
    if as_json:
        print_json(
            {
                "address": address_text(plan.listen),
                "http": address_text(http),
                "pid": server.pid,
                "governors": [
                    {
                        "name": governor.name,
                        "host": getattr(governor, "host", None),
                        "pid": governor.pid,
                    }
                    for governor in governors
                ],
                "log_directory": plan.log_directory,
            }
        )
        return
    scheme = "https" if "--tls" in plan.security else "http"
    page = "127.0.0.1" if http[0] in _ANY else http[0]
    tls = f', tls="{plan.security[1]}"' if scheme == "https" else ""
    count = len(governors)
    click.echo(f"server on {address_text(plan.listen)}, {count} governor{'s' * (count != 1)}")
    click.echo(f'  in a program:  Client("{address[0]}", {address[1]}{tls})')
    click.echo(f"  to watch it:   {scheme}://{address_text((page, http[1]))}/rain, rain status")
    click.echo("  to end it:     rain stop")
    click.echo(f"  logs:          {plan.log_directory}")
