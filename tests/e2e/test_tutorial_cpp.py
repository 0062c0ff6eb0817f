"""docs/tutorial-cpp.md: its files, from the page, built against the installed package and run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from rain.client import Client, Task, TaskException, blob
from tutorial import blocks, run, write_files

PAGE = "tutorial-cpp.md"


def required(program: Path) -> Path:
    """Skip when its library isn't installed, or fail where everything must be tested."""
    if not program.exists():
        why = f"{program.name} was not built: its library is not installed"
        if os.environ.get("RAIN_REQUIRE_ALL"):
            pytest.fail(f"RAIN_REQUIRE_ALL is set, but {why}")
        pytest.skip(why)
    return program


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's files, built in `build` by the commands that it gives."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(PAGE, folder)
    (commands,) = (text for language, text in blocks(PAGE) if language == "sh")
    run("sh", "-ec", commands, cwd=folder)
    return folder


def test_the_program_prints_what_the_page_says(project: Path) -> None:
    output = run(sys.executable, "run.py", "build/stats", cwd=project)
    assert output in [text for language, text in blocks(PAGE) if language == "text"]


def test_its_tests_pass(project: Path) -> None:
    assert "[  PASSED  ] 5 tests." in run(required(project / "build" / "stats_test"), cwd=project)


def test_errors_read_as_the_page_says(project: Path) -> None:
    calls: list[tuple[str, list[tuple[object, str | None]]]] = [
        ("scale", [(np.zeros(2), None), (np.zeros((2, 2), np.int32), None)]),
        ("grow", [({"low": {"x": 1}}, "cbor"), (np.array(1.0), None)]),
        ("scale", [(np.zeros(2), None)]),
    ]
    errors = []
    with Client(executors={"stats": project / "build" / "stats"}) as client:
        for name, inputs in calls:
            with client.new_session():
                blobs = [blob(value, encode=encode) for value, encode in inputs]
                with pytest.raises(TaskException) as caught:
                    Task(blobs, 1, task_type=f"stats/{name}").output.fetch()
                errors.append(str(caught.value))
    (said,) = (text for _, text in blocks(PAGE) if text.startswith("parameter 2"))
    for error, line in zip(errors, said.splitlines(), strict=True):
        assert line in error


def test_classic_form_joins(project: Path) -> None:
    with Client(executors={"join": project / "build" / "join"}) as client, client.new_session():
        assert (
            client.executors["join"].join(blob("a"), blob("b")).output.fetch().get_bytes() == b"ab"
        )


def test_eigen_multiplies_in_place(project: Path) -> None:
    program = required(project / "build" / "linear")
    a, b = np.random.default_rng(1).random((2, 120, 120))
    with Client(executors={"linear": program}) as client, client.new_session():
        task = client.executors["linear"].multiply(blob(a), blob(b))
        np.testing.assert_allclose(task.output.fetch().load(), a @ b)


def test_xtensor_reduces_in_place(project: Path) -> None:
    program = required(project / "build" / "image")
    picture = np.random.default_rng(1).random((200, 100, 3), np.float32)
    with Client(executors={"image": program}) as client, client.new_session():
        task = client.executors["image"].brightness(blob(picture))
        np.testing.assert_allclose(task.output.fetch().load(), picture.mean(axis=2), rtol=1e-5)
