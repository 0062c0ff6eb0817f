"""stdin, stdout and stderr of the process, given back when a function closed them."""

from __future__ import annotations

import os
import sys
from fcntl import F_DUPFD_CLOEXEC, F_GETFD, fcntl

_NAMES = ("stdin", "stdout", "stderr")


class Streams:
    """Made at the executor's start, when there are all three."""

    def __init__(self) -> None:
        self._kept = [fcntl(fd, F_DUPFD_CLOEXEC, 3) for fd in range(3)]

    def restore(self) -> None:
        """Open again what is closed: else the next file opened would get what others print."""
        for fd in range(3):
            try:
                fcntl(fd, F_GETFD)
            except OSError:
                self._reopen(fd)

    def _reopen(self, fd: int) -> None:
        os.dup2(self._kept[fd], fd)
        stream = getattr(sys, _NAMES[fd])
        if stream is None or stream.closed:
            stream = os.fdopen(fd, "w" if fd else "r", 1, closefd=False, errors="backslashreplace")
            setattr(sys, _NAMES[fd], stream)
