"""``rain executors check FILE``: does each executor start, and which tasks has it?"""

from __future__ import annotations

import click

from rain.cli.output import count_text, json_option, own_python_first, print_json
from rain.cli.probe import Probe, probe
from rain.common.text import seconds_text


@click.command(name="check", short_help="Start each executor and show its tasks.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@json_option
@click.pass_context
def command(ctx: click.Context, file: str, as_json: bool) -> None:
    """Start each executor of the TOML file FILE and show how long that took and its tasks.

    An executor that fails is shown with its error and the last lines of its output.

    Exit codes: 0 all of them start, 1 one does not or the file is wrong.
    """
    own_python_first()
    probes = []
    for probed in probe(file):
        probes.append(probed)
        if not as_json:
            _print(probed)
    failed = sum(bool(probed.error) for probed in probes)
    if as_json:
        print_json({"executors": [probed.facts() for probed in probes]})
    else:
        bad = f", {failed} failed" if failed else ""
        click.echo(f"{count_text(len(probes), 'executor')}{bad}")
    if failed:
        ctx.exit(1)


def _print(probed: Probe) -> None:
    name = click.style(probed.name, bold=True)
    if probed.error:
        click.echo(f"{name}: {click.style('failed', fg='red')}")
        for line in probed.error.splitlines():
            click.echo(f"  {line}")
        return
    seconds = seconds_text(probed.seconds or 0.0)
    click.echo(f"{name}: {click.style('ok', fg='green')}, pid {probed.pid}, started in {seconds}")
    for task in probed.tasks:
        click.echo(f"  {probed.name}/{task}")
    if not probed.tasks:
        click.echo("  announces no tasks, as those with a library of Rain 0.4 (protocol cbor-1)")
