"""What the data of a task and those that the client fetched have in common."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Literal, TypeVar

    import numpy as np

    Self = TypeVar("Self", bound="DataView")

#: Where somebody wrote to what is read-only.
READ_ONLY_HINT = (
    "inputs and fetched data are read-only, for others see the same memory. To change them take "
    'as_array(copy=True), or as_array(copy="on-write"), which copies only the pages that are '
    "written; for a new result take ctx.empty(shape, dtype) and write there (numpy: out=)"
)


class DataView:
    """Read-only bytes with a meaning. Mixed into both DataInstances."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def content_type(self) -> str | None: ...
        @property
        def _released(self) -> bool: ...
        def _release(self) -> None: ...
        def _writable_copy(self) -> Any: ...
        def _attribute(self, key: str) -> Any: ...

    def get_str(self) -> str:
        """Return the data as UTF-8 text."""
        return str(memoryview(self), "utf-8")  # type: ignore[arg-type]

    def as_array(self, copy: bool | Literal["on-write"] = False) -> np.ndarray[Any, Any]:
        """Return the data as a numpy array: with shape and dtype where they are known, else bytes.

        They are known of content type "user/ndarray" (arrays as they were given or returned), and
        of .npy files (content type "user/npy", or none).

        Parameters
        ----------
        copy : bool or "on-write"
            False: a read-only view of the data, which lives as long as anybody has it.
            True: an array of its own that can be written to.
            "on-write": an array that can be written to, for which the system copies each page (of
            4 KiB) when it is first written. Nobody else sees what is written. Small data are
            copied at once.

        Raises
        ------
        RainException
            The content type is one of these, and the data don't fit.
        """
        from rain.common import ndarray, npy

        if copy not in (True, False, "on-write"):
            raise ValueError(f'copy must be True, False or "on-write", not {copy!r}')
        source: Any = self._writable_copy() if copy == "on-write" else self
        view = memoryview(source)
        content_type = self.content_type
        if content_type == ndarray.CONTENT_TYPE:
            array = ndarray.load(view, self._attribute(ndarray.ATTRIBUTE))
        elif content_type == npy.CONTENT_TYPE or (not content_type and npy.looks_so(view)):
            array = npy.load(view)
        else:
            import numpy as np

            array = np.frombuffer(view, np.uint8)
        return array.copy("K") if copy is True else array  # type: ignore[no-any-return]

    def _load(self) -> Any:
        """Return what load() does."""
        from rain.common import ndarray

        content_type = self.content_type
        view = memoryview(self)  # type: ignore[arg-type]
        if content_type == ndarray.CONTENT_TYPE:
            return ndarray.load(view, self._attribute(ndarray.ATTRIBUTE))
        from rain.common.content_type import decode_value

        return decode_value(view, content_type or None)

    def release(self) -> None:
        """Give the memory back now, and not when the last reference goes.

        Arrays and other views that were made of the data keep it for as long as they live. The
        instance itself can't be used any more: that raises ValueError. Releasing it again does
        nothing. The end of a ``with`` block releases, too::

            with obj.fetch() as data:
                total = data.as_array().sum()
        """
        if hasattr(self, "_loaded"):
            del self._loaded
        self._release()

    def __enter__(self: Self) -> Self:
        if self._released:
            raise ValueError("these data were released")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(f"a DataInstance can't be written to: {READ_ONLY_HINT}")

    def __dlpack__(self, **arguments: Any) -> Any:
        """For ``np.from_dlpack(x)`` and the like: the array that as_array() gives, read-only.

        Raises
        ------
        BufferError
            The library can't take read-only data, or the dtype is none of DLPack's.
        """
        try:
            return self.as_array().__dlpack__(**arguments)
        except BufferError as error:
            if "readonly" not in str(error):
                raise
            raise BufferError(
                f"{error} The library that asked can't take read-only data: give it "
                'as_array(copy=True), or as_array(copy="on-write"), instead'
            ) from None

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # memory of the CPU
