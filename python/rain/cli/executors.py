"""``rain executors``: what a TOML file registers."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {name: f"rain.cli.executors_{name}" for name in ("list", "check", "stub")}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name]).command
        return command


@click.group(name="executors", cls=_Commands, short_help="List, check and describe executors.")
def command() -> None:
    """What the executors of a TOML file are, whether they start, and which tasks they have."""
