"""``rain report RUN``: what the tasks of an event log took."""

from __future__ import annotations

from typing import Any

import click

from rain.cli.output import json_option, print_json


@click.command(name="report", short_help="Tell what the tasks of a run took.")
@click.argument("file", metavar="RUN", type=click.Path())
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write a page with table, timeline and failures, which needs no internet, to FILE.",
)
@json_option
def command(file: str, html: str | None, as_json: bool) -> None:
    """Print a table of what the tasks of the event log RUN took, by task name.

    'rain run --events RUN script.py' and Client(events="RUN") write event logs. A log of a program
    that still runs, or was killed, is read as far as it goes.
    """  # fmt: skip
    from rain.report.run import read_run

    run = read_run(file)
    if html is not None:
        from rain.report.html import page

        with open(html, "w", encoding="utf-8") as stream:
            stream.write(page(run, file))
        click.echo(f"{html}: {run.report().headline()}", err=as_json)
    if as_json:
        print_json(_facts(run))
    elif html is None:
        click.echo(str(run.report()))


def _facts(run: Any) -> dict[str, Any]:
    report = run.report()
    states: dict[str, int] = {}
    for task in run.tasks:
        states[task.state] = states.get(task.state, 0) + 1
    return {
        "began": run.began,
        "seconds": run.seconds,
        "closed": run.closed,
        "cpus": run.cpus,
        "tasks": states,
        "groups": report.groups(),
        "failures": [
            {
                "id": list(task.id),
                "name": task.group,
                "attempts": task.report.attempts,
                "error": task.report.error,
            }
            for task in run.tasks
            if task.state == "failed"
        ],
        "notes": run.notes,
    }
