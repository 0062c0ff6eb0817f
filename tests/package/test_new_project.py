"""`rain new`: a stranger makes a project, and runs the commands that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from stranger import Stranger, run


@pytest.fixture(scope="module")
def activated(built_stranger: Stranger) -> Stranger:
    """The stranger, with pytest for the Python project."""
    built_stranger.run(
        built_stranger.python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "pytest"
    )
    return built_stranger


@pytest.mark.parametrize("language", ["cpp", "python"])
def test_project_builds_and_runs_with_the_commands_that_it_names(
    activated: Stranger, tmp_path: Path, language: str
) -> None:
    path = f"{activated.python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = activated.environment | {"PATH": path}
    rain = activated.python.with_name("rain")
    made = run(rain, "new", "mine", f"--{language}", "--json", cwd=tmp_path, env=environment)
    facts = json.loads(made)
    assert facts["directory"] == "mine"
    assert facts["commands"].pop(0) == "cd mine"
    assert sorted(facts["files"]) == sorted(os.listdir(tmp_path / "mine"))
    (block,) = re.findall(
        r"```sh\n(.*?)```", (tmp_path / "mine" / "README.md").read_text(), re.DOTALL
    )
    assert block.splitlines() == facts["commands"]
    for file in (tmp_path / "mine").iterdir():
        assert "@" not in re.sub(r"@(executor|pytest)\b", "", file.read_text()), file
    outputs = {
        command: run(*shlex.split(command), cwd=tmp_path / "mine", env=environment)
        for command in facts["commands"]
    }
    assert "mine/greet" in outputs["rain executors check executors.toml"]
    assert outputs["rain run client.py"].splitlines()[0] == "Hello world!"
    if language == "cpp":
        assert "100% tests passed" in outputs["ctest --test-dir build"]
        assert "warning" not in outputs["cmake --build build"]
    shutil.rmtree(tmp_path / "mine" / "build", ignore_errors=True)


def test_nothing_is_overwritten(built_stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "main.cpp").write_text("precious")
    python = "import subprocess, sys; print(subprocess.run(sys.argv[1:]).returncode)"
    rain = built_stranger.python.with_name("rain")
    out = run(
        built_stranger.python, "-c", python, rain, "new", "mine", "--cpp",
        cwd=tmp_path, env=built_stranger.environment,
    )  # fmt: skip
    assert "mine is not empty" in out
    assert out.splitlines()[-1] == "1"
    assert (tmp_path / "mine" / "main.cpp").read_text() == "precious"
