"""How an output of a task is described."""

from __future__ import annotations

from rain.common.content_type import check_content_type
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from rain.client.data import DataObject
    from rain.client.session import Session
    from rain.common.data_type import DataType
    from rain.common.labeled_list import LabeledList


class OutputBase:
    """Common part of outputs: see Output and OutputDir.

    Parameters
    ----------
    label : str, optional
    size_hint : float, optional
        Expected size in MB; for the client's own use.
    content_type : str, optional
    mode : None
        Nothing else is supported.
    encode : str, optional
        Content type into which the executor encodes the value.
    path : str, optional
    """

    is_directory: ClassVar[bool]

    def __init__(
        self,
        label: str | None = None,
        *,
        size_hint: float | None = None,
        content_type: str | None = None,
        mode: None = None,
        encode: str | None = None,
        path: str | None = None,
    ) -> None:
        if label is not None and not isinstance(label, str):
            raise TypeError(f"Label has to be string, not {label!r}")
        if mode is not None:
            raise RainException(f"Output mode {mode!r} is not supported: it must be None")
        check_content_type(content_type)
        check_content_type(encode)
        if encode and content_type and encode != content_type:
            raise ValueError(
                f"When both are given, encode {encode!r} and content_type {content_type!r} "
                "must be equal"
            )
        self.label = label
        self.size_hint = size_hint
        self.content_type = content_type
        self.encode = encode
        self.path = path

    @property
    def data_type(self) -> DataType:
        from rain.common.data_type import DataType

        return DataType.DIRECTORY if self.is_directory else DataType.BLOB

    @property
    def object_content_type(self) -> str | None:
        """The content type that the data object gets."""
        return self.encode or self.content_type

    def create_data_object(self, session: Session | None = None) -> DataObject:
        """Make the data object, in `session` or the active one."""
        from rain.client.data import DataObject

        return DataObject(self.label, session, self.data_type, self.object_content_type)

    def merge_with_prototype(self, proto: OutputBase) -> OutputBase:
        """Return this output with what it leaves open taken from `proto`.

        Raises
        ------
        RainException
            The content types are incompatible.
        """
        from rain.common.content_type import merge_content_types

        return type(self)(
            self.label if self.label is not None else proto.label,
            size_hint=self.size_hint if self.size_hint is not None else proto.size_hint,
            content_type=merge_content_types(proto.content_type, self.content_type),
            encode=merge_content_types(proto.encode, self.encode),
            path=self.path if self.path is not None else proto.path,
        )

    def expect_dir(self) -> None:
        """Raise TypeError unless this is a directory."""
        if not self.is_directory:
            raise TypeError("Directory expected.")

    def expect_blob(self) -> None:
        """Raise TypeError unless this is a blob."""
        if self.is_directory:
            raise TypeError("Blob expected.")

    def __repr__(self) -> str:
        parts = [repr(self.label)]
        parts += [
            f"{name}={value!r}"
            for name in ("path", "content_type", "encode")
            if (value := getattr(self, name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


class Output(OutputBase):
    """An output that is a blob."""

    is_directory = False


class OutputDir(OutputBase):
    """An output that is a directory."""

    is_directory = True


def to_output(obj: Any) -> OutputBase:
    """Return an output, or the one with this label."""
    if isinstance(obj, OutputBase):
        return obj
    if isinstance(obj, str):
        return Output(obj)
    raise TypeError(f"Object {obj!r} cannot be used as output")


class OutputSpec:
    """The outputs that a remote function declares, and what a call of it makes of them.

    Parameters
    ----------
    outputs : int, str, Output, LabeledList, or sequence of str and Output
        How many; the only one; or each of them.
    output : str or Output, optional
        The only one.

    Attributes
    ----------
    outputs : LabeledList of OutputBase
    """

    def __init__(self, outputs: Any = None, output: Any = None) -> None:
        self.outputs: LabeledList[OutputBase] = _labeled(_one_or_all(outputs, output))

    def instantiate(
        self, outputs: Any = None, output: Any = None, session: Session | None = None
    ) -> LabeledList[DataObject]:
        """Make the data objects of one call, in `session` or the active one.

        Parameters
        ----------
        outputs, output
            What differs from the declaration: None (nothing), a label or an output for each.
        """
        from rain.common.labeled_list import LabeledList

        objects: LabeledList[DataObject] = LabeledList()
        for item in self.merge(outputs, output):
            objects.append(item.create_data_object(session), item.label)
        return objects

    def merge(self, outputs: Any = None, output: Any = None) -> list[OutputBase]:
        """Return the outputs of one call, each with a label. Parameters as of instantiate()."""
        if outputs is None and output is None:
            given: list[Any] = [None] * len(self.outputs)
        else:
            given = list(_one_or_all(outputs, output))
        if len(given) != len(self.outputs):
            raise ValueError(f"Got {len(given)} outputs, {len(self.outputs)} expected.")
        merged: list[OutputBase] = []
        for i, (item, declared) in enumerate(zip(given, self.outputs, strict=True)):
            if item is None or isinstance(item, str):
                item = type(declared)(item)
            elif not isinstance(item, OutputBase):
                raise TypeError(
                    "Only `Output` and `str` instances accepted in output list, not "
                    f"{type(item).__name__}."
                )
            whole = item.merge_with_prototype(declared)
            if whole.label is None:
                whole.label = f"out{i}"
            if any(whole.label == other.label for other in merged):
                raise KeyError(f"Label {whole.label!r} already present.")
            merged.append(whole)
        return merged


def _one_or_all(outputs: Any, output: Any) -> Sequence[Any]:
    if output is not None:
        if outputs is not None:
            raise ValueError("Both `output` and `outputs` not allowed.")
        return (output,)
    if isinstance(outputs, (str, OutputBase)):
        return (outputs,)
    if isinstance(outputs, int) and not isinstance(outputs, bool):
        if outputs < 0:
            raise ValueError(f"`outputs` must not be negative, but is {outputs}")
        return [Output() for _ in range(outputs)]
    if hasattr(outputs, "__len__") and hasattr(outputs, "__getitem__"):
        return outputs  # type: ignore[no-any-return]
    raise TypeError(
        "expected int, str, Output, LabeledList or a sequence for `outputs`, got "
        f"{type(outputs).__name__}"
    )


def _labeled(items: Sequence[Any]) -> LabeledList[OutputBase]:
    from rain.common.labeled_list import LabeledList

    labeled: LabeledList[OutputBase] = LabeledList()
    for item in items:
        if not isinstance(item, (str, OutputBase)):
            raise TypeError(
                "Only string labels and `Output` accepted in output list, not "
                f"{type(item).__name__}."
            )
        declared = to_output(item)
        labeled.append(declared, declared.label)
    return labeled
