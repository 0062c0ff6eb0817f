"""A standalone service as a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from world import DEADLINE_SECONDS, wait_until

PROGRAM = """
import json, logging, sys
from rain.governor.unix_service import serve
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
serve(ready=lambda: print("ready", flush=True), **json.loads(sys.argv[1]))
"""


class Service:
    """What runs, and the lines of its log so far."""

    def __init__(self, process: subprocess.Popen[str], path: str) -> None:
        self.process = process
        self.path = path
        self.address = f"unix:{path}"
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def said(self, *parts: str) -> list[str]:
        """The lines of the log with all of these parts."""
        return [line for line in list(self.log) if all(part in line for part in parts)]

    def wait_for(self, *parts: str) -> None:
        wait_until(lambda: self.said(*parts), f"{parts} in the log, which is {self.log}")

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        code = self.process.wait(DEADLINE_SECONDS)
        self._reader.join()
        return code


@contextlib.contextmanager
def service(place: Path, executors: dict[str, Any], **options: Any) -> Iterator[Service]:
    """A service that clients can connect to; asked to end at the end, if it still runs."""
    path = str(place / "rain" / "s")
    arguments = {"socket": path, "executors": executors, "cpus": 2} | options
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments, default=str)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        running = Service(process, path)
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if said != "ready\n":
                raise AssertionError(f"no service: {running.wait()}, {running.log}")
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            running.wait()
            with contextlib.suppress(OSError):
                (place / "rain").rmdir()
