"""Data between a client and the governors of a cluster: fetched, uploaded, and read from logs."""

from __future__ import annotations

import asyncio
import contextlib

from rain.common.errors import ConnectionFailed, RainException
from rain.engine import receive
from rain.engine.cluster_connection import REACT_SECONDS
from rain.engine.cluster_parts import PartsLink
from rain.engine.cluster_questions import answer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rain.engine.cluster_parts import Part


class ClusterLink(PartsLink):
    """The Link to governors on a Dask cluster. See rain.engine.mirror.Link.

    Three kinds of threads: the engine's, which submits; the Dask client's loop, in which messages
    arrive; and those of the user, who fetch.
    """

    # ---- to the client

    def fetch(self, session: int, objects: Sequence[int], /) -> None:
        by_part: dict[Part, list[int]] = {}
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

    async def _fetch(self, session: int, part: Part, objects: list[int]) -> None:
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
                await asyncio.wait_for(changed.wait(), REACT_SECONDS)

    async def _holders(self, part: Part) -> list[str]:
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
            receive.supply(engine, session, object_id, path)
        elif ref.room is not None:
            engine.supply(session, object_id, ref.room)
        else:
            room = receive.make_room(engine, ref.size)
            ref.copy_to(room)
            engine.supply(session, object_id, room)

    def read_log(
        self, session: int, task: int, path: str, begin: int, end: int, /
    ) -> tuple[bytes, int]:
        from rain.governor.parts import READ_LOG

        with self._lock:
            addresses = [part.address for part in self._parts(session) if part.has_task(task)]
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
        text, begun = answer_of(reply, addresses[0])
        return bytes(text), int(begun)

    # ---- from the client

    def _do_want(self, key: Any, object: int, worker: str) -> None:
        work = self._loop.create_task(self._bring(worker, key, object))
        self._work.add(work)
        work.add_done_callback(self._work.discard)

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
            await asyncio.sleep(REACT_SECONDS)

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
