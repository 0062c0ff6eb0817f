"""An engine that pages in other processes look at: of a service, and of a server."""

from __future__ import annotations

import threading
import time
from collections import deque

from rain.dashboard.events import MergedEvents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rain.dashboard.source import EngineSource, Look

_GONE_SECONDS = 10.0  # a page looks several times a second
_MOST_RUNS = 5000  # that wait for a page
_MOST_FAILURES = 200


class _Viewer:
    """What a page is still to be told."""

    def __init__(self, failures: deque[dict[str, Any]]) -> None:
        self.runs: deque[list[Any]] = deque(maxlen=_MOST_RUNS)
        self.failures = deque(failures, maxlen=_MOST_FAILURES)
        self.left_out = 0
        self.blobs: dict[str, Any] | None = None
        self.seen = 0.0


class SharedSource:
    """Lets each of several pages have what came since its own last look. Thread-safe."""

    def __init__(self, source: EngineSource) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._viewers: dict[str, _Viewer] = {}
        self._failures: deque[dict[str, Any]] = deque(maxlen=_MOST_FAILURES)
        self._blobs: dict[str, Any] | None = None

    def look(self, viewer: str, *, page: bool = False) -> list[Look]:
        """Return what Source.next_looks() does for `viewer`, without `page` Source.looks()."""
        if not page:
            return self.source.looks()
        now = time.monotonic()
        with self._lock:
            if not self._viewers:
                self.source.watch(True)
            own = self._viewers.get(viewer)
            if own is None:
                own = self._viewers[viewer] = _Viewer(self._failures)
                own.blobs = self._blobs
            own.seen = now
            for name, each in list(self._viewers.items()):
                if now - each.seen > _GONE_SECONDS:
                    del self._viewers[name]
            (look,) = self.source.next_looks()
            self._failures.extend(look["failures"])
            self._blobs = look["blobs"] or self._blobs
            for each in self._viewers.values():
                each.left_out += look["left_out"]
                each.left_out += max(len(each.runs) + len(look["runs"]) - _MOST_RUNS, 0)
                each.runs.extend(look["runs"])
                each.failures.extend(look["failures"])
                each.blobs = look["blobs"] or each.blobs
            look |= {
                "runs": list(own.runs),
                "failures": list(own.failures),
                "left_out": own.left_out,
                "blobs": own.blobs,
            }
            own.runs.clear()
            own.failures.clear()
            own.left_out, own.blobs = 0, None
            return [look]

    def look_away(self, viewer: str) -> None:
        """The page of `viewer` is closed."""
        with self._lock:
            if self._viewers.pop(viewer, None) is not None and not self._viewers:
                self.source.watch(False)


class RemoteSource:
    """Governors that answer questions elsewhere: a Source of a client's own page.

    Parameters
    ----------
    ask : callable
        Asks all of them: ``ask("look", page=...)`` returns the looks.
    engine : str
        "standalone" or "cluster".
    """

    def __init__(self, ask: Callable[..., Any], engine: str) -> None:
        self.engine = engine
        self._ask = ask
        governors = [look["governor"] for look in self.looks()]
        self._events = MergedEvents(self._pull)
        self.began = min((each["began"] for each in governors), default=time.time())

    def about(self) -> dict[str, Any]:
        return {}

    def watch(self, on: bool) -> None:
        if not on:
            self._ask("look_away")

    def next_looks(self) -> list[Look]:
        return list(self._ask("look", page=True))

    def looks(self) -> list[Look]:
        return list(self._ask("look", page=False))

    def events(self, criteria: bytes) -> bytes:
        return self._events.answer(criteria)

    def _pull(self, known: dict[str, int]) -> list[dict[str, Any]]:
        return list(self._ask("events", after=known))

    def close(self) -> None:
        pass
