"""How commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from rain.common.text import count_text as count_text
from rain.common.text import text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

json_option: Callable[..., Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs."
)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], flush_left: int = 1) -> None:
    """With ``rich`` on a terminal, else in plain columns; the first ones flush left."""
    if not sys.stdout.isatty():
        click.echo(text_table(header, rows, flush_left))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number < flush_left else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def own_python_first() -> None:
    """Let "python3" in commands of executors be this interpreter, as in an activated environment.

    Only where this interpreter is an environment's.
    """
    folder = os.path.dirname(sys.executable)
    path = os.environ.get("PATH", os.defpath)
    if sys.prefix != sys.base_prefix and path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = f"{folder}{os.pathsep}{path}"
