"""The command `rain` of the installed package, as a process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

RAIN = (sys.executable, "-m", "rain")
SECONDS = 120.0  # for machines under load; never reached otherwise


def run_rain(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Options are those of subprocess.run()."""
    command = [*RAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **options)
