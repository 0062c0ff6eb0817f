"""docs/data.md: its blocks are one program, which prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def test_the_page_prints_what_it_says(tmp_path: Path) -> None:
    for module in ("pandas", "pyarrow"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    program = tmp_path / "page.py"
    program.write_text("\n".join(text for language, text in blocks if language == "python"))
    (expected,) = [text for language, text in blocks if language == "text"]
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected
