"""How a data object is offered to a task."""

from __future__ import annotations

from rain.client.data import to_dataobj
from rain.common.content_type import check_content_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.client.data import DataObject


class InputBase:
    """Common part of inputs.

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
        self.load = load
        self.content_type = content_type
        self.write = write

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
