"""`import rain.client` and a first task load little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from rain.client import Client, Task, blob
import_loaded = set(sys.modules)

class Hello(Task):
    TASK_TYPE = "cpptester/hello"
    def __init__(self, obj):
        super().__init__(inputs=(obj,), outputs=1)

with Client(executors={"cpptester": sys.argv[1]}) as client, client.new_session() as session:
    task = Hello(blob(b"world"))
    session.submit()
    task.wait()
    assert task.output._state
print(*import_loaded, "|", *set(sys.modules) - import_loaded)
"""

HEAVY = {
    "asyncio",
    "cloudpickle",
    "dataclasses",
    "difflib",
    "enum",
    "inspect",
    "logging",
    "numpy",
    "pathlib",
    "re",
    "shlex",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "typing",
}


def test_client_and_first_task_load_no_heavy_module(cpptester: Path) -> None:
    # -S: what site-packages' own start-up files import is not ours.
    packages = f"import sys; sys.path[:] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-S", "-c", packages + PROGRAM, str(cpptester)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    at_import, _, later = done.stdout.partition("|")
    assert "rain.client" in at_import.split()
    assert not HEAVY & set(at_import.split())
    assert not HEAVY & set(later.split())
