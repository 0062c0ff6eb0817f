"""A concurrent.futures.Executor over a session."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
import types
import weakref
from collections import deque
from concurrent import futures

from rain import _core
from rain.client.dispatch import Dispatcher, logger
from rain.client.futures import value_of
from rain.client.many import Results, is_plain, is_remote, make_chunks, task_maker
from rain.client.views import views
from rain.common.errors import ExecutorDied, RainException, TaskCancelled, UsageError, WaitTimeout
from rain.common.plain import Initialized, InitializerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from rain.client.client import Client
    from rain.client.session import Item, Session
    from rain.client.task import Task

_REMEMBERED_FUNCTIONS = 64


class PoolTimeout(WaitTimeout, futures.TimeoutError):
    """The timeout of Executor.map() is over."""


@functools.cache
def _process_died() -> type[ExecutorDied]:
    """Return the class for calls whose process died. Made when needed: the import takes a while."""
    from concurrent.futures.process import BrokenProcessPool

    class ProcessDied(ExecutorDied, BrokenProcessPool):
        """The process that ran the call died. Other calls go on."""

    return ProcessDied


def _captures_nothing(function: Any) -> bool:
    if isinstance(function, types.FunctionType):
        return not function.__closure__
    if isinstance(function, types.BuiltinFunctionType):
        return isinstance(function.__self__, types.ModuleType)
    return isinstance(function, (str, type)) or is_remote(function)


class TaskFuture(futures.Future):  # type: ignore[type-arg]
    """The future of one call. cancel() works while it runs, too."""

    _task: Task | None = None  # once submitted

    def cancel(self) -> bool:
        """Cancel the call, also if it runs. False: it has ended."""
        if not super().cancel():
            return False
        if self._task is not None:
            with contextlib.suppress(UsageError):  # closed meanwhile: all is cancelled
                self._task.cancel()
        return True

    def running(self) -> bool:
        """Return True while an executor process has the call."""
        from rain.client.states import TaskState

        task = self._task
        return not self.done() and task is not None and task.state is TaskState.assigned


class _Pool(Dispatcher):
    """What an Executor is inside: it lives on until its calls have ended.

    submit() only notes a call; the thread makes tasks of all that were noted and submits them
    together, as soon as it gets the interpreter: when the caller waits, or after 5 ms.
    """

    def __init__(self, session: Session, own: Client | None) -> None:
        super().__init__("rain-executor")
        self.session = session
        self.own_client = own  # closed at the end
        self.own_session = True
        self.results: weakref.WeakSet[Results] = weakref.WeakSet()
        self.shut_down = False
        self.initializer: tuple[Callable[..., object], tuple[Any, ...]] | None = None
        self.key = f"{os.getpid()}-{id(self)}-{time.monotonic_ns()}"
        self._broken = ""  # why the initializer failed
        self._cancelling = False  # what is not with a process yet ends
        self._noted: deque[tuple[TaskFuture, Any, tuple[Any, ...], dict[str, Any]]] = deque()
        self._unfinished: set[TaskFuture] = set()
        self._makers: dict[Any, Callable[..., Task]] = {}
        self._making = threading.RLock()  # the session's drafts; pickling may run user code
        self._finishing = threading.Lock()

    # ---- in

    def note(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskFuture:
        future = TaskFuture()
        with self._lock:
            self.check_usable()
            first = not self._noted
            self._noted.append((future, function, args, kwargs))
            self._unfinished.add(future)
        if first:
            self.nudge()
        return future

    def map(
        self, function: Any, iterables: tuple[Iterable[Any], ...], timeout: Any, chunksize: int
    ) -> Results:
        calls = list(zip(*iterables, strict=False))
        count, chunked = len(calls), chunksize > 1
        if chunked:
            function, calls = make_chunks(function, calls, chunksize)
        with self._making, self.session.bind_only():
            self.check_usable()
            make = self.maker(function)
            tasks = []
            for call in calls:
                task = make(*call)
                task._keep_outputs(True)
                tasks.append(task)
            self.session.submit()
        results = _PoolResults(self, tasks, count, chunked, timeout)
        self.results.add(results)
        return results

    def check_usable(self) -> None:
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self.shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._broken:
            raise self._broken_pool()

    def _broken_pool(self) -> futures.BrokenExecutor:
        from concurrent.futures.process import BrokenProcessPool

        return BrokenProcessPool(f"the initializer of the executor failed: {self._broken}")

    def maker(self, function: Any) -> Callable[..., Task]:
        """Return what makes tasks of a function, which is sent once if it captures nothing."""
        if not _captures_nothing(function):  # to keep it would keep what it captured
            return task_maker(self._initialized(function))
        make = self._makers.get(function)
        if make is None:
            make = self._makers[function] = task_maker(self._initialized(function))
            if len(self._makers) > _REMEMBERED_FUNCTIONS:
                del self._makers[next(iter(self._makers))]
        return make

    def _initialized(self, function: Any) -> Any:
        if self.initializer is None or not is_plain(function):
            return function
        return Initialized(function, self.key, *self.initializer)

    # ---- on the thread

    def prepare(self) -> None:
        submitted: list[TaskFuture] = []
        tasks: list[Task] = []
        with self._lock:
            noted, self._noted = self._noted, deque()
        if not noted:
            return
        with self._making:
            try:
                with self.session.bind_only():
                    for future, function, args, kwargs in noted:
                        if future.cancelled():
                            self._end(future, None, None)
                            continue
                        try:
                            task = self.maker(function)(*args, **kwargs)
                        except Exception as error:
                            self._end(future, None, error)
                            continue
                        task._keep_outputs(True)
                        tasks.append(task)
                        submitted.append(future)
                self.session.submit()
            except Exception as error:
                for future, *_ in noted:
                    self._end(future, None, error)
                return
        for future, task in zip(submitted, tasks, strict=True):
            future._task = task
            if future.cancelled():
                with contextlib.suppress(UsageError):
                    task.cancel()
        if self._cancelling:  # shutdown() may not have seen these tasks
            with contextlib.suppress(UsageError):
                _core.cancel_unsent(tasks)
        self.watch(tasks, submitted)

    def handle(self, tokens: list[TaskFuture]) -> None:
        finished: list[tuple[TaskFuture, Any]] = []
        for future in tokens:
            task = future._task
            if task is None:
                continue
            if _core.is_finished(task):
                finished.append((future, task.output))
            else:
                self._fail(future, task)
        if not finished:
            return
        try:
            found = views([output for _, output in finished])
        except RainException as error:  # closed meanwhile
            for future, _ in finished:
                self._end(future, None, error)
            return
        for (future, output), data in zip(finished, found, strict=True):
            try:
                value = value_of(output, data)
            except Exception as error:
                self._end(future, None, error)
            else:
                self._end(future, value, None)

    def _fail(self, future: TaskFuture, task: Task) -> None:
        from rain.client.failures import exception_of

        try:
            error: BaseException = exception_of(task)
        except Exception as trouble:
            error = trouble
        if isinstance(error, TaskCancelled):
            future.cancel()
        self._end(future, None, self.translated(error))

    def translated(self, error: BaseException) -> BaseException:
        """Return what users of the standard library's pools expect in the place of `error`."""
        if isinstance(error, ExecutorDied):
            died = _process_died()(*error.args)
            died.__dict__.update(error.__dict__)
            return died
        if isinstance(error, InitializerError):
            self._give_up(str(getattr(error, "original", error)))
            return self._broken_pool()
        return error

    def _give_up(self, reason: str) -> None:
        """End all calls: no process could be made ready for them."""
        with self._lock:
            self._broken = reason
            unfinished = list(self._unfinished)
        tasks = [task for future in unfinished if (task := future._task) is not None]
        for future in unfinished:
            self._end(future, None, self._broken_pool())
        for task in tasks:
            with contextlib.suppress(UsageError):
                task.cancel()

    def _end(self, future: TaskFuture, value: Any, error: BaseException | None) -> None:
        self._unfinished.discard(future)
        future._task = None
        try:
            if future.done() and not future.cancelled():
                return
            if not future.set_running_or_notify_cancel():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        except Exception:
            logger.exception("the end of %r could not be told", future)

    # ---- out

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        with self._lock:
            self.shut_down = True
            self._cancelling |= cancel_futures
            noted = list(self._noted) if cancel_futures else []
            unfinished = list(self._unfinished) if cancel_futures else []
        for future, *_ in noted:
            future.cancel()
        if unfinished:
            tasks = {future: task for future in unfinished if (task := future._task) is not None}
            with contextlib.suppress(UsageError):
                _core.cancel_unsent(list(tasks.values()))
        if wait:
            self.finish()
        else:
            threading.Thread(target=self.finish, name="rain-executor-end", daemon=True).start()

    def finish(self) -> None:
        """Wait until all calls have ended; end the session, and the client if it is our own."""
        with self._finishing:
            if not self.session.active:
                return
            while True:
                with self._lock:
                    unfinished = list(self._unfinished)
                if not unfinished:
                    break
                futures.wait(unfinished)
            self.join()
            with contextlib.suppress(RainException):
                self.session.wait_all()
                for results in list(self.results):
                    results.collect()
            if self.own_session:
                self.session.close()
            if self.own_client is not None:
                self.own_client.close()
            _pools.discard(self)


