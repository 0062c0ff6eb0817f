"""User attributes of a task or of a data object."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator, KeysView
    from typing import Any

    from rain._core import TaskContext, TaskData


class Attributes:
    """User attributes by name: reads what there is, and sets what the client will see.

    Values are JSON-like: None, bool, int, float, str, lists and dicts of these.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: TaskContext | TaskData) -> None:
        self._owner = owner

    def __getitem__(self, key: str) -> Any:
        return self._owner._get_attributes()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._owner._set_attribute(key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._get_attributes())

    def __len__(self) -> int:
        return len(self._owner._get_attributes())

    def __contains__(self, key: object) -> bool:
        return key in self._owner._get_attributes()

    def keys(self) -> KeysView[str]:
        return self._owner._get_attributes().keys()

    def items(self) -> ItemsView[str, Any]:
        return self._owner._get_attributes().items()

    def get(self, key: str, default: Any = None) -> Any:
        return self._owner._get_attributes().get(key, default)

    def __repr__(self) -> str:
        return repr(self._owner._get_attributes())
