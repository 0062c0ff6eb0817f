"""Who has connected to a service and not greeted yet, and what the log says of them."""

from __future__ import annotations

import logging
import time

from rain.engine import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

GREETING_SECONDS = 5.0  # for a client to greet
_COMPLAINT_SECONDS = 60.0  # between two lines about the same kind of stranger

_log = logging.getLogger("rain.governor")


class Stranger:
    """A connection whose peer has not greeted yet."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.deadline = time.monotonic() + GREETING_SECONDS
        self._data = b""

    def read(self) -> dict[str, Any] | None:
        """Return the greeting once it is whole. Raises EOFError, ProtocolError, OSError."""
        try:
            piece = self.socket.recv(frames.MAX_HELLO_BYTES)
        except BlockingIOError:
            return None
        if not piece:
            raise EOFError
        self._data += piece
        if len(self._data) < 4:
            return None
        self._length = 4 + frames.header_length(self._data[:4], frames.MAX_HELLO_BYTES)
        if len(self._data) < self._length:
            return None
        return frames.decode_header(self._data[4 : self._length])

    def rest(self) -> bytes:
        """What came behind the greeting."""
        return self._data[self._length :]


class Complaints:
    """One line in the log for each kind of stranger, and how many more there were."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}  # when it was said; how many since

    def add(self, why: str) -> None:
        now = time.monotonic()
        said, more = self._kinds.get(why, (None, 0))
        if said is not None and now - said < _COMPLAINT_SECONDS:
            self._kinds[why] = said, more + 1
            return
        also = f" (and {more} before it)" if more else ""
        _log.warning("a connection was refused: %s%s", why, also)
        if len(self._kinds) >= 64:  # the reasons name what came
            self.sum_up()
        self._kinds[why] = now, 0

    def sum_up(self) -> None:
        for why, (_, more) in self._kinds.items():
            if more:
                _log.warning("%d more connections were refused: %s", more, why)
        self._kinds.clear()
