"""Directories on their way through clients, executors of both languages, and built-in tasks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from rain.client import DataObject, InputDir, OutputDir, RainException, Session, Task, TaskException
from rain.client import directory as put_directory
from rain.client.tasks import Execute, MakeDirectory, SliceDirectory


def listing(of: Any, tester: str) -> str:
    task = Task((of,), 1, task_type=f"{tester}/list_directory")
    task.output.keep()
    return str(fetched(task).get_str())


def fetched(task: Task) -> Any:
    task.session.submit()
    return task.output.fetch()


def made(files: dict[str, str], tester: str) -> DataObject:
    task = Task((), (OutputDir("made"),), config=files, task_type=f"{tester}/make_directory")
    task.output.keep()
    return task.output


@pytest.mark.parametrize("files", [{}, {"a": "1", "d/b": ""}])
def test_goes_in_through_and_out(
    session: Session, tester: str, files: dict[str, str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, content in files.items():
        (mine / name).parent.mkdir(exist_ok=True)
        (mine / name).write_text(content)
    expected = "\n".join(f"{name}={content}" for name, content in sorted(files.items()))
    given = put_directory(str(mine))
    passed = Task((given,), (OutputDir("out"),), task_type=f"{tester}/echo")
    assert listing(passed.output, tester) == expected
    output = made(files, tester)
    other = {"cpptester": "pytester", "pytester": "cpptester"}[tester]
    assert listing(output, other) == expected
    output.fetch().write(str(tmp_path / "copy"))
    for name, content in files.items():
        assert (tmp_path / "copy" / name).read_text() == content


def test_a_fragment_of_one_and_one_made_of_several(session: Session, tester: str) -> None:
    whole = MakeDirectory([("x/y", made({"d/b": "2", "c": "3"}, tester))])
    whole.output.keep()
    part = SliceDirectory(whole, "x/y/d/")
    assert listing(part.output, tester) == "b=2"
    file = SliceDirectory(whole, "x/y/c")
    file.output.keep()
    assert fetched(file).get_bytes() == b"3"


def test_goes_through_a_program(session: Session, tester: str) -> None:
    task = Execute(
        "cp -r in out && echo 2 > out/b",
        input_paths=[InputDir("in", dataobj=made({"a": "1"}, tester))],
        output_paths=[OutputDir("out")],
        shell=True,
    )
    assert listing(task.output, tester) == "a=1\nb=2\n"


def test_blob_for_a_directory_and_directory_for_a_blob_are_refused(
    session: Session, tester: str
) -> None:
    wrong = Task((), 1, config={"a": "1"}, task_type=f"{tester}/make_directory")
    wrong.output.keep()
    with pytest.raises(TaskException, match="expects type blob, but dir is provided"):
        fetched(wrong)
    wrong = Task((), (OutputDir("o"),), config={"size": 9, "byte": 1}, task_type=f"{tester}/fill")
    wrong.output.keep()
    with pytest.raises(TaskException, match="Output 'o' is a directory and came in memory"):
        fetched(wrong)


def test_links_that_lead_outside_are_refused_with_their_name(
    session: Session, tmp_path: Path
) -> None:
    os.symlink("/etc", tmp_path / "link")
    with pytest.raises(RainException, match="link' is a symbolic link to '/etc'"):
        put_directory(str(tmp_path))
