"""Tasks of registered executors, called without a class: ``client.executors``."""

from __future__ import annotations

from rain.common.errors import RainException, SignatureMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from rain import _core
    from rain.client.signature import Signature
    from rain.client.task import Task


class Executors:
    """The executor types of a client, by name: ``client.executors["example1"].hello(obj)``.

    ``client.executors.example1.hello(obj)`` is the same.
    """

    def __init__(self, engine: _core.Engine, registered: Mapping[str, Any]) -> None:
        self._engine = engine
        self._registered = registered

    @property
    def _names(self) -> list[str]:
        return sorted(self._registered)

    def _knows(self, name: str) -> bool:
        """Whether it is registered, if need be by now."""
        return name in self._registered or (
            self._engine.learn_offers() and name in self._registered
        )

    def __getitem__(self, name: str) -> ExecutorTasks:
        if not self._knows(name):
            raise KeyError(self._unknown(name))
        return ExecutorTasks(self._engine, name)

    def __getattr__(self, name: str) -> ExecutorTasks:
        if name.startswith("_") or not self._knows(name):
            raise AttributeError(self._unknown(name))
        return ExecutorTasks(self._engine, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._registered)

    def __contains__(self, name: object) -> bool:
        return name in self._registered

    def keys(self) -> list[str]:
        return self._names

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._names if name.isidentifier())]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {', '.join(self._names) or 'none'}>"

    def _unknown(self, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name, self._names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        registered = ", ".join(self._names) or "none"
        return f"Executor {name!r} is not registered{hint} registered: {registered}"


class ExecutorTasks:
    """The tasks of one executor type, as functions that make a Task."""

    def __init__(self, engine: _core.Engine, executor: str) -> None:
        self._engine = engine
        self._executor = executor

    def tasks(self) -> list[str]:
        """Return the names of its tasks, as its processes announce them.

        Starts a process if none has run yet. Executors with the libraries of Rain 0.4 announce
        none.

        Raises
        ------
        RainException
            The executor could not be started.
        """
        return [name for name, _ in self._engine.learn_tasks(self._executor)]

    def signatures(self) -> dict[str, Signature]:
        """Return what its typed tasks take and give, by name; starts a process as tasks() does."""
        from rain.client.signature import Signature

        known = self._engine.learn_tasks(self._executor)
        return {name: Signature(raw) for name, raw in known if raw is not None}

    def __getattr__(self, task: str) -> TaskMaker:
        if task.startswith("_"):  # what notebooks and copy look for; client.executors[x]["_task"]
            raise AttributeError(task)
        return TaskMaker(self._engine, self._executor, task)

    def __getitem__(self, task: str) -> TaskMaker:
        return TaskMaker(self._engine, self._executor, task)

    def __dir__(self) -> list[str]:
        known = self._engine.announced_tasks(self._executor) or []
        return [*super().__dir__(), *(name for name, _ in known if name.isidentifier())]

    def __repr__(self) -> str:
        from rain.client.signature import Signature

        known = self._engine.announced_tasks(self._executor)
        if known is None:
            tasks = "not started yet"
        else:
            shown = [name if raw is None else f"{name}{Signature(raw)}" for name, raw in known]
            tasks = ", ".join(shown) or "announces no tasks"
        return f"<{type(self).__name__} {self._executor!r}: {tasks}>"


class TaskMaker:
    """One task of an executor: calling it makes a Task in the active session."""

    def __init__(self, engine: _core.Engine, executor: str, task: str) -> None:
        self._engine = engine
        self._executor = executor
        self._name = task
        self._task_type = f"{executor}/{task}"

    @property
    def signature(self) -> Signature | None:
        """What the task takes and gives; None while that is not known, or if it is not typed."""
        from rain.client.signature import Signature

        raw = self._engine.announced_signature(self._executor, self._name, False)
        return None if raw is None else Signature(raw)

    @property
    def __signature__(self) -> Any:
        signature = self.signature
        if signature is None:  # as an attribute that is not there
            raise AttributeError("__signature__")
        return signature.of_python()

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        signature = self.signature
        text = "" if signature is None else f"{self._name}{signature}\n\n"
        return f"{text}Make a task {self._task_type!r} in the active session.\n{_OPTIONS}"

    def __call__(self, *inputs: Any, outputs: Any = 1, **options: Any) -> Task:
        """Make a task.

        Parameters
        ----------
        *inputs
            Data objects, tasks with one output, and (label, object) pairs. Other values become
            constants that typed tasks take: numbers, None, lists, dicts and instances of
            dataclasses; numpy arrays; str and bytes-like.
        outputs
            As for Task; default: one.
        **options
            Passed to Task: name, config, session, cpus, ...

        Raises
        ------
        SignatureMismatch
            The executor has announced another number of inputs.
        """
        from rain.client.task import Task
        from rain.client.values import as_input

        if "task_type" in options:
            raise RainException(f"{self!r} has its task type; use Task(task_type=...) instead")
        announced = self._engine.announced_signature(self._executor, self._name, False)
        if announced is not None and len(announced[0]) != len(inputs):
            self._refuse(len(inputs))
        session = options.get("session")
        objects = [as_input(value, session) for value in inputs]
        return Task(objects, outputs, task_type=self._task_type, **options)

    def _refuse(self, count: int) -> None:
        """Raise, unless the announcement is out of date: the program was built again."""
        from rain.client.signature import Signature

        announced = self._engine.announced_signature(self._executor, self._name, True)
        if announced is None or len(announced[0]) == count:
            return
        wanted = len(announced[0])
        raise SignatureMismatch(
            f"task {self._task_type!r} takes {wanted} input{'' if wanted == 1 else 's'}, got "
            f"{count}; it is {self._name}{Signature(announced)}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task_type!r}{self.signature or ''}>"


_OPTIONS = """
Parameters
----------
*inputs
    Data objects, tasks with one output, and (label, object) pairs; other values become constants.
outputs
    As for Task; default: one.
**options
    Passed to Task: name, config, session, cpus, ...
"""
