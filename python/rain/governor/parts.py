"""What Dask runs on a governor: parts of graphs, and what brings objects from one to another.

A part is one Dask task: a batch that the governor here runs at native speed while the coroutine
waits. Its value is a Bundle, which the client holds as long as it needs any of it. `collect` makes
one object of it a Dask key of its own, for other parts; `receive` brings a constant of the client.
Failures of tasks are no failures of parts: the client hears of them by updates.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from contextlib import nullcontext
from weakref import WeakKeyDictionary

from distributed import Reschedule, get_worker
from distributed.protocol import to_serialize

from rain.common.errors import RainException
from rain.governor import following, relay
from rain.governor.pieces import BlobRef, Bundle, Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rain import _core
    from rain.governor.host import Host
    from rain.governor.host_session import HostSession

_log = logging.getLogger("rain.governor")
_FLUSH_SECONDS = 0.1
_LOG_SECONDS = 2.0
_READY_SECONDS = 0.01  # how often a running part's objects are looked for
_RETIRE_SECONDS = 1.0  # in which GovernorPlugin notices that its governor has ended

FETCH = "rain_fetch"  # ops of requests
UPLOAD = "rain_upload"
READ_LOG = "rain_read_log"


class Part:
    """What a governor has to know of a part. Pickled into the graph. Immutable."""

    __slots__ = ("keeps_going", "key", "name", "outputs", "task_ids")

    def __init__(
        self,
        key: tuple[str, str, int, int],
        name: str,
        keeps_going: bool,
        task_ids: list[int],
        outputs: list[int],
    ) -> None:
        self.key = key  # prefix, client, session, number
        self.name = name  # of the session
        self.keeps_going = keeps_going
        self.task_ids = task_ids
        self.outputs = outputs  # objects that leave it

    def __reduce__(self) -> Any:
        return type(self), (self.key, self.name, self.keeps_going, self.task_ids, self.outputs)


# ---- Dask's tasks: coroutines on the loop of the worker, which must not be blocked


async def run_part(
    part: Part, batch: bytes, input_ids: list[int], inputs: list[BlobRef | Gone]
) -> Bundle:
    return await _runner().run(part, batch, list(zip(input_ids, inputs, strict=True)))


async def collect(key: Any, bundle: Bundle, object_id: int) -> BlobRef | Gone:
    """`key` is that of the part which made the bundle."""
    if object_id in bundle.dropped:
        _runner().tell(do="incomplete", key=key)
        raise Reschedule
    return bundle.refs.get(object_id) or Gone()


async def receive(key: Any, object_id: int) -> BlobRef:
    return await _runner().receive(key, object_id)


def _runner() -> PartRunner:
    worker = get_worker()
    try:
        return runners[worker]
    except KeyError:
        raise RuntimeError(
            f"the Dask worker {worker.address} has no governor: it could not be started there"
        ) from None


runners: WeakKeyDictionary[Any, PartRunner] = WeakKeyDictionary()  # by Dask worker


class PartRunner:
    """Runs parts on the Host of a Dask worker. Thread: the worker's loop.

    Made by GovernorPlugin, which owns the Host.
    """

    def __init__(self, worker: Any, host: Host) -> None:
        self.worker = worker
        self.host = host
        host.address = worker.address.split("://")[-1]
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[tuple[str, int], _Session] = {}
        self._work: dict[Any, _Running | asyncio.Future[Any]] = {}  # by Dask's key
        self._suspects = asyncio.Lock()
        self._drains: set[asyncio.Task[None]] = set()
        worker.stream_handlers[relay.TO_GOVERNOR] = self._from_relay
        worker.handlers[relay.ASK] = self.ask
        worker.handlers[FETCH] = self.fetch
        worker.handlers[UPLOAD] = self.upload
        worker.handlers[READ_LOG] = self.read_log
        following.use_for(worker.rpc, worker.listeners, host.engine)
        runners[worker] = self

    def tell(self, **message: Any) -> None:
        """Send to the relay, and from there to a client. In order, and never blocking."""
        self.worker.batched_send({"op": relay.FROM_GOVERNOR, **message})

    # ---- parts

    async def run(
        self, part: Part, batch: bytes, inputs: list[tuple[int, BlobRef | Gone]]
    ) -> Bundle:
        key = part.key
        client = key[1]
        deaths = (self.worker.state.tasks[key].annotations or {}).get("rain deaths", ())
        if len(deaths) > relay.DEATHS_ALLOWED:  # the client has been told
            self.tell(client=client, do="ended", key=key)
            return Bundle({})
        # What has killed a machine runs here alone of its kind, so that the innocent are cleared.
        async with self._suspects if deaths else nullcontext():
            return await self._run(part, batch, inputs)

    async def _run(
        self, part: Part, batch: bytes, inputs: list[tuple[int, BlobRef | Gone]]
    ) -> Bundle:
        key = part.key
        client = key[1]
        state = self.worker.state.tasks.get(key)
        if state is None or state.state == "cancelled":  # while it waited
            raise Reschedule
        await self._hand_back_if_ended()
        session = self._session(part)
        running = _Running(part)
        session.making.update(part.outputs)
        self._work[key] = running
        self.tell(client=client, do="started", key=key, governor=self.host.name)
        try:
            data: dict[int, Any] = {}
            try:
                await asyncio.to_thread(self._prepare, inputs, data)
                await self._flush()  # if it kills this process at once, the relay knows of it
                number = await asyncio.to_thread(session.host.submit, batch, data)
            except (RainException, OSError) as error:
                session.end_making(part)
                await asyncio.to_thread(_remove_directories, data.values())
                if running.dropped:
                    raise Reschedule from None
                await self._hand_back_if_ended(key)
                self.tell(client=client, do="refused", key=key, message=str(error))
                self.tell(client=client, do="ended", key=key)
                return Bundle({})
            if running.dropped:  # while it was submitted
                session.host.cancel(part.task_ids)
            _settle(session.host, inputs)
            session.wait_for(number, running)
            if running.unkept:  # likewise
                session.host.unkeep(list(running.unkept))
            if running.cancelled:
                session.host.cancel(list(running.cancelled))
            for object_id, collector in running.early:
                session.early[object_id] = running, collector
            session.look_for_early()
            del batch, data, inputs
            await running.ended.wait()
            if running.dropped:  # its ends were told to nobody
                session.end_making(part)
                raise Reschedule
            await self._hand_back_if_ended(key)
            wanted = [each for each in part.outputs if each not in running.unkept]
            bundle = session.bundle(wanted, running.unkept)
            session.end_making(part)
            self.tell(client=client, do="ended", key=key)
            return bundle
        finally:
            session.forget(running)
            if self._work.get(key) is running:
                del self._work[key]

    async def _hand_back_if_ended(self, began: Any = None) -> None:
        """Without its governor this worker ends, and its parts run elsewhere.

        `began` is the key of a part that was at work: it may be why.
        """
        if self.host.why_ended():
            if began is not None:
                self.tell(do="lost", key=began)
            await asyncio.sleep(_RETIRE_SECONDS)  # not to get it again until then
            raise Reschedule

    def _session(self, part: Part) -> _Session:
        of = part.key[1], part.key[2]
        session = self._sessions.get(of)
        if session is None:
            session = _Session(self)

            def on_updates(updates: bytes, ended: list[int]) -> None:
                self._loop.call_soon_threadsafe(self._take_updates, of, session, updates, ended)

            def on_log(lines: list[_core.LogTuple], lost: int) -> None:
                self._loop.call_soon_threadsafe(self._take_log, of, lines, lost)

            session.host = self.host.open_session(
                part.name,
                part.keeps_going,
                client=of[0],
                client_session=of[1],
                on_updates=on_updates,
                on_log=on_log,
            )
            self._sessions[of] = session
        return session

    async def _flush(self) -> None:
        """Wait until what was told has left this process, or its stream is stuck."""
        deadline = self._loop.time() + _FLUSH_SECONDS
        while self.worker.batched_stream.buffer and self._loop.time() < deadline:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    def _prepare(self, inputs: list[tuple[int, BlobRef | Gone]], data: dict[int, Any]) -> None:
        """Bring inputs into the store, for HostSession.submit(). In a thread of its own."""
        for object_id, ref in inputs:
            if isinstance(ref, Gone):
                data[object_id] = None
            elif ref.view is not None:
                data[object_id] = ref.view
            elif (room := ref.room) is not None:
                data[object_id] = room
            elif ref.directory:
                data[object_id] = self.host.receive_directory(ref.stream())
            else:
                room = self.host.make_room(ref.size)
                ref.copy_to(room)
                data[object_id] = room

    def _take_updates(
        self, of: tuple[str, int], session: _Session, updates: bytes, ended: list[int]
    ) -> None:
        if self._sessions.get(of) is not session:
            return
        if updates and not self.host.why_ended():  # or they tell of that, and run elsewhere
            self.tell(client=of[0], do="updates", session=of[1], updates=updates)
        session.note_ended(ended)
        session.look_for_early()

    def _take_log(self, of: tuple[str, int], lines: list[_core.LogTuple], lost: int) -> None:
        self.tell(client=of[0], do="log", session=of[1], lines=lines, lost=lost)

    def resolve(self, key: Any, ref: BlobRef) -> None:
        """An object of a running part is there: make it Dask's without waiting for the part."""
        if key not in self.worker.data:
            self.tell(do="ready", key=key, size=ref.size)  # before Dask's own message
            self.worker.update_data({key: ref})

    def drop(self, key: Any) -> None:
        """Dask takes a running task away. It goes on waiting for it, so that has to end soon."""
        work = self._work.get(key)
        if isinstance(work, _Running):
            work.dropped = True
            if work.session is not None:
                work.session.host.cancel(work.part.task_ids)
        elif work is not None:
            work.cancel()

    # ---- constants of clients

    async def receive(self, key: Any, object_id: int) -> BlobRef:
        arrived: asyncio.Future[BlobRef] = self._loop.create_future()
        self._work[key] = arrived
        try:
            self.tell(client=key[1], do="want", key=key, object=object_id)
            return await arrived
        except asyncio.CancelledError:
            if arrived.cancelled():
                raise Reschedule from None
            raise
        finally:
            if self._work.get(key) is arrived:
                del self._work[key]

    async def upload(self, key: Any, ref: BlobRef) -> str:
        """A request of the client, the answer to "want"."""
        arrived = self._work.get(tuple(key))
        if isinstance(arrived, asyncio.Future) and not arrived.done():
            arrived.set_result(ref)
        return "OK"

    # ---- requests

    async def fetch(self, comm: Any, key: Any, objects: list[int]) -> dict[str, Any]:
        """Data that a part has made, of those objects that are here. Is the part at its end?"""
        key = tuple(key)
        bundle = self.worker.data.get(key)
        running = self._work.get(key)
        found: dict[int, Any] = {}
        failed: list[tuple[int, str]] = []  # that can't be read
        for object_id in objects:
            ref = None
            if isinstance(bundle, Bundle):
                ref = bundle.refs.get(object_id)
            elif isinstance(running, _Running) and running.session is not None:
                ref = running.session.ref(object_id)
            if ref is not None:
                if ref.directory and not following.follows(comm):  # it goes through the server
                    try:
                        ref = await asyncio.to_thread(ref.packed)
                    except OSError as error:
                        failed.append((object_id, str(error)))
                        continue
                found[object_id] = to_serialize(ref)
        return {
            "ids": list(found),
            "refs": list(found.values()),
            "failed": failed,
            "ended": isinstance(bundle, Bundle),
        }

    async def ask(
        self, operation: str, client: str = "", arguments: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """A question for the Host. The answer, or the error's class and text."""
        try:
            answer = await asyncio.to_thread(self.host.ask, operation, client, **(arguments or {}))
            return {"answer": answer}
        except (RainException, OSError, TypeError) as error:
            return {"error": [type(error).__name__, str(error)]}

    async def read_log(
        self, client: str, session: int, path: str, begin: int, end: int
    ) -> dict[str, Any]:
        its = self._sessions.get((client, session))
        if its is None:
            return {"error": ["UsageError", f"session {session} has no tasks here"]}
        try:
            return {"answer": await asyncio.to_thread(its.host.read_log, path, begin, end)}
        except (RainException, OSError) as error:
            return {"error": [type(error).__name__, str(error)]}

    # ---- messages

    def _from_relay(self, do: str, **message: Any) -> None:
        try:
            getattr(self, f"_do_{do}")(**message)
        except Exception:
            _log.exception("a message was not understood: %s %.200r", do, message)

    def _do_cancel(self, key: Any, tasks: list[int]) -> None:
        work = self._work.get(key)
        if isinstance(work, _Running):
            work.cancelled.update(tasks)
            if work.session is not None:
                work.session.host.cancel(tasks)

    def _do_unkeep(self, key: Any, objects: list[int]) -> None:
        work = self._work.get(key)
        if isinstance(work, _Running):
            work.unkept.update(objects)
            if work.session is not None:
                for object_id in objects:
                    work.session.early.pop(object_id, None)
                work.session.host.unkeep(objects)
        bundle = self.worker.data.get(key)
        if isinstance(bundle, Bundle):
            bundle.drop(objects)

    def _do_wanted(self, key: Any, objects: list[int]) -> None:
        """The part runs again: of what it makes, the rest has been unkept meanwhile."""
        work, bundle = self._work.get(key), self.worker.data.get(key)
        made: Iterable[int] = ()
        if isinstance(work, _Running):
            made = work.part.outputs
        elif isinstance(bundle, Bundle):
            made = list(bundle.refs)
        self._do_unkeep(key, [each for each in made if each not in objects])

    def _do_early(self, key: Any, early: list[tuple[int, Any]]) -> None:
        """Others wait for objects of a part, by these keys that collect them."""
        work = self._work.get(key)
        if not isinstance(work, _Running):
            return
        work.early += early
        if work.session is not None:
            for object_id, collector in early:
                work.session.early[object_id] = work, collector
            work.session.look_for_early()

    def _do_close(self, client: str, session: int) -> None:
        self._close(client, [session])

    def _do_drain_logs(self, client: str) -> None:
        """The client leaves, and wants the lines of tasks that have ended first."""

        async def drain() -> None:
            await asyncio.to_thread(self.host.drain_logs, _LOG_SECONDS)
            self.tell(client=client, do="logs_drained")

        work = self._loop.create_task(drain())
        self._drains.add(work)
        work.add_done_callback(self._drains.discard)

    def _do_forget(self, client: str) -> None:
        """The client is gone."""
        self._close(client, [number for of, number in self._sessions if of == client])
        for key, work in list(self._work.items()):
            if isinstance(work, asyncio.Future) and key[1] == client:
                work.cancel()

    def _close(self, client: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            session = self._sessions.pop((client, number), None)
            if session is not None:
                session.end()
                self._loop.run_in_executor(None, session.host.close)


class _Running:
    """A part at work."""

    __slots__ = ("cancelled", "dropped", "early", "ended", "part", "session", "unkept")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.session: _Session | None = None  # once it is submitted
        self.ended = asyncio.Event()
        self.dropped = False
        self.cancelled: set[int] = set()
        self.unkept: set[int] = set()
        self.early: list[tuple[int, Any]] = []  # objects, with the keys that collect them


class _Session:
    """A client's session on the Host here."""

    host: HostSession

    def __init__(self, runner: PartRunner) -> None:
        self.early: dict[int, tuple[_Running, Any]] = {}
        self._runner = runner
        self._running: dict[int, _Running] = {}  # by number of the batch
        self._ended: set[int] = set()  # batches that ended before they were waited for
        self.held: dict[int, int] = {}  # how many bundles have it, by object
        # Outputs of parts at work: they stay when a bundle of an earlier run lets go of them.
        self.making: set[int] = set()
        self._looked = 0.0
        self._will_look = False
        self._closed = False

    def wait_for(self, number: int, running: _Running) -> None:
        running.session = self
        self._running[number] = running
        if number in self._ended:
            self.note_ended([number])

    def note_ended(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            running = self._running.pop(number, None)
            if running is None:
                self._ended.add(number)
            else:
                self._ended.discard(number)
                self._look()  # before the part ends, after which they are collected
                running.ended.set()

    def forget(self, running: _Running) -> None:
        for object_id in [key for key, (of, _) in self.early.items() if of is running]:
            del self.early[object_id]
        for number in [key for key, of in self._running.items() if of is running]:
            del self._running[number]

    def end(self) -> None:
        self._closed = True
        for running in list(self._running.values()):
            running.dropped = True
            running.ended.set()

    def ref(self, object_id: int) -> BlobRef | None:
        """The data of a finished object, if they are here."""
        if self._closed:
            return None
        view = self.host.view(object_id)
        return None if view is None else BlobRef.of(view)

    def bundle(self, object_ids: Iterable[int], dropped: Iterable[int]) -> Bundle:
        """What the Host keeps as long as the bundle lives, and as no other has it."""
        refs = {}
        for object_id in object_ids:
            ref = self.ref(object_id)
            if ref is not None:
                refs[object_id] = ref
                self.held[object_id] = self.held.get(object_id, 0) + 1
        loop = self._runner._loop

        def let_go(ids: list[int]) -> None:  # in any thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.let_go, ids)

        return Bundle(refs, dropped, let_go)

    def end_making(self, part: Part) -> None:
        """A part is at its end: what no bundle has of it can go."""
        self.making.difference_update(part.outputs)
        self.let_go([each for each in part.outputs if each not in self.held])

    def let_go(self, object_ids: Iterable[int]) -> None:
        unkept = []
        for object_id in object_ids:
            count = self.held.pop(object_id, 1) - 1
            if count:
                self.held[object_id] = count
            elif object_id not in self.making:
                unkept.append(object_id)
        if unkept and not self._closed:
            self.host.unkeep(unkept)

    def look_for_early(self) -> None:
        if self.early and not self._will_look:
            self._will_look = True
            wait = max(0.0, self._looked + _READY_SECONDS - time.monotonic())
            self._runner._loop.call_later(wait, self._look)

    def _look(self) -> None:
        self._will_look = False
        self._looked = time.monotonic()
        if self._closed:
            return
        for object_id, (_, key) in list(self.early.items()):
            ref = self.ref(object_id)
            if ref is not None:
                del self.early[object_id]
                self._runner.resolve(key, ref)


def _remove_directories(data: Iterable[Any]) -> None:
    """Those of them that were received and are not taken over."""
    for path in data:
        if isinstance(path, str):
            shutil.rmtree(path, ignore_errors=True)


def _settle(session: HostSession, inputs: list[tuple[int, BlobRef | Gone]]) -> None:
    """Let go of received frames, whose bytes the store has now."""
    for object_id, ref in inputs:
        if isinstance(ref, BlobRef) and ref.view is None:
            view = session.view(object_id)
            if view is not None:
                ref.settle(view)
