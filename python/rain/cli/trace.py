"""``rain trace RUN -o FILE``: an event log for Perfetto."""

from __future__ import annotations

import click

from rain.cli.output import count_text, json_option, print_json


@click.command(name="trace", short_help="Turn an event log into a trace for Perfetto.")
@click.argument("file", metavar="RUN", type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The trace, which is replaced.",
)
@json_option
def command(file: str, output: str, as_json: bool) -> None:
    """Write the event log RUN as trace events, to open in https://ui.perfetto.dev.

    Each executor has a line for its start and one for each call that it runs at once; tasks are
    shown from submit to end with the time that they waited for inputs, in the queue and on the
    way; the store has a graph of its bytes.
    """  # fmt: skip
    from rain.report.run import read_run
    from rain.report.trace import write_trace

    run = read_run(file)
    with open(output, "w", encoding="utf-8") as stream:
        events = write_trace(run, stream)
    if as_json:
        print_json({"file": output, "events": events, "tasks": len(run.tasks), "notes": run.notes})
        return
    click.echo(f"{output}: {count_text(events, 'event')} of {count_text(len(run.tasks), 'task')}")
    for note in run.notes:
        click.echo(note, err=True)
