"""Reference 7: the quirks of Rain 0.4 that the other files here do not have in their sections.

docs/rain-0.4.md has the table of all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    InvalidGraph,
    RainException,
    RainWarning,
    Remote,
    Session,
    Task,
    blob,
    pickled,
)
from rain.client.tasks import Execute

TABLE = Path(__file__).parents[3] / "docs" / "rain-0.4.md"


def test_table_of_quirks_has_each_once_with_a_verdict() -> None:
    rows = re.findall(r"(?m)^\| Q(\d+) \| .+ \| (.+) \|$", TABLE.read_text())
    assert [int(number) for number, _ in rows] == list(range(1, 51))
    for _, verdict in rows:
        assert re.match(r"(fixed|kept|later|the first fixed)\b", verdict), verdict


@pytest.mark.parametrize(
    ("options", "error"),
    [
        *(({"cpus": -1}, ValueError), ({"cpus": 1.5}, ValueError), ({"cpus": 2**40}, ValueError)),
        *(({"cpus": "2"}, ValueError), ({"name": 5}, TypeError), ({"config": {1: 2}}, TypeError)),
        *(({"config": object()}, TypeError), ({"config": 2**70}, ValueError)),
        *(({"user_spec": []}, TypeError), ({"nope": 1}, TypeError)),
    ],
)
def test_q20_wrong_spec_is_refused_where_it_is_written(
    session: Session, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Task((), 1, task_type="cpptester/hello", **options)
    assert session.task_count == 0
    assert Task((blob("x"),), 1, task_type="cpptester/hello").output.fetch().get_bytes()


def test_q38_large_results_do_not_go_through_messages(session: Session) -> None:
    size = 200 << 20  # more than a frame of 128 MiB
    task = Task((), 1, task_type="cpptester/fill", config={"size": size, "byte": 7})
    data = task.output.fetch()
    assert len(data) == size
    assert memoryview(data)[-1] == 7


class Slow:
    """Takes its time to be pickled."""

    def __reduce__(self) -> Any:
        end = time.process_time() + 1.2
        while time.process_time() < end:
            pass
        return int, ()


def test_q40_warnings_say_what_they_mean(make_client: Callable[..., Client]) -> None:
    pytest.importorskip("cloudpickle")

    def take(ctx: Any, data: Any) -> Any:
        return b""

    with make_client(executors={}).new_session():
        function = Remote(take)
        with pytest.warns(RainWarning, match=r"data took 1\.\d s of CPU time"):
            function(Slow())
        with pytest.warns(RainWarning, match=r"^Pickled object data length \d+ > PICKLE_ARG_SIZE"):
            function({i: str(i) for i in range(50_000)})
        with pytest.warns(RainWarning, match=r"^Pickled object data length \d+ > PICKLE_ARG_SIZE"):
            function(set(range(200_000)))


def test_q43_nothing_lands_in_the_active_session(make_client: Callable[..., Client]) -> None:
    client = make_client()
    active, other = client.new_session(), client.new_session()
    with active.bind_only():
        data = blob("x", session=other)
        pickled([1], session=other)
        Execute(["cat", data], stdout=True, session=other)
        Task((data,), ["o"], task_type="cpptester/hello", session=other)
    assert (active.task_count, active.dataobj_count) == (0, 0)
    assert (other.task_count, other.dataobj_count) == (2, 4)


def test_q47_content_type_of_a_str_is_refused(session: Session) -> None:
    with pytest.raises(RainException, match="content_type only allowed for `bytes`"):
        blob("..", content_type="json")


def test_q48_task_that_fits_nowhere_is_refused(
    make_client: Callable[..., Client],
) -> None:
    with make_client(cpus=2).new_session() as session:
        Task((blob("x"),), 1, task_type="cpptester/hello", cpus=3)
        with pytest.raises(InvalidGraph, match="needs 3 cpus"):
            session.submit()
