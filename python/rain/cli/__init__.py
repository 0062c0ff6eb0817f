"""The ``rain`` command. Each command is a file here, imported when it is used."""

from __future__ import annotations


def main() -> None:
    """Run what the command line says: ``rain`` and ``python -m rain``."""
    from rain.cli.app import rain
    from rain.cli.script import Script

    try:
        rain()
    except Script as wanted:
        script = wanted
    script.run()
