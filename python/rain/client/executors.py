"""Tasks of registered executors, called without a class: ``client.executors``."""

from __future__ import annotations

from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rain import _core
    from rain.client.task import Task


class Executors:
    """The executor types of a client, by name: ``client.executors["example1"].hello(obj)``.

    ``client.executors.example1.hello(obj)`` is the same.
    """

    def __init__(self, engine: _core.Engine, names: list[str]) -> None:
        self._engine = engine
        self._names = names

    def __getitem__(self, name: str) -> ExecutorTasks:
        if name not in self._names:
            raise KeyError(self._unknown(name))
        return ExecutorTasks(self._engine, name)

    def __getattr__(self, name: str) -> ExecutorTasks:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(self._unknown(name))
        return ExecutorTasks(self._engine, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def keys(self) -> list[str]:
        return list(self._names)

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
        return self._engine.learn_tasks(self._executor)

    def __getattr__(self, task: str) -> TaskMaker:
        if task.startswith("_"):  # what notebooks and copy look for; client.executors[x]["_task"]
            raise AttributeError(task)
        return TaskMaker(self._executor, task)

    def __getitem__(self, task: str) -> TaskMaker:
        return TaskMaker(self._executor, task)

    def __dir__(self) -> list[str]:
        known = self._engine.announced_tasks(self._executor) or []
        return [*super().__dir__(), *(name for name in known if name.isidentifier())]

    def __repr__(self) -> str:
        known = self._engine.announced_tasks(self._executor)
        tasks = "not started yet" if known is None else ", ".join(known) or "announces no tasks"
        return f"<{type(self).__name__} {self._executor!r}: {tasks}>"


class TaskMaker:
    """One task of an executor: calling it makes a Task in the active session."""

    def __init__(self, executor: str, task: str) -> None:
        self._task_type = f"{executor}/{task}"

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
        """
        from rain.client.task import Task
        from rain.client.values import as_input

        if "task_type" in options:
            raise RainException(f"{self!r} has its task type; use Task(task_type=...) instead")
        session = options.get("session")
        objects = [as_input(value, session) for value in inputs]
        return Task(objects, outputs, task_type=self._task_type, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task_type!r}>"
