"""``rain logs``: what tasks and executors of a service wrote."""

from __future__ import annotations

import re

import click

from rain.cli.output import json_option, print_json
from rain.cli.service import address_option, connection_options, find_service
from rain.common.errors import ConfigError


@click.command(name="logs", short_help="Print what a task or an executor wrote.")
@click.argument("of", metavar="TASK|EXECUTOR")
@address_option
@connection_options
@json_option
def command(
    of: str, address: str | None, tls: str | None, http_port: int | None, as_json: bool
) -> None:
    """Print standard output and standard error of a task or an executor of a running service.

    TASK is SESSION/TASK, as 'rain status --json' and errors name it: 3/17. EXECUTOR is an executor
    type, or the process id of one.
    """
    service = find_service(address, tls, http_port)
    logs = service.ask("logs", **_asked(of))
    if as_json:
        print_json(logs)
        return
    for log in logs:
        if len(logs) > 1:
            click.echo(f"==> {log['name']} <==", err=True)
        click.echo(log["stdout"], nl=False)
        click.echo(log["stderr"], nl=False, err=True)


def _asked(of: str) -> dict[str, str | int]:
    if match := re.fullmatch(r"\(?(\d+)[/,] ?(\d+)\)?", of):
        return {"task": f"{match[1]}/{match[2]}"}
    if of.isdigit():
        return {"pid": int(of)}
    if "/" in of or not of:
        raise ConfigError(
            f"{of!r} is neither a task (SESSION/TASK, for instance 3/17) nor an executor"
        )
    return {"executor": of}
