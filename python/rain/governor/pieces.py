"""Data objects in Dask's hands: what a part made, on its way to other governors and to clients.

Between processes their bytes are views of the sender's store, which are sent as they are: after a
Dask message, and received where they stay (rain.governor.following); or as frames of the message,
and copied once, by the receiver.
"""

from __future__ import annotations

import io
from pickle import PickleBuffer

from dask.sizeof import sizeof
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from rain import _core
from rain.engine import trees
from rain.governor import following

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeAlias

    Frames: TypeAlias = list[memoryview]


_PIECE_BYTES = 1 << 20


class BlobRef:
    """The data of one object: a view of this governor's store, or frames that were received.

    It keeps its data as long as it lives.
    """

    __slots__ = ("_failed", "_frames", "_view", "directory", "room", "size")

    def __init__(
        self,
        view: _core.Blob | None = None,
        frames: Frames | None = None,
        *,
        size: int,
        directory: bool = False,
    ) -> None:
        self._view = view
        self._frames = frames
        self._failed = ""
        self.room: _core.Room | None = None  # whose bytes the frames are: the store's
        self.size = size
        self.directory = directory

    @classmethod
    def of(cls, view: _core.Blob) -> BlobRef:
        """Of data that are in the store of this process."""
        return cls(view, size=len(view), directory=view._path is not None)

    @property
    def view(self) -> _core.Blob | None:
        """The data, None while they are frames."""
        return self._view

    def fill(self, *buffers: Any, room: _core.Room | None = None) -> None:
        """The bytes have come: in buffers, or in a room of the store."""
        self.room = room
        self._frames = [
            memoryview(each).cast("B") for each in (buffers if room is None else [room])
        ]

    def fail(self, why: str) -> None:
        """The sender could not read the bytes."""
        self._failed = why or "the sender could not read it"

    @property
    def failed(self) -> str:
        """Why there are no bytes; empty: there are, or they will come."""
        return self._failed

    def settle(self, view: _core.Blob) -> None:
        """The bytes of the frames are in the store now, where `view` is of them."""
        self._view, self._frames, self.room = view, None, None

    def frames(self) -> Frames:
        """The bytes to send: none is copied, but those of a directory, which is packed.

        Raises
        ------
        OSError
        """
        if self._failed:
            raise OSError(self._failed)
        if self._frames is not None:
            return self._frames
        assert self._view is not None
        if self._view._path is not None:
            return [memoryview(b"".join(trees.pack(self._view._path)))]
        return [memoryview(self._view).cast("B")] if self.size else []

    def copy_to(self, room: Any) -> None:
        """Write the frames to a writable buffer of `size` bytes."""
        offset = 0
        for frame in self.frames():
            _core.copy_into(room, offset, frame)
            offset += frame.nbytes

    def stream(self) -> io.RawIOBase:
        """The tar stream of a directory, read from the frames."""
        return _FrameReader(self.frames())

    def packed(self) -> BlobRef:
        """The same, with the tar stream of a directory in memory. Raises OSError."""
        return BlobRef(frames=self.frames(), size=self.size, directory=self.directory)

    def tar(self) -> Iterator[bytes | memoryview]:
        """Yield the tar stream of a directory, in pieces of at most 1 MiB. Raises OSError."""
        if self._view is not None and (path := self._view._path) is not None:
            yield from trees.pack(path)
            return
        for frame in self.frames():
            for begin in range(0, frame.nbytes, _PIECE_BYTES):
                yield frame[begin : begin + _PIECE_BYTES]

    def header(self) -> tuple[int, bool]:
        return self.size, self.directory

    def __reduce_ex__(self, protocol: Any) -> Any:
        buffers = [PickleBuffer(frame) for frame in self.frames()]
        if protocol < 5:  # no buffers out of band
            return _rebuilt, (self.header(), [bytes(buffer) for buffer in buffers])
        return _rebuilt, (self.header(), buffers)

    def __repr__(self) -> str:
        kind = "directory" if self.directory else "blob"
        return f"<{type(self).__name__} {kind} of {self.size} bytes>"


