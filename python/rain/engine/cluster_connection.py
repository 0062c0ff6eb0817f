"""A client's connection to a server with governors, over Dask distributed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import uuid
import warnings

from rain.common.errors import ConnectionFailed, RainException, RainWarning, UsageError
from rain.engine.cluster_questions import answer_of, joined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Any, TypeVar

    from rain.engine.mirror import MirrorEngine

    T = TypeVar("T")

_GOVERNOR_SECONDS = 4.0  # for the first governor to be there
_EXPECTED_SECONDS = 60.0  # likewise, while a cluster of Dask has workers to come
_DIRECT_SECONDS = 3.0  # to connect to a governor; then through the server
_INDIRECT_SECONDS = 30.0  # and then directly again
_WATCH_SECONDS = 0.25
_PULSE_SECONDS = 5.0  # between two questions whether the server is there,
_SILENCE_SECONDS = 15.0  # and how long an answer may take
_CLOSE_SECONDS = 4.0
_LOG_SECONDS = 2.0  # for lines of tasks, before
REACT_SECONDS = 1.0  # between two looks at what may have been lost


class Connection:
    """Knows which governors there are, asks them and the server, and notices the end.

    Threads: see ClusterLink. What is shared by several is guarded by `_lock`.
    """

    def __init__(self, dask: Any, where: str, own: bool) -> None:
        from rain.governor import relay

        self._dask = dask
        self._where = where
        self._own = own
        self.name = f"{dask.id}{relay.CLIENT_SEPARATOR}{uuid.uuid4().hex[:8]}"
        self._topic = relay.TOPIC + self.name
        self._loop: asyncio.AbstractEventLoop = dask.loop.asyncio_loop
        self._comm = dask.scheduler_comm
        self._engine: MirrorEngine | None = None
        self._give_offers: Callable[[Iterable[dict[str, Any]]], None] | None = None
        self._lock = threading.Lock()
        self._offers: dict[str, dict[str, Any]] = {}  # by address
        self._offers_version = -1  # the relay's
        self._notes: list[str] = []
        # Governors that can't be reached directly, and when to try again.
        self._indirect: dict[str, float] = {}
        self._work: set[asyncio.Task[None]] = set()  # uploads on their way
        self._has_submitted = False
        self._logging: set[str] = set()  # governors that have lines to send before the end
        self._all_logged = threading.Event()
        self._has_offers = threading.Event()
        self._changed = asyncio.Event()  # set and replaced when a part has moved on
        self._watch: concurrent.futures.Future[None] | None = None
        self._closed = False
        self._lost = ""  # why the connection has ended
        self._closing: asyncio.Future[None] | None = None
        if own:
            dask._reconnect = self._stay_away
        dask.subscribe_topic(self._topic, self._on_event)
        self._tell(do="hello")

    # ---- what governors offer

    def wait_for_offers(self, remedy: str) -> list[dict[str, Any]]:
        """Return what governors offer, once there is one. Raises ConnectionFailed."""
        self._ask("offers")
        patience = self._loop.time() + _EXPECTED_SECONDS
        while not self._has_offers.wait(_GOVERNOR_SECONDS):
            events = self._await(self._dask.scheduler.events(topic="rain"))
            whys = {why for _, event in events if (why := event.get("retired"))}
            if not whys and self._expects_workers() and self._loop.time() < patience:
                continue
            why = f" ({'; '.join(sorted(whys))})" if whys else ""
            raise ConnectionFailed(f"{self._where} has no governor{why}: start one with: {remedy}")
        with self._lock:
            return list(self._offers.values())

    def _expects_workers(self) -> bool:
        """Whether a Dask cluster was told to have workers, as by scale()."""
        return not self._own and bool(getattr(self._dask.cluster, "plan", ()))

    def begin_offers(self, take: Callable[[Iterable[dict[str, Any]]], None]) -> None:
        """Hand offers to the engine, those that came meanwhile, too."""
        self._give_offers = take
        with self._lock:
            offers = list(self._offers.values())
        take(offers)

    def learn_offers(self) -> None:
        self._do_governors(**self._ask("offers"))

    def _do_governors(self, offers: dict[str, dict[str, Any]], version: int) -> None:
        """Any thread: events come on the loop, and answers to whoever asked."""
        with self._lock:
            if version >= self._offers_version:  # else an event has overtaken this answer
                self._offers, self._offers_version = offers, version
            offers = self._offers
            gone = self._logging - offers.keys()
        for address in gone:
            self._do_logs_drained(address)
        if offers:
            self._has_offers.set()
        if self._give_offers is not None:
            self._give_offers(offers.values())

    # ---- its begin and its end

    def start(self, engine: MirrorEngine, /) -> None:
        from rain.governor import following

        self._engine = engine
        following.use_for(self._dask.rpc, (), engine)
        self._watch = asyncio.run_coroutine_threadsafe(self._look_after(), self._loop)

    def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if asyncio._get_running_loop() is self._loop:
            # Collected as garbage in the loop's thread, which cannot wait for itself.
            threading.Thread(target=self._leave, name="rain-close", daemon=True).start()
        else:
            self._leave()

    def _leave(self) -> None:
        """Take leave of the server, if it is there, within _CLOSE_SECONDS."""
        with contextlib.suppress(ConnectionFailed):
            if self._dask.status == "running":
                self._wait_for_logs()
            self._tell(do="bye")
        if not self._own and self._dask.status != "running":
            return  # and its loop may have ended
        ending = self._end()
        try:
            asyncio.run_coroutine_threadsafe(ending, self._loop).result(2 * _CLOSE_SECONDS)
        except RuntimeError:  # the loop is closed
            ending.close()
        except concurrent.futures.TimeoutError:
            pass
        if self._own:
            with contextlib.suppress(AttributeError):  # another Dask: then its thread stays
                self._dask._loop_runner.stop()  # close() would not, of a client that is closed

    async def _end(self) -> None:
        for work in [*self._work]:
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if not self._own:
            self._dask.unsubscribe_topic(self._topic)
            return
        closing = self._close_dask()
        if not (await asyncio.wait((closing,), timeout=_CLOSE_SECONDS))[0]:
            self._abort()  # the server hangs
            if not (await asyncio.wait((closing,), timeout=1.0))[0]:
                closing.cancel()

    def _close_dask(self) -> asyncio.Future[None]:
        """On the loop: begin to close our own Dask client, once."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._dask._close(fast=True))
        return self._closing

    async def _stay_away(self) -> None:
        """In place of Dask's reconnecting, which is of no use: the server knows us no more."""
        self._dask.status = "connecting"
        self._dask.scheduler_comm = None

    def _abort(self) -> None:
        """On the loop: end the connection without waiting for the other side."""
        comm = getattr(self._comm, "comm", None)
        if comm is not None and not comm.closed():
            self._comm.abort()

    async def _look_after(self) -> None:
        """Notice that the server is gone, however that happened."""
        from rain.governor.relay import ASK

        pulse = asyncio.ensure_future(asyncio.sleep(0))
        beat = self._loop.time()
        why = ""
        while not why:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._dask.scheduler_comm is not self._comm or self._comm.closed():
                why = "the connection has ended"
            elif self._dask.status != "running":
                why = f"the Dask client is {self._dask.status}"
            elif pulse.done():
                if self._loop.time() - beat > _PULSE_SECONDS:
                    beat = self._loop.time()
                    pulse = asyncio.ensure_future(
                        getattr(self._dask.scheduler, ASK)(operation="offers")
                    )
                    # No answer is no news: the connection ends, or the silence lasts.
                    pulse.add_done_callback(lambda done: done.cancelled() or done.exception())
            elif self._loop.time() - beat > _SILENCE_SECONDS:
                why = f"it did not answer for {_SILENCE_SECONDS:.0f} s"
        pulse.cancel()
        if self._closed or self._engine is None:
            return
        self._lost = f"{self._where} is lost: {why}"
        self._engine.connection_lost(self._lost)
        self._has_changed()
        if self._own:
            self._abort()
            self._close_dask()

    # ---- lines that tasks log

    def _do_log(self, session: int, lines: list[Any], lost: int, worker: str) -> None:
        if self._engine is not None:
            self._engine.logs().push([_log_line(line) for line in lines], lost)

    def _do_logs_drained(self, worker: str) -> None:
        with self._lock:
            self._logging.discard(worker)
            if not self._logging:
                self._all_logged.set()

    def _wait_for_logs(self) -> None:
        """Until each governor has sent what tasks that ended had logged, but not for long."""
        with self._lock:
            self._logging = set(self._offers) if self._has_submitted else set()
        if not self._logging:
            return
        self._tell(do="drain_logs")
        self._all_logged.wait(_LOG_SECONDS)

    # ---- messages: on the loop of the Dask client

    def _tell(self, **message: Any) -> None:
        from rain.governor.relay import FROM_CLIENT

        try:
            self._dask._send_to_scheduler({"op": FROM_CLIENT, "name": self.name, **message})
        except Exception as error:  # its status says that it is closed
            raise ConnectionFailed(f"{self._where} is gone: {error}") from error

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        message = dict(event[1])
        do = message.pop("do")
        getattr(self, f"_do_{do}")(**message)

    def _do_restarted(self) -> None:
        if self._engine is not None:
            self._engine.connection_lost(f"{self._where} was restarted: create a new Client")
            self._has_changed()

    def _has_changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- notes, for the user

    def take_notes(self) -> list[str]:
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def _warn(self, text: str) -> None:
        """Warn at once: whoever waits would not hear of it before the end."""
        try:
            warnings.warn(text, RainWarning, stacklevel=2)
        except RainWarning:  # made an exception by a filter, and there is nobody to get it here
            with self._lock:
                self._notes.append(text)

    # ---- questions

    def ask(self, operation: str, /, **arguments: Any) -> Any:
        return joined(operation, self._ask(operation, **arguments))

    def _ask(self, operation: str, /, **arguments: Any) -> Any:
        from rain.governor.relay import ASK

        try:
            reply = self._await(
                getattr(self._dask.scheduler, ASK)(
                    operation=operation, client=self.name, arguments=arguments
                )
            )
        except OSError as error:
            raise ConnectionFailed(f"{self._where} did not answer: {error}") from error
        return answer_of(reply, self._where)

    async def _request(self, address: str, operation: str, **arguments: Any) -> Any:
        """Ask a governor: directly, or through the server where it can't be reached.

        Raises ConnectionFailed.
        """
        from rain.governor import pieces  # noqa: F401 - Dask finds its types by their imports

        direct = self._loop.time() >= self._indirect.get(address, 0.0)
        if direct:
            try:
                comm = await asyncio.wait_for(self._dask.rpc.connect(address), _DIRECT_SECONDS)
                self._dask.rpc.reuse(address, comm)
                self._indirect.pop(address, None)
            except (OSError, asyncio.TimeoutError):
                direct = False
                self._go_round(address)
        if direct:
            answer = getattr(self._dask.rpc(address), operation)(**arguments)
        else:
            answer = self._dask.scheduler.proxy(msg={"op": operation, **arguments}, worker=address)
        asked = asyncio.ensure_future(answer)
        try:
            # One that hangs says nothing: the server takes it for lost some time.
            while not (await asyncio.wait((asked,), timeout=REACT_SECONDS))[0]:
                if address not in self._offers:
                    raise ConnectionFailed(f"the governor at {address} is lost")
            return asked.result()
        except (OSError, asyncio.TimeoutError) as error:
            raise ConnectionFailed(f"the governor at {address} did not answer: {error}") from error
        finally:
            asked.cancel()

    def _go_round(self, address: str) -> None:
        """A governor can't be reached from here: what it has comes through the server now."""
        known = address in self._indirect
        self._indirect[address] = self._loop.time() + _INDIRECT_SECONDS
        with self._lock:
            offer = self._offers.get(address)  # none: it is lost
            if not known and offer is not None:
                self._notes.append(
                    f"governor {offer['name']} cannot be reached at {address} from here: data to "
                    f"and from it go through the server, which is slower"
                )

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the loop and wait for it, until the connection is lost."""
        if asyncio._get_running_loop() is self._loop:
            coroutine.close()
            raise UsageError("this blocks, and may not be called on the loop of a Dask client")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return future.result(_WATCH_SECONDS)
            except concurrent.futures.TimeoutError:
                if future.done():
                    raise
                if why := self._why_over():
                    future.cancel()
                    raise ConnectionFailed(why) from None
            except (RainException, OSError):
                raise
            except Exception as error:
                if why := self._why_over():  # it met what had been closed
                    raise ConnectionFailed(why) from error
                raise
            except BaseException:
                future.cancel()
                raise

    def _why_over(self) -> str:
        """Why nothing can be asked any more; empty if it can."""
        if self._closed:
            return "the Client was closed meanwhile"
        if not self._lost and self._dask.status != "running":
            return f"{self._where} is lost: the connection has ended"
        return self._lost


def _log_line(line: Any) -> Any:
    return (tuple(line[0]), *line[1:])
