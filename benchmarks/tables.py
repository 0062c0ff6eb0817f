"""Results of run.py as a page of tables.

    python benchmarks/tables.py RESULT.json… > docs/performance.md

Of a case that is in several files the last one counts.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

HEAD = """# Performance

Printed by `benchmarks/tables.py` from what `make bench` measured. A case and its peers are measured
in turns in one run; figures are medians over the rounds. The last column is ours over theirs for
times (small is good), and how many times as many for rates.
"""


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def rows(case: dict[str, object]) -> list[str]:
    ours = statistics.median(case["ours"])
    lines = [f"| **{case['title']}** | **{figure(ours)}** | |"]
    for peer in case["peers"]:
        median = statistics.median(peer["figures"])
        lines.append(f"| {peer['name']} | {figure(median)} | {peer['ratio']} |")
    return lines


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    print(HEAD)
    cases: dict[str, tuple[str, dict[str, object]]] = {}
    for name in sys.argv[1:]:
        result = json.loads(Path(name).read_text())
        machine = result["machine"]
        where = (
            f"{machine['processor']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, "
            f"Python {machine['python']}; {result['rounds']} rounds of "
            f"`{result['command'].removeprefix('benchmarks/')}`, {Path(name).stem.split('-')[0]}"
        )
        for key, case in result["cases"].items():
            cases[key] = (where, case)
    for where in dict.fromkeys(where for where, _ in cases.values()):
        print(f"{where}:\n\n| case | figure | |\n|---|---:|---:|")
        for here, case in cases.values():
            if here == where:
                print("\n".join(rows(case)))
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
