"""Traps of Dask that a governor must not fall into; on Dask clusters that are not ours, too."""

from __future__ import annotations

import ast
import asyncio
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rain as rain_package
from click.testing import CliRunner
from clusters import Cluster, cluster
from rain.cli.app import rain
from rain.client import Client, RainException, RainWarning, Session, blob, remote
from rain.common.errors import ConnectionFailed
from tasks import call, contains, finished
from world import DEADLINE_SECONDS, wait_until


@pytest.fixture
def dask_client(place: Path) -> Iterator[Any]:
    """A Dask cluster of somebody else: two workers under nannies, with Dask's memory limits."""
    import dask
    from distributed import Client as DaskClient
    from distributed import LocalCluster

    with (
        dask.config.set({"temporary-directory": str(place / "dask")}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            dashboard_address="127.0.0.1:0",
            memory_limit="500 MB",
        ) as made,
        DaskClient(made) as client,
    ):
        yield client


@pytest.fixture
def dask_session(dask_client: Any, commands: dict[str, Any]) -> Iterator[Session]:
    with (
        Client(dask=dask_client, executors=commands, cpus=2) as client,
        client.new_session(on_error="continue") as session,
    ):
        yield session


def test_a_dask_cluster_of_somebody_else_runs_tasks(
    dask_client: Any, dask_session: Session
) -> None:
    pieces = [call("cpptester/fill", size=100_000, byte=65 + i) for i in range(6)]
    whole = call("pytester/concat", *pieces)
    assert whole.output.fetch().get_bytes() == b"".join(bytes([65 + i]) * 100_000 for i in range(6))
    assert dask_client.submit(sum, [1, 2, 3]).result() == 6  # and stays what it was


def test_executors_do_not_inherit_what_dask_sets(dask_client: Any, dask_session: Session) -> None:
    """Trap 1."""

    def of_worker(name: str) -> str | None:
        return os.environ.get(name)

    assert set(dask_client.run(of_worker, "MALLOC_TRIM_THRESHOLD_").values()) == {"65536"}
    environment = call("gates/environment", name="MALLOC_TRIM_THRESHOLD_")
    assert environment.output.fetch().get_bytes() == b"is not set"
    assert set(dask_client.run(of_worker, "OMP_NUM_THREADS").values()) == {"1"}


def test_dask_neither_pauses_nor_spills_nor_kills_for_memory(
    dask_client: Any, dask_session: Session
) -> None:
    """Trap 2: the worker's memory is mostly shared pages; here more than Dask would allow."""
    big = [call("cpptester/fill", size=150_000_000, byte=i) for i in range(6)]
    for task in big:
        task.keep_outputs()
    dask_session.submit()
    dask_session.wait_all()
    for i, task in enumerate(big):
        view = memoryview(task.output.fetch())
        assert (view[0], view[-1], len(view)) == (i, i, 150_000_000)
        dask_session.unkeep([task.output])
    assert len(dask_client.scheduler_info()["workers"]) == 2


def test_a_governor_that_cannot_start_retires_its_worker(dask_client: Any) -> None:
    """Trap 3: a plugin that raises could freeze the cluster."""
    from rain.governor.plugin import GovernorPlugin

    with pytest.raises(ConnectionFailed) as caught:
        Client(dask=dask_client, executors={"x": "/nonexistent/program"})
    contains(caught.value, "no governor", "/nonexistent/program")
    # Workers that come later don't get what was wrong.
    plugins = dask_client.run_on_scheduler(lambda dask_scheduler: [*dask_scheduler.worker_plugins])
    assert GovernorPlugin.name not in plugins


