"""Blobs of no bytes, of sizes around a page, of more than 2 and 4 GiB, in both languages."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable

import pytest
from rain.client import Client, blob
from sizes import LONG, GiB, need_memory
from tasks import call

MakeClient = Callable[..., Client]
SMALL = [0, 1, 4095, 4096, 4097, (64 << 10) - 1, 64 << 10, (64 << 10) + 1]
HUGE = [2 * GiB - 1, 2 * GiB + 1, 4 * GiB - 1, 4 * GiB + 1]


def ends(size: int, byte: int) -> dict[str, int]:
    return {"size": size, "first": byte, "last": byte} if size else {"size": 0}


def seen(client: Client, size: int, byte: int, readers: tuple[str, ...], obj: object) -> None:
    """Assert that these testers and the client see such ends."""
    for reader in readers:
        said = call(f"{reader}/read_ends", obj).output.fetch().get_bytes()  # type: ignore[arg-type]
        (found,) = json.loads(said)
        found.pop("place", None)
        assert found == ends(size, byte)


@pytest.mark.parametrize("size", SMALL)
def test_every_small_size_passes_between_all(make_client: MakeClient, size: int) -> None:
    client = make_client()
    with client.new_session():
        for producer in ("cpptester", "pytester"):
            made = call(f"{producer}/write_ends", size=size, byte=9).output
            data = made.fetch()
            assert len(data) == size
            assert bytes(data)[:1] == bytes(data)[-1:] == (b"\x09" if size else b"")
            seen(client, size, 9, ("cpptester", "pytester"), made)
        put = blob(b"\x05" * size)
        put.keep()
        seen(client, size, 5, ("cpptester", "pytester"), put)


@pytest.mark.alone
@pytest.mark.parametrize("size", HUGE, ids=["2GiB-1", "2GiB+1", "4GiB-1", "4GiB+1"])
def test_sizes_around_2_and_4_gib_pass_between_all(
    make_client: MakeClient, tester: str, size: int
) -> None:
    need_memory(size + GiB)
    client = make_client(memory=size + GiB // 4, record=True)
    with client.new_session():
        made = call(f"{tester}/write_ends", size=size, byte=9).output
        view = memoryview(made.fetch())
        assert (view.nbytes, view[0], view[-1]) == (size, 9, 9)
        seen(client, size, 9, ("cpptester", "pytester"), made)
    assert not any(task.copied_bytes for task in client.report())


@pytest.mark.alone
@pytest.mark.parametrize("size", HUGE, ids=["2GiB-1", "2GiB+1", "4GiB-1", "4GiB+1"])
def test_the_client_puts_sizes_around_2_and_4_gib(make_client: MakeClient, size: int) -> None:
    if not LONG:
        pytest.skip("writing its pages takes seconds: with RAIN_LONG=1")
    need_memory(size + GiB)
    client = make_client(memory=size + GiB // 4)
    with client.new_session(), mmap.mmap(-1, size) as source:  # its pages are the zero page
        source[0] = source[-1] = 5
        put = blob(source)
        put.keep()
        seen(client, size, 5, ("cpptester", "pytester"), put)
        view = memoryview(put.fetch())
        assert (view.nbytes, view[0], view[-1]) == (size, 5, 5)
