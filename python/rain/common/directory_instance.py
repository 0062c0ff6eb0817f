"""The data of a directory, as the client sees them."""

from __future__ import annotations

import os

from rain import _core
from rain.common.data_instance import DataInstance
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any


class DirectoryInstance(DataInstance):
    """A read-only directory, with what is known of it. Returned by ``fetch()``.

    ``len(x)`` is the size of its files together. The files stay as long as the instance, but not
    longer than the client: write() what is needed after ``Client.close()``.
    """

    __slots__ = ()

    @property
    def path(self) -> str:
        """Where the directory is.

        Raises
        ------
        RainException
            The client is closed.
        """
        path = self._path
        assert path is not None
        if not os.path.isdir(path):
            raise RainException(
                f"the directory {path!r} went with its client: write() a copy before close()"
            )
        return path

    def get_bytes(self) -> bytes:
        """Return the directory as an uncompressed tar, rooted at "."."""
        import io
        import tarfile

        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(self.path, ".")
        return file.getvalue()

    def get_str(self) -> str:
        raise RainException(f"{self!r} is a directory: read the files in its path")

    def load(self, cache: bool = False) -> Any:
        """A directory has no decoder.

        Raises
        ------
        RainException
        """
        hint = "it is a directory; read the files in its path"
        if self.content_type is None:
            raise RainException(f"can't decode None content_type: {hint}")
        raise RainException(f"Decoding from {self.content_type!r} unsupported: {hint}")

    def write(self, path: str | PathLike[str]) -> None:
        """Write a copy, which may be changed, to `path`, which must not exist."""
        target = os.fspath(path)
        if os.path.lexists(target):
            raise FileExistsError(f"{target!r} exists: a directory is written where nothing is")
        _core.copy_tree(self.path, target)

    def link(self, path: str | PathLike[str]) -> None:
        """Make `path` a symbolic link to the directory, good as long as this instance is."""
        os.symlink(self.path, path, target_is_directory=True)

    def __repr__(self) -> str:
        return f"<DataInstance path={self._path!r}>"