class _PoolResults(Results):
    _timeout_error = PoolTimeout

    def __init__(self, pool: _Pool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pool = pool

    def _exception_of(self, item: Item) -> BaseException:
        return self._pool.translated(super()._exception_of(item))


class Executor(futures.Executor):
    """Runs calls in processes, as ProcessPoolExecutor does, through a Client.

    Parameters
    ----------
    max_workers : int, optional
        How many calls run at once. Default: as many as there are usable CPUs.
    client : Client, optional
        Default: one of its own, which shutdown() closes.
    session : Session, optional
        Whose tasks the calls are; with ``on_error="continue"``. Default: one of its own. shutdown()
        leaves it open, and waits for all of its tasks.
    initializer : callable, optional
        Called in each process before its first call of a function. If it raises, all calls end with
        BrokenProcessPool, and no more are taken.
    initargs : tuple
        Its arguments.
    **client_arguments
        For Client, if it is one of its own: ``executors=``, ``memory=``, …

    The futures are real ones; cancel() works on running calls, too. A process that dies fails the
    call that it ran, with ExecutorDied (here a BrokenProcessPool, too): the others go on.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        client: Client | None = None,
        session: Session | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **client_arguments: Any,
    ) -> None:
        for name in ("mp_context", "max_tasks_per_child"):
            if client_arguments.pop(name, None) is not None:
                raise ValueError(f"{name} says how to fork or spawn processes: leave it out here")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_workers is not None and not hasattr(max_workers, "__index__"):
            raise TypeError(
                f"max_workers must be an int, not {max_workers!r}; did you mean client=?"
            )
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        given = client if session is None else session
        if given is not None and (max_workers is not None or client_arguments):
            raise ValueError(
                f"{given!r} has its own processes: leave out "
                + ", ".join(["max_workers"] * (max_workers is not None) + list(client_arguments))
            )
        own = None
        if session is None:
            if client is None:
                from rain.client.client import Client

                client = own = Client(cpus=max_workers, **client_arguments)
            made = client.new_session("Executor", on_error="continue")
        self._pool = _Pool(made if session is None else session, own)
        self._pool.own_session = session is None
        if initializer is not None:
            self._pool.initializer = (initializer, initargs)
        with _pools_lock:
            _pools.add(self._pool)
        self._end = weakref.finalize(self, _shut_down_unused, self._pool)
        self._end.atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Have ``fn(*args, **kwargs)`` called. `fn`: a function, or what Session.map() takes."""
        return self._pool.note(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Return an iterator of the results, in order. All calls are submitted at once."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        return _until_closed(self._pool.map(fn, iterables, timeout, chunksize))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; end the processes when all calls have ended. Idempotent.

        Parameters
        ----------
        wait : bool
            Return when that is done.
        cancel_futures : bool
            Cancel the calls that no process has yet.
        """
        self._end.detach()
        self._pool.shutdown(wait, cancel_futures)

    def __repr__(self) -> str:
        state = " shut down" if self._pool.shut_down else ""
        return f"<{type(self).__name__} of {self._pool.session!r}{state}>"


def _until_closed(results: Results) -> Iterator[Any]:
    try:
        yield from results
    finally:
        with contextlib.suppress(UsageError):
            results.cancel()


# ---- the interpreter's end ----------------------------------------------------------------------

_exiting = False
_pools_lock = threading.Lock()
_pools: set[_Pool] = set()


def _shut_down_unused(pool: _Pool) -> None:
    """Nobody has the Executor any more; its futures still count."""
    if pool._pid == os.getpid() and not _exiting:
        pool.shutdown(wait=False, cancel_futures=False)


def _at_exit() -> None:
    """Wait for all calls, as the standard library's executors do."""
    global _exiting
    _exiting = True
    with _pools_lock:
        pools = list(_pools)
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=False)


def _forget_pools() -> None:
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_pools)
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
