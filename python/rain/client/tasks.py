"""Tasks that the governor runs itself: no executor needs to be registered for them.

All of them take what `Task` takes by keyword (`name`, `session`, `cpus`, ...) besides what is
listed.
"""

from __future__ import annotations

import math
import operator
import os

from rain.client.data import DataObject, to_dataobj
from rain.client.input import InputBase
from rain.client.output import Output, OutputBase, OutputDir, to_output
from rain.client.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike
    from typing import Any, TypeAlias

    Path: TypeAlias = str | PathLike[str]
    Argument: TypeAlias = Path | InputBase | OutputBase | DataObject | Task

__all__ = [
    "Concat",
    "Execute",
    "Load",
    "LoadDir",
    "MakeDirectory",
    "Sleep",
    "Slice",
    "SliceDirectory",
    "Store",
]

_LONGEST_NAME_BYTES = 255  # of a file, on Linux


class Concat(Task):
    """Joins blobs, in their order.

    Parameters
    ----------
    inputs : iterable of DataObject and Task
        None at all give an empty blob.
    """

    TASK_TYPE = "buildin/concat"

    def __init__(self, inputs: Iterable[DataObject | Task], **options: Any) -> None:
        super().__init__(inputs, 1, **options)


class Sleep(Task):
    """Passes its input on after some time; its output is like the input.

    Parameters
    ----------
    input : DataObject or Task
    timeout : float
        Seconds, exact to a millisecond.
    """

    TASK_TYPE = "buildin/sleep"

    def __init__(self, input: DataObject | Task, timeout: float, **options: Any) -> None:
        seconds = float(timeout)
        if not 0 <= seconds < math.inf:
            raise ValueError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
        obj = to_dataobj(input)
        output = (OutputDir if obj._is_directory else Output)(content_type=obj.content_type)
        super().__init__((obj,), (output,), config=seconds, **options)


class Load(Task):
    """Reads a file of the machine where the governor runs.

    Parameters
    ----------
    path : path
        Absolute.
    output : Output or str, optional
    """

    TASK_TYPE = "buildin/open"

    def __init__(self, path: Path, output: OutputBase | str | None = None, **options: Any) -> None:
        described = Output() if output is None else to_output(output)
        described.expect_blob()
        super().__init__((), (described,), config={"path": os.fspath(path)}, **options)


class LoadDir(Task):
    """Reads a directory of the machine where the governor runs.

    Parameters
    ----------
    path : path
        Absolute.
    output : OutputDir or str, optional
    """

    TASK_TYPE = "buildin/open_dir"

    def __init__(self, path: Path, output: OutputBase | str | None = None, **options: Any) -> None:
        described = _output_of_type(output, OutputDir)
        described.expect_dir()
        super().__init__((), (described,), config={"path": os.fspath(path)}, **options)


class Store(Task):
    """Writes a blob or a directory to the file system of the machine where the governor runs.

    Parameters
    ----------
    input : DataObject or Task
    path : path
        Absolute.
    """

    TASK_TYPE = "buildin/export"

    def __init__(self, input: DataObject | Task, path: Path, **options: Any) -> None:
        super().__init__((input,), None, config={"path": os.fspath(path)}, **options)


class MakeDirectory(Task):
    """Makes a directory of blobs and directories.

    Parameters
    ----------
    paths_objects : dict of path to object, or iterable of (path, object)
        Paths are relative to the new directory; their parents are made.
    """

    TASK_TYPE = "buildin/make_directory"

    def __init__(
        self,
        paths_objects: Mapping[Path, DataObject | Task] | Iterable[tuple[Path, DataObject | Task]],
        **options: Any,
    ) -> None:
        try:
            items: Any = getattr(paths_objects, "items", lambda: paths_objects)()
            pairs = [(os.fspath(path), to_dataobj(obj)) for path, obj in items]
        except (TypeError, ValueError):
            pairs = []
        if not pairs:
            raise TypeError(
                "MakeDirectory needs an iterable of pairs `(path, obj)` "
                "or a dictionary `{path: obj}`"
            )
        super().__init__(
            [obj for _, obj in pairs],
            (OutputDir(),),
            config={"paths": [path for path, _ in pairs]},
            **options,
        )


