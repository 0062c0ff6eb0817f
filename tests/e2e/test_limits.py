"""Retries, timeouts, memory limits and resources of tasks, with real executors."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    DependencyFailed,
    ExecutorDied,
    InvalidGraph,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    TaskOOM,
    TaskState,
    TaskTimeout,
    blob,
    remote,
)
from rain.client.tasks import Execute
from tasks import contains, works
from world import exists, pauses, wait_until


def limited(task_type: str, config: Any = None, **options: Any) -> Task:
    return Task((), 1, config=config, task_type=task_type, **options)


@pytest.mark.engines
def test_a_task_that_fails_twice_finishes_with_two_retries(
    session: Session, tmp_path: Path
) -> None:
    @remote(retries=2)
    def third_time(ctx: Any, place: str) -> str:
        count = len(os.listdir(place))
        open(os.path.join(place, str(count)), "w").close()
        if count < 2:
            raise RuntimeError(f"attempt {count}")
        return "done"

    with session.bind_only():
        task = third_time(str(tmp_path))
        assert task.retries == 2
        assert task.output.fetch().get_bytes() == b"done"
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.engines
def test_the_exception_lists_every_attempt(session: Session) -> None:
    @remote(retries=2)
    def bad(ctx: Any) -> str:
        raise ValueError("never works")

    with session.bind_only():
        task = bad()
    session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    contains(caught.value, "Attempts: 3", "  3. <Attempt", "ValueError: never works")
    assert [attempt.kind for attempt in caught.value.attempts] == [TaskException] * 3
    assert all(attempt.pid for attempt in caught.value.attempts)


@pytest.mark.engines
def test_an_executor_that_dies_is_an_attempt(session: Session) -> None:
    @remote(retries=1)
    def die(ctx: Any) -> str:
        os._exit(3)

    with session.bind_only():
        task = die()
        dependant = Task((task,), 1, task_type="cpptester/hello")
    session.submit()
    with pytest.raises(ExecutorDied) as caught:
        task.wait()
    pids = {attempt.pid for attempt in caught.value.attempts}
    assert len(pids) == 2, "each attempt had a process of its own"
    with pytest.raises(DependencyFailed) as aborted:
        dependant.wait()
    assert len(aborted.value.attempts) == 2


@pytest.mark.engines
@pytest.mark.parametrize("kind", ["cpptester/spin", "pytester/spin", "buildin/sleep"])
def test_timeout_names_the_limit_and_the_executor_works_again(
    session: Session, kind: str, tester: str
) -> None:
    with session.bind_only():
        if kind == "buildin/sleep":
            task = Task((blob(b"x"),), 1, config=1000.0, task_type=kind, timeout="200ms")
        else:
            task = limited(kind, timeout=0.2)
    session.submit()
    with pytest.raises(TaskTimeout) as caught:
        task.wait()
    assert isinstance(caught.value, TimeoutError)
    contains(caught.value, f"'{kind}'", "timeout is 0.2 s")
    assert caught.value.attempts[0].seconds >= 0.2
    works(tester, session)


def test_a_task_within_its_timeout_is_untouched(session: Session, tester: str) -> None:
    with session.bind_only():
        task = limited(f"{tester}/sleep", {"seconds": 0.05}, timeout="1h")
        assert task.output.fetch().get_bytes() == b"slept"


def test_a_task_over_its_memory_ends_and_its_neighbour_survives(session: Session) -> None:
    @remote(memory="200 MiB")
    def fat(ctx: Any) -> str:
        held = []
        while True:
            held.append(bytes(1 << 20) + b"x")

    @remote(memory="200 MiB")
    def slim(ctx: Any) -> str:
        import time

        time.sleep(1)
        return "slim"

    with session.bind_only():
        neighbour, task = slim(), fat()
        neighbour.keep_outputs()
    session.submit()
    with pytest.raises(TaskOOM) as caught:
        task.wait()
    assert isinstance(caught.value, MemoryError)
    contains(caught.value, "'py/'", "its limit is 200 MiB")
    assert neighbour.output.fetch().get_bytes() == b"slim"


def test_shared_blobs_do_not_count_against_the_memory(session: Session) -> None:
    @remote(memory="150 MiB")
    def read(ctx: Any, data: Any) -> str:
        import time

        total = sum(memoryview(data)[:: 1 << 12])
        time.sleep(0.3)
        return str(total)

    with session.bind_only():
        task = read(blob(bytes(300 << 20)))
        assert task.output.fetch().get_bytes() == b"0"


@pytest.fixture
def rich(make_client: Callable[..., Client]) -> Client:
    """A client with named resources."""
    return make_client(cpus=2, resources={"gpu": ["0", "3"], "licence": 2})


def test_each_task_is_told_which_gpu_it_has(rich: Client) -> None:
    @remote(resources={"gpu": 1})
    def which(ctx: Any) -> str:
        return f"{os.environ['CUDA_VISIBLE_DEVICES']} {ctx.resources['gpu'][0]}"

    @remote()
    def without(ctx: Any) -> str:
        return str(os.environ.get("CUDA_VISIBLE_DEVICES")) + str(ctx.resources)

    with rich.new_session() as session:
        tasks = [which() for _ in range(20)]
        after = without()
        for task in [*tasks, after]:
            task.keep_outputs()
        session.submit()
        seen = {task.output.fetch().get_bytes().decode() for task in tasks}
        assert seen <= {"0 0", "3 3"}
        before = os.environ.get("CUDA_VISIBLE_DEVICES")
        assert after.output.fetch().get_bytes().decode() == f"{before}{{}}"


def test_programs_are_told_their_gpu_and_cpus(rich: Client) -> None:
    with rich.new_session() as session:
        command = "echo $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS"
        granted = Execute(command, stdout=True, shell=True, cpus=2, resources={"gpu": 2})
        plain = Execute("echo $OMP_NUM_THREADS", stdout=True, shell=True)
        for task in (granted, plain):
            task.keep_outputs()
        session.submit()
        assert granted.output.fetch().get_str() == "0,3 2 2\n"
        assert plain.output.fetch().get_str() == "1\n"


def test_two_gpus_for_one_task(rich: Client) -> None:
    @remote(resources={"gpu": 2, "licence": 1.5}, cpus=0)
    def both(ctx: Any) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"] + str(sorted(ctx.resources.items()))

    with rich.new_session():
        task = both()
        assert task.spec.resources == {"cpus": 0, "gpu": 2, "licence": 1.5}
        said = task.output.fetch().get_bytes().decode()
        assert said == "0,3[('gpu', ['0', '3']), ('licence', [])]"


def test_the_sum_of_an_amount_is_kept(rich: Client, tmp_path: Path) -> None:
    @remote(resources={"licence": 2})
    def alone(ctx: Any, place: str) -> str:
        os.mkdir(place)  # fails if another one is at work
        os.rmdir(place)
        return "alone"

    with rich.new_session() as session:
        tasks = [alone(str(tmp_path / "held")) for _ in range(50)]
        session.submit()
        session.wait_all()
        assert {task.state for task in tasks} == {TaskState.finished}


def test_what_can_never_be_had_is_refused_at_submit(rich: Client) -> None:
    for options, said in (
        ({"resources": {"gpu": 3}}, "needs 3 gpu, but this client has 2 gpu (0, 3)"),
        ({"resources": {"gpu": 0.5}}, "gpu is had in whole ones"),
        ({"resources": {"fpga": 1}}, "no such resource; it has 2 cpus, 2 gpu (0, 3), 2 licence"),
        ({"memory": 2**59}, "Client(task_memory=...)"),
    ):
        with rich.new_session() as session:
            limited("cpptester/hello", **options)
            with pytest.raises(InvalidGraph) as caught:
                session.submit()
            contains(caught.value, said)


@pytest.mark.parametrize("method", ["cpptester/spin", "pytester/spin"])
def test_a_cancelled_task_with_a_timeout_and_retries_is_cancelled(
    session: Session, method: str
) -> None:
    with session.bind_only():
        tester = method.partition("/")[0]
        pid = int(limited(f"{tester}/pid").output.fetch().get_bytes())
        task = limited(method, timeout=1000, retries=5)
    session.submit()
    wait_until(lambda: pauses(pid), "its begin")
    task.cancel()
    with pytest.raises(TaskCancelled) as caught:
        task.wait()
    assert caught.value.attempts == []
    wait_until(lambda: not exists(pid), "the end of the process")
    works(tester, session)


def test_a_thousand_cancellations_at_random_moments_leave_nothing_behind(
    client: Client, tester: str
) -> None:
    chance = random.Random(5)
    with client.new_session(on_error="continue") as session:
        tasks: list[Task] = []
        for i in range(1000):
            options: dict[str, Any] = {}
            if i % 7 == 0:
                options = {"retries": 1, "timeout": chance.choice([0.002, 60])}
            inputs = (tasks[-1],) if i % 3 == 0 and tasks else ()
            if inputs:
                task = Task(inputs, 1, task_type=f"{tester}/hello", **options)
            else:
                seconds = chance.choice([0, 0, 0.0005, 0.005])
                task = limited(f"{tester}/sleep", {"seconds": seconds}, **options)
            tasks.append(task)
        session.submit()
        order = tasks[:]
        chance.shuffle(order)
        pause = threading.Event()
        for task in order:
            task.cancel()
            if chance.random() < 0.2:
                pause.wait(chance.random() * 0.002)
        session.wait_all()
        assert all(task.state is not None and task.state >= TaskState.finished for task in tasks)
        works(tester, session)
