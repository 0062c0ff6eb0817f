"""Several threads with sessions of their own, and asyncio beside them, on one client."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable

import pytest
from rain.client import (
    Client,
    RainException,
    TaskCancelled,
    TaskException,
    TaskState,
    WaitTimeout,
    blob,
)
from tasks import call, finished, works

SECONDS = float(os.environ.get("RAIN_STRESS_SECONDS", "3"))
TESTERS = ("cpptester", "cpptester", "cpptester", "pytester")


class Worker:
    """Does one thing after the other in sessions of its own, and checks each result."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.done = 0

    def step(self) -> None:
        self.random.choice(
            [self.burst, self.chain, self.big, self.failing, self.cancelled, self.closed, self.some]
        )()
        self.done += 1

    def tester(self) -> str:
        return self.random.choice(TESTERS)

    def burst(self) -> None:
        with self.client.new_session() as session:
            tester, number = self.tester(), self.random.randrange(1, 200)
            tasks = [call(f"{tester}/hello", b"%d" % i) for i in range(number)]
            session.keep_all()
            session.submit()
            session.wait_all()
            assert finished(tasks)
            for i in self.random.sample(range(number), min(5, number)):
                assert tasks[i].output.fetch().get_bytes() == b"Hello %d!" % i

    def chain(self) -> None:
        with self.client.new_session():
            task, text = call("cpptester/hello", b"0"), b"Hello 0!"
            for _ in range(self.random.randrange(1, 10)):
                task, text = call(f"{self.tester()}/hello", task), b"Hello " + text + b"!"
            assert task.output.fetch().get_bytes() == text

    def big(self) -> None:
        with self.client.new_session():
            size = self.random.randrange(1, 1 << 20)
            data = call("cpptester/fill", size=size, byte=3)
            both = call("pytester/concat", data, blob(b"\4" * size))
            assert both.output.fetch().get_bytes() == b"\3" * size + b"\4" * size

    def failing(self) -> None:
        with self.client.new_session(on_error=self.random.choice(("fail", "continue"))) as session:
            bad = call(f"{self.tester()}/throw_std")
            after = call("cpptester/hello", bad)
            session.submit()
            with pytest.raises(TaskException, match=r"on purpose|depends on"):
                after.wait()
            assert bad.state is TaskState.failed

    def cancelled(self) -> None:
        with self.client.new_session() as session:
            tasks = [call("cpptester/sleep", seconds=1e6) for _ in range(3)]
            session.submit()
            with pytest.raises(WaitTimeout):
                session.wait(tasks, timeout=self.random.random() * 0.01)
            session.cancel(self.random.choice((None, tasks)))
            with pytest.raises(TaskCancelled):
                tasks[0].wait()
            works("cpptester", session)

    def closed(self) -> None:
        session = self.client.new_session()
        with session.bind_only():
            tasks = [call("cpptester/sleep", seconds=self.random.random() * 0.01) for _ in range(5)]
        session.submit()
        session.close()
        assert all(task.state in (TaskState.cancelled, TaskState.finished) for task in tasks)

    def some(self) -> None:
        with self.client.new_session() as session:
            quick = call("cpptester/hello", b"x")
            slow = call("cpptester/sleep", seconds=1e6)
            session.submit()
            left = [quick, slow]
            assert quick in session.wait_some(left)
            session.cancel([slow])
            session.wait_all()


async def awaiting(client: Client, seed: int, until: float) -> int:
    number = random.Random(seed)
    done = 0
    while time.monotonic() < until:
        session = client.new_session(on_error="continue")
        with session.bind_only():
            tasks = [call("cpptester/hello", b"%d" % i) for i in range(number.randrange(1, 50))]
            bad = call("pytester/throw_std")
            session.keep_all()
            session.submit()
            await asyncio.gather(*tasks[: len(tasks) // 2])
            await session.wait_async(tasks)
            with pytest.raises(TaskException, match="on purpose"):
                await bad
        for i, task in enumerate(tasks):
            assert task.output.fetch().get_bytes() == b"Hello %d!" % i
        session.close()
        done += 1
    return done


def test_threads_and_asyncio_at_once(make_client: Callable[..., Client]) -> None:
    client = make_client(cpus=3)
    until = time.monotonic() + SECONDS
    workers = [Worker(client, seed) for seed in range(6)]
    errors: list[BaseException] = []
    awaited: list[int] = []

    def work(worker: Worker) -> None:
        try:
            while time.monotonic() < until and not errors:
                worker.step()
        except BaseException as error:
            errors.append(error)

    def run_asyncio() -> None:
        async def both() -> None:
            awaited.extend(await asyncio.gather(*(awaiting(client, n, until) for n in range(2))))

        try:
            asyncio.run(both())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    threads.append(threading.Thread(target=run_asyncio))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    print(f"{[worker.done for worker in workers]} steps, {awaited} rounds of asyncio")
    assert all(worker.done for worker in workers)
    assert all(awaited)
    works("cpptester", client.new_session())
    usage = client.info()["store"]
    assert (usage["blobs"], usage["views"]) == (0, 0), usage


def test_client_closed_under_waiting_threads_ends_their_waits(
    make_client: Callable[..., Client],
) -> None:
    client = make_client()
    errors: list[BaseException] = []
    waiting = threading.Barrier(5)

    def wait(how: str) -> None:
        with client.new_session() as session:
            task = call("cpptester/sleep", seconds=1e6)
            session.submit()
            waiting.wait()
            try:
                if how == "asyncio":
                    asyncio.run(session.wait_async([task]))
                elif how == "some":
                    session.wait_some([task])
                    raise TaskCancelled("wait_some() tells by the state")
                elif how == "all":
                    session.wait_all()
                    raise TaskCancelled("so does wait_all()")
                else:
                    task.wait()
            except RainException as error:
                errors.append(error)

    threads = [threading.Thread(target=wait, args=(h,)) for h in ("task", "some", "all", "asyncio")]
    for thread in threads:
        thread.start()
    waiting.wait()
    client.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 4, errors


def test_cancelled_await_leaves_the_task_and_no_descriptor(client: Client) -> None:
    async def main() -> None:
        with client.new_session() as session:
            slow = call("cpptester/sleep", seconds=1e6)
            session.submit()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.wait_async([slow]), 0.05)
            assert slow.state is not TaskState.cancelled
            slow.cancel()
            with pytest.raises(TaskCancelled):
                await slow

    asyncio.run(main())
    works("cpptester", client.new_session())