@pytest.mark.parametrize("worker_ends", [False, True])
def test_a_governor_that_hangs_at_its_start_is_given_up(
    monkeypatch: pytest.MonkeyPatch, worker_ends: bool
) -> None:
    """Trap 3, too. One that comes up too late is closed."""
    import threading

    from rain.governor import host, worker

    release, closed = threading.Event(), threading.Event()

    class Late:
        close = closed.set

    def start(**_: Any) -> Late:
        release.wait()
        return Late()

    async def give_up() -> None:
        with pytest.raises(TimeoutError, match="not up"):
            await worker.start_host(0.05)
        if not worker_ends:
            release.set()
            while not closed.is_set():
                await asyncio.sleep(0.002)

    monkeypatch.setattr(host.Host, "start", start)
    try:
        asyncio.run(asyncio.wait_for(give_up(), DEADLINE_SECONDS))
    finally:
        release.set()
    wait_until(closed.is_set, "the late one is closed")


def test_uploads_do_not_travel_in_graphs(two: Cluster, place: Path) -> None:
    """Trap 4: Dask's scheduler would keep them, and warns from 10 MB on."""
    from distributed import Client as DaskClient

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with two.client() as client, client.new_session() as session:
            large = blob(os.urandom(12_000_000))
            task = call("cpptester/concat", large, b"1")
            task.keep_outputs()
            session.submit()
            task.wait()

            def graph_bytes(dask_scheduler: Any) -> int:
                import pickle

                return sum(len(pickle.dumps(t.run_spec)) for t in dask_scheduler.tasks.values())

            with DaskClient(f"tcp://127.0.0.1:{two.port}", set_as_default=False) as watcher:
                assert 0 < watcher.run_on_scheduler(graph_bytes) < 100_000


def test_the_end_of_a_governor_is_the_end_of_its_worker(
    dask_client: Any, dask_session: Session
) -> None:
    """Trap 6: Dask makes data again when a worker is lost, and not otherwise."""
    made = [call("cpptester/fill", size=100_000, byte=i) for i in range(4)]
    for task in made:
        task.keep_outputs()
    dask_session.submit()
    dask_session.wait_all()
    first = next(iter(dask_client.scheduler_info()["workers"]))

    def end(dask_worker: Any) -> None:
        from rain.governor import parts

        parts.runners[dask_worker].host.engine.close()

    dask_client.run(end, workers=[first])
    wait_until(lambda: first not in dask_client.scheduler_info()["workers"], "the worker's end")
    for i, task in enumerate(made):
        assert task.output.fetch().get_bytes() == bytes([i]) * 100_000


def test_what_the_client_holds_stays(two: Cluster) -> None:
    """Trap 7: a reference without its future would point at freed data."""
    import gc

    with two.client() as client, client.new_session() as session:
        task = call("cpptester/fill", size=100_000, byte=7)
        task.keep_outputs()
        session.submit()
        task.wait()
        session.wait([call_after(task)])
        gc.collect()
        assert task.output.fetch().get_bytes() == bytes([7]) * 100_000


def call_after(task: Any) -> Any:
    after = call("pytester/concat", task, b"x")
    task.session.submit()
    return after


@pytest.mark.parametrize("governors", [1, 2])
def test_a_part_that_dask_takes_away_while_it_runs_runs_again(
    place: Path, commands: dict[str, Any], governors: int
) -> None:
    """Trap 7: kill and resume, on the only governor; nobody is told that it was cancelled."""
    from distributed import Client as DaskClient

    note, gate = place / "note", place / "gate"
    with (
        cluster(place, commands, governors=governors) as made,
        made.client() as client,
        client.new_session() as session,
    ):
        task = call("gates/wait_for", b"result", file=str(gate), note=str(note))
        task.keep_outputs()
        session.submit()
        wait_until(lambda: note.exists() and note.read_text(), "it runs")

        def take_away(dask_scheduler: Any) -> int:
            tasks = dask_scheduler.tasks
            keys = [key for key, task in tasks.items() if task.state == "processing"]
            dask_scheduler.transitions(dict.fromkeys(keys, "released"), "test")
            return len(keys)

        with DaskClient(f"tcp://127.0.0.1:{made.port}", set_as_default=False) as watcher:
            assert watcher.run_on_scheduler(take_away) == 1
        wait_until(lambda: note.read_text().count("\n") == 2, "it runs again")
        gate.touch()
        assert task.output.fetch().get_bytes() == b"result"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client.close()


