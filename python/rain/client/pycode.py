"""Python functions as tasks: ``@remote()``."""

from __future__ import annotations

import inspect
import io
import operator
import pickle
import time
from binascii import b2a_base64
from copy import copy
from weakref import WeakKeyDictionary

import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

from rain import _core
from rain.client.data import DataObject, to_dataobj
from rain.client.input import Input, InputBase
from rain.client.output import Output, OutputBase, OutputSpec
from rain.client.task import Task
from rain.common.content_type import check_content_type
from rain.common.errors import RainException, RainWarning
from rain.common.labeled_list import LabeledList
from rain.common.ndarray import as_bytes, is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any, overload

    from rain.client.session import Session

#: Arguments (and functions) that are larger when pickled travel as blobs, with a RainWarning.
PICKLE_ARG_SIZE_LIMIT = 256 * 1024
#: Seconds of CPU time to pickle one of them, from which on there is a RainWarning.
PICKLE_ARG_TIME_LIMIT = 1.0

_TASK_TYPE = "py/"
_PROTOCOL = 5
_CO_FUTURE_ANNOTATIONS = 0x1000000
# There can be no data object and nothing of __main__ in them.
_NUMBERS = frozenset((type(None), bool, int, float, complex))
_ATOMS = _NUMBERS | {str, bytes}
_NOT_PICKLED = ("_blobs", "_positional", "_required", "_rest", "_rest_named", "_needs_keywords")
_OWN = (_core.DataObjectBase, _core.TaskBase, _core.SessionBase)


if TYPE_CHECKING:

    @overload
    def remote(fn: Callable[..., Any], /) -> Remote: ...

    @overload
    def remote(
        *,
        outputs: Any = None,
        inputs: Mapping[str, InputBase] | tuple[()] = (),
        auto_load: bool | None = None,
        auto_encode: str | None = None,
        name: str | None = None,
        cpus: int = 1,
        **options: Any,
    ) -> Callable[[Callable[..., Any]], Remote]: ...


def remote(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    outputs: Any = None,
    inputs: Mapping[str, InputBase] | tuple[()] = (),
    auto_load: bool | None = None,
    auto_encode: str | None = None,
    name: str | None = None,
    cpus: int = 1,
    **options: Any,
) -> Remote | Callable[[Callable[..., Any]], Remote]:
    """Make a function a task factory: a decorator, with or without parentheses.

    >>> @remote()
    ... def join(ctx, a, b):
    ...     return a.get_bytes() + b.get_bytes()
    >>> join(blob("Hello "), other_task).output.fetch()

    Parameters
    ----------
    outputs : int, str, Output, or sequence of str and Output, optional
        What the function returns; the annotation of its result says the same. Default: one output.
    inputs : dict of str to Input, optional
        How parameters take data objects; an annotation ``p: Input(...)`` says the same.
    auto_load : bool, optional
        Whether data objects arrive as the values that they hold, where `load` isn't given.
    auto_encode : str, optional
        Content type into which results are encoded, where `encode` isn't given.
    name : str, optional
        Name of the tasks, for people. Default: the function's.
    cpus : int
        CPUs that a call occupies.
    **options
        Further arguments of Task, for each call.

    The function's first parameter is the context (rain.executor.context.Context); calls leave it
    out. A call gives a Task. Data objects, and tasks with one output, may be anywhere in the
    arguments.
    """

    def make(fn: Callable[..., Any]) -> Remote:
        return Remote(
            fn,
            inputs=inputs,
            outputs=outputs,
            auto_load=auto_load,
            auto_encode=auto_encode,
            name=name,
            cpus=cpus,
            **options,
        )

    return make if fn is None else make(fn)


