"""Session.progress(): shows a session until its tasks have ended."""

from __future__ import annotations

import sys
import time

from rain import _core
from rain.common.errors import UsageError, WaitTimeout
from rain.common.text import seconds_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TextIO

    from rain.client.session import Session

    class Display(Protocol):
        """Where counts are shown: made when showing begins."""

        interval: float  # seconds between two updates

        def update(self, counts: Counts) -> None: ...
        def finish(self, counts: Counts) -> None:
            """Show the last counts, and let the place go."""


NAMES = 10  # that are shown at most
# Numbers of the compiled module's states (graph/records.h).
_WAITING, _READY, _RUNNING, _FINISHED, _FAILED, _CANCELLED, _ABORTED = range(1, 8)
_STATES = ("waiting", "ready", "running", "finished", "failed", "cancelled", "aborted")


class Counts:
    """How far a session is. `began`, `done_before`: what the speed is measured from."""

    def __init__(self, raw: _core.ProgressTuple, seconds: float, done_before: int | None) -> None:
        states, self.names, self.by_name, self.failures = raw
        self.states = states
        self.total = sum(states)
        self.done = sum(states[_FINISHED:])
        self.seconds = seconds
        self.done_before = self.done if done_before is None else done_before

    @property
    def bad(self) -> int:
        """How many have ended and are not finished."""
        return self.done - self.states[_FINISHED]

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the speed since the begin; None: not known."""
        new = self.done - self.done_before
        if self.total == self.done:
            return 0.0
        return self.seconds * (self.total - self.done) / new if new > 0 else None

    def line(self) -> str:
        """Return everything in a line."""
        parts = [f"{self.done}/{self.total} tasks"]
        parts += states_texts(self.states)
        line = ", ".join(parts) + f"; {seconds_text(self.seconds)}"
        if self.done < self.total:
            left = self.seconds_left
            line += ", left: " + ("?" if left is None else f"about {seconds_text(left)}")
        return line

    def rows(self) -> list[tuple[str, str]]:
        """Return a task name and its counts for each line."""
        rows = []
        for name, states in self.by_name:
            done, total = sum(states[_FINISHED:]), sum(states)
            rows.append((name, ", ".join([f"{done}/{total}", *states_texts(states)])))
        if self.names > len(self.by_name):
            rows.append((f"{self.names - len(self.by_name)} other names", ""))
        return rows


def states_texts(states: list[int]) -> list[str]:
    """Return "3 running", …; finished ones are what is left over."""
    numbers = (_WAITING, _READY, _RUNNING, _FAILED, _CANCELLED, _ABORTED)
    return [f"{states[i]} {_STATES[i - 1]}" for i in numbers if states[i]]


class Lines:
    """Plain lines, for files and pipes: one every two seconds in which something ended."""

    interval = 2.0

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._shown = -1

    def update(self, counts: Counts) -> None:
        if counts.done != self._shown:
            self._shown = counts.done
            print(counts.line(), file=self._file, flush=True)

    def finish(self, counts: Counts) -> None:
        lines = [counts.line()]
        rows = counts.rows()
        if len(rows) > 1:
            lines += [f"  {name}: {text}" if text else f"  {name}" for name, text in rows]
        if counts.failures:
            lines += ["failed:", *(f"  {line}" for line in counts.failures)]
        print("\n".join(lines), file=self._file, flush=True)


class Rich:
    """A bar and a table at the bottom of a terminal. Raises ImportError without rich."""

    interval = 0.2

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=file), auto_refresh=False)
        self._live.start()

    def update(self, counts: Counts) -> None:
        self._live.update(self._picture(counts), refresh=True)

    def finish(self, counts: Counts) -> None:
        try:
            self.update(counts)
        finally:
            self._live.stop()

    def _picture(self, counts: Counts) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # The bar does not end its line itself; a table does.
        bar = Table.grid(expand=True)
        bar.add_row(
            ProgressBar(total=max(counts.total, 1), completed=counts.done if counts.total else 1)
        )
        parts: list[Any] = [bar, Text(counts.line())]
        rows = counts.rows()
        if len(rows) > 1:
            table = Table.grid(padding=(0, 2))
            for name, text in rows:
                table.add_row(Text(name), Text(text))
            parts.append(table)
        parts += [Text(line, style="red") for line in counts.failures]
        return Group(*parts)


class Notebook:
    """tqdm's bar in a notebook. Raises ImportError without tqdm."""

    interval = 0.2

    def __init__(self, file: TextIO) -> None:
        from tqdm.auto import tqdm

        self._bar = tqdm(total=0, unit="task", file=file)

    def update(self, counts: Counts) -> None:
        self._bar.total = counts.total
        self._bar.n = counts.done
        self._bar.set_postfix_str(", ".join(states_texts(counts.states)), refresh=False)
        self._bar.refresh()

    def finish(self, counts: Counts) -> None:
        self.update(counts)
        self._bar.close()
        for line in counts.failures:
            print(line, file=sys.stderr)


def is_notebook() -> bool:
    """Return if the code runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def choose_display(file: TextIO) -> Display:
    """Return what suits `file`, of what is installed."""
    try:
        if file is sys.stderr and is_notebook():
            return Notebook(file)
        if file.isatty():
            return Rich(file)
    except ImportError:
        pass
    return Lines(file)


def watch(session: Session, timeout: float | None, file: TextIO | None) -> None:
    """See Session.progress."""
    if timeout is not None and timeout != timeout:
        raise ValueError("timeout must not be NaN")
    began = time.monotonic()
    counts = Counts(_core.session_progress(session, NAMES), 0.0, None)
    display = choose_display(sys.stderr if file is None else file)
    try:
        while True:
            display.update(counts)
            left = display.interval
            if timeout is not None:
                left = min(left, began + timeout - time.monotonic())
            try:
                _core.wait_session(session, max(left, 0.0))
            except WaitTimeout:
                if timeout is not None and time.monotonic() >= began + timeout:
                    raise WaitTimeout(
                        f"not finished after {timeout} s; it goes on: wait again, or cancel it"
                    ) from None
                counts = _counts(session, began, counts)
                continue
            return
    finally:
        display.finish(_counts(session, began, counts))


def _counts(session: Session, began: float, last: Counts) -> Counts:
    """Return the present counts; the last ones if the session or its client is closed."""
    try:
        if session.active:
            raw = _core.session_progress(session, NAMES)
            return Counts(raw, time.monotonic() - began, last.done_before)
    except UsageError:
        pass
    return last
