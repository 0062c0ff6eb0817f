"""Specs (what the client says of tasks and objects) and infos (what became of them)."""

from __future__ import annotations

from rain.common.ids import ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar

    from rain.common.data_type import DataType

    Self = TypeVar("Self", bound="_Attributes")


class _Attributes:
    """Plain mutable attributes, which the constructor takes by keyword."""

    _DEFAULTS: ClassVar[dict[str, Callable[[], Any]]] = {}

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in self._DEFAULTS:
                raise TypeError(f"Unknown attribute name {name!r}")
        for name, default in self._DEFAULTS.items():
            setattr(self, name, values[name] if name in values else default())

    def _to_json(self) -> dict[str, Any]:
        """Return a dict of the attributes that say anything: that differ from their default."""
        values = {}
        for name, default in self._DEFAULTS.items():
            value = getattr(self, name)
            # None and empty texts and collections say nothing, unless None is the default.
            absent = default()
            if value is None or (absent is not None and not value):
                continue
            values[name] = _jsonable(value)
        return values

    @classmethod
    def _from_json(cls: type[Self], values: dict[str, Any]) -> Self:
        """Return the inverse of _to_json. Raises AttributeError on unknown keys."""
        for name in values:
            if name not in cls._DEFAULTS:
                raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
        return cls(**{name: cls._convert(name, value) for name, value in values.items()})

    @classmethod
    def _convert(cls, name: str, value: Any) -> Any:
        return ID(*value) if name == "id" else value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(self) == vars(other)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._DEFAULTS)
        return f"{type(self).__name__}({values})"


def _jsonable(value: Any) -> Any:
    if isinstance(value, _Attributes):
        return value._to_json()
    if isinstance(value, (tuple, list)):
        return [_jsonable(item) for item in value]
    return getattr(value, "value", value)  # an enum


def _none() -> None:
    return None


def _blob() -> DataType:
    from rain.common.data_type import DataType

    return DataType.BLOB


class TaskSpecInput(_Attributes):
    """One input of a task: `id` of the object, `label` or None."""

    id: ID
    label: str | None
    _DEFAULTS = {"id": _none, "label": _none}  # noqa: RUF012 - constant


class TaskSpec(_Attributes):
    """What the client says of a task."""

    id: ID
    task_type: str
    config: Any
    inputs: list[TaskSpecInput]
    outputs: list[ID]
    resources: dict[str, Any]
    name: str | None
    user: dict[str, Any]
    _DEFAULTS = {  # noqa: RUF012 - constant
        "id": _none,
        "task_type": _none,
        "config": _none,
        "inputs": list,
        "outputs": list,
        "resources": dict,
        "name": _none,
        "user": dict,
    }

    @classmethod
    def _convert(cls, name: str, value: Any) -> Any:
        if name == "inputs":
            return [TaskSpecInput._from_json(item) for item in value]
        if name == "outputs":
            return [ID(*item) for item in value]
        return super()._convert(name, value)


class TaskInfo(_Attributes):
    """What became of a task."""

    error: str
    debug: str
    governor: str
    start_time: str
    duration: float | None
    user: dict[str, Any]
    _DEFAULTS = {  # noqa: RUF012 - constant
        "error": str,
        "debug": str,
        "governor": str,
        "start_time": str,
        "duration": _none,
        "user": dict,
    }


class ObjectSpec(_Attributes):
    """What the client says of a data object."""

    id: ID
    label: str
    content_type: str
    data_type: DataType
    user: dict[str, Any]
    _DEFAULTS = {  # noqa: RUF012 - constant
        "id": _none,
        "label": str,
        "content_type": str,
        "data_type": _blob,
        "user": dict,
    }

    @classmethod
    def _convert(cls, name: str, value: Any) -> Any:
        if name == "data_type":
            from rain.common.data_type import DataType

            return DataType(value)
        return super()._convert(name, value)


class ObjectInfo(_Attributes):
    """What became of a data object."""

    size: int | None
    content_type: str
    error: str
    debug: str
    user: dict[str, Any]
    _DEFAULTS = {  # noqa: RUF012 - constant
        "size": _none,
        "content_type": str,
        "error": str,
        "debug": str,
        "user": dict,
    }
