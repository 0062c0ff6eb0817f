"""Two governors on this machine as a cluster, beside plain Dask with two workers."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from cases import BUILD, Case, Peer, executors, fraction, installed, met, seconds
from rain import client as rain

NAMES = ("cluster-noop", "cluster-reduce", "cluster-transfer", "cluster-transfer-cold",
         "cluster-start", "cluster-status", "cluster-graph")  # fmt: skip

BURST = 20_000
CHUNKS, CHUNK_BYTES = 16, 128_000_000
TRANSFER_BYTES = 256_000_000
GRAPH = 200_000
_RAIN = str(Path(sys.executable).with_name("rain"))
_DASK = str(Path(sys.executable).with_name("dask"))
_STARTED_WITHIN_SECONDS = 60
_COLD_SECONDS = 11.0  # a governor's store keeps its warm pages for 10


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def config(folder: Path, name: str, commands: dict[str, list[str]]) -> Path:
    file = folder / name
    file.write_text(
        "".join(f"[executors.{each}]\ncommand = {argv!r}\n" for each, argv in commands.items())
    )
    return file


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} is not ready")
        time.sleep(0.005)


class Service:
    """`rain server` and a `rain governor` with one cpu for each config file."""

    def __init__(self, folder: Path, configs: list[Path]) -> None:
        self.port, self.http_port = free_port(), free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        common = ["--logdir", str(folder / "logs")]
        http = ["--http-listen", str(self.http_port)]
        self._start(folder / "server", ["server", "--listen", str(self.port), *http, *common])
        for i, file in enumerate(configs):
            work = ["--workdir", str(folder / f"work-{i}"), "--config", str(file), "--cpus", "1"]
            self._start(
                folder / f"governor-{i}",
                ["governor", f"127.0.0.1:{self.port}", *work, "--logdir", str(folder / f"log-{i}")],
            )

    def _start(self, ready: Path, arguments: list[str]) -> None:
        with open(f"{ready}.err", "wb") as log:
            command = [_RAIN, *arguments, "--ready-file", str(ready)]
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._processes.append(process)
        wait_for(ready, process)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def close(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait()


def rss_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def noop() -> bytes:
    return b""


def after(*inputs: bytes) -> bytes:
    return b""


def fill(size: int) -> Any:
    import numpy as np

    return np.full(size, 7, np.uint8)


def total(array: Any) -> int:
    return int(array.sum())


def first(array: Any) -> int:
    return int(array[0]) + len(array)


# ---- ours ---------------------------------------------------------------------------------------


def noops(client: rain.Client, count: int) -> float:
    """Tasks a second: made, submitted, run and waited for."""
    with client.new_session() as session:
        start = time.perf_counter()
        for _ in range(count):
            rain.Task((), 1, task_type="noop/noop")
        session.submit()
        session.wait_all()
        return count / (time.perf_counter() - start)


def reduce_seconds(client: rain.Client, chunks: int) -> float:
    with client.new_session():
        start = time.perf_counter()
        sums = []
        for _ in range(chunks):
            data = rain.Task((), 1, task_type="cppdata/fill", config=CHUNK_BYTES)
            sums.append(rain.Task((data,), 1, task_type="cppdata/sum"))
        for each in sums:
            each.output.keep()
        got = sum(int(each.output.fetch().get_bytes()) for each in sums)
        elapsed = time.perf_counter() - start
    assert got == 7 * CHUNK_BYTES * chunks, got
    return elapsed


def transfer_rate(client: rain.Client) -> float:
    """Bytes a second from the governor that has executor `here` to that which has `there`."""
    with client.new_session() as session:
        data = rain.Task((), 1, task_type="here/fill", config=TRANSFER_BYTES).output
        data.keep()
        session.submit()
        session.wait_all()
        start = time.perf_counter()
        seen = rain.Task((data,), 1, task_type="there/first").output
        seen.keep()
        got = int(seen.fetch().get_bytes())
        elapsed = time.perf_counter() - start
    assert got == 7 + TRANSFER_BYTES, got
    return TRANSFER_BYTES / elapsed


# ---- peers --------------------------------------------------------------------------------------


def dask_noops(dask: Any, count: int) -> float:
    start = time.perf_counter()
    dask.gather([dask.submit(noop, pure=False) for _ in range(count)])
    return count / (time.perf_counter() - start)


def dask_reduce_seconds(dask: Any, chunks: int) -> float:
    start = time.perf_counter()
    arrays = [dask.submit(fill, CHUNK_BYTES, pure=False) for _ in range(chunks)]
    sums = [dask.submit(total, array, pure=False) for array in arrays]
    del arrays
    got = sum(dask.gather(sums))
    elapsed = time.perf_counter() - start
    assert got == 7 * CHUNK_BYTES * chunks, got
    return elapsed


def dask_transfer_rate(dask: Any) -> float:
    here, there = list(dask.scheduler_info()["workers"])
    array = dask.submit(fill, TRANSFER_BYTES, pure=False, workers=[here])
    dask.wait_for_workers(2)
    from distributed import wait

    wait(array)
    start = time.perf_counter()
    got = dask.submit(first, array, pure=False, workers=[there]).result()
    elapsed = time.perf_counter() - start
    assert got == 7 + TRANSFER_BYTES, got
    return TRANSFER_BYTES / elapsed


def second(rate: Callable[[], float]) -> float:
    """Warm: the second of two transfers, one right after the other."""
    rate()
    return rate()


def after_a_while(rate: Callable[[], float]) -> float:
    """Cold: nothing of earlier transfers is left."""
    time.sleep(_COLD_SECONDS)
    return rate()


def socket_rate() -> float:
    """Bytes a second over a TCP connection, from one buffer into another."""
    source, target = bytearray(TRANSFER_BYTES), bytearray(TRANSFER_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    thread = threading.Thread(target=sender.sendall, args=(source,))
    start = time.perf_counter()
    thread.start()
    view = memoryview(target)
    while view:
        view = view[receiver.recv_into(view) :]
    elapsed = time.perf_counter() - start
    thread.join()
    sender.close()
    receiver.close()
    return TRANSFER_BYTES / elapsed


def start_seconds(folder: Path, file: Path) -> float:
    """`rain start --simple` until it says that all is ready."""
    port, http_port = free_port(), free_port()
    listen = ["--listen", str(port), "--http-listen", str(http_port)]
    logs = ["--logdir", tempfile.mkdtemp(dir=folder)]
    command = [_RAIN, "start", "--simple", *listen, *logs, "--governor-config", str(file)]
    elapsed = seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    subprocess.run([_RAIN, "stop", f"127.0.0.1:{port}", "--force"], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return elapsed


def dask_start_seconds() -> float:
    """`dask scheduler` and `dask worker` until a client sees the worker."""
    from distributed import Client

    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    start = time.perf_counter()
    common = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    scheduler = subprocess.Popen([_DASK, "scheduler", *common], **quiet)
    worker = subprocess.Popen([_DASK, "worker", address, "--no-dashboard"], **quiet)
    try:
        with Client(address, timeout=_STARTED_WITHIN_SECONDS) as client:
            client.wait_for_workers(1, timeout=_STARTED_WITHIN_SECONDS)
            return time.perf_counter() - start
    finally:
        worker.terminate()
        scheduler.terminate()
        worker.wait()
        scheduler.wait()


def in_new_process(function: Callable[..., list[int]], *arguments: Any) -> list[int]:
    """Called in a fresh interpreter, whose heap holds nothing that could be used again."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def growth(run: Callable[[int], object], count: int, pids: list[int]) -> list[int]:
    """Bytes that this process and `pids` hold more after a run than after a small one."""
    few = run(100)
    gc.collect()
    before = [rss_bytes(pid) for pid in (os.getpid(), *pids)]
    many = run(count)
    after = [rss_bytes(pid) for pid in (os.getpid(), *pids)]
    del few, many
    return [late - early for early, late in zip(before, after, strict=True)]