def test_what_a_task_does_with_the_gil_is_no_matter_of_the_governor(
    two: Cluster, place: Path
) -> None:
    """Trap 9: Dask gives up workers that are not heard of; Python tasks have processes of their
    own."""
    from distributed import Client as DaskClient

    gate = place / "gate"
    os.mkfifo(gate)

    def heard_of(dask_scheduler: Any) -> dict[str, float]:
        return {str(each.name): each.last_seen for each in dask_scheduler.workers.values()}

    with two.client() as client, client.new_session() as session:
        notes = [place / f"note{i}" for i in range(4)]
        tasks = [call("gates/hold_gil", fifo=str(gate), note=str(note)) for note in notes]
        session.submit()
        wait_until(lambda: all(note.exists() for note in notes), "all cpus hold a GIL")
        with DaskClient(f"tcp://127.0.0.1:{two.port}", set_as_default=False) as watcher:
            before = watcher.run_on_scheduler(heard_of)
            assert set(before) == {"g1", "g2"}

            def all_beat() -> bool:
                now = watcher.run_on_scheduler(heard_of)
                return all(now[name] > before[name] + 1 for name in before)

            wait_until(all_beat, "heartbeats of both governors")
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))  # an error if nobody waited still
        session.wait_all()
        assert finished(tasks)


def test_a_worker_whose_time_is_up_hands_its_data_on(
    dask_client: Any, dask_session: Session, place: Path
) -> None:
    """Trap 11: as with --lifetime, ahead of a job's walltime. Nothing is made again."""
    made = [call("gates/once", file=str(place / f"once{i}")) for i in range(6)]
    for task in made:
        task.keep_outputs()
    dask_session.submit()
    dask_session.wait_all()
    first = next(iter(dask_client.scheduler_info()["workers"]))
    assert list(dask_client.retire_workers([first])) == [first]
    wait_until(lambda: first not in dask_client.scheduler_info()["workers"], "the worker's end")
    for task in made:
        assert task.output.fetch().get_bytes() == bytes(100_000)


def test_parts_of_a_governor_that_is_told_to_end_run_elsewhere(two: Cluster, place: Path) -> None:
    """Trap 11: SIGTERM ahead of a job's walltime."""
    note, gate = place / "note", place / "gate"
    client = two.client()
    with client.new_session() as session:
        tasks = [call("gates/wait_for", file=str(gate), note=str(note)) for _ in range(4)]
        for task in tasks:
            task.keep_outputs()
        session.submit()
        wait_until(lambda: note.exists() and note.read_text().count("\n") == 4, "all cpus wait")
        assert two.governors[0].end() == 0
        gate.touch()
        pids = {int(task.output.fetch().get_bytes()) for task in tasks}
        assert {two.governor_of(pid).name for pid in pids} == {"g2"}
    with pytest.warns(RainWarning, match="run again, on governor g2"):
        client.close()


def test_nothing_of_a_governor_is_where_dask_keeps_its_files(
    dask_client: Any, dask_session: Session, place: Path
) -> None:
    """Trap 11: local_directory may be on a file system of all machines."""

    def places(dask_worker: Any) -> tuple[str, str]:
        from rain.governor import parts

        host = parts.runners[dask_worker].host
        return dask_worker.local_directory, host.engine.run_directory

    for dasks, ours in dask_client.run(places).values():
        assert Path(dasks).is_relative_to(place / "dask")
        assert not Path(ours).is_relative_to(place / "dask")
        assert Path(ours).is_relative_to(place)


def test_what_clients_pickle_is_read_by_executors_alone(two: Cluster, place: Path) -> None:
    """Trap 12: whoever reads a pickle runs what is in it; server and governors read none."""
    read = place / "read"

    class Mark:
        def __init__(self, size: int) -> None:
            self.padding = bytes(size)

        def __reduce__(self) -> Any:
            text = "import os\nwith open(path, 'a') as file: print(os.getpid(), file=file)"
            return exec, (text, {"path": str(read), "padding": self.padding})

    @remote()
    def give(ctx: Any, small: Any, large: Any) -> Any:
        return b"done"

    with two.client() as client, client.new_session() as session:
        task = give(Mark(10), Mark(100_000))
        task.keep_outputs()
        session.submit()
        assert task.output.fetch().get_bytes() == b"done"
        executors = set(client.info()["executor_pids"])
    pids = [int(line) for line in read.read_text().split()]
    assert len(pids) == 2
    assert set(pids) <= executors


