"""One executor process in Python."""

from __future__ import annotations

import io
import os
import sys

from rain._core import TaskExecutor
from rain.tasklib.context import Context
from rain.tasklib.datainstance import DataInstance

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    Function = TypeVar("Function", bound=Callable[..., Any])


class Executor:
    """The functions of one executor type, and the connection to the governor that started it.

    Parameters
    ----------
    type_name
        The part of task types before the "/"; the same as in the governor's configuration.
    """

    # What functions get; subclasses may add to them.
    context_type: type[Context] = Context
    data_type: type[DataInstance] = DataInstance

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        self._core = TaskExecutor(type_name, self.context_type, self.data_type)

    if TYPE_CHECKING:

        @overload
        def task(self, function: Function) -> Function: ...
        @overload
        def task(self, *, name: str) -> Callable[[Function], Function]: ...

    def task(
        self, function: Function | None = None, *, name: str | None = None
    ) -> Function | Callable[[Function], Function]:
        """Make a function a task: ``@executor.task`` or ``@executor.task(name="...")``.

        The function is called with a Context and one DataInstance per input. With one declared
        output it returns that; with several a sequence, or a mapping by label; with none None.
        An output is bytes, str, anything with the buffer protocol, or a DataInstance.

        Annotations say what else inputs become and results are made of: ``x: np.ndarray``,
        ``factor: float``, ``-> np.ndarray``; docs/tutorial-python.md lists the types. The Context
        may then be left out: it is the first parameter if that is called ``ctx`` or annotated.

        Raises
        ------
        TypeError
            An annotation can't be resolved, or is of a type that tasks don't exchange.
        """
        if function is None:
            return lambda decorated: self._add(name, decorated)
        return self._add(name, function)

    def add_task(self, name: str, function: Callable[..., Any]) -> None:
        """Make `function` the task `name`; a second one of that name replaces the first."""
        if not callable(function):
            raise TypeError(f"task {name!r}: {function!r} is not callable")
        if not _is_annotated(function):
            self._core.add_task(name, function)
            return
        from rain.tasklib.typed import form_of

        self._core.add_task(name, function, form_of(name, function))

    def _add(self, name: str | None, function: Function) -> Function:
        self.add_task(name or function.__name__, function)
        return function

    def start(self, threads: int | None = None) -> None:
        """Serve calls until the governor has no more or is gone.

        Parameters
        ----------
        threads
            Calls that run at the same time. They share the interpreter, so this pays for functions
            that release the GIL. Default: as many as the executor's registration says, else one.

        Raises
        ------
        RuntimeError
            The program was not started by a governor, or the connection failed.
        Exception
            What the task raised, where one is run again alone (Task.reproduce).

        Notes
        -----
        SIGTERM and SIGINT end the process at once, as they end one in C++, unless the program has
        installed handlers of its own: these run while a task runs, or before the next one.
        """
        if threads is not None and threads < 1:
            raise ValueError(f"start(threads={threads}): at least one thread is needed")
        for stream in (sys.stdout, sys.stderr):
            # What a task prints is in the log at once, whatever becomes of the process.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)
        import signal
        import threading

        alone = os.environ.get("RAIN_REPRODUCE")
        if alone is not None:
            os.environ["RAIN_REPRODUCE"] = alone  # start() took it away; pdb runs programs again
        # KeyboardInterrupt would hit whichever task happens to run, or the next one.
        interruptible = (
            alone is None
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if interruptible:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            self._core.start(threads)
        finally:
            if interruptible:
                signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_annotated(function: Callable[..., Any]) -> bool:
    try:
        return bool(getattr(function, "__annotations__", None))
    except NameError:  # Python 3.14 looks what they mean only now
        return True
