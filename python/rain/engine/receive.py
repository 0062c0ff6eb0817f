"""Where data that come from another process are written: once, to where they stay."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile

from rain import _core
from rain.common.errors import StoreFull
from rain.engine import frames, trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.engine.trees import Source


def make_room(engine: _core.Engine, size_bytes: int) -> Any:
    """Return a writable buffer that the engine takes as data: of its store, if it has room.

    Else the pages of a nameless file, from where they are copied to where spilled data are.

    Raises
    ------
    StoreFull
        It is larger than the store, the disk has no room, or the engine may not use that.
    """
    try:
        return engine.make_room(size_bytes)
    except StoreFull as full:
        # Of this process: a mirror's own method asks the other side, on the thread that hears it.
        usage = _core.Engine.store_usage(engine)
        place = usage["spill_directory"]
        if place is None or size_bytes > usage["budget_bytes"]:
            raise
        try:
            with tempfile.TemporaryFile(dir=place or os.environ.get("TMPDIR", "/var/tmp")) as file:
                os.posix_fallocate(file.fileno(), 0, size_bytes)  # a write later can't say "full"
                return mmap.mmap(file.fileno(), size_bytes)
        except (OSError, OverflowError) as error:
            raise StoreFull(f"{full}; and on disk: {error}") from error


def receive_directory(engine: _core.Engine, stream: Source) -> str:
    """Return a new directory, made of a tar stream, for the engine to take over.

    Raises
    ------
    ProtocolError, OSError
    """
    parent = tempfile.mkdtemp(prefix="received-", dir=engine.run_directory)
    target = os.path.join(parent, "tree")
    try:
        trees.unpack(stream, target)
        # Not below `parent`, which would stay: a rename costs less than to remember it.
        path = f"{parent}.tree"
        os.rename(target, path)
        os.rmdir(parent)
        return path
    except BaseException:
        shutil.rmtree(parent, ignore_errors=True)
        raise


def supply(engine: _core.Engine, session: int, object_id: int, data: Any) -> None:
    """Hand over what was received. What the engine does not take, being closed, is removed."""
    try:
        engine.supply(session, object_id, data)
    except BaseException:
        if isinstance(data, str):  # a directory; all else has no name
            shutil.rmtree(data, ignore_errors=True)
        raise


def receive(engine: _core.Engine, connection: frames.Connection, kind: str, size: int) -> Any:
    """Read a payload that is data: return what the engine takes over.

    `kind` is "blob" or "tree", `size` as in the frame's header. Raises StoreFull, ProtocolError
    about a tree, and OSError, all of them after the payload has been read.

    Raises
    ------
    ConnectionError
    """
    if kind == "tree":
        stream = frames.StreamReader(connection)
        try:
            return receive_directory(engine, stream)
        finally:
            stream.finish()
    try:
        room = make_room(engine, size)
    except BaseException:
        connection.skip(size)
        raise
    with memoryview(room) as target:
        connection.read_into(target)
    return room
