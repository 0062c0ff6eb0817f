"""Inputs as arguments of annotated parameters."""

from __future__ import annotations

import sys

from rain._core import (
    TaskData,
    TypeMismatch,
    ValueShape,
    ValueType,
    describe_input,
    read_scalar,
    read_text,
    read_value,
)
from rain.common import ndarray
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from rain.tasklib.datainstance import DataInstance

    Read: TypeAlias = Callable[[DataInstance], Any]
    Resolve: TypeAlias = Callable[[Any], Any]


class Unsupported(Exception):  # noqa: N818 - becomes a TypeError
    """An annotation that means nothing to tasks. The text says why."""


EMPTY = object()  # no annotation
SCALARS = {float: "<f8", int: "<i8", bool: "|b1", complex: "<c16"}


def is_any(annotation: Any) -> bool:
    """True if it says nothing but that there is a DataInstance."""
    return (
        annotation is EMPTY
        or annotation is object
        or is_data(annotation)
        or repr(annotation) == "typing.Any"
    )


def is_class(annotation: Any, base: type[Any] = object) -> bool:
    """True for `base` and classes derived of it; not for list[int], which Python 3.10 calls one."""
    return (
        isinstance(annotation, type)
        and not hasattr(annotation, "__origin__")
        and issubclass(annotation, base)
    )


def is_data(annotation: Any) -> bool:
    return is_class(annotation, TaskData)


def reader(annotation: Any, name: str, resolve: Resolve) -> tuple[ValueType, Read | None]:
    """Return what parameter `name` takes, and what makes it of an input; None: nothing.

    Parameters
    ----------
    annotation
        Resolved; of its parts `resolve` says what they mean.

    Raises
    ------
    Unsupported
    """
    if is_any(annotation):
        return ValueType("any", name=name), None
    array = array_of(annotation, resolve)
    if array is not None:
        return array.type(name), array.read
    dtype = scalar_dtype(annotation)
    if dtype is not None:
        return ValueType("ndarray", dtype, 0, name), _scalar_reader(annotation, dtype)
    if annotation is str:
        return ValueType("text", name=name), read_text
    if annotation in (bytes, bytearray, memoryview):
        return ValueType("bytes", name=name), _bytes_reader(annotation)
    inner = optional_of(annotation, resolve)
    if inner is not None:
        return _optional(inner, name, resolve)
    shape = shape_of(annotation, resolve)
    if shape is not None:
        return ValueType("value", name=name), lambda data: read_value(data, shape)
    if is_class(annotation):
        return ValueType("any", name=name), _loaded_reader(annotation)
    raise Unsupported(f"tasks don't take {annotation!r}; docs/tutorial-python.md says what they do")


def optional_of(annotation: Any, resolve: Resolve) -> Any:
    """`T` of `Optional[T]` and `T | None`, else None."""
    kind = type(annotation)
    if kind.__name__ not in ("_UnionGenericAlias", "UnionType", "Union"):
        return None
    args = [resolve(arg) for arg in annotation.__args__]
    kept = [arg for arg in args if arg is not type(None)]
    return kept[0] if len(kept) == 1 and len(args) == 2 else None


def _optional(inner: Any, name: str, resolve: Resolve) -> tuple[ValueType, Read]:
    """What takes null, too, has to be a value; numbers may be arrays nevertheless."""
    shape = shape_of(inner, resolve)
    type_of_inner, read = reader(inner, name, resolve)
    if shape is None or read is None:
        raise Unsupported(f"only values can be None, as bool, int, float, str; not {inner!r}")
    optional = ValueShape.optional(shape)

    def read_optional(data: DataInstance) -> Any:
        return read_value(data, optional) if data.content_type == "cbor" else read(data)

    return type_of_inner, read_optional


# ---- Numbers, arrays, bytes ---------------------------------------------------------------------


def scalar_dtype(annotation: Any) -> str | None:
    """The dtype of a number; of numpy's scalars, their own."""
    if annotation in SCALARS:
        return SCALARS[annotation]
    numpy = sys.modules.get("numpy")  # there if the annotation is of it
    if numpy is None or not (
        is_class(annotation, numpy.number) or is_class(annotation, numpy.bool_)
    ):
        return None
    dtype = _dtype_of(annotation)
    if dtype is None:
        raise Unsupported(f"{annotation!r} is no dtype of its own; say which, as numpy.float64")
    if dtype.str[1:] in ("f2", "f16", "c32"):
        raise Unsupported(f"numbers of tasks have C++'s types, not {annotation.__name__}")
    return str(dtype.str)


def _dtype_of(kind: Any) -> Any:
    """None of numpy.floating and the like, which can't be instantiated."""
    try:
        return kind().dtype
    except TypeError:
        return None


def _scalar_reader(kind: Any, dtype: str) -> Read:
    if kind in SCALARS:
        return lambda data: read_scalar(data, dtype)
    return lambda data: kind(read_scalar(data, dtype))


class ArrayType:
    """What an annotation says of an array: dtype and number of dimensions, each None if open."""

    def __init__(self, dtype: Any = None, n_dimensions: int | None = None) -> None:
        self.dtype = dtype
        self.n_dimensions = n_dimensions

    def type(self, name: str = "") -> ValueType:
        dtype = "" if self.dtype is None else self.dtype.str
        return ValueType("ndarray", dtype, self.n_dimensions, name)

    def fits(self, array: Any) -> bool:
        return (self.dtype is None or array.dtype == self.dtype) and (
            self.n_dimensions is None or array.ndim == self.n_dimensions
        )

    def read(self, data: DataInstance) -> Any:
        if data.content_type == ndarray.CONTENT_TYPE and not data.is_directory:
            try:
                array = data.load()
            except RainException:
                pass  # which describe_input() explains
            else:
                if self.fits(array):
                    return array
        raise TypeMismatch(f"expected {self.type()}, found {describe_input(data)}")


