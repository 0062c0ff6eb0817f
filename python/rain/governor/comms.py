"""Dask's connections between processes of ours: bytes of objects come after their message.

Dask receives all of a message in fresh memory before anybody sees it. From one of ours to another a
message has only the sizes of its large objects, and their bytes follow it on the same connection,
so that they are received where they stay, and a directory is packed while it is sent:

    sent = message of Dask | following*         in the order of their numbers in the message
    following = bytes                           of a blob: as many as it is long
              | (length piece)* 0 | ERROR text  of a directory: its tar stream, lengths as 8 bytes

Both sides say in Dask's handshake that they know this, or the bytes are frames of the message.

Imported by rain.governor.following alone, which does without it where Dask has other connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import mmap
import struct
import weakref

from distributed.comm import registry, tcp
from distributed.comm.core import CommClosedError
from tornado.iostream import StreamClosedError

from rain import _core
from rain.common.errors import RainException
from rain.engine import trees
from rain.governor import following

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rain.governor.pieces import BlobRef

_log = logging.getLogger("rain.governor")

VERSION = 1
_KEY = "rain"  # in handshakes, and in the arguments of connectors

_STEP_BYTES = 64 << 20  # in one call of tornado
_PIECE_BYTES = 1 << 20  # of a tar stream, or a little more
_MOST_BYTES = 4 * _PIECE_BYTES
_LENGTH = struct.Struct("<Q")
_ERROR = (1 << 64) - 1  # in place of a length: the next one is that of a text


class Place:
    """Where the bytes that a process receives are to stay. Thread-safe."""

    def __init__(self, engine: _core.Engine) -> None:
        self._engine = weakref.ref(engine)  # the pool of somebody's Dask client may outlive it

    def room(self, size: int) -> Any:
        """Return a writable buffer: of the store, while that is at most half full with it.

        Else ordinary memory, from where it is copied when it is needed: what comes before its turn
        must not take the room of what is running.
        """
        engine = self._engine()
        if engine is not None:
            with contextlib.suppress(RainException):  # it is full now, or closed
                usage = _core.Engine.store_usage(engine)  # a mirror's own asks the other side
                if usage["blobs_bytes"] + size <= usage["budget_bytes"] // 2:
                    return engine.make_room(size)
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # not all kernels have them
            memory.madvise(mmap.MADV_HUGEPAGE)
        return memory


def _installed() -> bool:
    """Have the connectors of this process make ours where a pool asks for it.

    False where others than Dask's usual ones are in use: they stay.
    """
    for scheme, plain, ours in (
        ("tcp", tcp.TCPBackend, _TCPBackend),
        ("tls", tcp.TLSBackend, _TLSBackend),
    ):
        backend = registry.get_backend(scheme)
        if type(backend) is plain:
            registry.backends[scheme] = ours()
        elif not isinstance(backend, ours):
            return False
    return True


def use_for(pool: Any, listeners: Any, engine: _core.Engine) -> None:
    """What following.use_for() does where Dask has its usual connections."""
    if not _installed():
        return
    place = Place(engine)
    pool.connection_args = {**pool.connection_args, _KEY: place}
    for listener in listeners:
        for plain, ours in ((tcp.TCP, TCP), (tcp.TLS, TLS)):
            if getattr(listener, "comm_class", None) is plain:
                listener.comm_class = functools.partial(ours, place=place)


class _Following(tcp.TCP):  # type: ignore[misc]
    """What both kinds of connections have in common. Thread: the loop's."""

    def __init__(self, *args: Any, place: Place, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._place = place

    def handshake_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super().handshake_info()
        return info | {_KEY: VERSION} if self.deserialize else info

    def follows(self) -> bool:
        """Both sides know of it."""
        return bool(self.remote_info.get(_KEY) == self.local_info.get(_KEY) == VERSION)

    async def write(self, msg: Any, serializers: Any = None, on_error: Any = "message") -> Any:
        if not self.follows():
            return await super().write(msg, serializers, on_error)
        leaving: list[BlobRef] = []
        before = following.LEAVING.set(leaving)
        try:
            count = await super().write(msg, serializers, on_error)
        finally:
            following.LEAVING.reset(before)
        try:
            with self._whole():
                for ref in leaving:
                    count += await self._send(ref)
        finally:
            leaving.clear()  # the loop may keep the context in which it was told to watch a socket
        return count

    async def read(self, deserializers: Any = None) -> Any:
        if not self.follows():
            return await super().read(deserializers)
        coming: dict[int, BlobRef] = {}
        before = following.COMING.set(coming)
        try:
            msg = await super().read(deserializers)
        except BaseException:
            if coming:  # their bytes would be the next message
                self.abort()
            raise
        finally:
            following.COMING.reset(before)
        try:
            with self._whole():
                if len(coming) != max(coming, default=-1) + 1:
                    raise ValueError(f"of what follows only {sorted(coming)} are in the message")
                for number in sorted(coming):
                    await self._receive(coming[number])
        finally:
            coming.clear()
        return msg

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """What ends within ends the connection: nobody can tell where the next message begins.

        To Dask it is lost, whatever has happened: then it tries again, and of other exceptions it
        makes tasks that wait forever.
        """
        try:
            yield
        except StreamClosedError as error:
            self.abort()
            raise CommClosedError(f"in {self}: {error.real_error or error}") from error
        except Exception as error:
            _log.exception("the bytes of an object could not be passed on over %s", self)
            self.abort()
            raise CommClosedError(f"in {self}: {type(error).__name__}: {error}") from error
        except BaseException:
            self.abort()
            raise

    def _open_stream(self) -> Any:
        if self.stream is None:
            raise StreamClosedError
        return self.stream

    # ---- sending

    async def _send(self, ref: BlobRef) -> int:
        stream = self._open_stream()
        if ref.directory:
            return await self._send_tree(stream, ref)
        for frame in ref.frames():
            for begin in range(0, frame.nbytes, _STEP_BYTES):
                await stream.write(frame[begin : begin + _STEP_BYTES])
        return ref.size

    async def _send_tree(self, stream: Any, ref: BlobRef) -> int:
        pieces = trees.joined(ref.tar(), _PIECE_BYTES)
        count = 0
        while True:
            try:
                piece = await asyncio.to_thread(next, pieces, b"")
            except Exception as error:
                text = (str(error) or type(error).__name__).encode(errors="replace")[:_MOST_BYTES]
                await stream.write(_LENGTH.pack(_ERROR) + _LENGTH.pack(len(text)) + text)
                return count
            stream.write(_LENGTH.pack(len(piece)))
            await stream.write(piece)
            if not piece:
                return count
            count += len(piece)

    # ---- receiving

    async def _receive(self, ref: BlobRef) -> None:
        stream = self._open_stream()
        if ref.directory:
            await self._receive_tree(stream, ref)
            return
        room = await asyncio.to_thread(self._place.room, ref.size)
        with memoryview(room) as target:
            for begin in range(0, ref.size, _STEP_BYTES):
                await stream.read_into(target[begin : begin + _STEP_BYTES])
        if isinstance(room, mmap.mmap):
            ref.fill(room)
        else:
            ref.fill(room=room)

    async def _receive_tree(self, stream: Any, ref: BlobRef) -> None:
        frames = list[memoryview]()
        while length := await self._receive_length(stream):
            if length == _ERROR:
                length = await self._receive_length(stream)
                text = await stream.read_bytes(_checked(length))
                ref.fail(text.decode(errors="replace"))
                return
            _checked(length)
            piece = bytearray(length)
            await stream.read_into(piece)
            frames.append(memoryview(piece))
        ref.fill(*frames)

    async def _receive_length(self, stream: Any) -> int:
        (length,) = _LENGTH.unpack(await stream.read_bytes(_LENGTH.size))
        return int(length)


def _checked(length: int) -> int:
    if length > _MOST_BYTES:
        raise ValueError(f"a piece of {length} bytes, more than {_MOST_BYTES}")
    return length


class TCP(_Following):
    pass


class TLS(_Following, tcp.TLS):  # type: ignore[misc]
    pass


class _TCPConnector(tcp.TCPConnector):  # type: ignore[misc]
    async def connect(self, address: str, deserialize: bool = True, **arguments: Any) -> Any:
        if (place := arguments.pop(_KEY, None)) is not None:
            self.comm_class = functools.partial(TCP, place=place)
        return await super().connect(address, deserialize, **arguments)


class _TLSConnector(tcp.TLSConnector):  # type: ignore[misc]
    async def connect(self, address: str, deserialize: bool = True, **arguments: Any) -> Any:
        if (place := arguments.pop(_KEY, None)) is not None:
            self.comm_class = functools.partial(TLS, place=place)
        return await super().connect(address, deserialize, **arguments)


class _TCPBackend(tcp.TCPBackend):  # type: ignore[misc]
    _connector_class = _TCPConnector


class _TLSBackend(tcp.TLSBackend):  # type: ignore[misc]
    _connector_class = _TLSConnector
