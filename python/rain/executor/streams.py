"""stdin, stdout and stderr of the process, given back when a function closed them."""

from __future__ import annotations

import os
import select
import sys
from fcntl import F_DUPFD_CLOEXEC, fcntl

_NAMES = ("stdin", "stdout", "stderr")


class Streams:
    """Made at the executor's start, when there are all three."""

    def __init__(self) -> None:
        self._kept = [fcntl(fd, F_DUPFD_CLOEXEC, 3) for fd in range(3)]
        self._poll = select.poll()
        for fd in range(3):
            self._poll.register(fd, 0)

    def restore(self) -> None:
        """Open again what is closed: else the next file opened would get what others print."""
        for fd, event in self._poll.poll(0):  # one system call for all three
            if event & select.POLLNVAL:
                os.dup2(self._kept[fd], fd)
        for fd, name in enumerate(_NAMES):
            if getattr(getattr(sys, name), "closed", False):
                mode = "w" if fd else "r"
                stream = os.fdopen(fd, mode, 1, closefd=False, errors="backslashreplace")
                setattr(sys, name, stream)
