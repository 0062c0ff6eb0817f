"""Annotated functions as tasks: what inputs become as arguments, and results as outputs.

Annotations are looked at once, when the function is registered; the compiled module keeps what is
found (a TypedForm) and applies it to each call. C++ tasks with the same types take the same data
and say the same when something doesn't fit. docs/tutorial-python.md has the table.
"""

from __future__ import annotations

from rain._core import TaskContext, TypedForm
from rain.tasklib import typed_inputs, typed_outputs
from rain.tasklib.typed_inputs import EMPTY, Unsupported, is_any, is_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def form_of(task: str, function: Callable[..., Any]) -> TypedForm | None:
    """Return how a function is called as the task, or None: with Context and DataInstances.

    Raises
    ------
    TypeError
        An annotation can't be resolved or isn't supported, or a parameter can't be an input.
    """
    if not hasattr(function, "__code__"):  # neither function nor method
        return None
    parameters = _Parameters(function)
    annotations = _Annotations(task, parameters.function)
    if not annotations.any():
        return None
    inputs = parameters.inputs()
    first = parameters.names[0] if parameters.names else None
    takes_context = (
        first == "ctx"
        or (first is not None and is_class(annotations.of(first), TaskContext))
        # As functions without annotations, unless there is one on an input.
        or (bool(inputs) and not any(map(annotations.has, inputs)))
    )
    if takes_context and first is not None:
        inputs = inputs[1:]
    found = {name: annotations.of(name) for name in inputs}
    result = annotations.of("return")
    if takes_context and all(map(is_any, found.values())) and typed_outputs.is_plain(result):
        return None
    if parameters.keyword_only:
        raise TypeError(
            f"task {task!r}: parameter {parameters.keyword_only[0]!r} is keyword-only and has no "
            "default; inputs are positional"
        )
    read = []
    for name, annotation in found.items():
        where = f"the annotation of parameter {name!r}"
        with annotations.explained(where):
            read.append(typed_inputs.reader(annotation, name, annotations.resolve))
    with annotations.explained("the annotation of the result"):
        outputs, write = typed_outputs.writer(result, annotations.resolve)
    return TypedForm(
        takes_context=takes_context,
        parameters=read,
        required=max(0, parameters.required - (takes_context and first is not None)),
        variadic=parameters.variadic is not None,
        write=write,
        outputs=outputs,
    )


class _Parameters:
    """Of a function, a bound method, or what a decorator with functools.wraps made of one."""

    def __init__(self, function: Any) -> None:
        bound = hasattr(function, "__func__")
        function = getattr(function, "__func__", function)
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        self.function = function
        code = function.__code__
        names, n_keyword = code.co_varnames, code.co_kwonlyargcount
        self.names: tuple[str, ...] = names[bound : code.co_argcount]
        self.required = len(self.names) - len(function.__defaults__ or ())
        rest = names[code.co_argcount :]
        self.variadic: str | None = rest[n_keyword] if code.co_flags & _VARARGS else None
        given = function.__kwdefaults__ or {}
        self.keyword_only = [name for name in rest[:n_keyword] if name not in given]

    def inputs(self) -> tuple[str, ...]:
        return self.names if self.variadic is None else (*self.names, self.variadic)


_VARARGS = 0x04  # inspect.CO_VARARGS, without an import of inspect


class _Annotations:
    """The annotations of a task's function, resolved when asked for."""

    def __init__(self, task: str, function: Any) -> None:
        self._task = task
        self._names = function.__globals__
        self._locals = _closure_of(function)
        try:
            self._found: dict[str, Any] = function.__annotations__
        except NameError as error:  # Python 3.14 evaluates them only now
            raise TypeError(f"task {task!r}: an annotation can't be resolved: {error}") from error

    def any(self) -> bool:
        return bool(self._found)

    def has(self, name: str) -> bool:
        return name in self._found

    def of(self, name: str) -> Any:
        """EMPTY if there is none."""
        if name not in self._found:
            return EMPTY
        whose = "the result" if name == "return" else f"parameter {name!r}"
        with self.explained(f"the annotation of {whose}"):
            return self.resolve(self._found[name])

    def resolve(self, annotation: Any) -> Any:
        """What an annotation means: also of a name, an alias, a NewType, and Annotated[T, ...]."""
        try:
            return self._meaning(annotation)
        except Exception as error:
            raise Unsupported(
                f"{annotation!r} can't be resolved: {type(error).__name__}: {error}; what it "
                "names must be known at the top level of the function's module, and not only "
                "under TYPE_CHECKING"
            ) from error

    def _meaning(self, annotation: Any) -> Any:
        annotation = getattr(annotation, "__forward_arg__", annotation)
        if isinstance(annotation, str):
            return self._meaning(eval(annotation, self._names, self._locals))
        if isinstance(annotation, type):
            return annotation
        if hasattr(annotation, "__value__"):
            return self._meaning(_value_of(annotation))
        if hasattr(annotation, "__supertype__"):
            return self._meaning(annotation.__supertype__)
        return (
            self._meaning(annotation.__origin__)
            if hasattr(annotation, "__metadata__")
            else annotation
        )

    def explained(self, where: str) -> _Explained:
        return _Explained(f"task {self._task!r}: {where}")


def _value_of(alias: Any) -> Any:
    """What a `type` statement says; NDArray of numpy 2.5 is one that takes an argument."""
    value = alias.__value__
    generic = getattr(alias, "__origin__", None)
    if generic is None:
        return value
    arguments = dict(zip(generic.__type_params__, alias.__args__, strict=True))
    return value[tuple(arguments[parameter] for parameter in value.__parameters__)]


class _Explained:
    """Makes what is unsupported inside the block a TypeError that says where."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unsupported):
            raise TypeError(f"{self._where}: {error}") from error


def _closure_of(function: Any) -> dict[str, Any]:
    """What the function uses of the functions around it."""
    found = {}
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    return found
