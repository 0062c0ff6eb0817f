"""Tasks."""

from __future__ import annotations

from rain import _core
from rain.client.futures import Future, task_result
from rain.common.errors import RainException

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any, ClassVar, TypeAlias

    from rain.client.data import DataObject
    from rain.client.states import TaskState
    from rain.common.attributes import TaskInfo, TaskSpec
    from rain.common.data_instance import DataInstance
    from rain.common.ids import ID
    from rain.common.labeled_list import LabeledList

    _Described: TypeAlias = DataObject | tuple[str | None, str | None, bool]

_DRAFT = 0  # of the compiled module's task states


class Task(_core.TaskBase, Future):
    """A unit of work, to be subclassed with a TASK_TYPE or made with one.

    Parameters
    ----------
    inputs : iterable
        Data objects and tasks with a single output, or (label, object) pairs.
    outputs : int, str, or iterable of str, Output and DataObject, optional
        How many unlabelled blobs; a label; or one item for each output. None: no output.
    config : JSON-like, optional
        For the executor: None, bool, int, float, str, list, and dict with str keys.
    session : Session, optional
        Default: the active one.
    task_type : str, optional
        "executor/task"; default: the class' TASK_TYPE.
    cpus : int
        CPUs that the task occupies while it runs. 0: none, for one that mostly waits.
    name : str, optional
        For people; "/" makes groups.
    user_spec : dict, optional
        User attributes.
    retries : int
        How often the task is tried again after it failed, ran too long, used too much memory, or
        its executor died. A cancelled task is not.
    timeout : float or str, optional
        Seconds, or "30s", "2h", that a call may run on its executor; then TaskTimeout.
    memory : int or str, optional
        Bytes, or "2 GiB", that the task's process may use (its own, not shared blobs): tasks run
        together only as far as the sum fits the client's `task_memory`, and one that uses more
        than its limit ends with TaskOOM.
    resources : dict, optional
        Name -> amount of what Client(resources=...) has, for instance ``{"gpu": 1}``. The task
        finds which ones it was given in ``ctx.resources``.

    Making a task doesn't run it: see Session.submit and DataObject.fetch.
    """

    TASK_TYPE: ClassVar[str | None] = None

    @property
    def id(self) -> ID:
        from rain.common.ids import ID

        return ID(*self._id)

    @property
    def state(self) -> TaskState | None:
        """Where the task is in its life; None before submit."""
        from rain.client.states import TASK_STATES

        return TASK_STATES[self._state]

    @property
    def inputs(self) -> LabeledList[DataObject]:
        """The input objects, with their labels."""
        from rain.common.labeled_list import LabeledList

        # Made anew each time: a task doesn't hold what others made for it.
        return LabeledList(self._inputs(), self._input_labels())

    @property
    def outputs(self) -> LabeledList[DataObject]:
        """The output objects, with their labels."""
        cache = self._cache
        if "outputs" not in cache:
            from rain.common.labeled_list import LabeledList

            cache["outputs"] = LabeledList(pairs=((o.label, o) for o in self._outputs))
        outputs: LabeledList[DataObject] = cache["outputs"]
        return outputs

    @property
    def spec(self) -> TaskSpec:
        """What the client says; `name`, `config` and `user` may be changed until submit."""
        cache = self._cache
        if "spec" not in cache:
            from rain.common.attributes import TaskSpec, TaskSpecInput
            from rain.common.ids import ID

            inputs, outputs = self._ids()
            labels = self._input_labels() or [None] * len(inputs)
            config, user = self._config_and_user()
            cache["spec"] = TaskSpec(
                id=self.id,
                task_type=self.task_type,
                config=config,
                inputs=[
                    TaskSpecInput(id=ID(*pair), label=label)
                    for pair, label in zip(inputs, labels, strict=True)
                ],
                outputs=[ID(*pair) for pair in outputs],
                resources=self._spec_resources(),
                name=self.name,
                user=user,
            )
            if self._state == _DRAFT:
                self._note_edited()
        spec: TaskSpec = cache["spec"]
        return spec

    def _spec_resources(self) -> dict[str, Any]:
        memory = {} if self.memory is None else {"memory": self.memory}
        return {"cpus": self.cpus, **memory, **self.resources}

    @property
    def retries(self) -> int:
        """How often the task may be tried again."""
        return self._limits[0]

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may run, or None."""
        return self._limits[1]

    @property
    def memory(self) -> int | None:
        """Bytes that the task's process may use, or None."""
        return self._limits[2]

    @property
    def resources(self) -> dict[str, float]:
        """Amounts of named resources that the task occupies while it runs."""
        return self._limits[3]

    def _flush_spec(self) -> None:
        spec = self.spec
        self._write_spec(spec.name, spec.config, spec.user)

    @property
    def info(self) -> TaskInfo | None:
        """What became of the task; None before it ended."""
        result = self._result()
        if result is None:
            return None
        from rain.common.attributes import TaskInfo

        error, debug, governor, start_time, duration, user = result
        return TaskInfo(
            error=error,
            debug=debug,
            governor=governor,
            start_time=start_time,
            duration=duration,
            user=user,
        )

    def keep_outputs(self) -> None:
        """Set the keep flag of all outputs, before submit."""
        if self._state != _DRAFT:
            raise RainException(f"cannot keep the outputs of submitted task {self!r}")
        self._keep_outputs(True)

    def unkeep_outputs(self) -> None:
        """Take the keep flag of all outputs away."""
        self.session.unkeep(self._outputs)

    def fetch_outputs(self) -> list[DataInstance]:
        """Wait for all outputs and return their data."""
        return [output.fetch() for output in self._outputs]

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task is finished. See Session.wait."""
        self.session.wait((self,), timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait, and return what the output means: see DataObject.result.

        None if there is no output, a list if there are several. What was not submitted yet is.

        Raises
        ------
        TaskException
            As wait().
        WaitTimeout
        RainException
            An output was submitted without the keep flag.
        """
        return task_result(self, timeout)

    def logs(self) -> str:
        """Return what the task printed: to standard output, then to standard error.

        That is what its executor's process wrote while the function ran: with several threads in
        one executor also what others wrote meanwhile. Only the last MiB of each; "" before the
        task's end, and for tasks whose executor died (its last lines are in the exception).

        Raises
        ------
        UsageError
            The session is closed, or the process ended and many others since.
        """
        from rain.client.logs import read_logs

        return read_logs(self)

    def reproduce(self, directory: str | PathLike[str], debugger: str | None = None) -> str:
        """Write the task's call and inputs into a directory, from which it runs alone.

        Without client and governor: in a debugger, under valgrind or perf, as often as you like.
        The inputs of the first 8 failed tasks of a session are kept for this, as long as the task
        and the session live and memory is not short; other tasks can be reproduced while their
        inputs are there. On a service or cluster, inputs that other tasks made have to be kept.
        docs/debugging.md says what is in the directory.

        Parameters
        ----------
        directory : path
            New, or empty.
        debugger : "gdb" or "pdb", optional
            Start it in this debugger; pdb is for executors in Python.

        Returns
        -------
        str
            The command, which is also printed.

        Raises
        ------
        UsageError
            The task can't run alone, or its inputs are gone: it says why.
        ConfigError
            gdb is not installed.
        """
        from rain.client.reproduce import reproduce

        return reproduce(self, directory, debugger)

    def cancel(self) -> None:
        """Cancel the task if it hasn't ended; what depends on it ends, too."""
        _core.cancel((self,))

    def update(self) -> None:
        """Raise if the session has failed; state and info are always up to date."""
        self.session.update((self,))

    def _repr_html_(self) -> str:
        from rain.common.text import html_card, seconds_text

        try:
            self._id  # noqa: B018
        except RainException:
            return html_card(repr(self), ())
        inputs, outputs = self._ids()
        rows = [("id", str(self.id)), ("type", self.task_type)]
        if self.name:
            rows.append(("name", self.name))
        rows.append(("state", "not submitted" if self.state is None else self.state.name))
        info = self.info
        if info is not None and info.duration is not None:
            rows.append(("run time", seconds_text(info.duration)))
        failure = _core.failure(self)
        if failure is not None:
            rows.append(("error", failure[3][:1000]))
        rows.append(("inputs", ", ".join(f"{a}/{b}" for a, b in inputs)))
        rows.append(("outputs", ", ".join(f"{a}/{b}" for a, b in outputs)))
        return html_card(type(self).__name__, rows)

    def __repr__(self) -> str:
        try:
            self._id  # noqa: B018
        except RainException:
            return f"<{type(self).__name__}, not initialised>"
        from rain.common.ids import ID

        inputs, outputs = self._ids()
        name = f" {self.name!r}" if self.name else ""
        return (
            f"<{type(self).__name__} {self.id} {self.task_type}{name}"
            f" inputs={[ID(*pair) for pair in inputs]} outputs={[ID(*pair) for pair in outputs]}>"
        )

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled: it belongs to this process' client")


