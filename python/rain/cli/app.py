"""The command ``rain`` itself: its options, and where its commands are."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from rain.common.errors import RainException

if TYPE_CHECKING:
    from collections.abc import Callable

_COMMANDS = {
    "run": "rain.cli.run",
    "start": "rain.cli.start",
    "server": "rain.cli.server",
    "governor": "rain.cli.governor",
    "status": "rain.cli.status",
    "logs": "rain.cli.logs",
    "store": "rain.cli.store",
    "stop": "rain.cli.stop",
    "tls": "rain.cli.tls",
    "new": "rain.cli.new",
    "executors": "rain.cli.executors",
    "report": "rain.cli.report",
    "trace": "rain.cli.trace",
    "doctor": "rain.cli.doctor",
}


class _Commands(click.Group):
    """Imports a command when it is used, and says in one line why it failed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(_COMMANDS)}."
            ctx.fail(f"There is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has seen enough
            raise
        except (RainException, OSError) as error:
            raise click.ClickException(str(error)) from error


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"Rain {version('rain-tasklib')}")
        ctx.exit()


def _print_folder(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from rain.cli.places import folder

        click.echo(folder(str(parameter.name)))
        ctx.exit()


def _place(name: str, meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        f"--{name}", is_flag=True, is_eager=True, expose_value=False, callback=_print_folder,
        help=meaning,
    )  # fmt: skip


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option(
    "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version of Rain.",
)  # fmt: skip
@_place("cmakedir", "Print where CMake finds the tasklib: the value for -Dtasklib_DIR.")
@_place("includedir", "Print where the public C++ headers are.")
@_place("tasklibdir", "Print where the tasklib's sources are, to copy for add_subdirectory.")
@click.pass_context
def rain(ctx: click.Context) -> None:
    """Run task graphs on executors in C++ and Python, write executors, and see what happened.

    Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong (of server, governor and
    start, 1).
    """
    if ctx.invoked_subcommand is None:
        raise click.ClickException("No subcommand provided. 'rain --help' lists them.")
