"""Threads that hear when tasks end and do something about it: callbacks, results of an Executor."""

from __future__ import annotations

import atexit
import logging
import os
import select
import threading
import weakref

from rain import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rain.client.client import Client
    from rain.client.session import Item

logger = logging.getLogger("rain.client")

_LINGER_MILLISECONDS = 100  # an idle thread waits this long for more


class Dispatcher:
    """A thread that exists while items are watched, and a moment longer. Thread-safe.

    Subclasses say what is done with the tokens of items that have ended.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        # Guarded by the lock:
        self._queue: _core.CompletionQueue | None = None  # lives as long as the thread
        self._thread: threading.Thread | None = None
        self._pending = 0
        self._closing = False
        self._nudged = False

    def handle(self, tokens: list[Any]) -> None:
        """Take the tokens of items that have ended. On the thread; must not raise."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Do what nudge() was for. On the thread; must not raise."""

    def watch(self, items: Sequence[Item], tokens: Sequence[Any]) -> None:
        """Have the tokens handled once the items have ended. Requires: they are watchable."""
        with self._lock:
            queue = self._awake()
            self._pending += len(items)
        queue.watch_all(items, tokens)

    def nudge(self) -> None:
        """Have prepare() called on the thread."""
        with self._lock:
            self._nudged = True
            self._awake().nudge()

    def join(self) -> None:
        """Wait until everything watched is handled, and for the thread's end."""
        if self._pid != os.getpid():
            return  # the thread is not in this fork
        with self._lock:
            self._closing = True
            thread = self._thread
            if self._queue is not None:
                self._queue.nudge()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _awake(self) -> _core.CompletionQueue:
        if self._queue is None:
            self._queue = _core.CompletionQueue()
            self._queue.fileno()
            self._closing = False
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return self._queue

    def _run(self) -> None:
        # No local variable for the queue: frames of what is called here may outlive the thread, in
        # the traceback of a logged exception.
        assert self._queue is not None
        poll = select.poll()
        poll.register(self._queue.fileno(), select.POLLIN)
        idle = False
        while True:
            heard = poll.poll(_LINGER_MILLISECONDS if idle else None)
            tokens = self._queue.take()
            with self._lock:
                self._nudged = False
            self.prepare()
            if tokens:
                self.handle(tokens)
            with self._lock:
                self._pending -= len(tokens)
                idle = self._pending == 0 and not self._nudged
                if idle and (self._closing or not heard):
                    self._queue = self._thread = None
                    return
            del tokens


class Callbacks(Dispatcher):
    """The callbacks of one client's tasks and data objects."""

    def __init__(self, client: Client) -> None:
        super().__init__("rain-callbacks")
        self._client = weakref.ref(client)

    def add(self, item: Item, fn: Callable[[Any], object]) -> None:
        self.watch((item,), ((fn, item),))

    def handle(self, tokens: list[tuple[Callable[[Any], object], Item]]) -> None:
        for fn, item in tokens:
            try:
                fn(item)
            except BaseException:
                logger.exception("exception in the callback %r of %r", fn, item)

    def close_client(self) -> None:
        """Close the client, so that nothing is pending, and wait until all is called back."""
        client = self._client()
        if client is not None:
            client.close()
        self.join()


_all: weakref.WeakSet[Callbacks] = weakref.WeakSet()
_making = threading.Lock()


def callbacks_of(client: Client) -> Callbacks:
    """Return the callbacks of a client, made when first asked for."""
    with _making:
        callbacks: Callbacks | None = client._callbacks
        if callbacks is None:
            callbacks = client._callbacks = Callbacks(client)
            _all.add(callbacks)
    return callbacks


def _close_clients() -> None:
    for callbacks in list(_all):
        callbacks.close_client()


# Runs before rain.engine's own, which was registered earlier: callbacks still find an interpreter.
atexit.register(_close_clients)
os.register_at_fork(after_in_child=_all.clear)
