"""``rain doctor``: is this machine fit for Rain?"""

from __future__ import annotations

from itertools import chain

import click

from rain.cli.checks import Check, machine_checks
from rain.cli.checks_installation import installation_checks
from rain.cli.output import count_text, json_option, print_json

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command(name="doctor", short_help="Check whether this machine is fit for Rain.")
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check CPUs, memory, limits, shared memory, directories, versions and tools, and run a task.

    Each line says ok, warning or error; below it stands what could be done.

    Exit codes: 0 without errors, also with warnings; 1 with errors.
    """
    checks: list[Check] = []
    for check in chain(machine_checks(), installation_checks()):
        checks.append(check)
        if not as_json:
            _print(check)
    counts = {state: sum(check.state == state for check in checks) for state in _COLOURS}
    if as_json:
        print_json({"checks": [check.facts() for check in checks], **counts})
    else:
        errors, warnings = (count_text(counts[state], state) for state in ("error", "warning"))
        click.echo(f"{errors}, {warnings}")
    if counts["error"]:
        ctx.exit(1)


def _print(check: Check) -> None:
    state = click.style(f"{check.state:7}", fg=_COLOURS[check.state])
    click.echo(f"{state}  {check.name}: {check.found}")
    if check.advice:
        click.echo(f"{'':9}{check.advice}")
