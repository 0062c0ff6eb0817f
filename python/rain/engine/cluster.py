"""The link of a client to a server with governors: over Dask distributed.

What a client submits is cut into parts, and each is a Dask task that a governor runs at native
speed (rain.governor.parts). Ends of tasks come back as messages that Dask's scheduler passes on
(rain.governor.relay); data come from the governors, without the scheduler where they can.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import uuid
import warnings
from array import array

from rain.common import errors
from rain.common.errors import ConnectionFailed, RainException, RainWarning, UsageError
from rain.common.text import count_text
from rain.engine import dask_process, receive
from rain.engine.mirror import MirrorEngine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence
    from typing import Any, TypeVar

    from rain import _core

    T = TypeVar("T")

_CONNECT_SECONDS = 4.0  # for all steps: an error comes within 5
_GOVERNOR_SECONDS = 4.0  # for the first governor to be there
_EXPECTED_SECONDS = 60.0  # likewise, while a cluster of Dask has workers to come
_DIRECT_SECONDS = 3.0  # to connect to a governor; then through the server
_INDIRECT_SECONDS = 30.0  # and then directly again
_WATCH_SECONDS = 0.25
_PULSE_SECONDS = 5.0  # between two questions whether the server is there,
_SILENCE_SECONDS = 15.0  # and how long an answer may take
_CLOSE_SECONDS = 4.0
_LOG_SECONDS = 2.0  # for lines of tasks, before
_MOST_ASIDE = 0.25  # of this client's store: constants for parts that may run again
_REACT_SECONDS = 1.0  # between two looks at where lost data are made again
_MEMORY = "memory"  # a resource that every governor has
_NAMED_OBJECTS = 5  # of those that are made again, in a report


def connect(host: str, port: int, *, tls: str | None = None) -> tuple[MirrorEngine, dict[str, str]]:
    """Return the engine of a client of the server there, and the languages of its executors.

    Raises
    ------
    ConnectionFailed
    ConfigError
        distributed is not installed, or of the TLS folder.
    """
    tls = None if tls is None else os.fspath(tls)
    distributed = dask_process.import_distributed()
    security = dask_process.security(tls)
    check_server(host, port, tls)
    where = f"{dask_process.bracketed(host)}:{port}"
    try:
        with dask_process.client_settings():
            dask = distributed.Client(
                f"{dask_process.scheme(tls)}://{where}",
                timeout=_CONNECT_SECONDS,
                set_as_default=False,
                security=security,
                name="rain",
            )
    except (OSError, ImportError, ValueError, TypeError) as error:
        raise ConnectionFailed(f"no connection to the server at {where}: {error}") from error
    return _engine(dask, f"the server at {where}", f"rain governor {where}", own=True)


def connect_dask(dask: Any, **options: Any) -> tuple[MirrorEngine, dict[str, str]]:
    """As connect(), for a cluster of Dask: each of its workers gets a governor.

    Parameters
    ----------
    dask : distributed.Client
        Connected. It stays its owner's.
    **options
        For the governors, as Client has them. A worker that has one keeps it.

    Raises
    ------
    ConnectionFailed, UsageError
    """
    distributed = dask_process.import_distributed()
    if not isinstance(dask, distributed.Client) or dask.asynchronous:
        raise UsageError(
            f"Client(dask=...) needs a distributed.Client that is not asynchronous, not {dask!r}"
        )
    from rain.governor.plugin import GovernorPlugin, NannySettings
    from rain.governor.relay import Relay

    if "config" in options:
        options["config_file"] = os.path.abspath(options.pop("config"))
    try:
        dask.register_plugin(Relay())
        dask.register_plugin(NannySettings())
        dask.register_plugin(GovernorPlugin(**options))
    except Exception as error:
        raise ConnectionFailed(
            f"Dask's scheduler or workers did not take Rain's plugins ({error}): is the same "
            "rain-tasklib installed there?"
        ) from error
    where = f"Dask's scheduler at {dask.scheduler.address}"
    return _engine(dask, where, "another Dask worker", own=False)


def ask(host: str, port: int, tls: str | None, operation: str, **arguments: Any) -> Any:
    """Ask the server there one thing: "versions", "offers", "status", "stop", "store", "logs".

    Of "store" and "logs": the governors' answers put together.

    Raises
    ------
    ConnectionFailed
    RainException
        What the other side says.
    """
    distributed = dask_process.import_distributed()
    security = dask_process.security(tls)
    from rain.engine.knock import knock
    from rain.governor.relay import ASK

    knock(host, port, tls=tls)
    address = f"{dask_process.scheme(tls)}://{dask_process.bracketed(host)}:{port}"

    async def asked() -> Any:
        given = {} if security is None else security.get_connection_args("client")
        async with distributed.rpc(address, connection_args=given) as server:
            return await getattr(server, ASK)(operation=operation, arguments=arguments)

    seconds = (1 if operation == "versions" else 2) * _CONNECT_SECONDS
    waited = asyncio.wait_for(asked(), seconds)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as thread:  # here a loop may be running
            reply = thread.submit(asyncio.run, waited).result()
    except (OSError, asyncio.TimeoutError) as error:
        raise ConnectionFailed(f"no answer from the server at {host}:{port}: {error}") from error
    answer = _answer(reply, f"{host}:{port}")
    own = operation in ("versions", "status", "offers", "stop")
    return answer if own else _joined(operation, answer)


def check_server(host: str, port: int, tls: str | None) -> None:
    """Return if a server is there that this process can be a client or a governor of.

    Raises
    ------
    ConnectionFailed
        There is none, or its Dask is of another month than the one here: their messages differ.
    """
    there = ask(host, port, tls, "versions")["distributed"]
    here = dask_process.import_distributed().__version__
    if there.split(".")[:2] != here.split(".")[:2]:
        raise ConnectionFailed(
            f"the server at {host}:{port} has distributed {there}, and here is {here}: they don't "
            f"understand each other; install the same on both, pip install distributed=={there}"
        )


def _engine(dask: Any, where: str, remedy: str, own: bool) -> tuple[MirrorEngine, dict[str, str]]:
    link = ClusterLink(dask, where, own)
    try:
        engine = ClusterEngine(link, link.wait_for_offers(remedy))
        return engine, engine.languages
    except BaseException:
        link.close()
        raise


class ClusterEngine(MirrorEngine):
    """A mirror whose governors come and go, and that tells what its link has noticed.

    Parameters
    ----------
    link : ClusterLink
    offers : list
        Of the governors that there are, one at least.
    """

    kind = "cluster"
    _link: ClusterLink

    def __init__(self, link: ClusterLink, offers: list[dict[str, Any]]) -> None:
        self._offering = threading.Lock()
        self.languages: dict[str, str] = {}  # executor type -> language, of all there ever were
        self._resources: dict[str, _core.ResourceTuple] = {}  # likewise, the most of one governor
        self._note_offers(offers)
        memory = self._resources.get(_MEMORY)
        super().__init__(
            link,
            executors=self.languages,
            cpus=max(offer["cpus"] for offer in offers),
            resources=[each for each in self._resources.values() if each is not memory],
            task_memory_bytes=0 if memory is None else memory[1],
        )
        self._checks_resources = bool(self._resources)  # else governors do, as always
        link.begin_offers()

    def take_offers(self, offers: Iterable[dict[str, Any]]) -> None:
        """Allow what governors offer by now, and what they have offered. Any thread."""
        offers = list(offers)
        with self._offering:
            late, resources = self._note_offers(offers)
            cpus = max((offer["cpus"] for offer in offers), default=0)
            if not self._checks_resources:
                resources = []
            if late or resources or cpus > self.cpus:
                self.add_offer(late, cpus, resources)

    def _note_offers(
        self, offers: list[dict[str, Any]]
    ) -> tuple[list[str], list[_core.ResourceTuple]]:
        """Return the executor types that are new, and resources of which there is more."""
        late: dict[str, str] = {}
        more: dict[str, _core.ResourceTuple] = {}
        for offer in offers:
            memory: _core.ResourceTuple = (_MEMORY, offer["task_memory_bytes"], [])
            for name, amount, ids in [*offer["resources"], memory]:
                if not amount:
                    continue  # of memory: not known
                known = more.get(name) or self._resources.get(name)
                if known is None or known[1] < amount:
                    more[name] = name, amount, list(ids)
            late |= {name: its for name, its in offer["executors"].items()
                     if name not in self.languages}  # fmt: skip
        self.languages |= late
        self._resources |= more
        return list(late), list(more.values())

    def learn_offers(self) -> bool:
        """Ask what governors offer by now. True: what this client has refused may be allowed."""
        try:
            self._check()
            self._link.learn_offers()
        except RainException:
            return False  # what was refused says why
        return True

    def take_warnings(self) -> list[str]:
        return super().take_warnings() + self._link.take_notes()

    def take_recomputations(self) -> list[str]:
        return self._link.take_recomputations()


class _Part:
    """A part in the client's eyes. Guarded by the link's lock."""

    __slots__ = (
        "address", "cancelled", "early", "ended", "failed", "future", "key", "lacks", "outputs",
        "starts", "task_ids", "uploads",
    )  # fmt: skip

    def __init__(
        self,
        key: Any,
        task_ids: Iterable[int],
        outputs: Iterable[int],
        uploads: Iterable[int],
        lacks: str,
    ) -> None:
        self.key = key
        self.task_ids = array("i", task_ids)
        self.outputs = set(outputs)  # that the client has use for
        self.uploads = array("i", uploads)  # constants that it needs
        self.lacks = lacks  # why tasks of it will never have their inputs
        self.future: Any = None  # held while anything of the part is needed
        self.address = ""  # of the Dask worker that runs it, or ran it
        self.starts = 0
        self.ended = False
        self.failed = ""  # why it will not run
        self.cancelled: set[int] = set()
        self.early: list[tuple[int, Any]] = []  # objects that later submits wait for


class _Session:
    """Guarded by the link's lock."""

    __slots__ = ("by_output", "keeps_going", "name", "number", "parts", "ran_again", "uploads")

    def __init__(self, number: int, name: str, keeps_going: bool) -> None:
        self.number = number
        self.name = name
        self.keeps_going = keeps_going
        self.parts: list[_Part] = []
        self.by_output: dict[int, _Part] = {}
        self.ran_again = False  # some part: what it made the first time can be lost
        self.uploads: dict[int, tuple[Any, _core.Blob]] = {}  # object: future, data


