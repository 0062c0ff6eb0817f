"""``client.executors["x"].task(2.0, array, Point(1, 2))``, with typed tasks of both languages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rain.client import Client, RainException, TaskException
from rain.client.executors import ExecutorTasks

CONFORMANCE = Path(__file__).resolve().parent.parent / "conformance"


@dataclass
class Point:
    x: float
    y: float
    tags: list[str]


@pytest.fixture(params=["cpptester", "typedtester"])
def typed(request: pytest.FixtureRequest, cpptester: Path) -> Iterator[ExecutorTasks]:
    """The typed tasks of a language, in an active session."""
    commands: dict[str, Any] = {
        "cpptester": cpptester,
        "typedtester": [sys.executable, str(CONFORMANCE / "typedtester.py")],
    }
    executors = {request.param: commands[request.param]}
    with Client(executors=executors) as client, client.new_session(on_error="continue"):
        yield client.executors[request.param]


def test_numbers_arrays_text_and_structs(typed: ExecutorTasks) -> None:
    scaled = typed.typed_scale(np.array([1.0, 2.0]), 2)
    np.testing.assert_array_equal(scaled.output.fetch_array(), [2, 4])
    again = typed.typed_scale(scaled, np.float64(0.5))
    np.testing.assert_array_equal(again.output.fetch_array(), [1, 2])
    matrix = typed.typed_transpose(np.array([[1, 2, 3]], np.int32))
    np.testing.assert_array_equal(matrix.output.fetch_array(), [[1], [2], [3]])
    for point in (Point(1, 2, ["a"]), {"x": 1, "y": 2, "tags": ["a"]}):
        moved = typed.typed_move(("point", point), "b")
        assert moved.output.fetch().load() == {"x": 2, "y": 2, "tags": ["a", "b"]}
    nothing = typed.typed_nothing(True, outputs=0)
    assert nothing.result() is None


def test_what_does_not_fit_is_said_by_the_task(typed: ExecutorTasks) -> None:
    task = typed.typed_scale(np.zeros(1), [1, 2])
    with pytest.raises(TaskException, match=r"parameter 2 'factor': .*, found value \[1,2\]"):
        task.output.fetch()


def test_what_is_no_input_is_refused(typed: ExecutorTasks) -> None:
    with pytest.raises(RainException, match="set"):
        typed.typed_nothing({1})
    fetched = typed.typed_scale(np.zeros(1), 1).output.fetch()
    with pytest.raises(RainException, match="cannot be used as a data object"):
        typed.typed_scale(fetched, 1)
