"""What a client has submitted to a cluster: the parts and constants, and what comes of them."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right

from rain.common.errors import RainException
from rain.common.text import count_text
from rain.engine.cluster_connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rain import _core
    from rain.engine.mirror import MirrorEngine

_MOST_ASIDE = 0.25  # of this client's store: constants for parts that may run again
_NAMED_OBJECTS = 5  # of those that are made again, in a report


class Part:
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
        self.task_ids = array("i", sorted(task_ids))
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

    def has_task(self, task: int) -> bool:
        place = bisect_left(self.task_ids, task)
        return place < len(self.task_ids) and self.task_ids[place] == task

    def tasks_among(self, ids: Sequence[int]) -> set[int]:
        """Return which of the ids, which ascend, are of its tasks. For few, it walks no others."""
        first, last = self.task_ids[0], self.task_ids[-1]
        near = ids[bisect_left(ids, first) : bisect_right(ids, last)]
        if len(near) > len(self.task_ids) // 16:
            return set(near).intersection(self.task_ids)
        return {each for each in near if self.has_task(each)}


class Session:
    """Guarded by the link's lock."""

    __slots__ = ("by_output", "keeps_going", "name", "number", "parts", "ran_again", "uploads")

    def __init__(self, number: int, name: str, keeps_going: bool) -> None:
        self.number = number
        self.name = name
        self.keeps_going = keeps_going
        self.parts: list[Part] = []
        self.by_output: dict[int, Part] = {}
        self.ran_again = False  # some part: what it made the first time can be lost
        self.uploads: dict[int, tuple[Any, _core.Blob]] = {}  # object: future, data


class PartsLink(Connection):
    """What is submitted is cut into parts, each of which is a Dask task; their ends come back."""

    def __init__(self, dask: Any, where: str, own: bool) -> None:
        self._sessions: dict[int, Session] = {}
        # Constants that only a second run could need, oldest first: (session, object): bytes.
        self._aside: dict[tuple[int, int], int] = {}
        self._aside_bytes, self._most_aside = 0, 0.0
        self._recomputations: list[str] = []  # for reports
        self._lacking: dict[Any, str] = {}  # parts that no governor can run now, and what it takes
        super().__init__(dask, where, own)  # from here on messages may arrive

    def start(self, engine: MirrorEngine, /) -> None:
        from rain import _core

        self._most_aside = _MOST_ASIDE * _core.Engine.store_usage(engine)["budget_bytes"]
        super().start(engine)

    def close(self) -> None:
        self._closed = True  # whoever waits for a part sees it
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        sessions.clear()  # futures: outside of the lock
        super().close()

    # ---- what the engine tells

    def open_session(self, session: int, name: str, continue_on_error: bool, /) -> None:
        with self._lock:
            self._sessions[session] = Session(session, name, continue_on_error)

    def submit(self, submission: _core.Submission, /) -> None:
        from rain.governor import relay

        with self._lock:
            self._has_submitted = True
            session = self._sessions[submission.session_id]
            offers = [{"buildin", *offer["executors"]} for offer in self._offers.values()]
        slots = relay.PARTS_IN_FLIGHT * max(1, len(offers))
        cut = submission.cut(slots=slots, offers=offers)
        collected: dict[int, Any] = {}  # futures of objects, held until all is submitted
        early: dict[Part, list[tuple[int, Any]]] = {}
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
        session: Session,
        native: _core.Part,
        key: Any,
        collected: dict[int, Any],
        early: dict[Part, list[tuple[int, Any]]],
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
        part = Part(key, native.task_ids, outputs, uploads, lacks)
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
        self, session: Session, object_id: int, blob: _core.Blob, executors: Iterable[str]
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
        self, session: Session, object_id: int, early: dict[Part, list[tuple[int, Any]]]
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
        wanted = sorted(tasks)
        tell = []
        futures = []  # let go of outside of the lock
        with self._lock:
            for part in self._parts(session):
                its = set() if part.ended else part.tasks_among(wanted)
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
        dropped: dict[Part, list[int]] = {}
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

    def _set_aside(self, its: Session, object_id: int) -> Any:
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

    def _parts(self, session: int) -> list[Part]:
        its = self._sessions.get(session)
        return [] if its is None else its.parts

    def _part(self, key: Any) -> Part | None:
        """The part of a key, of whatever kind."""
        with self._lock:
            parts = self._parts(key[2])
            return parts[key[3]] if key[0] == "rain_part" and key[3] < len(parts) else None

    def _future_if_done(self, part: Part) -> Any:
        """Let go of a part of which nothing is needed any more; the caller drops the result."""
        if not part.ended or part.outputs:
            return None
        future, part.future = part.future, None
        return future

    def take_recomputations(self) -> list[str]:
        with self._lock:
            lines, self._recomputations = self._recomputations, []
        return lines

    # ---- messages: on the loop of the Dask client

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
                if len(part.cancelled) < len(part.task_ids):
                    self._note_recomputation(key, part, governor, lost)
            early, cancelled = list(part.early), sorted(part.cancelled)
            wanted = sorted(part.outputs) if part.starts > 1 else None
        if early:
            self._tell(do="early", key=key, early=early)
        if cancelled:
            self._tell(do="cancel", key=key, tasks=cancelled)
        if wanted is not None:
            self._tell(do="wanted", key=key, objects=wanted)
        self._has_changed()

    def _note_recomputation(self, key: Any, part: Part, governor: str, lost: str) -> None:
        """Requires: the lock is held."""
        why = f" with governor {lost}" if lost else ""
        told = (
            f"{count_text(len(part.task_ids), 'task')} (part {key[3]} of session {key[2]}) "
            f"run again, on governor {governor}: their results were lost{why}"
        )
        self._notes.append(told)
        self._recomputations.append(f"{told}; {_objects_text(key[2], part.outputs)}")

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

    def _do_forgotten(self, key: Any) -> None:
        """Nothing that was made with a constant can be asked for again."""
        with self._lock:
            self._forget_aside(key[2], key[3])


def _objects_text(session: int, objects: Iterable[int]) -> str:
    ids = sorted(objects)
    if not ids:
        return "none of their objects is needed any more"
    named = ", ".join(f"{session}:{each}" for each in ids[:_NAMED_OBJECTS])
    more = ", ..." if len(ids) > _NAMED_OBJECTS else ""
    return f"{count_text(len(ids), 'object')} made again: {named}{more}"


def _object_key(part_key: Any, object_id: int) -> Any:
    return ("rain_object", part_key[1], part_key[2], object_id)
