"""The data of a data object, as the client sees them."""

from __future__ import annotations

from rain import _core
from rain.common.data_view import DataView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from rain.common.attributes import ObjectInfo, ObjectSpec
    from rain.common.data_type import DataType
    from rain.common.ids import ID

    # id, label, content type, user attributes
    RawSpec = tuple[ID, str | None, str | None, dict[str, Any]]
    RawInfo = tuple[int | None, str, str, str, dict[str, Any]]


class DataInstance(_core.Blob, DataView):
    """Read-only bytes, with what is known of them. Returned by ``fetch()``.

    Supports the buffer protocol: ``bytes(x)``, ``memoryview(x)`` and ``np.frombuffer(x)`` look at
    the shared memory itself. The bytes stay valid as long as the instance or any view of it, also
    after ``Client.close()``. As a context manager, or with ``release()``, it gives them back early.
    """

    __slots__ = ("_loaded", "_raw_info", "_raw_spec")
    _loaded: Any

    def __init__(self, source: Any, raw_spec: RawSpec, raw_info: RawInfo) -> None:
        # Tuples, because most users never ask for spec and info.
        self._raw_spec = raw_spec
        self._raw_info = raw_info

    @property
    def spec(self) -> ObjectSpec:
        """What the client said of the object."""
        from rain.common.attributes import ObjectSpec

        object_id, label, content_type, user = self._raw_spec
        return ObjectSpec(
            id=object_id,
            label=label or "",
            content_type=content_type or "",
            data_type=self.data_type,
            user=user,
        )

    @property
    def info(self) -> ObjectInfo:
        """What became of the object."""
        from rain.common.attributes import ObjectInfo

        size, content_type, error, debug, user = self._raw_info
        if size is None:
            size = len(self)
        return ObjectInfo(size=size, content_type=content_type, error=error, debug=debug, user=user)

    @property
    def data_type(self) -> DataType:
        from rain.common.data_type import DataType

        return DataType.BLOB if self._path is None else DataType.DIRECTORY

    @property
    def content_type(self) -> str | None:
        """What the data are: what the task said, else what the client said, None if nobody did."""
        return self._raw_info[1] or self._raw_spec[2] or None

    def _attribute(self, key: str) -> Any:
        return self._raw_info[4].get(key, self._raw_spec[3].get(key))

    def load(self, cache: bool = False) -> Any:
        """Return the data decoded by their content type.

        Large arrays and tables in it are read-only views of the data.

        Parameters
        ----------
        cache : bool
            Return the same object at later cached loads; it must not be modified.

        Raises
        ------
        RainException
            There is no content type, or no decoder for it.
        """
        if cache and hasattr(self, "_loaded"):
            return self._loaded
        value = self._load()
        if cache:
            self._loaded = value
        return value

    def write(self, path: str | PathLike[str]) -> None:
        """Write the data to a file, which is replaced if it exists."""
        with memoryview(self) as data, open(path, "wb") as file:
            file.write(data)

    def link(self, path: str | PathLike[str]) -> None:
        """Make the data appear at `path`: on the client the same as write()."""
        self.write(path)

    def _repr_html_(self) -> str:
        from rain.common.text import html_card, size_text

        if self._released:
            return html_card("DataInstance", [("state", "released")])
        rows = [("size", size_text(len(self)))]
        if self._path is None:
            rows.append(("content type", self.content_type or "none"))
        else:
            rows.append(("path", self._path))
        return html_card("DataInstance", rows)

    def __repr__(self) -> str:
        what = "released" if self._released else f"size={len(self)}"
        return f"<DataInstance {what}>"
