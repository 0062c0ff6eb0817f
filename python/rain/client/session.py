"""Sessions: one graph of tasks and its life."""

from __future__ import annotations

from rain import _core
from rain.client.data import DataObject
from rain.client.task import normalise
from rain.common.errors import RainException, SessionClosed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Any, TextIO, TypeAlias

    from rain.client.client import Client
    from rain.client.graph import Graph
    from rain.client.many import Results
    from rain.client.task import Task
    from rain.common.data_instance import DataInstance

    Item: TypeAlias = Task | DataObject


class Session(_core.SessionBase):
    """A graph of tasks and data objects. Made by ``Client.new_session()``.

    As a context manager it is the active session inside of the block, where new tasks and data
    objects go, and closed at its end. Each thread, and each asyncio task, has its own stack of
    active sessions.

    ``Session(None, 1)`` has no client: it can build graphs and not run them.
    """

    def __init__(self, client: None = None, session_id: int = 1) -> None:
        if client is not None:
            raise RainException("use Client.new_session() to make a session of a client")
        _core.open_offline_session(self, session_id, "")

    @property
    def session_id(self) -> int:
        return _core.session_id(self)

    @property
    def name(self) -> str:
        return _core.session_name(self)

    @property
    def client(self) -> Client | None:
        """The client, None after close()."""
        return _core.session_client(self)

    @property
    def active(self) -> bool:
        """False after close()."""
        return _core.session_usable(self)

    @property
    def task_count(self) -> int:
        """Number of tasks that are not submitted."""
        return _core.session_drafts(self)[0]

    @property
    def dataobj_count(self) -> int:
        """Number of data objects that are not submitted."""
        return _core.session_drafts(self)[1]

    def __enter__(self) -> Session:
        if not self.active:
            raise SessionClosed("Session is closed")
        _core.push_session(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.pop_session()
        self.close()

    def bind_only(self) -> SessionBinder:
        """Return a context manager in which this session is active; it is not closed at the end."""
        return SessionBinder(self)

    def set_as_default(self) -> None:
        """Make this the session that is active, in all threads, where no other is."""
        _core.set_default_session(self)

    def close(self) -> None:
        """End the session: its tasks are cancelled, its data go. Idempotent.

        Afterwards whatever waits, fetches or cancels raises SessionClosed; states, infos and data
        that were fetched stay.
        """
        if _core.default_session() is self:
            _core.set_default_session(None)
        _core.close_session(self)

    def keep_all(self) -> None:
        """Set the keep flag of everything that is not submitted."""
        _core.keep_all(self)

    def submit(self) -> None:
        """Hand all tasks and data objects that are not submitted to the governor.

        Raises
        ------
        InvalidGraph
            What was made cannot be run; nothing is submitted then.
        TaskException
            The session has failed.
        """
        self._check()
        _core.submit(self)

    def wait(self, items: Iterable[Item], timeout: float | None = None) -> None:
        """Wait until all of these tasks and data objects are finished.

        Ctrl-C ends the wait with KeyboardInterrupt and cancels the tasks waited for.

        Parameters
        ----------
        items : iterable of Task and DataObject
        timeout : float, optional
            Seconds.

        Raises
        ------
        TaskException
            One of them, or with ``on_error="fail"`` any task of the session, did not finish.
        WaitTimeout
        """
        waited = tuple(items)
        problem = _core.wait(waited, timeout)
        if problem is not None:
            self._raise_failure_of(problem)

    def wait_some(self, items: Iterable[Item], timeout: float | None = None) -> list[Item]:
        """Wait until at least one of the items is done; return those that are.

        Done is also what failed or was cancelled: look at the state. Raises as wait(), but only
        for a failed session.
        """
        waited = tuple(items)
        problem = _core.wait_some(waited, timeout)
        if problem is not None:
            self._raise_failure_of(problem)
        return [item for item in waited if _core.is_done(item)]

    def wait_all(self, timeout: float | None = None) -> None:
        """Wait until the session has no unfinished task.

        Raises
        ------
        TaskException
            With ``on_error="fail"``: the session has failed. With "continue" tasks may fail: look
            at their states.
        WaitTimeout
        """
        _core.wait_session(self, timeout)
        self._check()

    async def wait_async(self, items: Iterable[Item]) -> None:
        """Wait within asyncio, as wait() does outside. Ending this wait cancels no task."""
        from rain.client.aio import wait_for_items

        waited = tuple(items)
        for item in waited:
            if not item.session.active:
                raise SessionClosed("Session is closed")
        await wait_for_items(waited)
        problem = _core.first_problem(waited)
        if problem is not None:
            self._raise_failure_of(problem)

    def fetch(self, obj: DataObject, timeout: float | None = None) -> DataInstance:
        """Wait for the data of an object and return them.

        What was not submitted yet is: the object is kept and the session submitted.

        Raises
        ------
        RainException
            The object was submitted without the keep flag.
        TaskException
            As wait().
        WaitTimeout
        """
        if not isinstance(obj, DataObject):
            raise TypeError(f"Not a DataObject: {obj!r}")
        if obj._state == 0:
            obj._set_kept(True)
            obj.session.submit()
        elif not obj._kept:
            raise RainException(f"Can't fetch object {obj!r} without keep flag.")
        problem = _core.wait((obj,), timeout)
        data = _core.view(obj) if problem is None else None
        if data is None:
            if problem is None:  # the session may have failed since
                problem = _core.first_problem((obj,))
            if problem is not None:
                self._raise_failure_of(problem)
            from rain.client.views import views

            data = views((obj,))[0]
        return self._instance(obj, data)

    def _instance(self, obj: DataObject, data: _core.Blob | None) -> DataInstance:
        """Return the data of a finished object, as _core.view() gave them."""
        from rain.common.data_instance import DataInstance

        if data is None:
            raise RainException(f"{obj!r} has no data: it was unkept, or its session is closed")
        raw_info = obj._result() or (None, "", "", "", {})
        raw_spec = (obj.id, obj.label, obj._declared_type, obj._user())
        if data._path is None:
            return DataInstance(data, raw_spec, raw_info)
        from rain.common.directory_instance import DirectoryInstance

        return DirectoryInstance(data, raw_spec, raw_info)

    def put(
        self,
        value: Any,
        label: str | None = "const",
        content_type: str | None = None,
        encode: str | None = None,
    ) -> DataObject:
        """Make a constant of this session, active or not. See `rain.client.blob`."""
        from rain.client.data import blob

        return blob(value, label, content_type, encode, session=self)

    def map(
        self, function: Any, *iterables: Iterable[Any], chunksize: int | None = None
    ) -> Results:
        """Call something with each item, in tasks of this session, which are submitted at once.

        Parameters
        ----------
        function : str, type, or callable
            A task type ("example1/hello": arguments are data objects, tasks, or what blob() takes),
            a Task class, a @remote function, or a plain Python function.
        iterables
            As for the builtin map(): one argument each.
        chunksize : int, optional
            How many calls of a plain Python function make a task. Default: 1.

        Returns
        -------
        Results
            Iterator of the results (see DataObject.result) in order; `tasks` has the tasks. It
            raises the failure of a task when it comes to it, and can go on. Ctrl-C while it waits
            cancels the tasks that are left.
        """
        from rain.client.many import map_tasks

        return map_tasks(self, function, iterables, chunksize)

    def submit_task(self, function: Any, /, *args: Any, **kwargs: Any) -> Task:
        """Make and submit a task that calls a function, or is of a task type; see map().

        ``session.submit_task(f, 1, 2).result()``
        """
        from rain.client.many import task_maker

        make = task_maker(function)
        with self.bind_only():
            task = make(*args, **kwargs)
        task._keep_outputs(True)
        self.submit()
        return task

    def unkeep(self, objects: Iterable[DataObject]) -> None:
        """Take the keep flag of these objects away."""
        submitted = []
        objects = tuple(objects)
        for obj in objects:
            if not isinstance(obj, DataObject):
                raise TypeError(f"Not a DataObject: {obj!r}")
            if not obj._kept:
                raise RainException(f"Object {obj.id} is not kept")
        for obj in objects:
            if obj._state == 0:
                obj._set_kept(False)
            else:
                submitted.append(obj)
        if submitted:
            self._check()
            _core.unkeep(submitted)

    def update(self, items: Iterable[Item]) -> None:
        """Raise if an item's session has failed; states and infos are always up to date."""
        for item in items:
            if not isinstance(item, (_core.TaskBase, DataObject)):
                raise RainException(f"'{item}' is not tasks nor dataobject")
            item.session._check()

    def cancel(self, items: Sequence[Item] | None = None) -> None:
        """Cancel these tasks (and the producers of these objects), or all of the session.

        What has ended stays as it is. The session stays usable.
        """
        if items is None:
            _core.cancel_session(self)
        else:
            _core.cancel(tuple(items))

    def _check(self) -> None:
        """Raise if the session has failed or is closed."""
        if not self.active:
            raise SessionClosed("Session is closed")
        if _core.session_failed(self):
            from rain.client.failures import exception_of_session

            raise exception_of_session(self)

    def _raise_failure_of(self, item: Item) -> None:
        from rain.client.failures import exception_of

        raise exception_of(item)

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be pickled: it belongs to this process' client. Give tasks data "
            "objects as inputs instead"
        )

    def progress(self, timeout: float | None = None, file: TextIO | None = None) -> None:
        """Show how far the session is until it has no unfinished task, and wait so long.

        A bar with counts by state and task name, an estimate of the time left, and the first
        failures: drawn with ``rich`` on a terminal and with ``tqdm`` in a notebook, where they are
        installed, else in lines. It waits as wait_all(), Ctrl-C cancels the tasks, too.

        What had ended before the first call for this session is counted, but without names.

        Parameters
        ----------
        timeout : float, optional
            Seconds.
        file : text file, optional
            Default: standard error.

        Raises
        ------
        TaskException
            With ``on_error="fail"``: the session has failed.
        WaitTimeout
        """
        from rain.client.progress import watch

        if not self.active:
            raise SessionClosed("Session is closed")
        watch(self, timeout, file)
        self._check()

    def make_graph(self, show_ids: bool = True) -> Graph:
        """Return a picture of the session's graph: ``write(file)``, ``show()``, ``make_dot()``, …

        It has the tasks that have not ended, submitted or not, all that the program still has in a
        variable, and their data objects.
        """
        from rain.client.graph import Graph

        return Graph(*_core.session_graph(self), show_ids)

    def _repr_html_(self) -> str:
        from rain.common.text import html_card

        rows = [("id", str(self.session_id)), ("name", self.name)]
        if not self.active:
            rows.append(("state", "closed"))
        else:
            if _core.session_failed(self):
                rows.append(("state", "failed"))
            tasks, objects = _core.session_drafts(self)
            rows.append(("not submitted", f"{tasks} tasks, {objects} data objects"))
            if self.client is not None:
                from rain.client.progress import states_texts

                states = _core.session_progress(self, 0)[0]
                counts = [f"{sum(states)} submitted", *states_texts(states)]
                rows.append(("tasks", ", ".join(counts)))
        return html_card(type(self).__name__, rows)

    def __repr__(self) -> str:
        state = "" if self.active else " closed"
        return f"<{type(self).__name__} {self.session_id} {self.name!r}{state}>"


class SessionBinder:
    """Makes a session the active one without closing it."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __enter__(self) -> Session:
        if not self.session.active:
            raise SessionClosed("Session is closed")
        _core.push_session(self.session)
        return self.session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _core.pop_session()


def get_active_session() -> Session:
    """Return the innermost active session, else the default one.

    Raises
    ------
    RainException
        There is none.
    """
    return _core.active_session()


def global_session_push(session: Session) -> None:
    """Make `session` the active one until global_session_pop()."""
    _core.push_session(session)


def global_session_pop() -> Session:
    """Make the session before the active one the active one; return the one that was."""
    return _core.pop_session()


_core.register_classes(DataObject, Session, normalise)