class Bundle:
    """What the tasks of a part made for others: object id -> BlobRef.

    An object that is in neither `refs` nor `dropped` was not made: its task failed.
    """

    __slots__ = ("_let_go", "dropped", "refs")

    def __init__(
        self,
        refs: dict[int, BlobRef],
        dropped: Iterable[int] = (),
        let_go: Callable[[list[int]], None] | None = None,
    ) -> None:
        self.refs = refs
        self.dropped = set(dropped)  # made, and let go of since
        self._let_go = let_go  # called with the ids that are not needed here any more

    def drop(self, object_ids: Iterable[int]) -> None:
        gone = [each for each in object_ids if self.refs.pop(each, None) is not None]
        self.dropped.update(gone)
        if gone and self._let_go is not None:
            self._let_go(gone)

    def __del__(self) -> None:
        if self.refs and self._let_go is not None:
            self._let_go(list(self.refs))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.refs, sorted(self.dropped))


class Gone:
    """In place of a BlobRef: an object that will never be made."""

    __slots__ = ()


def _rebuilt(header: tuple[int, bool], buffers: Iterable[Any]) -> BlobRef:
    frames = [memoryview(buffer).cast("B") for buffer in buffers]
    return BlobRef(frames=frames, size=header[0], directory=header[1])


class _FrameReader(io.RawIOBase):
    def __init__(self, frames: Frames) -> None:
        self._pieces: Iterator[memoryview] = iter(frames)
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = piece
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


# ---- what Dask asks for


def _sizeof_ref(ref: BlobRef) -> int:
    return ref.size + 100


def _sizeof_bundle(bundle: Bundle) -> int:
    return sum(ref.size for ref in bundle.refs.values()) + 100 * len(bundle.refs) + 100


def _described(ref: BlobRef) -> tuple[tuple[int, bool, int | None, int], Frames]:
    """A ref in a message: size, is it a directory, its number among what follows, frames."""
    number = following.send_later(ref)
    frames = ref.frames() if number is None else []
    return (*ref.header(), number, len(frames)), frames


def _made(size: int, directory: bool, number: int | None, frames: list[Any]) -> BlobRef:
    if number is None:
        return _rebuilt((size, directory), frames)
    ref = BlobRef(size=size, directory=directory)
    following.receive_later(ref, number)
    return ref


def _serialize_ref(ref: BlobRef) -> tuple[dict[str, Any], Frames]:
    (*described, _), frames = _described(ref)
    return {"ref": described, "compression": (None,) * len(frames)}, frames


def _deserialize_ref(header: dict[str, Any], frames: list[Any]) -> BlobRef:
    size, directory, number = header["ref"]
    return _made(size, directory, number, frames)


def _serialize_bundle(bundle: Bundle) -> tuple[dict[str, Any], Frames]:
    described, frames = [], list[memoryview]()
    with following.together():
        for object_id, ref in bundle.refs.items():
            its_header, its_frames = _described(ref)
            described.append((object_id, *its_header))
            frames.extend(its_frames)
    return {"refs": described, "dropped": sorted(bundle.dropped)}, frames


def _deserialize_bundle(header: dict[str, Any], frames: list[Any]) -> Bundle:
    refs, begin = {}, 0
    for object_id, size, directory, number, count in header["refs"]:
        refs[object_id] = _made(size, directory, number, frames[begin : begin + count])
        begin += count
    return Bundle(refs, header["dropped"])


for _kind, _size, _write, _read in (
    (BlobRef, _sizeof_ref, _serialize_ref, _deserialize_ref),
    (Bundle, _sizeof_bundle, _serialize_bundle, _deserialize_bundle),
):
    sizeof.register(_kind, _size)
    dask_serialize.register(_kind, _write)
    dask_deserialize.register(_kind, _read)
