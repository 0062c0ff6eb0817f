"""Writes Python modules with a function for each task of executors, typed where types are told."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rain.cli.probe import Probe, ProbedTask, Value

_OPTIONS = {
    "config": "Any",
    "session": "Session",
    "cpus": "int",
    "name": "str",
    "user_spec": "dict[str, Any]",
    "retries": "int",
    "timeout": "float | str",
    "memory": "int | str",
    "resources": "Mapping[str, float]",
}
# What the module uses itself.
_NAMES = {
    "Any", "ArrayLike", "DataObject", "Input", "Mapping", "Options", "Session", "TYPE_CHECKING",
    "Task", "TypedDict", "Union", "Unpack", "_array", "_blob", "_encode", "annotations", "blob",
    "bool", "bytearray", "bytes", "complex", "dict", "float", "int", "memoryview", "staticmethod",
    "str",
}  # fmt: skip
_HEAD = '''\
"""Tasks of the executors in {file}, as functions that make a Task in the active session.

Made by: rain executors stub. Made again it is replaced, so don't edit it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

from rain.client import DataObject, Task, blob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike
    from rain.client import Session
    from typing_extensions import TypedDict, Unpack

    class Options(TypedDict, total=False):
        """Keywords that each function passes to rain.client.Task."""

{options}


Input = Union[DataObject, Task]  # of a task with one output


def _encode(value: Any, encode: str) -> Input:
    return value if isinstance(value, (DataObject, Task)) else blob(value, encode=encode)


def _array(value: Any, dtype: str | None = None) -> Input:
    if isinstance(value, (DataObject, Task)):
        return value
    import numpy as np

    return blob(np.asarray(value, dtype))


def _blob(value: Any) -> Input:
    return value if isinstance(value, (DataObject, Task)) else blob(value)
'''


@dataclass
class _Kind:
    """How an input is written: its annotation, and the call that makes an input of a value."""

    annotation: str
    function: str
    argument: str = ""  # its second one

    def call(self, name: str) -> str:
        return f"{self.function}({name}{self.argument and f', {_quoted(self.argument)}'})"


_SCALARS = {"bool": "bool", "int": "int", "uint": "int", "float": "float", "complex": "complex"}
_KINDS = {
    "text": _Kind("str | Input", "_blob"),
    "bytes": _Kind("bytes | bytearray | memoryview | Input", "_blob"),
    "value": _Kind("Any", "_encode", "cbor"),
}
_ANY = _Kind("Any", "_blob")


def stub_module(file: str, probes: Iterable[Probe]) -> str:
    """Return the text of the module for the executors that started."""
    options = (f"        {name}: {annotation}" for name, annotation in _OPTIONS.items())
    parts = [_HEAD.format(file=_text(file), options="\n".join(options))]
    taken = set(_NAMES)
    for probe in probes:
        name = _fresh(_identifier(probe.name), taken)
        parts.append(_executor(name, probe, taken))
    return "\n\n".join(parts)


def _executor(name: str, probe: Probe, taken: set[str]) -> str:
    kind = _fresh("".join(part.title() for part in name.split("_")) or "Executor", taken)
    lines = [f"class {kind}:", f'    """Tasks of executor {_text(probe.name)}."""']
    if not probe.tasks:
        lines[-1] = f'    """Executor {_text(probe.name)}, which does not announce its tasks."""'
    functions = set(_NAMES)  # whose annotations would mean the functions else
    for task in probe.tasks:
        function = _fresh(_identifier(task.name), functions)
        lines += ["", *_function(function, f"{probe.name}/{task.name}", task)]
    return "\n".join([*lines, "", "", f"{name} = {kind}()", ""])


def _function(name: str, task_type: str, task: ProbedTask) -> list[str]:
    quoted = _quoted(task_type)
    if task.inputs is None or task.outputs is None:
        return [
            "    @staticmethod",
            f"    def {name}(*inputs: Any, outputs: Any = 1, **options: Unpack[Options]) -> Task:",
            f'        """Task {_text(task_type)}, which does not tell its types."""',
            "        made = [_blob(each) for each in inputs]",
            f"        return Task(made, outputs, task_type={quoted}, **options)",
        ]
    names = _parameter_names(task.inputs)
    kinds = [_kind(value.type) for value in task.inputs]
    parameters = [f"{each}: {kind.annotation}" for each, kind in zip(names, kinds, strict=True)]
    takes = [f"{each}: {value.type}" for each, value in zip(names, task.inputs, strict=True)]
    gives = [value.type for value in task.outputs]
    return [
        "    @staticmethod",
        f"    def {name}(",
        *(f"        {parameter}," for parameter in parameters),
        "        **options: Unpack[Options],",
        "    ) -> Task:",
        f'        """Task {_text(task_type)}.',
        "",
        f"        Takes {_text(', '.join(takes) or 'nothing')}.",
        f"        Gives {_text(', '.join(gives) or 'nothing')}.",
        '        """',
        "        inputs = (",
        *(f"            {kind.call(each)}," for each, kind in zip(names, kinds, strict=True)),
        "        )",
        f"        return Task(inputs, {len(gives)}, task_type={quoted}, **options)",
    ]


def _kind(type_text: str) -> _Kind:
    scalar = re.fullmatch(r"(bool|int|uint|float|complex)(\d*) scalar", type_text)
    if scalar:
        return _Kind(f"{_SCALARS[scalar[1]]} | Input", "_array", scalar[1] + scalar[2])
    array = re.fullmatch(r"ndarray(?: (?!of )(\w+))?(?: of \d+ dimensions?)?", type_text)
    if array:
        return _Kind("ArrayLike | Input", "_array", array[1] or "")
    return _KINDS.get(type_text, _ANY)


def _parameter_names(inputs: Sequence[Value]) -> list[str]:
    """Return identifiers, other ones than the keywords of Options."""
    taken = {"options", "inputs", *_OPTIONS}
    return [
        _fresh(_identifier(value.name or f"input{number}"), taken)
        for number, value in enumerate(inputs)
    ]


def _identifier(name: str) -> str:
    word = re.sub(r"\W", "_", name) or "_"
    if word[0].isdigit() or not word.isidentifier():
        word = f"_{word}"
    return f"{word}_" if keyword.iskeyword(word) else word


def _fresh(name: str, taken: set[str]) -> str:
    """Return `name`, or with "_" behind it as long as it is taken, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _quoted(text: str) -> str:
    import json

    return json.dumps(text)  # which is Python, too


def _text(text: str) -> str:
    """Return it as it may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")