def graph_growth(port: int, pids: list[int], count: int) -> list[int]:
    def chains(count: int) -> rain.Session:
        session = client.new_session()
        with session:
            tasks: list[rain.Task] = []
            for i in range(count):
                tasks.append(rain.Task((tasks[-1],) if i % 10 else (), 1, task_type="noop/noop"))
            session.submit()
            session.wait_all()
        return session

    with rain.Client("127.0.0.1", port) as client:
        return growth(chains, count, pids)


def dask_graph_growth(count: int) -> list[int]:
    from distributed import Client, LocalCluster, wait

    def chains(count: int) -> list[Any]:
        futures: list[Any] = []
        for i in range(count):
            futures.append(dask.submit(after, *futures[-1:] if i % 10 else (), pure=False))
        wait(futures)
        return futures

    workers = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    with workers as cluster, Client(cluster) as dask:
        return growth(chains, count, list(dask.run(os.getpid).values()))


def graph_bytes(folder: Path, files: list[Path], count: int) -> float:
    """Memory by task of a graph in chains of ten that was run and is still held."""
    with contextlib.closing(Service(Path(tempfile.mkdtemp(dir=folder)), files)) as service:
        parts = in_new_process(graph_growth, service.port, service.pids, count)
    words = ", ".join(f"{part / count:.0f}" for part in parts)
    print(f"{count:,} tasks: client, server, governors: {words} B each")
    return sum(parts) / count


