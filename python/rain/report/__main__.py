"""``python -m rain.report run.jsonl``: the table of an event log."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> int:
    from rain.common.errors import RainException
    from rain.report.events import report_of

    parser = argparse.ArgumentParser(
        prog="python -m rain.report",
        description="Print what the tasks of an event log, made by Client(events=...), took.",
    )
    parser.add_argument("file", help="the event log")
    chosen = parser.parse_args(arguments)
    try:
        print(report_of(chosen.file))
    except BrokenPipeError:
        return 0
    except (RainException, OSError) as error:
        print(f"rain.report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
