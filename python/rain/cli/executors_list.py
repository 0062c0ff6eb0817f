"""``rain executors list FILE``: what a TOML file registers, without starting anything."""

from __future__ import annotations

import shlex
from typing import Any

import click

from rain.cli.output import json_option, own_python_first, print_json, print_table
from rain.config import Executor, read_file_each


@click.command(name="list", short_help="List the executors of a file.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@json_option
@click.pass_context
def command(ctx: click.Context, file: str, as_json: bool) -> None:
    """List the executors that the TOML file FILE registers, and how they are started.

    Nothing is started: 'rain executors check' does that. Exit code 1 if an entry is wrong.
    """
    own_python_first()
    executors = read_file_each(file)
    wrong = [str(found) for found in executors.values() if not isinstance(found, Executor)]
    if as_json:
        print_json({"executors": [_facts(name, found) for name, found in executors.items()]})
    else:
        rows = [
            (name, found.language, shlex.join(found.argv)) if isinstance(found, Executor)
            else (name, "?", "wrong: see below")
            for name, found in executors.items()
        ]  # fmt: skip
        if rows:
            print_table(("executor", "language", "command"), rows, flush_left=3)
        else:
            click.echo(f"{file} registers no executor")
        for error in wrong:
            click.echo(f"Error: {error}", err=True)
    if wrong:
        ctx.exit(1)


def _facts(name: str, found: Executor | Exception) -> dict[str, Any]:
    if not isinstance(found, Executor):
        return {"executor": name, "error": str(found)}
    return {
        "executor": name,
        "language": found.language,
        "command": found.argv,
        "env": dict(entry.split("=", 1) for entry in found.environment),
        "cwd": found.cwd or None,
        "threads": found.threads or None,
        "prestart": found.prestart,
        "max_processes": found.max_processes or None,
        "idle_seconds": found.idle_seconds if found.idle_seconds < float("inf") else None,
        "start_seconds": found.start_seconds,
        "reload": found.reload,
    }
