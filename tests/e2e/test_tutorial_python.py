"""docs/tutorial-python.md: its files, from the page, run against the installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from rain.client import Client, Task, TaskException, blob
from tutorial import blocks, run, write_files

PAGE = "tutorial-python.md"


def printed() -> list[str]:
    """What the page says that something prints."""
    return [text for language, text in blocks(PAGE) if language == "text"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(PAGE, folder)
    return folder


@pytest.mark.parametrize("program", ["run.py", "more.py"])
def test_programs_print_what_the_page_says(project: Path, program: str) -> None:
    assert run(sys.executable, program, cwd=project) in printed()


def test_its_tests_pass(project: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_stats.py")
    assert "6 passed" in run(*command, cwd=project)


def test_it_mixes_with_cpp(project: Path) -> None:
    (commands,) = (text for language, text in blocks(PAGE) if language == "sh")
    run("sh", "-ec", commands, cwd=project)
    assert run(sys.executable, "mixed.py", cwd=project) in printed()


def test_errors_read_as_the_page_says(project: Path) -> None:
    calls: list[tuple[str, list[tuple[object, str | None]]]] = [
        ("scale", [(np.zeros(2), None), (np.zeros((2, 2), np.int32), None)]),
        ("grow", [({"low": {"x": 1}}, "cbor"), (1.0, "cbor")]),
        ("scale", [(np.zeros(2), None)]),
    ]
    (said,) = (text for text in printed() if text.startswith("parameter 2"))
    program = [sys.executable, str(project / "stats.py")]
    with Client(executors={"stats": program}) as client:
        for (name, inputs), line in zip(calls, said.splitlines(), strict=True):
            with client.new_session():
                blobs = [blob(value, encode=encode) for value, encode in inputs]
                with pytest.raises(TaskException) as caught:
                    Task(blobs, 1, task_type=f"stats/{name}").output.fetch()
            assert line in str(caught.value)
