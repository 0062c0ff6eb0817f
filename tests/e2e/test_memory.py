"""Memory that is short: spilling, waiting for room, StoreFull."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, StoreFull, TaskCancelled, TaskStoreFull, blob, remote
from tasks import call, contains, works
from world import wait_until

MiB = 1 << 20
MakeClient = Callable[..., Client]


def fill(tester: str, byte: int, size: int = 8 * MiB) -> Any:
    task = call(f"{tester}/fill", size=size, byte=byte)
    task.output.keep()
    return task


def test_kept_outputs_beyond_the_budget_are_spilled_and_read_again(
    make_client: MakeClient, tester: str, place: Path
) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session() as session:
        kept = [fill(tester, i) for i in range(20)]
        session.submit()
        session.wait_all()
        usage = client.info()["store"]
        assert usage["regions_bytes"] <= 64 * MiB
        assert usage["spilled_bytes"] >= 96 * MiB
        for i, task in enumerate(kept):
            assert bytes(task.output.fetch().get_bytes()) == bytes([i]) * (8 * MiB)
        for i in (0, 19):  # one on disk, one in memory: both as inputs
            echoed = call(f"{tester}/echo", kept[i].output)
            assert echoed.output.fetch().get_bytes() == bytes([i]) * (8 * MiB)
        for task in kept:
            task.output.unkeep()
        assert client.info()["store"]["spilled_bytes"] == 0
        data = Path(client.info()["run_directory"], "data")
        assert not list(data.iterdir())


def test_what_the_client_puts_spills_what_nobody_views(make_client: MakeClient) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session() as session:
        kept = [fill("cpptester", i) for i in range(7)]
        session.submit()
        session.wait_all()
        put = blob(b"p" * (32 * MiB))
        assert put.fetch().get_bytes() == b"p" * (32 * MiB)
        for i, task in enumerate(kept):
            assert task.output.fetch().get_bytes() == bytes([i]) * (8 * MiB)


@pytest.mark.embedded("what is looked at is a copy of the client's")
def test_what_the_client_views_stays_in_memory_and_the_error_names_it(
    make_client: MakeClient,
) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session(on_error="continue") as session:
        held = [fill("cpptester", i) for i in range(7)]
        session.submit()
        session.wait_all()
        views = [memoryview(task.output.fetch()) for task in held]
        more = fill("cpptester", 9, 16 * MiB)
        session.submit()
        with pytest.raises(TaskStoreFull) as caught:
            more.wait()
        contains(caught.value, "16.0 MiB", "64.0 MiB", "cpptester/fill", "kept by the client")
        assert all(view[0] == i and view[-1] == i for i, view in enumerate(views))
        put = blob(b"x" * (16 * MiB))  # to disk
        assert put.fetch().get_bytes() == b"x" * (16 * MiB)
        with pytest.raises(StoreFull, match="larger than the whole blob store"):
            blob(bytes(65 * MiB))
        del views
        again = fill("cpptester", 9, 16 * MiB)
        assert again.output.fetch().get_bytes() == b"\x09" * (16 * MiB)
        works("cpptester", session)


@pytest.mark.embedded("constants are in a store of the client's")
def test_store_full_names_each_blob_once(make_client: MakeClient) -> None:
    client = make_client(memory="64 MiB", spill=False)
    with client.new_session(on_error="continue") as session:
        made = [fill("cpptester", 1, 20 * MiB), fill("pytester", 2, 12 * MiB)]
        same = [
            call(f"{tester}/repeat", made[0], outputs=3) for tester in ("cpptester", "pytester")
        ]
        parts = [made[0].output[i * MiB :] for i in range(3)]
        for each in same:
            each.keep_outputs()
        for part in parts:
            part.keep()
        session.submit()
        session.wait_all()
        more = fill("cpptester", 3, 48 * MiB)
        session.submit()
        with pytest.raises(TaskStoreFull) as caught:
            more.wait()
        for size in (20 * MiB, 12 * MiB):
            assert str(caught.value).count(f"{size} bytes of object") == 1, caught.value
        with pytest.raises(StoreFull) as refused:
            blob(bytes(48 * MiB)).fetch()
        assert str(refused.value).count(f"{20 * MiB} bytes of object") == 1, refused.value


@pytest.mark.embedded("constants are in a store of the client's")
def test_spill_false_keeps_everything_in_memory(make_client: MakeClient) -> None:
    client = make_client(memory="64 MiB", spill=False)
    with client.new_session(on_error="continue") as session:
        kept = [fill("cpptester", i) for i in range(9)]
        session.submit()
        session.wait_all()
        failed = [task for task in kept if task.state.name == "failed"]
        assert failed
        with pytest.raises(TaskStoreFull) as caught:
            failed[0].wait()
        contains(caught.value, "Spilling to disk is off (spill=False)")
        with pytest.raises(StoreFull, match="spill=False"):
            blob(bytes(16 * MiB))
        assert client.info()["store"]["spilled_bytes"] == 0


@pytest.mark.embedded("a service's directories stay with it")
def test_spilled_data_lie_where_spill_says_and_go_with_the_client(
    make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(memory="64 MiB", spill=tmp_path)
    with client.new_session() as session:
        kept = [fill("cpptester", i) for i in range(12)]
        session.submit()
        session.wait_all()
        assert len(kept) == 12
        (directory,) = tmp_path.iterdir()
        assert list(directory.iterdir())
        assert client.info()["store"]["spill_directory"] == str(directory)
    client.close()
    assert not list(tmp_path.iterdir())


def test_spilled_data_go_after_sigkill_of_the_client(
    commands: dict[str, Any], tmp_path: Path
) -> None:
    program = textwrap.dedent(
        f"""
        import time
        from rain.client import Client, Task
        client = Client(executors={{"cpptester": {str(commands["cpptester"])!r}}}, cpus=2,
                        memory="64 MiB", spill={str(tmp_path)!r})
        with client.new_session() as session:
            tasks = [Task((), 1, config={{"size": 8 << 20, "byte": i}},
                          task_type="cpptester/fill") for i in range(12)]
            for task in tasks:
                task.output.keep()
            session.submit()
            session.wait_all()
            print(client.info()["store"]["spilled_bytes"] > 0, flush=True)
            time.sleep(1000)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        (directory,) = tmp_path.iterdir()
        assert list(directory.iterdir())
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not directory.exists(), "the end of the spilled data")