class Slice(Task):
    """Takes a range of a blob, without a copy: what ``obj[begin:end]`` makes.

    Parameters
    ----------
    input : DataObject or Task
        A blob.
    begin, end : int, optional
        As in a slice of Python: negative ones count from the end, and what lies outside is left
        out. Bytes; of an array (content type "user/ndarray") rows, along its first axis: it is
        looked at when the input is there, and the output is an array, too.
    output : Output or str, optional
    """

    TASK_TYPE = "buildin/slice"

    def __init__(
        self,
        input: DataObject | Task,
        begin: int | None = None,
        end: int | None = None,
        output: OutputBase | str | None = None,
        **options: Any,
    ) -> None:
        obj = to_dataobj(input)
        obj.expect_blob()
        described = _output_of_type(output, Output)
        described.expect_blob()
        config = [_position(begin, "begin"), _position(end, "end")]
        super().__init__((obj,), (described,), config=config, **options)


_FARTHEST = 2**63 - 1  # positions beyond it mean the same


def _position(value: int | None, name: str) -> int | None:
    if value is None:
        return None
    try:
        return max(-_FARTHEST, min(operator.index(value), _FARTHEST))
    except TypeError:
        raise TypeError(f"{name} must be an int or None, not {value!r}") from None


class SliceDirectory(Task):
    """Takes a file or a directory out of a directory.

    Parameters
    ----------
    input : DataObject or Task
        A directory.
    path : path
        Relative to it; with "/" at its end it names a directory.
    output : Output or OutputDir or str, optional
        Default: labelled with the path.
    """

    TASK_TYPE = "buildin/slice_directory"

    def __init__(
        self,
        input: DataObject | Task,
        path: Path,
        output: OutputBase | str | None = None,
        **options: Any,
    ) -> None:
        obj = to_dataobj(input)
        obj.expect_dir()
        path = os.fspath(path)
        if path.endswith("/"):
            described = _output_of_type(output, OutputDir)
            described.expect_dir()
            described = described.merge_with_prototype(OutputDir(path))
        else:
            described = _output_of_type(output, Output)
            described.expect_blob()
            described = described.merge_with_prototype(Output(path))
        super().__init__((obj,), (described,), config={"path": path}, **options)


def _output_of_type(output: OutputBase | str | None, kind: type[OutputBase]) -> OutputBase:
    return kind(output) if output is None or isinstance(output, str) else to_output(output)


class Execute(Task):
    """Runs a program in a directory of its own, which is removed at its end.

    Parameters
    ----------
    args : str or sequence
        The program and its arguments. A str is split as a shell would. Items are str and paths;
        data objects, tasks with a single output and Input / InputDir with a `dataobj`, for the path
        of the file that has the data; Output / OutputDir, for the path of a file or directory that
        the program will write.
    stdout : True, str or Output, optional
        Makes an output of it, labelled "stdout", or with this label.
    stdin : DataObject, Task or Input, optional
    input_paths : iterable of Input and InputDir, DataObject and Task
        Further files that the program finds.
    output_paths : iterable of Output, OutputDir and str
        Further files that it writes.
    shell : bool
        Join `args` with blanks, unquoted, and give them to /bin/sh.

    A file that is made of an Input is read-only unless ``write=True``. The file of a bare data
    object has the object's label as its name; of objects with equal labels the second one has
    "_2" in its name, and so on.

    Raises
    ------
    ValueError
        An Input or Output lacks something or has something that means nothing here, or two
        of them have the same path.
    """

    TASK_TYPE = "buildin/run"

    def __init__(
        self,
        args: str | Sequence[Argument],
        stdout: bool | str | OutputBase | None = None,
        stdin: DataObject | Task | InputBase | None = None,
        input_paths: Iterable[InputBase | DataObject | Task] = (),
        output_paths: Iterable[OutputBase | str] = (),
        shell: bool = False,
        **options: Any,
    ) -> None:
        files = _Files()
        if stdin is not None:
            files.add_input(stdin, "stdin", path="+in").expect_blob()
        for given in input_paths:
            files.add_input(given)
        if stdout is not None and stdout is not False:
            files.add_output(stdout_output(stdout), path="+out").expect_blob()
        for output in output_paths:
            files.add_output(as_output(output))
        argv = [files.argument(arg, i) for i, arg in enumerate(split_arguments(args))]
        if shell:
            argv = ["/bin/sh", "-c", " ".join(argv)]
        super().__init__(
            [obj for _, obj, _ in files.inputs],
            files.outputs,
            config={
                "args": argv,
                "in_paths": [{"path": path, "write": write} for path, _, write in files.inputs],
                "out_paths": files.output_names,
            },
            **options,
        )


