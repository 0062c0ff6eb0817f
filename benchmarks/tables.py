"""Results of run.py as tables at the end of a page.

    python benchmarks/tables.py RESULT.json… [--into docs/performance.md]

Of a case that is in several files the last one counts. What the page says before the line with
MARK stays.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

MARK = "<!-- from here on: benchmarks/tables.py -->"


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def rows(case: dict[str, Any]) -> list[str]:
    ours = statistics.median(case["ours"])
    check = case.get("check") or ""
    lines = [f"| **{case['title']}** | **{figure(ours)}** | {check} |"]
    for peer in case["peers"]:
        median = statistics.median(peer["figures"])
        lines.append(f"| {peer['name']} | {figure(median)} | {peer['ratio']} |")
    return lines


def tables(paths: list[Path]) -> list[str]:
    cases: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in paths:
        result = json.loads(path.read_text())
        machine = result["machine"]
        where = (
            f"{machine['processor']}, {machine['cpus']} CPUs (load {machine['load_before']:.1f} "
            f"before), Linux {machine['kernel']}, Python {machine['python']}; "
            f"{machine['date']}; {result['rounds']} rounds of `python {result['command']}`"
        )
        for key, case in result["cases"].items():
            cases[key] = (where, case)
    lines = []
    for where in dict.fromkeys(where for where, _ in cases.values()):
        lines += [f"{where}:", "", "| case | figure | |", "|---|---:|---|"]
        for here, case in cases.values():
            if here == where:
                lines += rows(case)
        lines.append("")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument(
        "--into",
        type=Path,
        default=Path(__file__).resolve().parent.parent / "docs" / "performance.md",
    )
    arguments = parser.parse_args()
    before, mark, _ = arguments.into.read_text().partition(MARK)
    if not mark:
        raise SystemExit(f"{arguments.into} has no line {MARK}")
    arguments.into.write_text("\n".join([before + mark, "", *tables(arguments.results)]))


if __name__ == "__main__":
    main()
