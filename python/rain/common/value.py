"""Content type "cbor": what C++ tasks take as numbers, structs, maps and vectors of text."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VALUES = (bool, int, float, list, dict, type(None))


def is_value(value: Any) -> bool:
    """True for None, bool, int, float, list, dict and instances of dataclasses."""
    return isinstance(value, _VALUES) or is_dataclass_instance(value)


def is_dataclass_instance(value: Any) -> bool:
    return hasattr(type(value), "__dataclass_fields__")


def plain(value: Any) -> Any:
    """Return the value with a dict in the place of each dataclass instance."""
    if is_dataclass_instance(value):
        return {name: plain(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _field_names(kind: type[Any]) -> list[str]:
    from dataclasses import fields

    return [field.name for field in fields(kind)]