class ClusterLink:
    """The Link to governors on a Dask cluster. See rain.engine.mirror.Link.

    Three kinds of threads: the engine's, which submits; the Dask client's loop, in which messages
    arrive; and those of the user, who fetch.
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
        self._engine: ClusterEngine | None = None
        self._gives_offers = False  # the engine takes them
        self._lock = threading.Lock()
        self._sessions: dict[int, _Session] = {}
        self._offers: dict[str, dict[str, Any]] = {}  # by address
        self._notes: list[str] = []
        # Constants that only a second run could need, oldest first: (session, object): bytes.
        self._aside: dict[tuple[int, int], int] = {}
        self._aside_bytes, self._most_aside = 0, 0.0
        self._recomputations: list[str] = []  # for reports
        self._lacking: dict[Any, str] = {}  # parts that no governor can run now, and what it takes
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

    def begin_offers(self) -> None:
        """Hand offers to the engine, those that came meanwhile, too."""
        assert self._engine is not None
        self._gives_offers = True
        with self._lock:
            offers = list(self._offers.values())
        self._engine.take_offers(offers)

    def learn_offers(self) -> None:
        self._take_offers(self._ask("offers"))

    def start(self, engine: MirrorEngine, /) -> None:
        from rain import _core
        from rain.governor import following

        self._most_aside = _MOST_ASIDE * _core.Engine.store_usage(engine)["budget_bytes"]
        assert isinstance(engine, ClusterEngine)
        self._engine = engine
        following.use_for(self._dask.rpc, (), engine)
        self._watch = asyncio.run_coroutine_threadsafe(self._look_after(), self._loop)

    def close(self) -> None:
        self._closed = True
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        sessions.clear()  # futures: outside of the lock
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

    def _wait_for_logs(self) -> None:
        """Until each governor has sent what tasks that ended had logged, but not for long."""
        with self._lock:
            self._logging = set(self._offers) if self._has_submitted else set()
        if not self._logging:
            return
        self._tell(do="drain_logs")
        self._all_logged.wait(_LOG_SECONDS)

    # ---- what the engine tells

    def open_session(self, session: int, name: str, continue_on_error: bool, /) -> None:
        with self._lock:
            self._sessions[session] = _Session(session, name, continue_on_error)

    def submit(self, submission: _core.Submission, /) -> None:
        from rain.governor import relay

        with self._lock:
            self._has_submitted = True
            session = self._sessions[submission.session_id]
            offers = [{"buildin", *offer["executors"]} for offer in self._offers.values()]
        slots = relay.PARTS_IN_FLIGHT * max(1, len(offers))
        cut = submission.cut(slots=slots, offers=offers)
        collected: dict[int, Any] = {}  # futures of objects, held until all is submitted
        early: dict[_Part, list[tuple[int, Any]]] = {}
        for native in cut:
            key = (relay.PART_PREFIX, self.name, session.number, len(session.parts))
            self._submit_part(session, native, key, collected, early)
        for part, objects in early.items():
            with self._lock:
                part.early += objects
                tell = part.starts and not part.ended
            if tell:
                self._tell(do="early", key=part.key, early=objects)

    def _submit_part(
        self,
        session: _Session,
        native: _core.Part,
        key: Any,
        collected: dict[int, Any],
        early: dict[_Part, list[tuple[int, Any]]],
    ) -> None:
        import dask

        from rain.governor import parts, pieces, relay

        lacks = ""
        ids: list[int] = []
        futures: list[Any] = []
        for object_id, blob in native.uploads:
            ids.append(object_id)
            futures.append(self._upload(session, object_id, blob, native.executors))
        for object_id in native.inputs:
            ids.append(object_id)
            if object_id not in session.by_output:  # those of the part that need it end at once
                futures.append(pieces.Gone())
                lacks = (
                    f"its input {session.number}:{object_id} is made by a task of an earlier "
                    "submit() and was not kept, so that no other governor gets it: keep() it "
                    "before its task is submitted"
                )
                continue
            if object_id not in collected:
                collected[object_id] = self._collect(session, object_id, early)
            futures.append(collected[object_id])
        outputs = native.outputs
        uploads = [object_id for object_id, _ in native.uploads]
        part = _Part(key, native.task_ids, outputs, uploads, lacks)
        told = parts.Part(
            key,
            session.name,
            session.keeps_going,
            native.task_ids,
            outputs,
        )
        with self._lock:  # before anything of it can arrive
            session.parts.append(part)
            for object_id in outputs:
                session.by_output[object_id] = part
        with dask.annotate(**{relay.N_TASKS: native.n_tasks}):
            future = self._dask.submit(
                parts.run_part,
                told,
                native.batch,
                ids,
                futures,
                key=key,
                pure=False,
                resources=relay.part_resources(native.max_cpus, native.executors, native.resources),
            )
        with self._lock:
            if not part.ended or part.outputs:
                part.future = future

    def _upload(
        self, session: _Session, object_id: int, blob: _core.Blob, executors: Iterable[str]
    ) -> Any:
        """A constant: a key of its own, which some governor asks for: if it can, one that has the
        executors which need it, so that the bytes travel once."""
        from rain.governor import parts

        wanted = set(executors) - {"buildin"}
        with self._lock:
            found = session.uploads.get(object_id)
            offers = self._offers.items()
            able = [address for address, offer in offers if wanted <= set(offer["executors"])]
            place: dict[str, Any] = {} if len(able) in (0, len(offers)) else {"workers": able}
        if found is not None:
            return found[0]
        key = ("rain_upload", self.name, session.number, object_id)
        with self._lock:
            session.uploads[object_id] = None, blob
        future = self._dask.submit(
            parts.receive, key, object_id, key=key, pure=False, allow_other_workers=bool(place),
            **place,
        )  # fmt: skip
        with self._lock:
            session.uploads[object_id] = future, blob
        return future

    def _collect(
        self, session: _Session, object_id: int, early: dict[_Part, list[tuple[int, Any]]]
    ) -> Any:
        """An object that another part makes: a key of its own, ready when the object is."""
        from rain.governor import parts

        with self._lock:
            part = session.by_output[object_id]
        key = _object_key(part.key, object_id)
        future = self._dask.submit(
            parts.collect, part.key, part.future, object_id, key=key, pure=False
        )
        early.setdefault(part, []).append((object_id, key))
        return future

    def cancel(self, session: int, tasks: Sequence[int], /) -> None:
        wanted = set(tasks)
        tell = []
        futures = []  # let go of outside of the lock
        with self._lock:
            for part in self._parts(session):
                its = set() if part.ended else wanted.intersection(part.task_ids)
                if its:
                    part.cancelled |= its
                    if len(part.cancelled) == len(part.task_ids):
                        # Dask takes it away from where it is, unless another part waits for it.
                        futures.append(part.future)
                        part.future = None
                    if part.starts:
                        tell.append((part.key, sorted(its)))
        del futures
        for key, ids in tell:
            self._tell(do="cancel", key=key, tasks=ids)

    def unkeep(self, session: int, objects: Sequence[int], /) -> None:
        dropped: dict[_Part, list[int]] = {}
        futures = []  # let go of outside of the lock
        with self._lock:
            its = self._sessions.get(session)
            if its is None:
                return
            for object_id in objects:
                futures.append(self._set_aside(its, object_id))
                part = its.by_output.pop(object_id, None)
                if part is not None and object_id in part.outputs:
                    part.outputs.discard(object_id)
                    dropped.setdefault(part, []).append(object_id)
            for part in dropped:
                futures.append(self._future_if_done(part))
        for part, ids in dropped.items():
            if part.outputs or not part.ended:
                self._tell(do="unkeep", key=part.key, objects=ids)

    def _set_aside(self, its: _Session, object_id: int) -> Any:
        """A constant that this client has no use for: parts that have taken it may run again.

        It goes when Dask forgets it, or to make room. The caller drops the result.
        """
        future, blob = its.uploads.get(object_id, (None, None))
        if blob is None or future is None:
            return None
        its.uploads[object_id] = None, blob
        self._aside[its.number, object_id] = len(blob)
        self._aside_bytes += len(blob)
        while self._aside_bytes > self._most_aside:
            self._forget_aside(*next(iter(self._aside)))
        return future

    def _forget_aside(self, session: int, object_id: int) -> None:
        size = self._aside.pop((session, object_id), None)
        if size is not None:
            self._aside_bytes -= size
            if session in self._sessions:
                self._sessions[session].uploads.pop(object_id, None)

    def close_session(self, session: int, /) -> None:
        with self._lock:
            its = self._sessions.pop(session, None)
            for aside in [each for each in self._aside if each[0] == session]:
                self._forget_aside(*aside)
        if its is not None:
            for part in its.parts:
                part.future = None
            its.uploads.clear()
            self._tell(do="close", session=session)

    def _parts(self, session: int) -> list[_Part]:
        its = self._sessions.get(session)
        return [] if its is None else its.parts

    def _future_if_done(self, part: _Part) -> Any:
        """Let go of a part of which nothing is needed any more; the caller drops the result."""
        if not part.ended or part.outputs:
            return None
        future, part.future = part.future, None
        return future

    # ---- questions

    def ask(self, operation: str, /, **arguments: Any) -> Any:
        return _joined(operation, self._ask(operation, **arguments))

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
        return _answer(reply, self._where)

    def read_log(
        self, session: int, task: int, path: str, begin: int, end: int, /
    ) -> tuple[bytes, int]:
        from rain.governor.parts import READ_LOG

        with self._lock:
            addresses = [part.address for part in self._parts(session) if task in part.task_ids]
        if not addresses or not addresses[0]:
            raise OSError(f"task {task} ran on no governor")
        try:
            reply = self._await(
                self._request(
                    addresses[0], READ_LOG,
                    client=self.name, session=session, path=path, begin=begin, end=end,
                )
            )  # fmt: skip
        except ConnectionFailed as error:
            raise OSError(f"the governor that has the log of task {task} is gone") from error
        text, begun = _answer(reply, addresses[0])
        return bytes(text), int(begun)

    def take_notes(self) -> list[str]:
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def take_recomputations(self) -> list[str]:
        with self._lock:
            lines, self._recomputations = self._recomputations, []
        return lines

    # ---- data

    def fetch(self, session: int, objects: Sequence[int], /) -> None:
        by_part: dict[_Part, list[int]] = {}
        with self._lock:
            its = self._sessions.get(session)
            for object_id in objects:
                part = None if its is None else its.by_output.get(object_id)
                if part is None:
                    raise RainException(
                        f"object {session}:{object_id} is on no governor, or not any more"
                    )
                by_part.setdefault(part, []).append(object_id)

        async def all_of() -> None:
            await asyncio.gather(
                *(self._fetch(session, part, ids) for part, ids in by_part.items())
            )

        self._await(all_of())

    async def _fetch(self, session: int, part: _Part, objects: list[int]) -> None:
        """Bring what a part made, from where it is now; made again if it was lost meanwhile."""
        from rain.governor.parts import FETCH

        missing = set(objects)
        while missing:
            changed = self._changed
            for address in await self._holders(part):
                try:
                    reply = await self._request(
                        address, FETCH, key=part.key, objects=sorted(missing)
                    )
                except ConnectionFailed:
                    continue
                got = list(zip(reply["ids"], reply["refs"], strict=True))
                failed = [
                    *reply["failed"],
                    *((each, ref.failed) for each, ref in got if ref.failed),
                ]
                if failed:
                    object_id, why = failed[0]
                    raise RainException(
                        f"the data of object {session}:{object_id} cannot be read on the governor "
                        f"at {address}: {why}"
                    )
                for object_id, ref in got:
                    await asyncio.to_thread(self._supply, session, object_id, ref)
                    missing.discard(object_id)
                if not missing:
                    return
                if reply["ended"] and part.ended and not part.failed:
                    why = "it was lost and could not be made again" if part.starts > 1 else ""
                    raise RainException(
                        f"object {session}:{min(missing)} has no data: {why or 'it was unkept'}"
                    )
            if part.failed:
                raise RainException(
                    f"the data of object {session}:{min(missing)} were lost: {part.failed}"
                )
            if self._closed or part.future is None:
                raise RainException(f"object {session}:{min(missing)} has no data any more")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _REACT_SECONDS)

    async def _holders(self, part: _Part) -> list[str]:
        """Where a part runs or its bundle is."""
        if part.address and not part.ended:
            return [part.address]
        found = await self._dask.scheduler.who_has(keys=[part.key])
        addresses = [address for each in found.values() for address in each]
        if part.address in addresses:
            return [part.address]
        return addresses

    def _supply(self, session: int, object_id: int, ref: Any) -> None:
        engine = self._engine
        assert engine is not None
        if ref.directory:
            path = receive.receive_directory(engine, ref.stream())
            engine.supply(session, object_id, path)
        elif ref.room is not None:
            engine.supply(session, object_id, ref.room)
        else:
            room = receive.make_room(engine, ref.size)
            ref.copy_to(room)
            engine.supply(session, object_id, room)

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
            while not (await asyncio.wait((asked,), timeout=_REACT_SECONDS))[0]:
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

    async def _bring(self, address: str, key: Any, object_id: int) -> None:
        """Upload a constant to the governor that wants it."""
        from distributed.protocol import to_serialize

        from rain.governor.parts import UPLOAD
        from rain.governor.pieces import BlobRef

        while not self._closed:
            with self._lock:
                its = self._sessions.get(key[2])
                found = None if its is None else its.uploads.get(object_id)
            if its is None:
                return
            if found is None:
                self._fail_those_with(
                    key[2],
                    object_id,
                    "it is not in the client any more, which needs it no more and was short of "
                    "memory: keep() it, so that what is lost with a governor can be made again",
                )
                return
            try:
                ref = to_serialize(BlobRef.of(found[1]))
                await self._request(address, UPLOAD, key=key, ref=ref)
                return
            except ConnectionFailed:
                if address not in self._offers:
                    return  # it is lost, and another one will ask
            except Exception as error:  # not of the connection: it would come again
                self._fail_those_with(key[2], object_id, f"{type(error).__name__}: {error}")
                return
            await asyncio.sleep(_REACT_SECONDS)

    def _fail_those_with(self, session: int, object_id: int, why: str) -> None:
        """Those that wait to run, or to run again; what others have made stays."""
        with self._lock:
            needy = [
                part
                for part in self._parts(session)
                if object_id in part.uploads and not (part.ended and part.future is None)
            ]
        for part in needy:
            self._fail(part.key, f"its input {session}:{object_id} was not sent: {why}", died=False)

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

    def _do_governors(self, offers: dict[str, dict[str, Any]]) -> None:
        self._take_offers(offers)

    def _take_offers(self, offers: dict[str, dict[str, Any]]) -> None:
        with self._lock:
            self._offers = offers
            gone = self._logging - offers.keys()
        for address in gone:
            self._do_logs_drained(address)
        if offers:
            self._has_offers.set()
        if self._engine is not None and self._gives_offers:
            self._engine.take_offers(offers.values())

    def _do_lacking(self, parts: list[tuple[Any, str]]) -> None:
        """All parts that no governor can run now, with what it would take."""
        lacking = {tuple(key): what for key, what in parts}
        counts: dict[str, int] = {}
        for key, what in lacking.items():
            part = self._part(key)
            if part is not None and self._lacking.get(key) != what:
                counts[what] = counts.get(what, 0) + len(part.task_ids)
        self._lacking = lacking
        for what, count in counts.items():
            self._warn(
                f"{count_text(count, 'task')} wait{'s' * (count == 1)} for {what} now, and will "
                "run when one that does joins"
            )

    def _warn(self, text: str) -> None:
        """Warn at once: whoever waits would not hear of it before the end."""
        try:
            warnings.warn(text, RainWarning, stacklevel=2)
        except RainWarning:  # made an exception by a filter, and there is nobody to get it here
            with self._lock:
                self._notes.append(text)

    def _do_updates(self, session: int, updates: bytes, worker: str) -> None:
        if self._engine is None or session not in self._sessions:
            return
        try:
            self._engine.apply_updates(session, updates)
        except RainException as error:
            self._engine.connection_lost(f"{self._where}: {error}")

    def _do_started(self, key: Any, governor: str, worker: str, lost: str = "") -> None:
        part = self._part(key)
        if part is None:
            return
        with self._lock:
            part.starts += 1
            part.address = worker
            part.ended = False
            if part.starts > 1:
                its = self._sessions.get(key[2])
                if its is not None:
                    its.ran_again = True
                why = f" with governor {lost}" if lost else ""
                told = (
                    f"{count_text(len(part.task_ids), 'task')} (part {key[3]} of session {key[2]}) "
                    f"run again, on governor {governor}: their results were lost{why}"
                )
                self._notes.append(told)
                self._recomputations.append(f"{told}; {_objects_text(key[2], part.outputs)}")
            early, cancelled = list(part.early), sorted(part.cancelled)
            wanted = sorted(part.outputs) if part.starts > 1 else None
        if early:
            self._tell(do="early", key=key, early=early)
        if cancelled:
            self._tell(do="cancel", key=key, tasks=cancelled)
        if wanted is not None:
            self._tell(do="wanted", key=key, objects=wanted)
        self._has_changed()

    def _do_ended(self, key: Any, worker: str) -> None:
        part = self._part(key)
        if part is None:
            return
        with self._lock:
            part.ended = True
            future = self._future_if_done(part)
            its = self._sessions.get(key[2])
            lacks = part.lacks
            if not lacks and its is not None and its.ran_again:
                lacks = "an input of it was lost with its governor and could not be made again"
        if lacks and self._engine is not None:
            # Its tasks have ended, and all is told: those of which nothing came had no inputs.
            self._engine.fail_tasks(key[2], list(part.task_ids), lacks, False)
        del future
        self._has_changed()

    def _do_refused(self, key: Any, message: str, worker: str) -> None:
        self._fail(key, message, died=False)

    def _do_killer(self, key: Any, governors: list[str]) -> None:
        self._fail(
            key,
            f"{' and '.join(governors)}: each time this task, or others of its part, ran on a "
            "governor, the machine or its governor was lost",
            died=True,
        )

    def _do_erred(self, key: Any, message: str) -> None:
        self._fail(key, f"Dask could not run it: {message}", died=False)

    def _fail(self, key: Any, message: str, died: bool) -> None:
        part = self._part(key)
        if part is None or self._engine is None:
            return
        part.failed = message
        self._engine.fail_tasks(key[2], list(part.task_ids), message, died)
        self._has_changed()

    def _do_died(self, key: Any, governor: str) -> None:
        with self._lock:
            self._notes.append(
                f"governor {governor} was lost while it ran part {key[3]} of session {key[2]}"
            )

    def _do_restarted(self) -> None:
        if self._engine is not None:
            self._engine.connection_lost(f"{self._where} was restarted: create a new Client")
            self._has_changed()

    def _do_want(self, key: Any, object: int, worker: str) -> None:
        work = self._loop.create_task(self._bring(worker, key, object))
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    def _do_forgotten(self, key: Any) -> None:
        """Nothing that was made with a constant can be asked for again."""
        with self._lock:
            self._forget_aside(key[2], key[3])

    def _do_log(self, session: int, lines: list[Any], lost: int, worker: str) -> None:
        if self._engine is not None:
            self._engine.logs().push([_log_line(line) for line in lines], lost)

    def _do_logs_drained(self, worker: str) -> None:
        with self._lock:
            self._logging.discard(worker)
            if not self._logging:
                self._all_logged.set()

    def _part(self, key: Any) -> _Part | None:
        """The part of a key, of whatever kind."""
        with self._lock:
            parts = self._parts(key[2])
            return parts[key[3]] if key[0] == "rain_part" and key[3] < len(parts) else None

    def _has_changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ---- the connection

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


def _objects_text(session: int, objects: Iterable[int]) -> str:
    ids = sorted(objects)
    if not ids:
        return "none of their objects is needed any more"
    named = ", ".join(f"{session}:{each}" for each in ids[:_NAMED_OBJECTS])
    more = ", ..." if len(ids) > _NAMED_OBJECTS else ""
    return f"{count_text(len(ids), 'object')} made again: {named}{more}"


def _object_key(part_key: Any, object_id: int) -> Any:
    return ("rain_object", part_key[1], part_key[2], object_id)


def _answer(reply: Any, where: str) -> Any:
    """The answer, or what the other side raised."""
    if not isinstance(reply, dict):
        raise ConnectionFailed(
            f"{where} is a Dask scheduler without Rain: start one with `rain server`, or use "
            "Client(dask=...)"
        )
    if "error" not in reply:
        return reply["answer"]
    name, text = reply["error"]
    if name == "OSError":
        raise OSError(text)
    kind = getattr(errors, name, RainException)
    if not (isinstance(kind, type) and issubclass(kind, RainException)):
        kind = RainException
    raise kind(text)


def _joined(operation: str, answers: dict[str, Any]) -> Any:
    """Put the governors' answers together."""
    known = [answer for answer in answers.values() if answer is not None]
    match operation:
        case "announced_signature" | "command_of":
            return known[0] if known else None
        case "learn_tasks" | "announced_tasks":
            tasks = {line[0]: line for answer in known for line in answer}
            return list(tasks.values()) if known else None
        case "store_usage":
            return _summed(known)
        case "store":  # of each governor
            return known
        case _:
            return [line for answer in known for line in answer]


def _summed(usages: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for usage in usages:
        for name, value in usage.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and name in total:
                total[name] += value
            else:
                total.setdefault(name, value)
    return total


def _log_line(line: Any) -> Any:
    return (tuple(line[0]), *line[1:])
