"""One large result put together from 100 blobs."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator

from cases import Case, Peer, fraction, seconds
from rain import client as rain
from rain.client.tasks import Concat

NAMES = ("concat",)
PARTS = 100


def touch(size: int) -> None:
    """Take fresh pages and free them again.

    A virtual machine may have given free memory back to its host, and to touch that costs several
    times as much. So both sides are measured with pages that the machine has just had.
    """
    with mmap.mmap(-1, size) as pages:
        pages[:: mmap.PAGESIZE] = bytes(len(range(0, size, mmap.PAGESIZE)))


def concat(client: rain.Client, parts: list[bytes]) -> float:
    """Seconds from submit to the result, the blobs being in the store already."""
    with client.new_session() as session:
        blobs = [rain.blob(part) for part in parts]
        for blob in blobs:
            blob.keep()
        session.submit()
        task = Concat(blobs)
        touch(sum(map(len, parts)))

        def run() -> None:
            session.submit()
            task.wait()

        return seconds(run)


def memcpy(parts: list[bytes]) -> float:
    """Seconds of copying the parts into fresh pages of shared memory, in this process."""
    total = sum(map(len, parts))
    touch(total)
    fd = os.memfd_create("copy")
    try:
        os.ftruncate(fd, total)
        with mmap.mmap(fd, total) as target:

            def copy() -> None:
                at = 0
                for part in parts:
                    target[at : at + len(part)] = part
                    at += len(part)

            return seconds(copy)
    finally:
        os.close(fd)


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    size = 1_000_000 if quick else 10_000_000
    parts = [os.urandom(size) for _ in range(PARTS)]
    with rain.Client(memory=4 * PARTS * size + (256 << 20)) as client:
        yield [
            Case(
                "concat",
                f"Concat of {PARTS} blobs of {size // 1_000_000} MB [s]",
                lambda: concat(client, parts),
                [Peer("one copy of it into fresh pages", lambda: memcpy(parts))],
                fraction,
            )
        ]
