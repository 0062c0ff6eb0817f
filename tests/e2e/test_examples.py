"""The examples, built and run as a user would: against the installed wheel, by their READMEs."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from old_kinds import build_rust

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WITH_EXECUTORS = ("hello", "terrain", "wordcount")
NAMES = (*WITH_EXECUTORS, "programs", "pool", "rust")

# What pip brought beside this interpreter comes first: cmake, ninja.
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MPLBACKEND": "Agg",
}


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Example -> the directory where its executors were built."""
    tasklib_dir = run(sys.executable, "-m", "rain", "--cmakedir").strip()
    builds = {}
    for name in WITH_EXECUTORS:
        build = tmp_path_factory.mktemp(name)
        run("cmake", "-S", EXAMPLES / name, "-B", build, f"-Dtasklib_DIR={tasklib_dir}")
        run("cmake", "--build", build)
        builds[name] = build
    return builds


def run_example(name: str, *arguments: str | Path) -> str:
    """Its output, which is what expected_output.txt says ("..." stands for anything)."""
    output = run(sys.executable, EXAMPLES / name / "run.py", *arguments)
    expected = (EXAMPLES / name / "expected_output.txt").read_text()
    checker = doctest.OutputChecker()
    assert checker.check_output(expected, output, doctest.ELLIPSIS), output
    return output


def test_hello_greets_from_cpp_and_python(built: dict[str, Path]) -> None:
    run_example("hello", "--executors-dir", built["hello"])


def test_terrain_leaves_a_picture_and_a_table(built: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    output = run_example("terrain", "--executors-dir", built["terrain"], "--output", folder)
    picture = folder / "terrain.png"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert picture.stat().st_size > 100_000

    rows = [line.split() for line in output.splitlines() if "/" in line.split(" ")[0]]
    kinds = [(row[0], row[1]) for row in rows]
    assert sorted(set(kinds)) == [
        ("paint/assemble", "Python"),
        ("paint/draw", "Python"),
        ("terrain/hillshade", "C++"),
        ("terrain/slope", "C++"),
    ]
    assert kinds.count(("terrain/slope", "C++")) == 8
    grid_bytes = 344 * 403 * 8
    sizes = {row[0]: 0 for row in rows}
    for row in rows:
        sizes[row[0]] += int(row[4].replace(",", ""))
    assert sizes["terrain/slope"] == sizes["terrain/hillshade"] == grid_bytes
    assert sizes["paint/assemble"] == 2 * grid_bytes


def test_wordcount_equals_a_counter(built: dict[str, Path]) -> None:
    output = run_example("wordcount", "--executors-dir", built["wordcount"])
    ranks = [line.split() for line in output.splitlines() if re.match(r" *\d+\. ", line)]
    counts = [int(row[-1].replace(",", "")) for row in ranks]
    assert len(ranks) == 20
    assert counts == sorted(counts, reverse=True)
    assert "self" in [row[1] for row in ranks]


def test_programs_agree_with_python(tmp_path: Path) -> None:
    result = tmp_path / "words"
    run_example("programs", "--output", result)
    packages = ["asyncio", "email", "json", "logging"]
    assert sorted(path.name for path in result.iterdir()) == packages
    for package in packages:
        files = sorted(path.name for path in (result / package).iterdir())
        assert files == ["sources.tar.gz", "words.txt", "words.txt.gz"]


def test_pool_finds_what_a_process_pool_finds() -> None:
    output = run_example("pool", "--pool", "both")
    rows = [line.split() for line in output.splitlines()[1:-1]]
    assert len(rows) == 12
    assert all(0 < float(row[2]) <= 1 for row in rows)


def test_rust_runs_with_the_crate_as_published() -> None:
    program = build_rust(EXAMPLES / "rust", "rust-example", "0.1.0")
    output = run(sys.executable, EXAMPLES / "rust" / "run.py", "--program", program)
    assert output == (EXAMPLES / "rust" / "expected_output.txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_shows_every_file(name: str) -> None:
    readme = (EXAMPLES / name / "README.md").read_text()
    for file in (EXAMPLES / name).rglob("*"):
        if file.is_file() and file.name not in ("README.md", "Cargo.lock"):
            assert f"`{file.relative_to(EXAMPLES / name)}`" in readme


def test_hellos_executor_is_the_classic_form() -> None:
    text = (EXAMPLES / "hello" / "hello.cpp").read_text()
    assert (
        '  executor.add_task("hello", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {\n'
        "    if (!ctx.check_n_args(1)) return;\n"
    ) in text
