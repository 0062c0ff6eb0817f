"""How a data object is offered to a task."""

from __future__ import annotations

from rain.client.data import to_dataobj
from rain.common.content_type import check_content_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from rain.client.data import DataObject
    from rain.common.data_type import DataType


class InputBase:
    """Common part of inputs: see Input and InputDir.

    Parameters
    ----------
    label : str, optional
    path : str, optional
        Default: the label, else a name of its own.
    dataobj : DataObject or Task with a single output, optional
    load : bool, optional
    content_type : str, optional
    write : bool
    """

    is_directory: ClassVar[bool]

    def __init__(
        self,
        label: str | None = None,
        path: str | None = None,
        dataobj: Any = None,
        load: bool | None = None,
        content_type: str | None = None,
        write: bool = False,
    ) -> None:
        if label is not None and not isinstance(label, str):
            raise TypeError(f"Label has to be string, not {label!r}")
        check_content_type(content_type)
        self.label = label
        self.path: str = path or label or f"input_{id(self)}"
        self.dataobj: DataObject | None = None if dataobj is None else to_dataobj(dataobj)
        if self.dataobj is not None and self.dataobj._is_directory != self.is_directory:
            raise TypeError(
                f"Input exects data type {self.data_type}, "
                f"but provided data object has type {self.dataobj.data_type}: use "
                + ("Input" if self.is_directory else "InputDir")
            )
        self.load = load
        self.content_type = content_type
        self.write = write

    @property
    def data_type(self) -> DataType:
        from rain.common.data_type import DataType

        return DataType.DIRECTORY if self.is_directory else DataType.BLOB

    def __repr__(self) -> str:
        parts = [repr(self.label)]
        parts += [
            f"{name}={value!r}"
            for name in ("path", "dataobj", "load", "content_type")
            if (value := getattr(self, name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


class Input(InputBase):
    """An input that is a blob."""

    is_directory = False


class InputDir(InputBase):
    """An input that is a directory."""

    is_directory = True
