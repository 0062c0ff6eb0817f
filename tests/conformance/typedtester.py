"""Executor "typedtester": the typed tasks of cpptester/typed.cpp, as annotated functions.

A program of its own, because numpy takes longer to import than most tests of pytester run.

usage: typedtester.py [threads]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from rain import tasklib
from rain.tasklib import Context, DataInstance

executor = tasklib.Executor("typedtester")


@dataclass
class Point:
    x: float
    y: float
    tags: list[str]


@executor.task
def typed_scale(
    ctx: Context, x: np.ndarray[tuple[int], np.dtype[np.float64]], factor: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    y = ctx.empty(x.shape, x.dtype)
    return np.multiply(x, factor, out=y)


@executor.task
def typed_transpose(
    matrix: np.ndarray[tuple[int, int], np.dtype[np.int32]],
) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    return matrix.T


@executor.task
def typed_move(point: Point, tag: str) -> Point:
    return Point(point.x + 1, point.y, [*point.tags, tag])


@executor.task
def typed_parts(text: str, anything: DataInstance) -> tuple[str, int, DataInstance]:
    return f"{text}!", len(text), anything


@executor.task
def typed_nothing(flag: bool) -> None:
    assert flag is True


if __name__ == "__main__":
    executor.start(int(sys.argv[1]) if len(sys.argv) > 1 else None)