def test_a_place_for_spilling_that_is_none_is_refused_at_once(
    make_client: MakeClient, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="no-such-directory"):
        make_client(spill=tmp_path / "no-such-directory")


def test_a_task_waits_for_room_that_a_running_task_will_free(
    make_client: MakeClient, tmp_path: Path
) -> None:
    @remote()
    def hold(ctx: Any, data: Any, path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.01)
        return str(len(data.get_bytes()))

    go = tmp_path / "go"
    client = make_client(memory="64 MiB", spill=False)
    with client.new_session() as session:
        first = call("cpptester/fill", size=40 * MiB, byte=1)
        held = hold(first.output, str(go))
        held.output.keep()
        session.submit()
        first.wait()
        second = fill("cpptester", 2, 40 * MiB)
        session.submit()
        wait_until(lambda: client.info()["store"]["waiting"] == 1, "a task that waits for room")
        assert not go.exists()
        go.touch()
        assert second.output.fetch().get_bytes() == b"\2" * (40 * MiB)
        assert held.output.fetch().get_bytes() == str(40 * MiB).encode()


def test_a_task_that_waits_for_room_can_be_cancelled(
    make_client: MakeClient, tmp_path: Path
) -> None:
    @remote()
    def hold(ctx: Any, data: Any, path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.01)
        return "done"

    go = tmp_path / "go"
    client = make_client(memory="64 MiB", spill=False)
    with client.new_session(on_error="continue") as session:
        first = call("cpptester/fill", size=40 * MiB, byte=1)
        held = hold(first.output, str(go))
        held.output.keep()
        session.submit()
        first.wait()
        second = fill("cpptester", 2, 40 * MiB)
        session.submit()
        wait_until(lambda: client.info()["store"]["waiting"] == 1, "a task that waits for room")
        second.cancel()
        with pytest.raises(TaskCancelled):
            second.wait()
        wait_until(lambda: client.info()["store"]["waiting"] == 0, "the end of the wait")
        go.touch()
        held.wait()
        works("cpptester", session)


@pytest.mark.embedded("constants are in a store of the client's")
def test_store_lists_what_there_is_and_counts_each_byte_once(make_client: MakeClient) -> None:
    client = make_client(memory="64 MiB")
    with client.new_session() as session:
        kept = [fill("cpptester", i) for i in range(12)]
        small = blob(b"small", label="little")
        passed = call("cpptester/echo", kept[11].output)
        passed.output.keep()
        small.keep()
        hello = call("cpptester/hello", small)
        session.submit()
        session.wait_all()
        assert hello.state.name == "finished"
        store = client.store()
        places = {line.place for line in store}
        assert {"region", "spilled", "inline"} <= places
        assert store.total("spilled") == client.info()["store"]["spilled_bytes"]
        assert sum(line.size == 8 * MiB and not line.shared for line in store) <= 13
        assert all(line.task_type == "cpptester/fill" for line in store if line.place == "spilled")
        text = repr(store)
        contains(text, "region", "spilled", "client", "8.4 MB")
        assert "<table" in store._repr_html_()
    assert len(client.store()) == 0
