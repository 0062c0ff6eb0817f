"""The code of a tutorial, from its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of every code block of the page."""
    text = (DOCS / page).read_text()
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write_files(page: str, folder: Path) -> None:
    """Write the blocks that begin with a file name."""
    for _, text in blocks(page):
        named = re.match(r"(?://|#) ([\w.]+)\n", text)
        if named:
            (folder / named[1]).write_text(text)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program of the tutorial; return what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
