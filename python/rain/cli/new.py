"""``rain new NAME``: a small executor project that builds and runs at once."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

import click

from rain.cli.output import json_option, print_json

_TEMPLATES = Path(__file__).with_name("templates")
_TAKEN = {"all", "buildin", "client", "install", "py", "rain", "tasklib", "test"}
_COMMANDS = {
    "cpp": (
        "cmake -S . -B build",
        "cmake --build build",
        "ctest --test-dir build",
        "rain executors check executors.toml",
        "rain run client.py",
    ),
    "python": (
        "python -m pytest",
        "rain executors check executors.toml",
        "rain run client.py",
    ),
}


def _check_name(_: click.Context, parameter: click.Parameter, name: str) -> str:
    # It names a Python module and a target of CMake.
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
        raise click.BadParameter(
            f"'{name}' cannot be the name of an executor project: small letters, digits and '_', "
            "beginning with a letter",
            param=parameter,
        )
    if keyword.iskeyword(name) or name in _TAKEN or name in sys.stdlib_module_names:
        raise click.BadParameter(
            f"'{name}' has a meaning of its own, choose another name", param=parameter
        )
    return name


@click.command(name="new", short_help="Make a small executor project.")
@click.argument("name", callback=_check_name)
@click.option("--cpp", "language", flag_value="cpp", help="An executor in C++, built with CMake.")
@click.option("--python", "language", flag_value="python", help="An executor in Python.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Where it is made; by default in NAME.",
)
@json_option
def command(name: str, language: str | None, directory: str | None, as_json: bool) -> None:
    """Make a project with an executor NAME, its test, its registration and a client script.

    The directory must be empty or not there yet. What to do in it is printed, and in its README.
    """  # fmt: skip
    if language is None:
        raise click.UsageError("Say in which language: --cpp or --python")
    folder = Path(directory or name)
    if folder.exists() and any(folder.iterdir()):
        raise click.ClickException(f"{folder} is not empty; choose another --directory")
    files = []
    for template in sorted((_TEMPLATES / language).iterdir()):
        target = folder / template.name.removesuffix(".in").replace("NAME", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        target.write_text(text.replace("@NAME@", name), encoding="utf-8")
        files.append(target.name)
    commands = [f"cd {folder}", *_COMMANDS[language]]
    if as_json:
        print_json({"directory": str(folder), "files": files, "commands": commands})
        return
    click.echo(f"{folder} has {', '.join(files)}. Go on with:")
    for line in commands:
        click.echo(f"  {line}")
