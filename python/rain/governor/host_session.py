"""A session that a client elsewhere has on a governor, and the thread that hands its updates on."""

from __future__ import annotations

import logging
import os
import select
import threading

from rain.common.errors import UsageError
from rain.common.logfile import read_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias

    from rain import _core

    # Encoded updates, the numbers of the batches whose tasks have all ended.
    OnUpdates: TypeAlias = Callable[[bytes, list[int]], None]
    # Lines that tasks of the session wrote with ctx.log; lines that were lost. Their ids are the
    # client's: (session, task) with the number that open_session() was given.
    OnLog: TypeAlias = Callable[[list[_core.LogTuple], int], None]

_log = logging.getLogger("rain.governor")

STATES = ("waiting", "ready", "running", "finished", "failed", "cancelled", "aborted")


class HostSession:
    """A session that a client elsewhere has on a Host. Thread-safe. Made by Host.open_session()."""

    def __init__(
        self,
        native: _core.HostedSession,
        name: str,
        continue_on_error: bool,
        client: str,
        client_session: int,
        on_log: OnLog | None,
        *,
        run_directory: str,
        forget: Callable[[HostSession], None],
    ) -> None:
        self.number = native.session_id  # the governor's
        self._continue_on_error = continue_on_error
        self.name = name
        self.client = client
        self.client_session = client_session
        self.on_log = on_log
        self._run_directory = run_directory
        self._forget = forget  # called when it closes, before that
        self._native = native

    def submit(self, batch: Any, data: Mapping[int, Any]) -> int:
        """Decode a batch and run it. Returns the batch's number.

        Parameters
        ----------
        batch : bytes-like
            What Part.batch is in the client.
        data : mapping
            Object id -> a room of make_room(), bytes-like (copied), a Blob of this governor, or the
            path of a directory of receive_directory(), which is taken over. Inputs that earlier
            batches of this session made or brought need none.

        Raises
        ------
        RainException
            The batch is refused, and nothing is submitted.
        """
        return self._native.submit(batch, dict(data))

    def cancel(self, task_ids: Iterable[int]) -> None:
        self._native.cancel(list(task_ids))

    def cancel_all(self) -> None:
        self._native.cancel_all()

    def unkeep(self, object_ids: Iterable[int]) -> None:
        self._native.unkeep(list(object_ids))

    def fd(self) -> int:
        """A descriptor that is readable while there are updates; valid until close()."""
        return self._native.fd()

    def take_updates(self) -> tuple[bytes, list[int]]:
        """Return encoded updates, and the numbers of batches whose tasks have all ended."""
        return self._native.take_updates()

    def view(self, object_id: int) -> _core.Blob | None:
        """Return the data of a finished object: a buffer; or, with `_path`, a directory."""
        return self._native.view(object_id)

    def printed(self, task_id: int) -> tuple[str, int, int, str, int, int] | None:
        """Return files and ranges of what a task printed; None before its end."""
        return self._native.logs(task_id)

    def read_log(self, path: str, begin: int, end: int) -> tuple[bytes, int]:
        """Return what an executor wrote to stdout or stderr, as common.logfile.read_end().

        `path` is what updates of the session's tasks say. Raises OSError, UsageError.
        """
        inside = os.path.realpath(self._run_directory)
        if not os.path.realpath(path).startswith(inside + os.sep):
            raise UsageError(f"{path} is no log of this governor's executors")
        return read_end(path, begin, end)

    def status(self) -> dict[str, Any]:
        counts = self._native.states()
        # The first state is of what is not submitted.
        tasks = dict(zip(STATES, counts[-len(STATES) :], strict=True))
        return {
            "id": self.number,
            "name": self.name,
            "client": self.client,
            "client_session": self.client_session,
            "tasks": tasks,
            "failed": not self._continue_on_error and tasks["failed"] > 0,
        }

    def close(self) -> None:
        """End the session: its tasks are cancelled and its data go. Idempotent."""
        self._forget(self)
        self._native.close()


class UpdatePump:
    """A thread that takes the updates of sessions and hands them to their callbacks.

    A session that was removed gets no more calls, not even one that had begun (unless the callback
    itself removes it).
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # held while a callback runs
        self._callbacks: dict[int, tuple[HostSession, OnUpdates]] = {}  # by descriptor
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="rain-updates", daemon=True)
        self._thread.start()

    def add(self, session: HostSession, callback: OnUpdates) -> None:
        with self._lock:
            self._callbacks[session.fd()] = session, callback
            self._poll.register(session.fd(), select.EPOLLIN)

    def remove(self, session: HostSession) -> None:
        """Requires: the session's descriptor is open still."""
        with self._lock:
            for fd, (of, _) in self._callbacks.items():
                if of is session:
                    self._poll.unregister(fd)
                    del self._callbacks[fd]
                    return

    def close(self) -> None:
        """Requires: every session was removed."""
        self._closed = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not threading.current_thread():
            self._thread.join()
            self._poll.close()
            os.close(self._wake)

    def _run(self) -> None:
        while not self._closed:
            for fd, _ in self._poll.poll():
                with self._lock:
                    found = self._callbacks.get(fd)
                    if found is None:
                        continue
                    session, callback = found
                    try:
                        updates, ended = session.take_updates()
                    except Exception:
                        _log.exception("taking updates of session %r failed", session.name)
                        self.remove(session)  # or it would fail again, and at once
                        continue
                    try:
                        if updates or ended:
                            callback(updates, ended)
                    except Exception:
                        _log.exception("handing on updates of session %r failed", session.name)