class Remote:
    """A function whose calls are tasks. See remote() for the parameters, and for use.

    Attributes
    ----------
    fn : callable
    name : str
    cpus : int
    inputs : dict of str to Input
        By parameter.
    outputs : OutputSpec
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        inputs: Mapping[str, InputBase] | tuple[()] | None = None,
        outputs: Any = None,
        auto_load: bool | None = False,
        auto_encode: str | None = None,
        name: str | None = None,
        cpus: int = 1,
        **options: Any,
    ) -> None:
        if not inspect.isfunction(fn) and not inspect.ismethod(fn):
            raise RainException(f"remote() arg {fn!r} is not a function")
        self.fn = fn
        self.name = fn.__name__ if name is None else name
        self.cpus = cpus
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        self._options = {key: value for key, value in options.items() if value is not None}
        self._signature = inspect.signature(fn)
        annotations = _annotations(fn, self._signature)
        self.inputs = _declared_inputs(
            fn, self._signature, annotations, dict(inputs or ()), bool(auto_load)
        )
        self.outputs = _declared_outputs(annotations.get("return"), outputs, auto_encode)
        self._prepare()

    def _prepare(self) -> None:
        """Make what is the same for all calls, and isn't pickled."""
        self._blobs: WeakKeyDictionary[Session, DataObject] = WeakKeyDictionary()
        parameters = list(self._signature.parameters.values())[1:]
        self._positional = [p.name for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
        self._required = sum(
            1 for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty
        )
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._rest_named = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._needs_keywords = any(
            p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters
        )
        self._default_outputs = _described(self.outputs.merge())

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in _NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def __repr__(self) -> str:
        return f"<Remote {self.name!r}>"

    def __call__(
        self,
        *args: Any,
        output: Any = None,
        outputs: Any = None,
        name: str | None = None,
        session: Session | None = None,
        **kwargs: Any,
    ) -> Task:
        """Make a task that calls the function with these arguments, without the context.

        Parameters
        ----------
        output, outputs
            What differs from the declared outputs: labels or Outputs.
        name : str, optional
            Of the task.
        session : Session, optional
            Default: the active one.

        Raises
        ------
        TypeError
            The arguments don't fit the function's signature.
        RainException
            The function or an argument can't be pickled, or there is no active session.
        """
        count = len(args)
        if (
            kwargs
            or self._needs_keywords
            or count < self._required
            or (count > len(self._positional) and self._rest is None)
        ):
            self._signature.bind(None, *args, **kwargs)
        if session is None:
            session = _core.active_session()
        call = _Call(self.name, session, self._function_in(session))
        pickled = [
            _text(pickle.dumps(arg, _PROTOCOL))
            if type(arg) in _NUMBERS
            else call.pickle(*self._taker(i), arg)
            for i, arg in enumerate(args)
        ]
        named = {
            key: call.pickle(key, self.inputs.get(key) or self.inputs[self._rest_named or ""], arg)
            for key, arg in kwargs.items()
        }
        made, encodes = self._default_outputs
        if output is not None or outputs is not None:
            made, encodes = _described(self.outputs.merge(outputs, output))
        return Task(
            call.inputs,
            (call.labels, made),
            config={"args": pickled, "kwargs": named, "encode_outputs": encodes},
            session=session,
            task_type=_TASK_TYPE,
            cpus=self.cpus,
            name=self.name if name is None else name,
            **self._options,
        )

    def _taker(self, position: int) -> tuple[str, InputBase]:
        """Name and declaration of what takes a positional argument."""
        if position < len(self._positional):
            name = self._positional[position]
            return name, self.inputs[name]
        rest = self._rest or ""
        return f"{rest}[{position - len(self._positional)}]", self.inputs[rest]

    def _function_in(self, session: Session) -> DataObject:
        """Return the function as a data object of this session."""
        obj = self._blobs.get(session)
        if obj is None:
            data = _pickle_function(self.name, self.fn)
            obj = DataObject.__new__(DataObject)
            obj._create(session, self.name, "cloudpickle", data, "blob")
            obj._set_kept(True)
            self._blobs[session] = obj
        return obj


class _Call:
    """One call that is being made: pickles arguments, and collects the inputs that they need."""

    def __init__(self, name: str, session: Session, function: DataObject) -> None:
        self.name = name
        self.session = session
        self.inputs = [function]
        self.labels: list[str | None] | None = None

    def pickle(self, name: str, declared: InputBase, value: Any) -> str:
        """Return an argument as it goes into the config."""
        if type(value) in _ATOMS and not (
            isinstance(value, (bytes, str)) and len(value) > PICKLE_ARG_SIZE_LIMIT
        ):
            return _text(pickle.dumps(value, _PROTOCOL))
        start = time.process_time()
        pickler = _ArgumentPickler(io.BytesIO(), self, name, declared)
        try:
            data = pickler.pickled(value)
        except RainException:
            raise
        except Exception as error:
            raise NotPickled(
                f"argument {name!r} of remote function {self.name!r} cannot be pickled: "
                f"{type(error).__name__}: {error}"
            ) from error
        seconds = time.process_time() - start
        if pickler.by_value_bytes > PICKLE_ARG_SIZE_LIMIT:
            _warn_of_size(name, pickler.by_value_bytes)
        if seconds > PICKLE_ARG_TIME_LIMIT:
            _warn_of_time(name, seconds)
        return _text(data)


class NotPickled(RainException, pickle.PicklingError):
    """A function or an argument of one cannot be pickled."""


class _Reduced:
    """Unpickles as the result of a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> Any:
        return self._reduced


class _ArgumentPickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """Puts placeholders where data objects are, and blobs in the place of what is large."""

    def __init__(self, file: io.BytesIO, call: _Call, name: str, declared: InputBase) -> None:
        from rain.executor import executor  # which unpickling imports by name

        super().__init__(file, protocol=_PROTOCOL)
        self._input = executor.unpickle_input_object
        self._array = executor.unpickle_array
        self.by_value_bytes = 0
        self._file = file
        self._call = call
        self._name = name
        self._declared = declared
        self._count = 0

    def pickled(self, value: Any) -> bytes | memoryview:
        if type(value) is bytes and len(value) > PICKLE_ARG_SIZE_LIMIT:
            blob = _Reduced(self._input, *self._blob(value, None, False))
            return pickle.dumps(_Reduced(_GET_BYTES, blob), _PROTOCOL)
        self.dump(value)
        data = self._file.getbuffer()
        if len(data) <= PICKLE_ARG_SIZE_LIMIT:
            return data
        blob = _Reduced(self._input, *self._blob(data, "cloudpickle", True))
        return pickle.dumps(blob, _PROTOCOL)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (_core.DataObjectBase, _core.TaskBase)):
            declared = self._declared
            place = self._place(to_dataobj(obj), bool(declared.load), declared.content_type)
            return self._input, place
        if is_array(obj) and obj.nbytes > PICKLE_ARG_SIZE_LIMIT and not obj.dtype.hasobject:
            in_columns = obj.flags.f_contiguous and not obj.flags.c_contiguous
            place = self._blob(as_bytes(obj.T if in_columns else obj), None, False)
            blob = _Reduced(self._input, *place)
            return self._array, (blob, obj.dtype, obj.shape, "F" if in_columns else "C")
        return super().reducer_override(obj)

    def _blob(self, data: Any, content_type: str | None, load: bool) -> tuple[Any, ...]:
        """Make a blob of what is too large for the config."""
        self.by_value_bytes += len(data)
        obj = DataObject.__new__(DataObject)
        obj._create(self._call.session, self._name, content_type, data, "blob")
        return self._place(obj, load, None)

    def _place(self, obj: DataObject, load: bool, content_type: str | None) -> tuple[Any, ...]:
        """Make `obj` an input; return the arguments of unpickle_input_object."""
        label = f"{self._name}{{{self._count}}}"
        self._count += 1
        call = self._call
        if call.labels is None:
            call.labels = [None]
        call.inputs.append(obj)
        call.labels.append(label)
        return label, len(call.inputs) - 1, load, content_type


class _FunctionPickler(cloudpickle.Pickler):  # type: ignore[misc, unused-ignore]
    """Refuses what belongs to this process' client."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _OWN):
            raise RainException(
                f"it refers to {obj!r} by its globals, closure or defaults; pass data objects "
                "and tasks as arguments of the call instead"
            )
        return super().reducer_override(obj)


def _pickle_function(name: str, fn: Callable[..., Any]) -> memoryview:
    start = time.process_time()
    file = io.BytesIO()
    try:
        _FunctionPickler(file, protocol=_PROTOCOL).dump(fn)
    except Exception as error:
        why = str(error) if isinstance(error, RainException) else f"{type(error).__name__}: {error}"
        raise NotPickled(f"remote function {name!r} cannot be pickled: {why}") from error
    seconds = time.process_time() - start
    data = file.getbuffer()
    if len(data) > PICKLE_ARG_SIZE_LIMIT:
        _warn_of_size(name, len(data))
    if seconds > PICKLE_ARG_TIME_LIMIT:
        _warn_of_time(name, seconds)
    return data


def _described(
    outputs: list[OutputBase],
) -> tuple[list[tuple[str | None, str | None, bool]], list[str | None]]:
    """Return outputs as Task takes them from here, and what each is encoded into."""
    return (
        [(item.label, item.object_content_type, item.is_directory) for item in outputs],
        [item.encode for item in outputs],
    )


def _text(data: bytes | memoryview) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _warn_of_size(name: str, size: int) -> None:
    _warn(
        f"Pickled object {name} length {size} > PICKLE_ARG_SIZE_LIMIT={PICKLE_ARG_SIZE_LIMIT}. "
        "Consider using a blob() for the data."
    )


def _warn_of_time(name: str, seconds: float) -> None:
    _warn(
        f"Pickling object {name} took {seconds:.1f} s of CPU time > "
        f"PICKLE_ARG_TIME_LIMIT={PICKLE_ARG_TIME_LIMIT}. Consider using a blob() for the data."
    )


def _warn(text: str) -> None:
    """Warn where the user called."""
    import sys
    import warnings

    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rain."):
        frame = frame.f_back
        level += 1
    warnings.warn(text, RainWarning, stacklevel=level)


def _annotations(fn: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return the annotations by parameter, and of the result as "return"."""
    found = {name: each.annotation for name, each in signature.parameters.items()}
    found["return"] = signature.return_annotation
    function = getattr(fn, "__func__", fn)
    if function.__code__.co_flags & _CO_FUTURE_ANNOTATIONS:
        for name, text in found.items():
            if isinstance(text, str):
                try:
                    found[name] = eval(text, function.__globals__)
                except Exception:  # a type hint that exists for type checkers alone
                    found[name] = inspect.Signature.empty
    return found


def _declared_inputs(
    fn: Callable[..., Any],
    signature: inspect.Signature,
    annotations: Mapping[str, Any],
    given: dict[str, Any],
    auto_load: bool,
) -> dict[str, InputBase]:
    names = list(signature.parameters)
    if not names or signature.parameters[names[0]].kind > inspect.Parameter.VAR_POSITIONAL:
        raise RainException(
            f"remote function {fn.__name__!r} needs a first parameter, which is the context"
        )
    if signature.parameters[names[0]].kind is not inspect.Parameter.VAR_POSITIONAL:
        del names[0]
    declared = {}
    for name in names:
        annotated = annotations[name]
        item = given.pop(name, None)
        if isinstance(annotated, InputBase):
            assert item is None, f"parameter {name!r} is declared twice, by inputs= and annotation"
            item = annotated
        if item is None:
            item = Input(name)
        if not isinstance(item, InputBase):
            raise TypeError(f"inputs[{name!r}] must be an Input or InputDir, not {item!r}")
        item = copy(item)
        if item.load is None:
            item.load = auto_load
        declared[name] = item
    if given:
        raise ValueError(f"{fn.__name__}() has no parameter {sorted(given)[0]!r} to declare")
    return declared


def _declared_outputs(annotated: Any, given: Any, auto_encode: str | None) -> OutputSpec:
    if _declares_outputs(annotated):
        assert given is None, "the outputs are declared twice, by outputs= and annotation"
        given = annotated
    spec = OutputSpec(1 if given is None else given)
    check_content_type(auto_encode)
    if auto_encode is None:
        return spec
    for i, (label, item) in enumerate(list(spec.outputs.items())):
        if item.encode is None and not item.is_directory:
            whole = item.merge_with_prototype(Output(encode=auto_encode))
            spec.outputs.set(i, whole, label)
    return spec


def _declares_outputs(annotated: Any) -> bool:
    """Whether it is more than a type hint."""
    if isinstance(annotated, (tuple, list, LabeledList)):
        return all(isinstance(item, (str, OutputBase)) for item in annotated)
    return isinstance(annotated, (str, OutputBase)) or type(annotated) is int


_GET_BYTES = operator.methodcaller("get_bytes")
