"""Tells browsers what has changed, several times a second, while any of them looks.

A message is an event of text/event-stream with JSON. The first one a browser gets is "all", the
others "change": the same keys, of which those that have not changed are missing, and of the lists
that only grow what is new. docs/watching.md names what the page shows; the keys:

    time       now, in seconds since the epoch, as all times but those of runs
    zero       what the times of runs are counted from ("all" alone)
    head       engine, version, began ("all" alone)
    tasks      {state: n};  names [[name, {state: n}], ...];  n_names
    governors  [{name, address, pid, cpus, lag, executors, store, ...}, ...]
    sessions   [{id, name, client, governors, failed, tasks}, ...]
    blobs      {count, bytes, lines}
    at_work    [[row, group, id, begin], ...];  begin in us since zero
    grow: groups [name, ...]  rows [[label, lane], ...]  failures [{...}, ...]
          runs [[row, group, state, id, begin, length], ...] in us
    left_out   runs that are not shown, so far
    lacking    [{tasks, parts, lacks}, ...]: what waits for governors, of a cluster

A last event "end" says that the governor was closed.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from itertools import islice

from rain.common.errors import RainException
from rain.dashboard.source import NAMES
from rain.dashboard.status import STATES, add_counts, merge_sessions, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rain.dashboard.source import Look, Source

_log = logging.getLogger("rain.dashboard")

INTERVAL = 0.25  # between two looks
_SHARE = 0.1  # of the time, spent on looking
_END_SECONDS = 5.0
_MOST_RUNS = 20_000  # that a new browser is told
_MOST_FAILURES = 200
_MOST_GROUPS = 2000  # names of tasks; the others are one
_MOST_WAITING = 200  # messages, of a browser that doesn't read
_OTHERS = "(others)"


class TooMany(RainException):
    """Enough browsers look already."""


class Feed:
    """Looks at a source while somebody is subscribed, in a thread of its own. Thread-safe.

    close() ends all subscriptions, and waits for a look that has begun.
    """

    MOST = 32  # subscriptions

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._subscriptions: list[Subscription] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._page: _Page | None = None  # the thread's

    def subscribe(self, notify: Callable[[], None] | None = None) -> Subscription:
        """Return a subscription. `notify` is called by the feed's thread when it has something.

        Raises
        ------
        TooMany
        """
        subscription = Subscription(self, notify)
        with self._lock:
            if self._closed:
                subscription._end()
                return subscription
            if len(self._subscriptions) >= self.MOST:
                raise TooMany(f"{self.MOST} pages are open already: close some")
            self._subscriptions.append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rain-feed", daemon=True)
                self._thread.start()
        self._wake.set()
        return subscription

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_SECONDS)  # governors elsewhere may not answer

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        self._wake.set()

    def _run(self) -> None:
        try:
            self._look_while_somebody_does()
        except Exception as error:
            if not isinstance(error, RainException):  # else the engine is closed
                _log.exception("the dashboard has ended")
            self._closed = True
        with self._lock:
            subscriptions = []
            if self._closed:
                subscriptions, self._subscriptions = self._subscriptions, []
                self._thread = None
        for subscription in subscriptions:
            subscription._end()

    def _look_while_somebody_does(self) -> None:
        watching = False
        while not self._closed:
            with self._lock:
                subscriptions = list(self._subscriptions)
                if not subscriptions and not watching:
                    self._thread = None  # the next one starts another
                    return
            if bool(subscriptions) != watching:
                watching = not watching
                self._source.watch(watching)
                continue
            began = time.monotonic()
            self._tell(subscriptions)
            took = time.monotonic() - began
            self._wake.clear()
            if all(each._told for each in self._subscriptions) and not self._closed:
                self._wake.wait(max(INTERVAL, took / _SHARE))

    def _tell(self, subscriptions: Sequence[Subscription]) -> None:
        if self._page is None:
            self._page = _Page(self._source.engine, self._source.began)
        lacking = self._source.about().get("lacking", [])
        change = self._page.update(self._source.next_looks(), lacking)
        message = _event("change", change)
        whole = None
        for subscription in subscriptions:
            if subscription._told:
                subscription._push(message)
            else:
                whole = whole or _event("all", self._page.whole())
                subscription._told = True
                subscription._push(whole)


class Subscription:
    """What one browser is still to be sent. Made by Feed.subscribe()."""

    def __init__(self, feed: Feed, notify: Callable[[], None] | None) -> None:
        self._feed = feed
        self._notify = notify
        self._condition = threading.Condition()
        self._messages: deque[bytes] = deque()
        self._told = False  # the whole
        self._ended = False

    def take(self, timeout: float | None = 0.0) -> bytes | None:
        """Return what there is, b"" if nothing came in time; None: there will be no more."""
        with self._condition:
            if not self._messages and not self._ended:
                self._condition.wait(timeout)
            if not self._messages and self._ended:
                return None
            text = b"".join(self._messages)
            self._messages.clear()
            return text

    def close(self) -> None:
        """Idempotent."""
        with self._condition:
            self._ended = True
            self._messages.clear()
            self._condition.notify_all()
        self._feed._unsubscribe(self)

    def _push(self, message: bytes) -> None:
        with self._condition:
            if len(self._messages) >= _MOST_WAITING:  # it connects again, and gets the whole
                self._messages.clear()
                self._ended = True
            if self._ended:
                return
            self._messages.append(message)
            self._condition.notify_all()
        if self._notify is not None:
            self._notify()

    def _end(self) -> None:
        self._push(_event("end", {}))
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._notify is not None:
            self._notify()


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class _Page:
    """What the browsers know: numbers of rows and groups, and what was told last."""

    def __init__(self, engine: str, began: float) -> None:
        self._head = {"engine": engine, "version": version(), "began": began}
        self._zero: float | None = None
        self._groups: dict[str, int] = {}
        self._rows: dict[tuple[str, str, int], int] = {}
        self._runs: deque[list[Any]] = deque(maxlen=_MOST_RUNS)
        self._failures: deque[dict[str, Any]] = deque(maxlen=_MOST_FAILURES)
        self._left_out = 0
        self._last: dict[str, Any] = {}  # of all keys that are not lists which only grow
        self._by_governor: dict[str, Look] = {}
        self._blobs: dict[str, Any] = {}  # by governor

    def update(self, looks: Sequence[Look], lacking: Sequence[Any] = ()) -> dict[str, Any]:
        """Return the change."""
        n_groups, n_rows = len(self._groups), len(self._rows)
        several = len(looks) > 1
        runs, failures, at_work = [], [], []
        for look in looks:
            if self._zero is None:
                self._zero = float(int(look["time"]))  # so that ticks are whole seconds
            name = look["governor"]["name"]
            host = name if several else ""
            for label, lane, id, task, state, begin, seconds in look.get("runs", ()):
                runs.append(
                    [self._row(host, label, lane), self._group(task), STATES.index(state), id,
                     self._us(begin), round(seconds * 1e6)]
                )  # fmt: skip
            for label, lane, id, task, begin in look.get("at_work", ()):
                at_work.append(
                    [self._row(host, label, lane), self._group(task), id, self._us(begin)]
                )
            failures += look.get("failures", ())
            self._left_out += look.get("left_out", 0)
            if look.get("blobs") is not None:
                self._blobs[name] = look["blobs"]
        self._runs.extend(runs)
        self._failures.extend(failures)
        present = self._present(looks, at_work) | {"lacking": list(lacking)}
        change = {key: value for key, value in present.items() if value != self._last.get(key)}
        self._last = present
        grown = {
            "groups": list(islice(self._groups, n_groups, None)),
            "rows": self._row_texts(n_rows),
            "runs": runs,
            "failures": failures,
        }
        change.update({key: value for key, value in grown.items() if value})
        return change

    def whole(self) -> dict[str, Any]:
        return {
            **self._last,
            "head": self._head,
            "zero": self._zero,
            "groups": list(self._groups),
            "rows": self._row_texts(0),
            "runs": list(self._runs),
            "failures": list(self._failures),
        }

    def _present(self, looks: Sequence[Look], at_work: list[Any]) -> dict[str, Any]:
        names: dict[str, dict[str, int]] = {}
        for look in looks:
            for name, counts in look["names"]:
                names[name] = add_counts([names.get(name, {}), counts])
        most = sorted(names.items(), key=lambda item: (-sum(item[1].values()), item[0]))[:NAMES]
        blobs = [self._blobs[g] for look in looks if (g := look["governor"]["name"]) in self._blobs]
        lines = sorted((line for each in blobs for line in each["lines"]), key=lambda x: -x[3])
        return {
            "time": max((look["time"] for look in looks), default=time.time()),
            "tasks": add_counts(look["governor"]["tasks"] for look in looks),
            "names": [[name, counts] for name, counts in most],
            "n_names": max((look["n_names"] for look in looks), default=0),
            "governors": [
                {key: value for key, value in look["governor"].items() if key != "sessions"}
                | {"lag": look["lag"]}
                for look in looks
            ],
            "sessions": merge_sessions(look["governor"] for look in looks),
            "blobs": {
                "count": sum(each["count"] for each in blobs),
                "bytes": sum(each["bytes"] for each in blobs),
                "lines": lines[:100],
            },
            "at_work": at_work,
            "left_out": self._left_out,
        }

    def _us(self, when: float) -> int:
        return round((when - (self._zero or 0.0)) * 1e6)

    def _group(self, name: str) -> int:
        if name not in self._groups and len(self._groups) >= _MOST_GROUPS:
            name = _OTHERS
        return self._groups.setdefault(name, len(self._groups))

    def _row(self, host: str, label: str, lane: int) -> int:
        return self._rows.setdefault((host, label, lane), len(self._rows))

    def _row_texts(self, first: int) -> list[list[Any]]:
        return [
            [f"{host} {label}" if host else label, lane]
            for host, label, lane in islice(self._rows, first, None)
        ]
