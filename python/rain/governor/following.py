"""Whether the bytes of an object follow the Dask message that has it, or are frames of it.

Where Dask's connections are not as rain.governor.comms knows them they are frames: that is slower,
and all.
"""

from __future__ import annotations

import contextlib
import contextvars

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rain import _core
    from rain.governor.pieces import BlobRef

FOLLOWS_BYTES = 1 << 20  # blobs from this size on follow; smaller ones are copied with the message

# Objects of the message that is written or read in this context, by the order in which they follow.
LEAVING: contextvars.ContextVar[list[BlobRef] | None] = contextvars.ContextVar(
    "leaving", default=None
)
COMING: contextvars.ContextVar[dict[int, BlobRef] | None] = contextvars.ContextVar(
    "coming", default=None
)


def send_later(ref: BlobRef) -> int | None:
    """Have the bytes of an object follow the message that is made: its number there.

    None: they have to be in it.
    """
    leaving = LEAVING.get()
    if leaving is None or not (ref.directory or ref.size >= FOLLOWS_BYTES):
        return None
    leaving.append(ref)
    return len(leaving) - 1


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Objects that one value of a message has: if it can't be written, none of them follows."""
    leaving = LEAVING.get()
    count = len(leaving or ())
    try:
        yield
    except BaseException:
        if leaving is not None:
            del leaving[count:]
        raise


def receive_later(ref: BlobRef, number: int) -> None:
    coming = COMING.get()
    if coming is None:
        raise ValueError("the bytes of an object were to follow a message that was not read here")
    coming[number] = ref


def use_for(pool: Any, listeners: Any, engine: _core.Engine) -> None:
    """Receive in this engine's store what comes over connections that are made from now on.

    Parameters
    ----------
    pool : distributed.core.ConnectionPool
        Of a client or worker.
    listeners : iterable
        Of a worker.
    """
    try:
        from rain.governor import comms
    except (ImportError, AttributeError):  # a Dask that has other connections
        return
    comms.use_for(pool, listeners, engine)


def follows(comm: Any) -> bool:
    """Whether bytes follow the messages of this connection."""
    says = getattr(comm, "follows", None)
    return says is not None and bool(says())
