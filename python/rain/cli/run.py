"""``rain run script.py``: a client script with arguments for its Client()."""

from __future__ import annotations

import atexit
import os

import click

from rain.cli.output import own_python_first
from rain.cli.registry import complete_addresses
from rain.cli.script import Script
from rain.client.defaults import event_logs, set_defaults
from rain.config import parse_size


def _size(_: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(int(value) if value.isdigit() else value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from error


@click.command(
    name="run",
    short_help="Run a client script.",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "--server",
    metavar="ADDRESS",
    shell_complete=complete_addresses,
    help="Of a running service, where tasks run: HOST:PORT, or a socket.",
)
@click.option(
    "--tls", type=click.Path(), metavar="DIR", help="Certificates, of a server with --tls."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="TOML file of executors.",
)
@click.option("--cpus", type=click.IntRange(min=1), help="How many tasks run at once.")
@click.option("--memory", callback=_size, metavar="SIZE", help='Of the blob store: "8 GiB".')
@click.option("--task-memory", callback=_size, metavar="SIZE", help="Of tasks with a memory limit.")
@click.option(
    "--run-directory",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="Where sockets and logs go.",
)
@click.option(
    "--events",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the event log to FILE, for 'rain report' and 'rain trace'.",
)
@click.option("--record", is_flag=True, help="Let client.report() have what tasks took.")
@click.option("--report", is_flag=True, help="At the end print a table of what tasks took.")
@click.option("--dashboard", is_flag=True, help="Serve a page of what runs, and say where.")
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(
    server: str | None,
    tls: str | None,
    config: str | None,
    cpus: int | None,
    memory: int | None,
    task_memory: int | None,
    run_directory: str | None,
    events: str | None,
    record: bool,
    report: bool,
    dashboard: bool,
    script: str,
    arguments: tuple[str, ...],
) -> None:
    """Run SCRIPT with ARGUMENTS in this Python, as 'python SCRIPT ARGUMENTS' does.

    The options are what each Client() in it uses for arguments that it leaves out; what the script
    says itself wins. All options come before SCRIPT.

    Ends as the script does: with its exit code, with 1 after an exception, and with 130 after
    Ctrl-C.
    """  # fmt: skip
    own_python_first()
    here = {
        "--config": config,
        "--cpus": cpus,
        "--memory": memory,
        "--task-memory": task_memory,
        "--run-directory": run_directory,
        "--events": events,
        "--report": report or None,
    }
    given = [option for option, value in here.items() if value is not None]
    if server is not None and given:
        raise click.UsageError(
            f"{', '.join(given)}: of a governor inside the script's process; with --server tasks "
            "run on others"
        )
    if tls is not None and server is None:
        raise click.UsageError("--tls is of the server that --server names")
    if report:
        events = _report_at_exit(events)
    set_defaults(
        config=None if config is None else os.path.abspath(config),
        cpus=cpus,
        memory=memory,
        task_memory=task_memory,
        run_directory=None if run_directory is None else os.path.abspath(run_directory),
        events=None if events is None else os.path.abspath(events),
        record=record or None,
        dashboard=dashboard or None,
        **({} if server is None else _service(server, tls)),
    )
    raise Script(script, arguments)


def _service(server: str, tls: str | None) -> dict[str, str | None]:
    """Return what a Client is given for a service."""
    from rain.cli.service import find_service

    service = find_service(server, tls, None)
    return {"address": service.address, "tls": service.tls}


def _report_at_exit(events: str | None) -> str:
    """Print reports of the event logs once all clients are closed; return where the logs go.

    Handlers run in reverse order: this one comes after the engine's, which is registered when the
    script imports it and closes the clients.
    """
    import shutil
    import tempfile

    folder = None
    if events is None:
        folder = tempfile.mkdtemp(prefix="rain-run-")
        events = os.path.join(folder, "run.jsonl")
    process = os.getpid()

    def print_reports() -> None:
        if os.getpid() != process:
            return
        from rain.report.run import read_run

        logs = event_logs()
        for number, log in enumerate(logs, 1):
            if len(logs) > 1:
                click.echo(f"client {number}:", err=True)
            click.echo(str(read_run(log).report()), err=True)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(print_reports)
    return events