def array_of(annotation: Any, resolve: Resolve) -> ArrayType | None:
    """Of np.ndarray, np.ndarray[tuple[int, int], np.dtype[T]] and NDArray[T]; None of others."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if annotation is numpy.ndarray:
        return ArrayType()
    if getattr(annotation, "__origin__", None) is not numpy.ndarray:
        return None
    shape, *rest = map(resolve, annotation.__args__)
    return ArrayType(_item_dtype(rest[0] if rest else None, resolve), _n_dimensions(shape))


def _n_dimensions(shape: Any) -> int | None:
    """Of tuple[int, int]: 2; of tuple[Any, ...], Any and type variables: None."""
    if getattr(shape, "__origin__", None) is not tuple or Ellipsis in shape.__args__:
        return None
    return len([item for item in shape.__args__ if item != ()])


def _item_dtype(annotation: Any, resolve: Resolve) -> Any:
    """Of np.dtype[np.float64]: its dtype; None if that is open."""
    if not hasattr(annotation, "__args__"):
        return None
    kind = resolve(annotation.__args__[0])
    numpy = sys.modules["numpy"]
    if not is_class(kind, numpy.generic):
        return None
    dtype = _dtype_of(kind)
    if dtype is None and kind is not numpy.generic:
        raise Unsupported(f"{kind!r} is no dtype of its own; say which, as numpy.float64")
    # Of text and the like the dtype has a size, which the annotation doesn't say.
    return dtype if dtype is None or dtype.kind in "biufc" else None


def _bytes_reader(kind: Any) -> Read:
    def read(data: DataInstance) -> Any:
        if data.is_directory:
            raise TypeMismatch(f"expected bytes, found {describe_input(data)}")
        return kind(data)

    return read


def _loaded_reader(kind: type[Any]) -> Read:
    """Of any class: what load() gives must be of it. A pandas.DataFrame may come as a table."""
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")

    def read(data: DataInstance) -> Any:
        try:
            value = data.load()
        except RainException as error:
            raise TypeMismatch(f"expected {name}, found {describe_input(data)}: {error}") from error
        if kind.__name__ == "DataFrame" and not isinstance(value, kind):
            value = value.to_pandas() if hasattr(value, "to_pandas") else value
        if not isinstance(value, kind):
            found = describe_input(data)
            raise TypeMismatch(f"expected {name}, found {found}: a {type(value).__name__}")
        return value

    return read


# ---- Values -------------------------------------------------------------------------------------

_SIMPLE_SHAPES = {bool: "bool", int: "int", float: "float", str: "str"}


def shape_of(annotation: Any, resolve: Resolve, outer: tuple[Any, ...] = ()) -> ValueShape | None:
    """Return what a value must be like; None if the annotation is of no value.

    Parameters
    ----------
    outer
        Structs that it is a part of.
    """
    annotation = resolve(annotation)
    if annotation in (dict, list):
        return _of_any(annotation)
    if outer and is_any(annotation):
        return ValueShape("any")
    if annotation in _SIMPLE_SHAPES:
        return ValueShape(_SIMPLE_SHAPES[annotation])
    inner = optional_of(annotation, resolve)
    if inner is not None:
        shape = shape_of(inner, resolve, outer)
        return None if shape is None else ValueShape.optional(shape)
    origin = getattr(annotation, "__origin__", None)
    if origin is list:
        return ValueShape.list(_part(annotation.__args__[0], resolve, (*outer, origin)))
    if origin is dict:
        if resolve(annotation.__args__[0]) is not str:
            raise Unsupported(f"the keys of {annotation!r} must be str")
        return ValueShape.dict(_part(annotation.__args__[1], resolve, (*outer, origin)))
    if is_class(annotation) and hasattr(annotation, "__dataclass_fields__"):
        return _struct(annotation, resolve, outer)
    return None


def _of_any(kind: Any) -> ValueShape:
    inner = ValueShape("any")
    return ValueShape.list(inner) if kind is list else ValueShape.dict(inner)


def _part(annotation: Any, resolve: Resolve, outer: tuple[Any, ...]) -> ValueShape:
    shape = shape_of(annotation, resolve, outer)
    if shape is None:
        raise Unsupported(
            f"{annotation!r} can't be part of a value, which consists of None, bool, int, float, "
            "str, list, dict by str and dataclasses"
        )
    return shape


def _struct(kind: Any, resolve: Resolve, outer: tuple[Any, ...]) -> ValueShape:
    from dataclasses import MISSING, fields
    from typing import get_type_hints

    if kind in outer:
        raise Unsupported(f"{kind.__qualname__} contains itself")
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception as error:
        raise Unsupported(
            f"a field of {kind.__qualname__} can't be resolved: {type(error).__name__}: {error}"
        ) from error
    parts = []
    for field in fields(kind):
        if not field.init:
            continue
        required = field.default is MISSING and field.default_factory is MISSING
        try:
            shape = _part(hints[field.name], resolve, (*outer, kind))
        except Unsupported as error:
            raise Unsupported(f"field {field.name!r} of {kind.__qualname__}: {error}") from None
        parts.append((field.name, shape, required))
    return ValueShape.struct(kind, parts)
