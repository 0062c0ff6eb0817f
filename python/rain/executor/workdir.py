"""The directory in which remote functions run: ``task/``, empty when a call begins."""

from __future__ import annotations

import os
import stat

_UNUSED = (0, 0)  # its access and modification times as long as nobody made anything in it


class WorkingDirectory:
    """Made at the executor's start; the process stays in it.

    Whether a call left something in it is seen by its modification time, which is set back to the
    epoch when it was emptied: one system call for each call that uses no files.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode = -1
        self._renew()

    def prepare(self) -> None:
        """Be in the directory, and let it be empty."""
        try:
            found = os.stat(".")
        except OSError:
            found = None
        if found is None or found.st_mtime_ns != 0 or found.st_ino != self._inode:
            self._renew()

    def _renew(self) -> None:
        os.chdir("/")
        remove(self._path)
        os.mkdir(self._path, 0o700)
        os.utime(self._path, _UNUSED)
        os.chdir(self._path)
        self._inode = os.stat(".").st_ino


def remove(path: str) -> None:
    """Remove a file or a tree; never what a link in it leads to. Missing is fine."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(path)
        return
    import shutil

    def let_in(function: object, failed: str, error: object) -> None:
        # A directory without write permission: its own, or that of what lies in it.
        for folder in (os.path.dirname(failed), failed):
            if os.path.isdir(folder) and not os.path.islink(folder):
                os.chmod(folder, 0o700)
        if function is os.unlink:
            os.unlink(failed)

    try:
        shutil.rmtree(path, onerror=let_in)
    finally:
        if os.path.lexists(path):
            shutil.rmtree(path)
