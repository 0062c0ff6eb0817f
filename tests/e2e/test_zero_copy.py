"""Bytes that the documentation calls not copied: producer and consumer have the same pages, readers
cost no memory of their own, and the runtime counted no copy. By address and count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from places import copies, place_of, read_ends
from rain.client import Client, DataObject, Session, Task, blob
from sizes import GiB, MiB, need_memory
from tasks import call
from world import wait_until

MakeClient = Callable[..., Client]
C, PY, CLIENT = "cpptester", "pytester", "client"
SIZES = [64 << 10, MiB + 1, 24 * MiB]  # the least in a region; among others; a region of its own


def produce(producer: str, size: int) -> DataObject:
    if producer == CLIENT:
        obj = blob(b"\x07" * size)
    else:
        obj = call(f"{producer}/write_ends", size=size, byte=7).output
    obj.keep()
    return obj


@pytest.fixture
def recorded(make_client: MakeClient) -> Client:
    return make_client(record=True)


@pytest.mark.parametrize("consumer", [C, PY, CLIENT])
@pytest.mark.parametrize("producer", [C, PY, CLIENT])
def test_consumer_has_the_pages_that_the_producer_wrote(
    recorded: Client, engine: str, producer: str, consumer: str
) -> None:
    looks_at_them = engine == "embedded"  # elsewhere what the client sees is a copy
    for size in SIZES:
        with recorded.new_session() as session:
            obj = produce(producer, size)
            session.submit()
            obj.wait()
            if consumer == CLIENT:
                data = memoryview(obj.fetch())
                found = {"size": len(data), "first": data[0], "last": data[-1]}
                found["place"] = place_of(obj)
            else:
                (found,) = read_ends(consumer, obj)
            assert (found["size"], found["first"], found["last"]) == (size, 7, 7)
            if looks_at_them:
                assert found["place"] == place_of(obj)
            if producer != CLIENT and (consumer != CLIENT or looks_at_them):
                info = obj.info
                assert info is not None
                assert info.user["place"] == found["place"]
            assert not any(copies(recorded).values())


@pytest.mark.parametrize("via", [C, PY])
def test_what_passes_through_stays_where_it_is(recorded: Client, engine: str, via: str) -> None:
    with recorded.new_session() as session:
        first = produce(C, MiB)
        passed = call(f"{via}/echo", first).output
        several = call(f"{via}/repeat", passed, outputs=3)
        passed.keep()
        several.keep_outputs()
        session.submit()
        session.wait_all()
        objects = (first, passed, *several.outputs)
        places = {end["place"] for end in read_ends(PY, *objects)}
        assert len(places) == 1
        if engine == "embedded":  # elsewhere what the client sees is a copy
            assert places == {place_of(obj) for obj in objects}
        assert not any(copies(recorded).values())


def test_typed_and_array_tasks_copy_nothing(recorded: Client) -> None:
    import numpy as np

    with recorded.new_session() as session:
        array = blob(np.ones((1000, 500), np.int32))
        factor = blob(2.0, encode="cbor")
        turned = call("cpptester/typed_transpose", array)
        scaled = call("cpptester/typed_scale", blob(np.ones(100_000)), factor)
        made = call("pytester/return_of", expression="ctx.empty(100_000)")
        for task in (turned, scaled, made):
            task.output.keep()
        session.submit()
        assert turned.output.fetch_array().shape == (500, 1000)
        assert scaled.output.fetch_array().sum() == 200_000
        assert len(made.output.fetch()) == 800_000
        assert len(copies(recorded)) == 3
        assert not any(copies(recorded).values())


@pytest.mark.parametrize("kind", ["cpptester", "pytester"])
def test_a_copy_is_counted_where_the_documentation_says_there_is_one(
    recorded: Client, kind: str
) -> None:
    with recorded.new_session():
        call(f"{kind}/fill_memory", size=MiB, byte=1).output.fetch()
        (copied,) = copies(recorded).values()
        assert copied == MiB


# ---- One large blob, many readers --------------------------------------------------------------


def resident(pid: int) -> tuple[int, int]:
    """Of memfds mapped by the process: proportional and private bytes."""
    shares = {"Pss": 0, "Private": 0}
    ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-", line):
            ours = "/memfd:" in line
        name, _, rest = line.partition(":")
        if ours and name.partition("_")[0] in shares and name != "Pss_Dirty":
            shares[name.partition("_")[0]] += int(rest.split()[0]) << 10
    return shares["Pss"], shares["Private"]


@pytest.mark.alone
def test_a_gibibyte_with_8_readers_is_there_once(make_client: MakeClient, tmp_path: Path) -> None:
    need_memory(3 * GiB)
    client = make_client(cpus=8, memory=2 * GiB, record=True)
    until = tmp_path / "until"
    with client.new_session() as session:
        data = call("cpptester/fill", size=GiB, byte=1).output
        data.keep()
        session.submit()
        data.wait()
        readers: list[Task] = []
        for tester in (C, PY):
            readers += [call(f"{tester}/read_pages", data, until=str(until)) for _ in range(4)]
        for task in readers:
            task.output.keep()
        session.submit()
        view = memoryview(data.fetch())
        assert view[0] == view[-1] == 1

        def reading() -> list[int]:
            return [int(path.suffix[1:]) for path in tmp_path.glob("until.*")]

        wait_until(lambda: len(reading()) == 8, "8 processes that have read everything")
        usage = client.info()["store"]
        assert GiB <= usage["regions_bytes"] <= GiB + GiB // 100
        assert usage["blobs_bytes"] == GiB
        shares = [resident(pid) for pid in reading()]
        assert sum(private for _, private in shares) == 0
        # The governor's mapping has a share, too, of the pages that it touched.
        assert sum(pss for pss, _ in shares) <= GiB + GiB // 100
        until.touch()
        for task in readers:
            said = json.loads(task.output.fetch().get_bytes())
            assert said["sum"] == GiB // 4096
            assert said["grown"] < MiB
        assert not any(copies(client).values())


def test_a_view_of_one_output_keeps_no_other_output(recorded: Client, tester: str) -> None:
    """Results are blobs of their own, unless they are parts of an input: none is kept because its
    neighbour is."""
    with recorded.new_session() as session:
        task = call(f"{tester}/split_by_label", b"x" * (2 * MiB), outputs=["a", "b", "c", "d"])
        task.keep_outputs()
        session.submit()
        task.wait()
        view = memoryview(task.outputs[0].fetch())
        before = recorded.info()["store"]["blobs_bytes"]
        for output in task.outputs:
            output.unkeep()
        after = recorded.info()["store"]["blobs_bytes"]
        assert before - after >= 6 * MiB
        assert view[:3] == b"xxx"


def test_references_made_and_dropped_in_a_loop_leave_the_store_as_it_was(
    session: Session, tester: str
) -> None:
    client = session.client
    assert client is not None

    def once() -> None:
        obj = blob(b"o" * MiB)
        view = memoryview(call(f"{tester}/echo", obj).output.fetch())
        assert view[-1] == ord("o")

    for _ in range(3):
        once()
    before = client.info()["store"]
    for _ in range(100):
        once()
    after = client.info()["store"]
    same = ("blobs", "blobs_bytes", "regions", "regions_bytes", "views")
    assert [after[key] for key in same] == [before[key] for key in same]