def split_arguments(args: str | Iterable[Any]) -> list[Any]:
    """Return the items of a command line."""
    if isinstance(args, str):
        import shlex

        return list(shlex.split(args))
    return list(args)


def stdout_output(stdout: Any) -> OutputBase:
    """Return what the argument `stdout` of Execute and Program means."""
    return Output("stdout") if stdout is True else as_output(stdout, "stdout")


def as_output(obj: Any, label: str | None = None) -> OutputBase:
    """Return an output of a program; one without label gets `label`. Raises as Execute."""
    output = to_output(obj)
    if output.encode is not None:
        raise ValueError("Program/execute Outputs do not accept `encode`.")
    if output.label is None and label is None:
        raise ValueError("Program/execute Outputs need `label`")
    if output.label is not None:
        return output
    return output.merge_with_prototype(type(output)(label))


def check_input(given: InputBase) -> None:
    """Raise ValueError if the input says something that a program cannot do."""
    if given.load is not None:
        raise ValueError("Program/execute Inputs do not accept `load`.")


class _Files:
    """The files of one program: inputs and outputs with their paths, in order."""

    def __init__(self) -> None:
        self.inputs: list[tuple[str, DataObject, bool]] = []  # path, object, writable
        self.outputs: list[OutputBase] = []
        self.output_names: list[str] = []  # paths, parallel to it

    def argument(self, arg: Any, position: int) -> str:
        """Return what stands for an item of `args`, and take note of its file."""
        if isinstance(arg, (str, os.PathLike)):
            return os.fspath(arg)
        label = f"arg{position}"
        if isinstance(arg, (InputBase, DataObject, Task)):
            self.add_input(arg, label)
            return self.last_path
        if isinstance(arg, OutputBase):
            output = as_output(arg, label)
            self.add_output(output, path=output.path or f"out_{output.label}")
            return self.output_names[-1]
        raise TypeError(
            f"{position}. argument is invalid, it has to be string, Input, or Output, "
            f"not {type(arg)!r}"
        )

    def add_input(
        self, given: Any, label: str | None = None, path: str | None = None
    ) -> DataObject:
        """Take note of an input, whose path will be `last_path`; return its object."""
        if isinstance(given, (DataObject, Task)):
            obj = to_dataobj(given)
            return self._map(self._path_of(obj, label) if path is None else path, obj, False)
        if not isinstance(given, InputBase):
            raise TypeError(f"Object {given!r} cannot be used as input")
        check_input(given)
        if given.label is None and label is None:
            raise ValueError("Program/execute Inputs need `label`")
        if given.dataobj is None:
            raise ValueError(f"`execute` Inputs need `dataobj`: {given!r}")
        return self._map(given.path if path is None else path, given.dataobj, given.write)

    def _map(self, path: str, obj: DataObject, write: bool) -> DataObject:
        self.last_path = path
        for other, present, writable in self.inputs:
            if other != path:
                continue
            if present is obj and writable == write:
                return obj  # the same file, named twice
            raise ValueError(
                f"inputs {present!r} and {obj!r} have the same path {path!r}: "
                "give one of them another, with Input(path=...)"
            )
        self.inputs.append((path, obj, write))
        return obj

    def _path_of(self, obj: DataObject, fallback: str | None) -> str:
        """Return a path for a bare object: the one it has, else a free one."""
        for path, present, write in self.inputs:
            if present is obj and not write and not path.startswith("+"):
                return path
        wanted = (obj.label or "").rstrip("/")
        if not _can_be_path(wanted):
            wanted = fallback or "input"
        taken = {path for path, _, _ in self.inputs}
        path, (stem, extension), number = wanted, os.path.splitext(wanted), 1
        while path in taken:
            number += 1
            path = f"{stem}_{number}{extension}"
        return path

    def add_output(self, output: OutputBase, path: str | None = None) -> OutputBase:
        """Take note of an output; return it."""
        path = path or output.path or output.label or ""
        if path in self.output_names:
            raise ValueError(
                f"outputs {self.outputs[self.output_names.index(path)].label!r} and "
                f"{output.label!r} have the same path {path!r}: give one of them another, "
                "with Output(path=...)"
            )
        self.outputs.append(output)
        self.output_names.append(path)
        return output


def _can_be_path(label: str) -> bool:
    """True if a file may have this name, below the directory of a program."""
    parts = label.split("/")
    return "\0" not in label and all(
        part not in ("", ".", "..", "+in", "+out", "+err")
        and len(os.fsencode(part)) < _LONGEST_NAME_BYTES - 8  # room for a number
        for part in parts
    )
