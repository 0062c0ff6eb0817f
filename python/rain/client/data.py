"""Data objects, and how to make them from values."""

from __future__ import annotations

from rain import _core
from rain.client.futures import Future, loaded
from rain.common import ndarray
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    import numpy as np

    from rain.client.session import Session
    from rain.client.states import DataObjectState
    from rain.client.task import Task
    from rain.common.attributes import ObjectInfo, ObjectSpec
    from rain.common.data_instance import DataInstance
    from rain.common.data_type import DataType
    from rain.common.ids import ID

_DRAFT = 0  # of the compiled module's object states


class DataObject(_core.DataObjectBase, Future):
    """An immutable blob or directory: a constant (see `blob`) or the output of a task.

    Parameters
    ----------
    label : str, optional
    session : Session, optional
        Default: the active one.
    data_type : DataType, optional
        DataType.BLOB, unless given; or DataType.DIRECTORY.
    content_type : str, optional

    A data object that was submitted with the keep flag stays until ``unkeep()``, the end of its
    session, or the end of the last Python object of it and of its task.
    """

    def __init__(
        self,
        label: str | None = None,
        session: Session | None = None,
        data_type: DataType | None = None,
        content_type: str | None = None,
    ) -> None:
        if content_type is not None:
            from rain.common.content_type import check_content_type

            check_content_type(content_type)
        kind: Any = "blob" if data_type is None else getattr(data_type, "value", data_type)
        self._create(session, label, content_type, None, kind)

    @property
    def id(self) -> ID:
        from rain.common.ids import ID

        return ID(*self._id)

    @property
    def state(self) -> DataObjectState | None:
        """Where the object is in its life; None before submit."""
        from rain.client.states import OBJECT_STATES

        return OBJECT_STATES[self._state]

    @property
    def data_type(self) -> DataType:
        from rain.common.data_type import DataType

        return DataType.DIRECTORY if self._is_directory else DataType.BLOB

    @property
    def spec(self) -> ObjectSpec:
        """What the client says of the object. May be changed until submit."""
        cache = self._cache
        if "spec" not in cache:
            from rain.common.attributes import ObjectSpec

            cache["spec"] = ObjectSpec(
                id=self.id,
                label=self.label or "",
                content_type=self._declared_type or "",
                data_type=self.data_type,
                user=self._user(),
            )
            if self._state == _DRAFT:
                self._note_edited()
        spec: ObjectSpec = cache["spec"]
        return spec

    def _flush_spec(self) -> None:
        spec = self.spec
        self._write_spec(spec.label, spec.content_type, spec.user)

    @property
    def info(self) -> ObjectInfo | None:
        """What became of the object; None before it is finished."""
        result = self._result()
        if result is None:
            return None
        from rain.common.attributes import ObjectInfo

        size, content_type, error, debug, user = result
        if size is None and self.session.active:
            size = _core.data_size(self)
        return ObjectInfo(size=size, content_type=content_type, error=error, debug=debug, user=user)

    @property
    def content_type(self) -> str | None:
        """The declared type; once the object is finished, merged with what its task said."""
        result = self._result()
        if result is None or not result[1]:
            return self._declared_type
        from rain.common.content_type import merge_content_types

        return merge_content_types(self._declared_type, result[1])

    def keep(self) -> None:
        """Set the keep flag, before submit: the data will be there for fetch()."""
        if self._state != _DRAFT:
            raise RainException(f"cannot keep submitted data object {self!r}")
        self._set_kept(True)

    def is_kept(self) -> bool:
        """Return the keep flag."""
        return self._kept

    def unkeep(self) -> None:
        """Take the keep flag away; the data go as soon as no task needs them."""
        self.session.unkeep((self,))

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the object is finished. See Session.wait."""
        self.session.wait((self,), timeout)

    def update(self) -> None:
        """Raise if the session has failed; state and info are always up to date."""
        self.session.update((self,))

    def fetch(self) -> DataInstance:
        """Wait for the data and return them. See Session.fetch."""
        return self.session.fetch(self)

    def fetch_array(self) -> np.ndarray[Any, Any]:
        """Wait for the data and return them as a numpy array. See DataInstance.as_array."""
        return self.fetch().as_array()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the data and return what they mean.

        The loaded value when there is a content type that can be decoded ("pickle", "text",
        "json", …), else the DataInstance, which is bytes-like. What was not submitted yet is.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        TaskException
            The task that makes it did not finish.
        WaitTimeout
        RainException
            The object was submitted without the keep flag.
        """
        return loaded(self.session.fetch(self, timeout))

    def __getitem__(self, key: slice | str | PathLike[str]) -> DataObject:
        """Return part of the data as a data object, without a copy.

        Parameters
        ----------
        key : slice or path
            ``obj[begin:end]`` of a blob: bytes; of an array (content type "user/ndarray"): rows,
            along the first axis, as an array. Which of both is looked at when the object is
            finished. As in Python, negative positions count from the end, and what lies outside
            is left out. ``obj["name"]`` of a directory: a file in it; ``obj["name/"]``: a directory
            in it.

        The part is the output of a task of its own (see rain.client.tasks, `Slice` and
        `SliceDirectory`), hence also of objects that are not finished, or not even submitted. It
        keeps the memory of the whole as long as it lives, unless it is small.

        Raises
        ------
        TypeError
            `key` is something else, or does not fit the object's type.
        ValueError
            The slice has a step.
        """
        from rain.client import tasks

        if isinstance(key, slice):
            if key.step not in (None, 1):
                raise ValueError(
                    f"obj[{_slice_text(key)}]: a part without a copy has no step; take it in a "
                    "task, or of the fetched array"
                )
            if self._is_directory:
                raise TypeError('a directory has no bytes: obj["path"] is a file in it')
            return tasks.Slice(self, key.start, key.stop, session=self.session).output
        if isinstance(key, str) or hasattr(key, "__fspath__"):
            if not self._is_directory:
                raise TypeError(f"obj[{key!r}] is a file of a directory, but this is a blob")
            return tasks.SliceDirectory(self, key, session=self.session).output
        raise TypeError(
            f"obj[{key!r}]: a part is obj[begin:end], or obj['path'] of a directory; single items "
            "are in what fetch() returns"
        )

    __iter__ = None  # it has parts, but no items

    def expect_dir(self) -> None:
        """Raise TypeError unless the object is a directory."""
        if not self._is_directory:
            raise TypeError("Directory expected.")

    def expect_blob(self) -> None:
        """Raise TypeError unless the object is a blob."""
        if self._is_directory:
            raise TypeError("Blob expected.")

    def _repr_html_(self) -> str:
        from rain.common.text import html_card, size_text

        try:
            self._id  # noqa: B018
        except RainException:
            return html_card(repr(self), ())
        rows = [("id", str(self.id)), ("label", self.label or "")]
        rows.append(("type", "directory" if self._is_directory else self.content_type or "bytes"))
        rows.append(("state", "not submitted" if self.state is None else self.state.name))
        info = self.info
        if info is not None and info.size is not None:
            rows.append(("size", size_text(info.size)))
        rows.append(("kept", "yes" if self._kept else "no"))
        return html_card(type(self).__name__, rows)

    def __repr__(self) -> str:
        try:
            self._id  # noqa: B018
        except RainException:
            return f"<{type(self).__name__}, not initialised>"
        label = f" {self.label!r}" if self.label else ""
        return f"<{type(self).__name__} {self.id}{label}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled: it belongs to this process' client")