def dask_graph_bytes(count: int) -> float:
    parts = in_new_process(dask_graph_growth, count)
    words = ", ".join(f"{part / count:.0f}" for part in parts)
    print(f"Dask, {count:,} tasks: client with scheduler, workers: {words} B each")
    return sum(parts) / count


@contextlib.contextmanager
def cases(quick: bool, cpus: int) -> Iterator[list[Case]]:
    if not installed("distributed", "the cluster beside Dask"):
        yield []
        return
    from distributed import Client, LocalCluster

    chunks = 4 if quick else CHUNKS
    dask_count = 2_000 if quick else BURST
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        data = [str(BUILD / "cppdata")]
        both = executors() | {"cppdata": data}
        files = [
            config(folder, "a.toml", both | {"here": [str(BUILD / "cppdata"), "here"]}),
            config(folder, "b.toml", both | {"there": [str(BUILD / "cppdata"), "there"]}),
        ]
        service = Service(folder, files)
        stack.callback(service.close)
        client = stack.enter_context(rain.Client("127.0.0.1", service.port))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
            )
        )
        dask = stack.enter_context(Client(cluster))
        status = [_RAIN, "status", f"127.0.0.1:{service.port}"]
        yield [
            Case(
                "cluster-noop",
                f"burst of {BURST:,} no-op C++ tasks, two governors [tasks/s]",
                lambda: noops(client, BURST),
                [
                    Peer(
                        f"Dask, two workers, {dask_count:,} tasks",
                        lambda: dask_noops(dask, dask_count),
                    )
                ],
                check=lambda m: f">= 100x Dask: {met(m[0] >= 100 * m[1])}",
            ),
            Case(
                "cluster-reduce",
                f"{chunks} chunks of {CHUNK_BYTES / 1e6:.0f} MB made and summed [s]",
                lambda: reduce_seconds(client, chunks),
                [Peer("Dask with numpy", lambda: dask_reduce_seconds(dask, chunks))],
                fraction,
                lambda m: f"<= 0.5x Dask: {met(m[0] <= 0.5 * m[1])}",
            ),
            Case(
                "cluster-transfer",
                f"{TRANSFER_BYTES / 1e6:.0f} MB from governor to governor, warm [B/s]",
                lambda: second(lambda: transfer_rate(client)),
                [
                    Peer("Dask, a numpy array", lambda: second(lambda: dask_transfer_rate(dask))),
                    Peer("a TCP socket, one copy", socket_rate),
                ],
                fraction,
                lambda m: f">= 0.7x Dask: {met(m[0] >= 0.7 * m[1])}",
            ),
            Case(
                "cluster-transfer-cold",
                f"the same after {_COLD_SECONDS:.0f} s without a transfer [B/s]",
                lambda: after_a_while(lambda: transfer_rate(client)),
                [Peer("Dask, a numpy array", lambda: dask_transfer_rate(dask))],
                fraction,
            ),
            Case(
                "cluster-start",
                "rain start --simple until ready [s]",
                lambda: start_seconds(folder, files[0]),
                [Peer("dask scheduler + dask worker", dask_start_seconds)],
                fraction,
                lambda m: f"<= 2.5 s: {met(m[0] <= 2.5)}",
            ),
            Case(
                "cluster-status",
                "rain status [s]",
                lambda: seconds(
                    lambda: subprocess.run(status, check=True, stdout=subprocess.DEVNULL)
                ),
                [],
                check=lambda m: f"<= 0.3 s: {met(m[0] <= 0.3)}",
            ),
            Case(
                "cluster-graph",
                f"a task of a graph of {GRAPH:,}: client, server and governors [bytes]",
                lambda: graph_bytes(folder, files, GRAPH),
                [
                    Peer(f"of {GRAPH // 4:,}", lambda: graph_bytes(folder, files, GRAPH // 4)),
                    Peer(
                        f"Dask, of {dask_count:,}: client, scheduler and workers",
                        lambda: dask_graph_bytes(dask_count),
                    ),
                ],
                fraction,
            ),
        ]
