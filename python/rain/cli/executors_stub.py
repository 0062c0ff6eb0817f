"""``rain executors stub FILE -o stubs.py``: a Python module of the tasks, for editors and mypy."""

from __future__ import annotations

import click

from rain.cli.output import count_text, json_option, own_python_first, print_json
from rain.cli.probe import probe
from rain.cli.stubs import stub_module


@click.command(name="stub", short_help="Write a Python module of the executors' tasks.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="MODULE.py",
    help="The module, which is replaced.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, file: str, output: str, as_json: bool) -> None:
    """Write a Python module with a function for each task of the executors in FILE.

    'from MODULE import example1' and 'example1.scale(x, factor=2.0)' make a task, which an editor
    completes and mypy checks. Values become data objects of the types that the executor tells.

    Each executor is started once. One that fails is left out, and the exit code is 1.
    """  # fmt: skip
    own_python_first()
    probes = list(probe(file))
    good = [probed for probed in probes if not probed.error]
    failed = [probed for probed in probes if probed.error]
    with open(output, "w", encoding="utf-8") as stream:
        stream.write(stub_module(file, good))
    tasks = sum(len(probed.tasks) for probed in good)
    for probed in failed:
        click.echo(f"{probed.name} is left out: {probed.error}", err=True)
    if as_json:
        print_json({"file": output, "executors": [probed.facts() for probed in probes]})
    else:
        executors = count_text(len(good), "executor")
        click.echo(f"{output}: {count_text(tasks, 'task')} of {executors}")
    if failed:
        ctx.exit(1)
