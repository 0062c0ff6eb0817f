"""Data objects in Dask's hands: what a part made, on its way to other governors and to clients.

Between processes their bytes are frames of a Dask message: views of the sender's store, which are
sent as they are and copied once, by the receiver, to where they stay.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from pickle import PickleBuffer

from dask.sizeof import sizeof
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from rain import _core
from rain.engine import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeAlias

    Frames: TypeAlias = list[memoryview]


class BlobRef:
    """The data of one object: a view of this governor's store, or frames that were received.

    It keeps its data as long as it lives.
    """

    __slots__ = ("_frames", "_view", "directory", "size")

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

    def settle(self, view: _core.Blob) -> None:
        """The frames have been copied into the store, where `view` is of them."""
        self._view, self._frames = view, None

    def frames(self) -> Frames:
        """The bytes to send: none is copied, but those of a directory into a nameless file."""
        if self._frames is not None:
            return self._frames
        assert self._view is not None
        if self._view._path is not None:
            return [_packed(self._view._path)]
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


def _packed(path: str) -> memoryview:
    """The tar stream of a directory, in the pages of a nameless file."""
    with tempfile.TemporaryFile() as file:
        for piece in trees.pack(path):
            file.write(piece)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


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


def _serialize_ref(ref: BlobRef) -> tuple[dict[str, Any], Frames]:
    frames = ref.frames()
    return {"ref": ref.header(), "compression": (None,) * len(frames)}, frames


def _deserialize_ref(header: dict[str, Any], frames: list[Any]) -> BlobRef:
    return _rebuilt(header["ref"], frames)


def _serialize_bundle(bundle: Bundle) -> tuple[dict[str, Any], Frames]:
    described, frames = [], list[memoryview]()
    for object_id, ref in bundle.refs.items():
        its_frames = ref.frames()
        described.append((object_id, *ref.header(), len(its_frames)))
        frames.extend(its_frames)
    return {"refs": described, "dropped": sorted(bundle.dropped)}, frames


def _deserialize_bundle(header: dict[str, Any], frames: list[Any]) -> Bundle:
    refs, begin = {}, 0
    for object_id, size, directory, count in header["refs"]:
        refs[object_id] = _rebuilt((size, directory), frames[begin : begin + count])
        begin += count
    return Bundle(refs, header["dropped"])


for _kind, _size, _write, _read in (
    (BlobRef, _sizeof_ref, _serialize_ref, _deserialize_ref),
    (Bundle, _sizeof_bundle, _serialize_bundle, _deserialize_bundle),
):
    sizeof.register(_kind, _size)
    dask_serialize.register(_kind, _write)
    dask_deserialize.register(_kind, _read)
