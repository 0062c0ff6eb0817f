"""Data as a task sees them."""

from __future__ import annotations

import os

from rain import _core
from rain.common.data_view import DataView
from rain.tasklib.attributes import Attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DataInstance(_core.TaskData, DataView):
    """The data of one input, or of an output on its way out.

    Supports the buffer protocol, read-only: ``bytes(x)``, ``memoryview(x)``, ``np.frombuffer(x)``.
    The view shows the pages of shared memory themselves and keeps them, for longer than the call
    if need be. A task that returns an input passes it on without a copy. As a context manager, or
    with ``release()``, it gives the memory back early.

    Attributes
    ----------
    size : int
        Bytes.
    label : str
        The task's name for this input, else the object's own label.
    content_type : str
        What the data are, for instance "text": what the producer said, else the client.
    path : str or None
        Where the data lie if they are a file or directory.
    is_directory : bool
    object_id : (int, int) or None
        Session and number; None for an output.
    """

    __slots__ = ()

    @property
    def attributes(self) -> Attributes:
        """User attributes: the client's, overlaid by what the producing task set.

        Setting one on an instance that is returned sets it on the output.
        """
        return Attributes(self)

    @property
    def spec_attributes(self) -> dict[str, Any]:
        """User attributes that the client gave the object, alone."""
        return self._spec_attributes()

    def load(self) -> Any:
        """Return the data decoded by their content type.

        Large arrays and tables in it are read-only views of the data.

        Raises
        ------
        RainException
            There is no content type, or no decoder for it.
        """
        return self._load()

    def _attribute(self, key: str) -> Any:
        return self._get_attributes().get(key)

    def __getitem__(self, key: Any) -> Any:
        """Return part of the data as a view: of an array's items, else of the bytes.

        A view of neighbouring bytes that a task returns is an output without a copy: it is the
        same pages.
        """
        from rain.common import ndarray

        if self.content_type == ndarray.CONTENT_TYPE:
            return self.as_array()[key]
        return memoryview(self)[key]

    __iter__ = None  # an instance is data, and no sequence of them

    def write(self, path: str | os.PathLike[str]) -> None:
        """Make a writable copy of the data, a file or a directory, at `path`."""
        if self.is_directory:
            assert self.path is not None
            _core.copy_tree(self.path, os.fspath(path))
            return
        with memoryview(self) as data, open(path, "wb") as file:
            file.write(data)

    def link(self, path: str | os.PathLike[str]) -> None:
        """Make the data appear at `path`, read-only: as a link if they are a file already."""
        if self.path is not None:
            os.symlink(self.path, path)
        else:
            self.write(path)

    def __repr__(self) -> str:
        if self._released:
            return "<DataInstance released>"
        where = f"path={self.path!r}" if self.path is not None else f"size={self.size}"
        return f"<DataInstance {where}>"
