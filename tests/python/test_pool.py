"""rain.client.Executor beyond what the standard library's tests say (test_executor_stdlib.py)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, Executor, ExecutorDied, SessionException, TaskException


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(cpus=2) as client:
        yield client


@pytest.fixture
def pool(client: Client) -> Iterator[Executor]:
    with Executor(client=client) as pool:
        yield pool


class FailedError(Exception):
    """Of this module's own."""


def fail(text: str) -> None:
    raise FailedError(text)


def wait_until_running(future: Any) -> None:
    deadline = time.monotonic() + 60
    while not future.running():
        assert time.monotonic() < deadline, "the call does not begin"
        threading.Event().wait(0.001)


def test_exceptions_are_what_they_were_with_the_remote_traceback(pool: Executor) -> None:
    error = pool.submit(fail, "text").exception()
    assert isinstance(error, FailedError)
    assert isinstance(error, TaskException)
    assert error.args == ("text",)
    assert "raise FailedError(text)" in str(error.__cause__)


def test_a_process_that_dies_costs_its_own_call(pool: Executor) -> None:
    lost, fine = pool.submit(os.kill, 0, signal.SIGKILL), pool.submit(pow, 2, 5)
    died = lost.exception()
    assert isinstance(died, ExecutorDied)
    assert isinstance(died, BrokenProcessPool)
    assert fine.result() == pool.submit(pow, 2, 5).result() == 32
    with pytest.raises(BrokenProcessPool):
        list(pool.map(os._exit, [3]))
    assert list(pool.map(pow, [2], [6])) == [64]


def test_cancel_ends_a_call_that_runs(pool: Executor) -> None:
    future = pool.submit(time.sleep, 1e6)
    wait_until_running(future)
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert pool.submit(pow, 2, 5).result() == 32


def test_shutdown_cancels_only_what_no_process_has(tmp_path: Path) -> None:
    pool = Executor(1)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    first = pool.submit(gate.read_text)
    wait_until_running(first)
    behind = [pool.submit(pow, 2, n) for n in range(50)]
    thread = threading.Thread(target=lambda: pool.shutdown(cancel_futures=True))
    thread.start()
    concurrent.futures.wait(behind)
    gate.write_text("opened")
    thread.join()
    assert first.result() == "opened"
    assert all(future.cancelled() for future in behind)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(pow, 2, 5)


def started(log: str, word: str) -> None:
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {word}\n")
    global _word
    _word = word


def word() -> tuple[int, str]:
    return os.getpid(), _word


def test_an_initializer_runs_once_in_each_process(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("one", "two"):
        with Executor(client=client, initializer=started, initargs=(str(log), name)) as pool:
            seen = {pool.submit(word).result() for _ in range(20)}
            assert list(pool.map(lambda _: word()[1], range(6), chunksize=2)) == [name] * 6
        assert {text for _, text in seen} == {name}
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines))  # never twice for the same process and pool


def test_a_failed_initializer_breaks_the_pool_and_no_other(client: Client) -> None:
    broken = Executor(client=client, initializer=fail, initargs=("not ready",))
    with pytest.raises(BrokenProcessPool, match="FailedError: not ready"):
        broken.submit(pow, 2, 5).result()
    with pytest.raises(BrokenProcessPool, match="FailedError: not ready"):
        broken.submit(pow, 2, 5)
    broken.shutdown()
    with Executor(client=client) as pool:
        assert pool.submit(pow, 2, 5).result() == 32


def test_what_only_multiprocessing_has_is_refused(client: Client) -> None:
    for name in ("mp_context", "max_tasks_per_child"):
        with pytest.raises(ValueError, match=f"{name} says how to fork or spawn"):
            Executor(**{name: 3})
    Executor(client=client, mp_context=None).shutdown()
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(client=client, initializer=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean client="):
        Executor(client)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has its own processes: leave out max_workers"):
        Executor(2, client)


def test_wrap_future_and_run_in_executor_of_asyncio(pool: Executor) -> None:
    async def main() -> tuple[int, ...]:
        loop = asyncio.get_running_loop()
        return tuple(
            await asyncio.gather(
                asyncio.wrap_future(pool.submit(pow, 2, 3)), loop.run_in_executor(pool, pow, 2, 4)
            )
        )

    assert asyncio.run(main()) == (8, 16)


def test_closing_the_iterator_of_map_cancels_the_rest(client: Client) -> None:
    with Executor(client=client) as pool:
        results = pool.map(time.sleep, [0, 1e6, 1e6, 1e6])
        assert next(results) is None
        results.close()  # type: ignore[attr-defined]
    # shutdown() did not wait for 1e6 seconds


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_the_interpreter_waits_at_its_end_for_what_was_submitted() -> None:
    done = run(
        "from rain.client import Executor\n"
        "import os\n"
        "pool = Executor(1)\n"
        "pool.submit(pow, 2, 5).add_done_callback(lambda f: os.write(1, b'%d' % f.result()))\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("32", "", 0)


def test_a_pool_that_was_shut_down_without_waiting_still_ends_its_calls() -> None:
    done = run(
        "from rain.client import Executor\n"
        "import os\n"
        "pool = Executor(1)\n"
        "pool.submit(pow, 2, 5).add_done_callback(lambda f: os.write(1, b'%d' % f.result()))\n"
        "pool.shutdown(wait=False)\n"
    )
    assert (done.stdout, done.stderr, done.returncode) == ("32", "", 0)


def test_submit_after_the_interpreters_end_is_an_error() -> None:
    done = run(
        "import atexit\n"
        "atexit.register(lambda: pool.submit(id, None))\n"
        "from rain.client import Executor\n"
        "pool = Executor(1)\n"
        "pool.submit(id, 42).result()\n"
    )
    assert "RuntimeError: cannot schedule new futures" in done.stderr


def test_the_session_of_a_pool_may_be_closed_under_it(client: Client) -> None:
    session = client.new_session(on_error="continue")
    pool = Executor(session=session)
    future = pool.submit(time.sleep, 1e6)
    wait_until_running(future)
    session.close()
    with pytest.raises(SessionException, match="was closed"):
        future.result()
    pool.shutdown()