@pytest.mark.parametrize(
    "options",
    [
        ("server", "--listen", "0.0.0.0:0"),
        ("server", "--http-listen", "0.0.0.0:0"),
        ("governor", "127.0.0.1:1", "--listen", "0.0.0.0"),
        ("governor", "192.0.2.1:1", "--listen", "192.0.2.1"),
    ],
)
def test_other_machines_get_in_only_if_that_is_said(options: tuple[str, ...]) -> None:
    """Trap 12: Dask itself listens everywhere, and asks nobody who he is."""
    refused = CliRunner().invoke(rain, options)
    assert refused.exit_code == 1
    contains(refused.output, "can be reached by other machines", "--tls DIR", "--insecure")


# Of Dask's own: what it promises to keep, or has kept for years.
DASK_IMPORTS = {
    "dask": set(),  # dask.config
    "dask.sizeof": {"sizeof"},
    "distributed": {"Reschedule", "Scheduler", "Worker", "get_worker", "stealing"},
    "distributed.comm": {"registry", "tcp"},  # connections, and where Dask finds their kinds
    "distributed.comm.core": {"CommClosedError"},
    "distributed.diagnostics.plugin": {"NannyPlugin", "SchedulerPlugin", "WorkerPlugin"},
    "distributed.http.prometheus": {"import_metrics_handler"},
    "distributed.http.utils": {"RequestHandler"},
    "distributed.protocol": {"to_serialize"},
    "distributed.protocol.serialize": {"dask_deserialize", "dask_serialize"},
}
# Private names of Dask's. All but the last two are done without where they are missing.
DASK_PRIVATE = {
    "_add_to_memory", "_transitions", "_reconnect", "_loop_runner", "_send_to_scheduler", "_close",
}  # fmt: skip
OUR_PRIVATE = {"_loop", "_path", "_share", "_task_log", "_get_running_loop"}
INTERNALS = ("run_spec", "_run_task", "_execute", "GraphNode", "_task_spec", "HighLevelGraph")


def of_dask(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("dask", "distributed")


def test_of_dask_little_is_used_that_may_change() -> None:
    """Trap 13: it is released every month."""
    imported: dict[str, set[str]] = {}
    private = set()
    for path in Path(rain_package.__path__[0]).rglob("*.py"):
        text = path.read_text()
        if "dask" not in text and "distributed" not in text:
            continue
        assert [word for word in INTERNALS if word in text] == [], path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and of_dask(node.module):
                imported.setdefault(str(node.module), set()).update(n.name for n in node.names)
            elif isinstance(node, ast.Import):
                for each in filter(of_dask, (each.name for each in node.names)):
                    imported.setdefault(each, set())
            elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                if not own and not node.attr.startswith("__"):
                    private.add(node.attr)
    assert imported == DASK_IMPORTS
    assert private - OUR_PRIVATE == DASK_PRIVATE


def test_what_dask_leaves_behind_goes_and_nothing_else(place: Path) -> None:
    import dask
    from rain.engine import dask_process

    theirs = place / "dask-scratch-space" / "lock"
    theirs.parent.mkdir()
    theirs.touch()
    with dask_process.scratch_in(str(place)):
        ours = Path(dask.config.get("temporary-directory"))
        (ours / "dask-scratch-space").mkdir()
    assert theirs.exists()
    assert list(place.iterdir()) == [theirs.parent]


def test_dask_that_is_asynchronous_is_refused(place: Path) -> None:
    class Other:
        asynchronous = True

    with pytest.raises(RainException, match=r"distributed\.Client"):
        Client(dask=Other())