def normalise(
    inputs: Any, outputs: Any
) -> tuple[
    list[DataObject],
    list[str | None] | None,
    list[_Described],
]:
    """Return what Task's unusual arguments mean; the compiled module takes the usual ones itself.

    Input objects, their labels (None: no input has one), and for each output an existing object
    or (label, content type, is it a directory).
    """
    from rain.common.labeled_list import LabeledList

    labeled: LabeledList[DataObject] = LabeledList()
    for label, item in _input_pairs(inputs):
        labeled.append(item, label)
    labels = [label for label, _ in labeled.items()]
    return list(labeled), (labels if any(labels) else None), _describe_outputs(outputs)


def _input_pairs(inputs: Any) -> list[tuple[str | None, DataObject]]:
    from rain.client.data import to_dataobj

    if inputs is None:
        return []
    if isinstance(inputs, (_core.DataObjectBase, _core.TaskBase)):
        raise TypeError("inputs must be an iterable of data objects: write inputs=(obj,)")
    if isinstance(inputs, (str, bytes)):
        to_dataobj(inputs)  # raises
    if hasattr(inputs, "get_label"):
        return [(label, to_dataobj(obj)) for label, obj in inputs.items()]
    pairs = []
    for item in inputs:
        if isinstance(item, tuple):
            if len(item) != 2:
                raise TypeError(f"an input must be an object or (label, object), not {item!r}")
            pairs.append((item[0], to_dataobj(item[1])))
        else:
            pairs.append((None, to_dataobj(item)))
    return pairs


def _describe_outputs(outputs: Any) -> list[_Described]:
    from rain.client.output import OutputBase

    if outputs is None:
        return []
    if isinstance(outputs, int):
        return [(None, None, False)] * outputs
    if isinstance(outputs, (str, OutputBase, _core.DataObjectBase)):
        outputs = (outputs,)
    described: list[_Described] = []
    labels = set()
    for item in outputs:
        if isinstance(item, str):
            label: str | None = item
            described.append((item, None, False))
        elif isinstance(item, OutputBase):
            label = item.label
            described.append((label, item.object_content_type, item.is_directory))
        elif isinstance(item, _core.DataObjectBase):
            label = item.label
            described.append(item)  # type: ignore[arg-type]
        else:
            raise TypeError(
                "Only `OutputBase`, `DataObject` and `str` allowed as outputs, "
                f"not {type(item).__name__}."
            )
        if label is not None and label in labels:
            raise KeyError(f"Label {label!r} already present.")
        labels.add(label)
    return described
