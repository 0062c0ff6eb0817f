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
        for fd, name in enumerate(_NAMES):
            try:
                fcntl(fd, F_GETFD)
            except OSError:
                os.dup2(self._kept[fd], fd)
            if getattr(getattr(sys, name), "closed", False):
                mode = "w" if fd else "r"
                setattr(sys, name, os.fdopen(fd, mode, 1, closefd=False, errors="backslashreplace"))
