"""``python -m rain.report run.jsonl``: the same as ``rain report run.jsonl``."""

import sys

from rain.cli.app import rain

if __name__ == "__main__":
    rain(["report", *sys.argv[1:]], prog_name="rain")
