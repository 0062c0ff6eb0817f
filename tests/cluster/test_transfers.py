"""How bytes of objects pass between governors, and to and from clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import clusters
import pytest
from clusters import Cluster
from distributed.comm import connect, listen, registry, tcp
from distributed.comm.core import CommClosedError
from distributed.protocol import to_serialize
from rain.client import Client, RainException, blob
from rain.engine import trees
from rain.governor import comms, following
from rain.governor.pieces import BlobRef, Bundle
from rain.governor.pieces import _serialize_bundle as serialize_bundle
from tasks import call

PIECE = following.FOLLOWS_BYTES
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7)

# ---- two ends of a connection in this process


class Pool:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.connection_args = arguments


class Ends:
    """A connection whose other side answers with what it got."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Any] = asyncio.Queue()
        self.here: Any = None
        self.there: Any = None

    async def echo(self, comm: Any) -> None:
        self.there = comm
        with contextlib.suppress(CommClosedError):
            while True:
                message = await comm.read()
                self.got.put_nowait(message)
                await comm.write({name: to_serialize(its) for name, its in message.items()})

    async def exchange(self, **refs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the other side got, and what came back from there."""
        await self.here.write({name: to_serialize(ref) for name, ref in refs.items()})
        back = await self.here.read()
        return self.got.get_nowait(), back


@contextlib.asynccontextmanager
async def connected(
    client: Client, here: bool = True, there: bool = True, security: Any = None
) -> AsyncIterator[Ends]:
    """Ends, each of which knows ours or is Dask's alone."""
    ends = Ends()
    scheme = "tcp" if security is None else "tls"
    given = [{}, {}] if security is None else [
        security.get_listen_args("worker"), security.get_connection_args("worker")
    ]  # fmt: skip
    listener = listen(f"{scheme}://127.0.0.1:0", ends.echo, **given[0])
    pool = Pool(given[1])
    following.use_for(pool, [listener] if there else [], client._engine)
    await listener.start()
    try:
        arguments = pool.connection_args if here else given[1]
        ends.here = await connect(listener.contact_address, **arguments)
        yield ends
    finally:
        for comm in (ends.here, ends.there):
            if comm is not None:
                comm.abort()
        listener.stop()


@pytest.fixture
def local() -> Iterator[Client]:
    with Client(cpus=1, memory="64 MiB") as client:
        yield client


def ref_of(data: bytes) -> BlobRef:
    ref = BlobRef(size=len(data))
    ref.fill(data)
    return ref


def bytes_of(ref: BlobRef) -> bytes:
    return b"".join(ref.frames())


class Tree:
    """What a view of a directory that is data has for senders."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __len__(self) -> int:
        return 1


def tree_ref(path: Path) -> BlobRef:
    return BlobRef.of(Tree(path))  # type: ignore[arg-type]


def unpacked(ref: BlobRef, target: Path) -> dict[str, bytes]:
    trees.unpack(ref.stream(), str(target))  # type: ignore[arg-type]
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))  # type: ignore[arg-type]


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_bytes_follow_between_ours_and_are_in_the_message_else(
    local: Client, here: bool, there: bool
) -> None:
    large, small = os.urandom(PIECE), os.urandom(PIECE - 1)

    async def test() -> None:
        async with connected(local, here, there) as ends:
            for result in await ends.exchange(large=ref_of(large), small=ref_of(small)):
                assert bytes_of(result["large"]) == large
                assert bytes_of(result["small"]) == small
                assert (result["large"].room is not None) == (here and there)
                assert result["small"].room is None

    run(test)


def test_another_kind_of_connections_of_dask_stays(
    local: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(tcp.TCPBackend):  # type: ignore[misc]
        pass

    monkeypatch.setitem(registry.backends, "tcp", Other())
    pool = Pool({})
    following.use_for(pool, [], local._engine)
    assert pool.connection_args == {}


def test_a_dask_without_its_usual_connections_has_the_bytes_in_its_messages(
    local: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "rain.governor.comms")
    monkeypatch.delattr(tcp, "TLSConnector")
    data = os.urandom(2 * PIECE)

    async def test() -> None:
        async with connected(local) as ends:
            for result in await ends.exchange(data=ref_of(data)):
                assert bytes_of(result["data"]) == data
                assert result["data"].room is None

    monkeypatch.delattr("rain.governor.comms")
    run(test)


@pytest.mark.parametrize("steps", [1, 1000, 1 << 26])
def test_bytes_of_all_sizes_come_as_they_were(
    local: Client, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several of them in one message, read in steps of this length."""
    monkeypatch.setattr(following, "FOLLOWS_BYTES", 1000)
    monkeypatch.setattr(comms, "_STEP_BYTES", steps)
    datas = {f"of {size}": os.urandom(size) for size in (0, 1, 999, 1000, 1001, 3007)}
    bundle = Bundle({i: ref_of(data) for i, data in enumerate(datas.values())}, [77])

    async def test() -> None:
        async with connected(local) as ends:
            refs = {name: ref_of(data) for name, data in datas.items()}
            for result in await ends.exchange(**refs, bundle=bundle):
                got = result.pop("bundle")
                assert {name: bytes_of(ref) for name, ref in result.items()} == datas
                assert [bytes_of(ref) for ref in got.refs.values()] == list(datas.values())
                assert got.dropped == {77}

    run(test)


def test_over_tls(local: Client, tmp_path: Path) -> None:
    from datetime import timedelta

    from rain.cli import tls
    from rain.engine import dask_process

    pytest.importorskip("cryptography")
    tls.make(str(tmp_path / "tls"), timedelta(days=1))
    data = os.urandom(3 * PIECE + 7)

    async def test() -> None:
        security = dask_process.security(str(tmp_path / "tls"))
        async with connected(local, security=security) as ends:
            assert isinstance(ends.here, comms.TLS)
            for result in await ends.exchange(data=ref_of(data)):
                assert bytes_of(result["data"]) == data
                assert result["data"].room is not None

    run(test)


def test_what_the_store_has_no_room_for_waits_in_ordinary_memory(local: Client) -> None:
    """At most half of the store's 64 MB is for what comes before its turn."""
    place = comms.Place(local._engine)
    datas = [os.urandom(20 << 20), os.urandom(20 << 20)]

    async def test() -> None:
        async with connected(local) as ends:
            there, _ = await ends.exchange(first=ref_of(datas[0]), second=ref_of(datas[1]))
            first, second = there["first"], there["second"]
            assert first.room is not None
            assert second.room is None
            assert [bytes_of(first), bytes_of(second)] == datas

    run(test)
    assert len(place.room(40 << 20)) == 40 << 20
    local.close()
    assert len(place.room(20 << 20)) == 20 << 20


def test_a_connection_that_is_cut_between_the_bytes_ends_both_sides(
    local: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(64 << 20)  # more than sockets hold

    async def test() -> None:
        async with connected(local) as ends:
            loop = asyncio.get_running_loop()

            def room(self: comms.Place, size: int) -> bytearray:
                loop.call_soon_threadsafe(ends.here.abort)
                return bytearray(size)

            monkeypatch.setattr(comms.Place, "room", room)
            with pytest.raises(CommClosedError):
                await ends.here.write({"data": to_serialize(ref_of(data))})
            assert ends.here.closed()
            while not ends.there.closed():
                await asyncio.sleep(0.01)
            assert ends.got.empty()

    run(test)


def test_a_transfer_that_is_cancelled_ends_its_connection(
    local: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of the bytes has come is nobody's next message."""

    async def test() -> None:
        async with connected(local) as ends:
            begun, go_on = asyncio.Event(), threading.Event()
            loop = asyncio.get_running_loop()

            def room(self: comms.Place, size: int) -> bytearray:
                loop.call_soon_threadsafe(begun.set)
                go_on.wait(60)
                return bytearray(size)

            monkeypatch.setattr(comms.Place, "room", room)
            writing = asyncio.create_task(ends.exchange(data=ref_of(bytes(64 << 20))))
            await begun.wait()
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            assert ends.here.closed()
            go_on.set()

    run(test)


@pytest.mark.parametrize("ours", [True, False])
def test_directories_of_many_small_files_and_of_a_large_one(
    local: Client, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed without a temporary file: there is no place for one."""
    expected: dict[str, dict[str, bytes]] = {"many": {}, "large": {}, "none": {}}
    for name in expected:
        (tmp_path / name).mkdir()
    for i in range(300):
        expected["many"][f"f{i}"] = b"%d" % i
    expected["large"]["file"] = os.urandom(5 * PIECE + 3)
    for name, files in expected.items():
        for file, data in files.items():
            (tmp_path / name / file).write_bytes(data)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    async def test() -> None:
        async with connected(local, there=ours) as ends:
            refs = {name: tree_ref(tmp_path / name) for name in expected}
            there, back = await ends.exchange(**refs)
            for name, files in expected.items():
                assert unpacked(there[name], tmp_path / f"there-{name}") == files
                assert unpacked(back[name], tmp_path / f"back-{name}") == files

    run(test)


def test_packing_does_not_hold_up_other_connections(
    local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    go_on = threading.Event()
    pack = trees.pack

    def slow(path: str) -> Iterator[bytes]:
        go_on.wait(60)
        yield from pack(path)

    monkeypatch.setattr(trees, "pack", slow)

    async def test() -> None:
        async with connected(local) as packing, connected(local) as other:
            waits = asyncio.create_task(packing.exchange(tree=tree_ref(tmp_path / "tree")))
            for _ in range(3):
                there, _ = await other.exchange(data=ref_of(bytes(PIECE)))
                assert bytes_of(there["data"]) == bytes(PIECE)
            assert not waits.done()
            go_on.set()
            there, _ = await waits
            assert unpacked(there["tree"], tmp_path / "target") == {}

    run(test)


def test_a_file_that_cannot_be_read_is_an_error_of_its_object_alone(
    local: Client, tmp_path: Path
) -> None:
    async def test() -> None:
        async with connected(local) as ends:
            data = os.urandom(PIECE)
            for result in await ends.exchange(tree=tree_ref(tmp_path / "gone"), data=ref_of(data)):
                assert bytes_of(result["data"]) == data
                with pytest.raises(OSError, match="gone"):
                    result["tree"].frames()

    run(test)


@pytest.mark.parametrize("error", [RecursionError("too deep"), ValueError(), OSError()])
def test_whatever_goes_wrong_while_packing_is_an_error_of_the_object(
    local: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def pack(path: str) -> Iterator[bytes]:
        yield bytes(2 * PIECE)
        raise error

    monkeypatch.setattr(trees, "pack", pack)

    async def test() -> None:
        async with connected(local) as ends:
            for result in await ends.exchange(tree=tree_ref(tmp_path), data=ref_of(bytes(PIECE))):
                assert bytes_of(result["data"]) == bytes(PIECE)
                with pytest.raises(OSError, match=str(error) or type(error).__name__):
                    result["tree"].frames()

    run(test)


@pytest.mark.parametrize("error", [MemoryError("no room"), OverflowError("no room")])
def test_whatever_goes_wrong_while_receiving_is_a_lost_connection(
    local: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Of other exceptions Dask would make a task that waits forever."""
    rooms: list[int] = []

    def room(self: comms.Place, size: int) -> bytearray:
        rooms.append(size)
        if len(rooms) == 2:  # of the answer
            raise error
        return bytearray(size)

    monkeypatch.setattr(comms.Place, "room", room)

    async def test() -> None:
        async with connected(local) as ends:
            with pytest.raises(CommClosedError, match="no room"):
                await ends.exchange(data=ref_of(bytes(PIECE)))
            assert ends.here.closed()

    run(test)


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_length_that_no_sender_of_ours_says_ends_the_connection(
    local: Client, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    async def send(self: comms.TCP, ref: BlobRef) -> int:
        await self.stream.write(comms._LENGTH.pack(length) + comms._LENGTH.pack(1 << 60))
        return 0

    monkeypatch.setattr(comms.TCP, "_send", send)

    async def test() -> None:
        async with connected(local) as ends:
            with contextlib.suppress(CommClosedError):
                await ends.here.write({"tree": to_serialize(tree_ref(Path("no")))})
            with pytest.raises(CommClosedError):
                await ends.here.read()
            assert ends.got.empty()

    run(test)


def fail_to_load() -> None:
    raise ValueError("this cannot be read")


class NotToBeRead:
    def __reduce__(self) -> Any:
        return fail_to_load, ()


def test_bytes_after_a_message_that_cannot_be_read_are_no_next_message(local: Client) -> None:
    async def test() -> None:
        async with connected(local) as ends:
            with contextlib.suppress(CommClosedError):
                await ends.here.write(
                    {"data": to_serialize(ref_of(bytes(PIECE))), "n": to_serialize(NotToBeRead())}
                )
            while ends.there is None or not ends.there.closed():
                await asyncio.sleep(0.01)

    run(test)


def test_connections_keep_nothing_of_what_they_passed_on(
    local: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop keeps contexts: of a session's constant that stayed there, the store kept all."""
    seen: list[Any] = []

    async def send(self: comms.TCP, ref: BlobRef) -> int:
        seen.append(sys._getframe(1).f_locals["leaving"])
        return await plain_send(self, ref)

    def receive_later(ref: BlobRef, number: int) -> None:
        plain_receive(ref, number)
        seen.append(following.COMING.get())

    plain_send, plain_receive = comms.TCP._send, following.receive_later
    monkeypatch.setattr(comms.TCP, "_send", send)
    monkeypatch.setattr(following, "receive_later", receive_later)

    async def test() -> None:
        async with connected(local) as ends:
            await ends.exchange(data=ref_of(bytes(PIECE)))
            assert len(seen) == 4
            assert not any(seen)

    run(test)


def test_nothing_follows_of_a_bundle_that_cannot_be_written() -> None:
    broken = BlobRef(size=1)
    broken.fail("gone")
    leaving: list[BlobRef] = [ref_of(bytes(PIECE))]
    before = following.LEAVING.set(leaving)
    try:
        with pytest.raises(OSError, match="gone"):
            serialize_bundle(Bundle({1: ref_of(bytes(PIECE)), 2: broken}))
    finally:
        following.LEAVING.reset(before)
    assert len(leaving) == 1


# ---- governors


# What runs before the programs of governors. It cuts a transfer in the middle when it is asked to.
CUTS = """
import os
from rain.governor import comms
plain = comms.TCP._send
async def send(self, ref):
    if os.path.exists({file!r}):
        os.unlink({file!r})
        await self.stream.write(ref.frames()[0][:500_000])
        self.stream.close()
    return await plain(self, ref)
comms.TCP._send = send
"""

SMALL_STORE = """
from rain.governor.host import Host
plain = Host.start
Host.start = classmethod(lambda cls, **options: plain(memory=64 << 20, spill=False, **options))
"""


@pytest.fixture(scope="module")
def apart(commands: dict[str, Any]) -> Iterator[Cluster]:
    """Two governors with an executor each: data of one's tasks have to go to the other.

    The second has a store of 64 MiB.
    """
    place = Path(tempfile.mkdtemp(prefix="rc-"))
    made = Cluster(place, commands)
    plain = clusters.GOVERNOR
    cuts = CUTS.format(file=str(place / "cut"))
    try:
        for name, its, before in (("g1", "cpptester", cuts), ("g2", "pytester", SMALL_STORE)):
            clusters.GOVERNOR = before + plain
            made.start_governor(name, executors={its: commands[its]})
        for governor in made.governors:
            governor.answer()
        yield made
    finally:
        clusters.GOVERNOR = plain
        made.close()
        shutil.rmtree(place)


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_passes_between_governors_and_clients(apart: Cluster, size: int) -> None:
    data = os.urandom(size)
    with apart.client() as client, client.new_session() as session:
        there = call("cpptester/echo", blob(data))
        there.keep_outputs()
        session.submit()
        session.wait_all()
        back = call("pytester/echo", there)
        again = call("cpptester/concat", back, back)
        again.keep_outputs()
        assert there.output.fetch().get_bytes() == data
        assert again.output.fetch().get_bytes() == data + data


def test_a_directory_passes_between_governors_and_clients(apart: Cluster, place: Path) -> None:
    from rain.client import OutputDir

    with apart.client() as client, client.new_session():
        content = "x" * (PIECE + 1)
        made = call("cpptester/make_directory", outputs=OutputDir("d"), **{"a/b": content})
        made.keep_outputs()
        listed = call("pytester/list_directory", made)
        listed.keep_outputs()
        assert listed.output.fetch().get_bytes().decode() == f"a/b={content}"
        made.output.fetch().write(place / "out")
        assert (place / "out" / "a" / "b").read_text() == content


def test_a_transfer_that_was_cut_is_done_again(apart: Cluster) -> None:
    with apart.client() as client, client.new_session():
        (apart.place / "cut").touch()
        whole = call("pytester/concat", call("cpptester/fill", size=3 * PIECE, byte=7), b"end")
        assert whole.output.fetch().get_bytes() == b"\x07" * (3 * PIECE) + b"end"
        assert not (apart.place / "cut").exists()


def test_a_store_that_is_full_costs_the_task_alone(apart: Cluster) -> None:
    """What fills more than half of it comes by ordinary memory; more than all has no place."""
    with apart.client() as client, client.new_session(on_error="continue") as session:
        ends = []
        for size in (100 << 20, 40 << 20):
            data = call("cpptester/fill", size=size, byte=7)
            ends.append(call("pytester/part", data, offset=size - 1, size=1))
            ends[-1].keep_outputs()
        session.submit()
        with pytest.raises(RainException, match="store"):
            ends[0].output.fetch()
        assert ends[1].output.fetch().get_bytes() == b"\x07"


def test_a_directory_goes_that_came_with_an_input_which_has_no_place(apart: Cluster) -> None:
    from rain.client import OutputDir

    with apart.client() as client, client.new_session(on_error="continue") as session:
        tree = call("cpptester/make_directory", outputs=OutputDir("d"), name="content")
        large = call("cpptester/fill", size=100 << 20, byte=7)
        both = call("pytester/concat", tree, large)
        both.keep_outputs()
        session.submit()
        with pytest.raises(RainException, match="store"):
            both.output.fetch()
        assert not list(apart.place.rglob("received-*"))


@pytest.mark.parametrize("direct", [True, False])
def test_a_directory_that_is_gone_on_its_governor_is_an_error(apart: Cluster, direct: bool) -> None:
    from rain.client import OutputDir

    with apart.client() as client, client.new_session() as session:
        made = call("cpptester/make_directory", outputs=OutputDir("d"), **{"to-be-gone": "x"})
        made.keep_outputs()
        session.submit()
        made.wait()
        (file,) = apart.place.rglob("to-be-gone")
        shutil.rmtree(file.parent)
        if not direct:
            link: Any = client._engine._link  # type: ignore[attr-defined]
            link._indirect = dict.fromkeys(link._offers, float("inf"))
        with pytest.raises(RainException, match="cannot be read on the governor"):
            made.output.fetch()
