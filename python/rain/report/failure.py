"""Why a task failed, as far as an event log tells."""

from __future__ import annotations

from rain.common.text import seconds_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RunAttempt:
    """A call that did not end well. `message` is empty where it is that of the failure."""

    __slots__ = ("executor", "kind", "message", "pid", "seconds")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.kind = str(raw["kind"])
        self.message = str(raw.get("message", ""))
        self.executor = int(raw.get("executor", 0))
        self.pid = int(raw.get("pid", 0))
        self.seconds = float(raw.get("seconds", 0.0))


class RunFailure:
    """The failure of a task.

    Attributes
    ----------
    kind : str
        "task", "executor", "store_full", "timeout", "out_of_memory", "launcher", …
    message : str
        With the traceback of a task in Python.
    debug : str
        What the task wrote with ``ctx.debug``.
    report : str
        Of a process that died: signal, memory, last lines of its standard error.
    attempts : list of RunAttempt
        The last calls.
    n_attempts : int
        How many there were.
    cut : int
        Bytes of texts that the log leaves out.
    """

    __slots__ = ("attempts", "cut", "debug", "kind", "message", "n_attempts", "report")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.kind = str(raw["kind"])
        self.message = str(raw.get("message", ""))
        self.debug = str(raw.get("debug", ""))
        self.report = str(raw.get("report", ""))
        self.attempts = [RunAttempt(each) for each in raw.get("attempts", ())]
        self.n_attempts = int(raw.get("n_attempts", len(self.attempts)))
        self.cut = int(raw.get("cut", 0))

    def text(self) -> str:
        """Return all of it for people."""
        parts = [self.message.rstrip()]
        if self.report:
            parts.append(self.report.rstrip())
        if self.debug:
            parts.append(f"It had said (ctx.debug):\n{self.debug.rstrip()}")
        if self.n_attempts > 1:
            parts.append("\n".join(["Attempts:", *self._attempts()]))
        if self.cut:
            parts.append(f"{self.cut:,} bytes of this are not in the event log.")
        return "\n\n".join(part for part in parts if part)

    def _attempts(self) -> list[str]:
        skipped = self.n_attempts - len(self.attempts)
        lines = [f"  {skipped} earlier ones are not in the event log"] if skipped > 0 else []
        for number, attempt in enumerate(self.attempts, skipped + 1):
            where = f" in process {attempt.pid}" if attempt.pid else ""
            took = f" after {seconds_text(attempt.seconds)}" if attempt.seconds else ""
            message = attempt.message or self.message
            lines.append(f"  {number}. {attempt.kind}{where}{took}: {headline(message)}")
        return lines


def headline(text: str) -> str:
    """Return the line that says most: the last one of a Python traceback, else the first."""
    lines = text.strip().split("\n")
    if lines[0].startswith("Traceback "):
        own = [line for line in lines if line and line[0] != " "]
        return next((x for x in reversed(own) if x != "Task failed in executor"), lines[0])
    return lines[0]
