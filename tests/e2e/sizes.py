"""How large tests may be: what the machine has, and whether somebody waits for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MiB = 1 << 20
GiB = 1 << 30
LONG = bool(os.environ.get("RAIN_LONG"))  # `make long`


def some(few: int, many: int) -> int:
    """How often to do something: in every run, and in `make long`."""
    return many if LONG else few


def need_memory(size: int) -> None:
    """Skip the test unless that much is free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    if available < size:
        pytest.skip(f"{size >> 20} MiB of memory are needed, {available >> 20} MiB are available")
