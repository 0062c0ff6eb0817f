"""Programs with holes for their inputs."""

from __future__ import annotations

from rain.client.input import Input, InputBase
from rain.client.output import OutputBase
from rain.client.tasks import (
    Execute,
    as_output,
    check_input,
    split_arguments,
    stdout_output,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rain.client.data import DataObject
    from rain.client.session import Session
    from rain.client.task import Task


class Program:
    """A template of Execute: call it with one data object for each of its inputs.

    Parameters
    ----------
    args : str or sequence of str, Input, InputDir, Output and OutputDir
        Inputs without `dataobj`; a call gives it by their label.
    stdout : True, str or Output, optional
    stdin : str or Input, optional
    input_paths : iterable of str, Input and InputDir
    output_paths : iterable of str, Output and OutputDir
        A str is a label. All else as in Execute.
    shell : bool
    name : str, optional
        Of the tasks.
    **options
        What Task takes by keyword: ``cpus=``, ...

    >>> count = Program(["/usr/bin/wc", "-l"], stdin="text", stdout="lines")
    >>> task = count(text=blob("a\\nb\\n"))
    """

    def __init__(
        self,
        args: str | Sequence[str | InputBase | OutputBase],
        stdout: bool | str | OutputBase | None = None,
        stdin: str | InputBase | None = None,
        input_paths: Iterable[str | InputBase] = (),
        output_paths: Iterable[str | OutputBase] = (),
        shell: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self.name = name
        self._options = options
        self._shell = shell
        self._args = [_argument(arg, i) for i, arg in enumerate(split_arguments(args))]
        self._stdin = None if stdin is None else _as_input(stdin, "stdin")
        self._input_paths = [_as_input(item) for item in input_paths]
        self._stdout = None if stdout is None or stdout is False else stdout_output(stdout)
        self._output_paths = [as_output(item) for item in output_paths]
        inputs = [arg for arg in self._args if isinstance(arg, InputBase)] + self._input_paths
        if self._stdin is not None:
            inputs.append(self._stdin)
        self._labels = {item.label for item in inputs}

    def __call__(
        self,
        name: str | None = None,
        session: Session | None = None,
        **objects: DataObject | Task,
    ) -> Execute:
        """Make the task.

        Parameters
        ----------
        name : str, optional
            Default: the program's.
        session : Session, optional
            Default: the active one.
        **objects : DataObject or Task with a single output
            The data of the input with this label.

        Raises
        ------
        KeyError
            There is nothing for one of the inputs.
        TypeError
            There is something for an input that the program does not have.
        """
        if "session" in self._labels and session is not None:
            objects["session"], session = session, None  # type: ignore[assignment]
        surplus = objects.keys() - self._labels
        if surplus:
            known = ", ".join(sorted(map(repr, self._labels))) or "none"
            raise TypeError(
                f"Program call got an unexpected keyword argument {min(surplus)!r}: "
                f"the labels of its inputs are {known}"
            )

        def fill(item: Any) -> Any:
            return _with_dataobj(item, objects) if isinstance(item, InputBase) else item

        return Execute(
            [fill(arg) for arg in self._args],
            stdout=self._stdout,
            stdin=fill(self._stdin),
            input_paths=[fill(item) for item in self._input_paths],
            output_paths=self._output_paths,
            shell=self._shell,
            name=self.name if name is None else name,
            session=session,
            **self._options,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._args!r}>"


def _argument(arg: Any, position: int) -> str | InputBase | OutputBase:
    label = f"arg{position}"
    if isinstance(arg, str):
        return arg
    if isinstance(arg, InputBase):
        return _as_input(arg, label)
    if isinstance(arg, OutputBase):
        output = as_output(arg, label)
        if output.path is None:
            output = output.merge_with_prototype(type(output)(path=f"out_{output.label}"))
        return output
    raise TypeError(f"Can't use {arg!r} in program argument list.")


def _as_input(item: Any, label: str | None = None) -> InputBase:
    """Return an input with a label and without data."""
    if isinstance(item, str):
        return Input(item)
    if not isinstance(item, InputBase):
        raise TypeError(f"Object {item!r} cannot be used as input")
    check_input(item)
    if item.dataobj is not None:
        raise ValueError("`Program` Inputs can't have `dataobj`")
    if item.label is None and label is None:
        raise ValueError("Program/execute Inputs need `label`")
    if item.label is not None:
        return item
    return type(item)(label, item.path, None, item.load, item.content_type, item.write)


def _with_dataobj(item: InputBase, objects: dict[str, Any]) -> InputBase:
    assert item.label is not None
    return type(item)(
        item.label,
        item.path,
        objects[item.label],
        item.load,
        item.content_type,
        item.write,
    )