def _slice_text(key: slice) -> str:
    ends = ["" if value is None else repr(value) for value in (key.start, key.stop)]
    return f"{ends[0]}:{ends[1]}:{key.step!r}"


def blob(
    value: Any,
    label: str | None = "const",
    content_type: str | None = None,
    encode: str | None = None,
    *,
    session: Session | None = None,
) -> DataObject:
    """Make a constant data object.

    Parameters
    ----------
    value : bytes-like, str, numpy array, or anything that `encode` can encode
        Anything with the buffer protocol is taken as its bytes, written once to where tasks read
        it: for large data into shared memory. A str is stored as UTF-8, with content type "text".
        Of a numpy array (without `content_type`) shape and dtype go along, and ``load()`` gives a
        view of it: content type "user/ndarray".
    label : str, optional
    content_type : str, optional
        What the bytes are; only with bytes-like values.
    encode : str, optional
        Content type to encode `value` into: "pickle", "json", "arrow", "user/npy", … Large arrays
        and tables in it are written once, and ``load()`` gives views of them.
    session : Session, optional
        Default: the active one.

    Raises
    ------
    RainException
        Both `encode` and `content_type` are given, or the value is none of the above.
    StoreFull
    """
    if encode is not None or isinstance(value, str):
        if content_type is not None:
            if encode is not None:
                raise RainException("Specify only one of content_type and encode")
            raise RainException("content_type only allowed for `bytes`")
        from rain.common.content_type import check_content_type, encode_value

        content_type = encode if encode is not None else "text"
        check_content_type(content_type)
        value = encode_value(value, content_type, lambda size: _core.make_room(session, size))
    attributes = None
    if content_type is None and ndarray.is_array(value):
        attributes = {ndarray.ATTRIBUTE: ndarray.describe(value)}
        content_type = ndarray.CONTENT_TYPE
        if value.flags.c_contiguous or value.dtype.hasobject:
            value = ndarray.as_bytes(value)
        else:  # put into C order while it is written
            room = _core.make_room(session, value.nbytes)
            ndarray.in_buffer(room, value.dtype, value.shape)[...] = value
            value = room
    obj = DataObject.__new__(DataObject)
    try:
        obj._create(session, label, content_type, value, "blob")
        if attributes is not None:
            obj._write_spec(label, content_type, attributes)
    except TypeError as error:
        try:
            memoryview(value)
        except TypeError:
            raise RainException(
                "Invalid blob type (only str or bytes are allowed without `encode`): "
                f"{type(value).__name__}"
            ) from None
        raise error
    return obj


