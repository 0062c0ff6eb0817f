"""Programs, and executors that know no shared memory, get data as files: further names of a file
that is there, a copy of what is in memory. What they leave as a file becomes data as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rain.client import Client, Input, Output, Program, Session, Task, blob

CONFORMANCE = Path(__file__).resolve().parent.parent / "conformance"
SIZE = 300_000

# Leaves a file, and tells its inode number; tells that of its input.
leave = Program(
    ("sh", "-c", f"head -c {SIZE} /dev/zero >out; stat -c %i out"),
    output_paths=(Output("file", path="out"),),
    stdout=Output("inode"),
)
tell = Program(("stat", "-c", "%i", "in"), input_paths=(Input("in"),), stdout="inode")


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Iterator[Session]:
    raw = {
        "command": [sys.executable, str(CONFORMANCE / "rawtester.py")],
        "env": {"PYTHONPATH": str(CONFORMANCE)},
    }
    with make_client({"rawtester": raw}).new_session() as session:
        yield session


def number(task: Task, output: str | None = None) -> int:
    return int(task.outputs[output or 0].fetch().get_bytes())


def raw(method: str, *inputs: object, outputs: int = 1) -> Task:
    task = Task(inputs, outputs, task_type=f"rawtester/{method}")
    task.keep_outputs()
    return task


def told(of: object) -> Task:
    task = tell(**{"in": of})
    task.keep_outputs()
    return task


def test_a_file_of_a_program_is_the_same_file_for_others(session: Session) -> None:
    made = leave()
    made.keep_outputs()
    by_program, by_executor = told(made.outputs["file"]), raw("inode", made.outputs["file"])
    session.submit()
    assert number(by_program) == number(made, "inode") == number(by_executor)


def test_a_file_of_an_executor_is_the_same_file_for_others(session: Session) -> None:
    made = raw("leave_file", blob(b"x" * SIZE), outputs=2)
    by_program, by_executor = told(made.outputs[0]), raw("inode", made.outputs[0])
    session.submit()
    assert number(by_program) == int(made.outputs[1].fetch().get_bytes()) == number(by_executor)
    assert made.outputs[0].fetch().get_bytes() == b"x" * SIZE


def test_a_blob_in_memory_becomes_one_file_for_all(session: Session) -> None:
    data = bytes(range(256)) * 2000
    obj = blob(data)
    first, second = told(obj), told(obj)
    third, echo = raw("inode", obj), raw("concat", obj)
    session.submit()
    assert number(first) == number(second) == number(third)
    assert echo.output.fetch().get_bytes() == data
