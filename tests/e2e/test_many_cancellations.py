"""1,000 cancellations at random moments: tasks of all kinds, in all ways.

A debug build walks the core's invariants after every event. RAIN_SEED=… repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from rain.client import (
    Client,
    DependencyFailed,
    Session,
    Task,
    TaskCancelled,
    TaskState,
    TaskTimeout,
    blob,
    remote,
)
from rain.client import tasks as builtin
from tasks import call, works
from world import wait_until

CANCELLATIONS = 1000


@remote()
def joined(ctx: Any, *parts: Any) -> Any:
    return b"".join(part.get_bytes() for part in parts)


@remote()
def holds_the_gil(ctx: Any) -> Any:
    any(iter(int, 1))


def random_task(dice: random.Random, before: list[Task]) -> Task:
    """A task of the active session, now and then with the output of another one as its input."""
    data: Any = dice.choice(before) if before and dice.random() < 0.3 else blob(b"x")
    seconds = dice.random() * 0.02
    makers: list[Callable[[], Task]] = [
        lambda: call("cpptester/hello", data),
        lambda: call("pytester/hello", data),
        lambda: call("cpptester/sleep", seconds=seconds),
        lambda: call("pytester/sleep", seconds=seconds),
        lambda: joined(data, data),
        lambda: builtin.Concat((data, data)),
        lambda: builtin.Sleep(data, seconds),
        lambda: builtin.Execute(("sleep", str(seconds)), stdout=True),
    ]
    if dice.random() < 0.03:  # each costs a process
        makers = [
            lambda: call("cpptester/spin"),
            lambda: call("pytester/spin"),
            lambda: holds_the_gil(),
            lambda: builtin.Execute(("sleep", "1000000"), stdout=True, name="endless"),
        ]
    task = dice.choice(makers)()
    if dice.random() < 0.3:
        task.output.keep()
    return task


def endless(task: Task) -> bool:
    """Whether it ends by being cancelled alone."""
    kinds = ("cpptester/spin", "pytester/spin")
    return task.task_type in kinds or task.name in ("holds_the_gil", "endless")


def storm(session: Session, dice: random.Random) -> int:
    """Submit a graph and cancel most of it, bit by bit; return how much was cancelled."""
    made: list[Task] = []
    for _ in range(dice.randint(1, 3)):
        graph: list[Task] = []
        for _ in range(dice.randint(1, 25)):
            graph.append(random_task(dice, graph))
        session.submit()
        made += graph
    way = dice.choice(["each", "each", "session", "close", "subset"])
    time.sleep(dice.random() * 0.03)
    if way == "session":
        session.cancel()
    elif way == "close":
        running = sum(not task.done() for task in made)
        session.close()
        return running
    else:
        victims = [task for task in made if dice.random() < 0.7 or endless(task)]
        dice.shuffle(victims)
        while victims:
            count = 1 if way == "each" else dice.randint(1, 10)
            session.cancel(victims[:count])
            del victims[:count]
            if dice.random() < 0.1:
                time.sleep(dice.random() * 0.005)
    session.wait_all()
    return sum(was_cancelled(task) for task in made)


def was_cancelled(task: Task) -> bool:
    """Whether it was; that a task has failed is no outcome here."""
    assert task.done(), task
    if task.state is TaskState.finished:
        return False
    try:
        task.wait()
    except DependencyFailed:
        return False
    except (TaskCancelled, TaskTimeout):
        return True
    raise AssertionError(f"{task} has not finished and wait() raises nothing")


def timed_out(session: Session, dice: random.Random) -> int:
    """Tasks that a timeout stops, soon after they began."""
    makers: list[Callable[[float], Task]] = [
        lambda limit: Task((), 1, task_type="cpptester/spin", timeout=limit),
        lambda limit: Task(
            (), 1, task_type="pytester/sleep", config={"seconds": 60}, timeout=limit
        ),
        lambda limit: Task((blob(b"x"),), 1, task_type="buildin/sleep", config=60.0, timeout=limit),
        lambda limit: builtin.Execute(("sleep", "60"), stdout=True, timeout=limit),
    ]
    made = [dice.choice(makers)(0.001 + dice.random() * 0.02) for _ in range(dice.randint(1, 3))]
    session.submit()
    session.wait_all()
    return sum(was_cancelled(task) for task in made)


def test_a_thousand_cancellations_leave_nothing_and_break_nothing(
    make_client: Callable[..., Client],
) -> None:
    seed = int(os.environ.get("RAIN_SEED", "0")) or random.randrange(1, 1 << 32)
    print(f"RAIN_SEED={seed}")
    dice = random.Random(seed)
    client = make_client(cpus=3)
    done = 0
    begin = time.monotonic()
    while done < CANCELLATIONS:
        with client.new_session(on_error="continue") as session:
            done += timed_out(session, dice) if dice.random() < 0.1 else storm(session, dice)
    print(f"{done} cancellations in {time.monotonic() - begin:.1f} s")
    with client.new_session() as session:
        for tester in ("cpptester", "pytester"):
            works(tester, session)
        assert joined(blob(b"a"), blob(b"b")).output.fetch().get_bytes() == b"ab"
    wait_until(lambda: client.info()["store"]["blobs"] == 0, "the end of all blobs")
    (governor,) = client.get_server_info()["governors"]
    assert (governor["tasks"], governor["objects"]) == ([], [])
    assert client.info()["store"]["views"] == 0