def pickled(
    val: Any, label: str | None = "pickle", *, session: Session | None = None
) -> DataObject:
    """Make a constant data object of any value that pickle can take."""
    return blob(val, label, encode="pickle", session=session)


def directory(
    path: str | PathLike[str], label: str | None = "const_dir", *, session: Session | None = None
) -> DataObject:
    """Make a constant data object of a directory: a copy of what is there now.

    Parameters
    ----------
    path : path
    label : str, optional
    session : Session, optional
        Default: the active one.

    Directories, files and symbolic links may be in it. Of the modes the x bits are kept.

    Raises
    ------
    NotADirectoryError, FileNotFoundError
    RainException
        There is a socket, fifo or device in it, or a link that is absolute or leads outside; or it
        changed while it was read.
    """
    import os

    text = os.fsdecode(path)
    if not os.path.isdir(text):
        if not os.path.exists(text):
            raise FileNotFoundError(f"there is no directory {text!r}")
        raise NotADirectoryError(f"{text!r} is not a directory: use blob() for a file's bytes")
    obj = DataObject.__new__(DataObject)
    obj._create(session, label, None, text, "dir")
    return obj


def to_dataobj(obj: Any) -> DataObject:
    """Return a data object, or the single output of a task, as a data object.

    Raises
    ------
    RainException
        It is neither.
    """
    if isinstance(obj, DataObject):
        return obj
    if isinstance(obj, _core.TaskBase):
        task: Task = obj  # type: ignore[assignment]
        outputs = task._outputs
        if not outputs:
            raise RainException(f"{task!r} does not have any output")
        if len(outputs) > 1:
            raise RainException(f"{task!r} returns multiple outputs")
        return outputs[0]
    hint = "blob(value)" if isinstance(obj, (str, bytes)) else "pickled(value) or blob(encode=...)"
    raise RainException(
        f"Instance of {type(obj)!r} cannot be used as a data object. Use {hint} to make one."
    )
