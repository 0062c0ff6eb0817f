"""find_package(tasklib) and linking tasklib::tasklib are all that a user writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from stranger import Stranger, lacks, needed

CONSUMER = Path(__file__).parent / "consumer"
COMPILERS = ["c++", "g++-11", "g++-12", "clang++-14"]
HELLO = "b'Hello Hello world!'"
TYPED = (
    "6 text 1.5 2 parameter 1 'x': expected ndarray float64 of 1 dimension, found int32 scalar\n"
)


def build(stranger: Stranger, folder: Path, *arguments: str) -> Path:
    stranger.run("cmake", "-GNinja", "-S", CONSUMER, "-B", folder, *arguments)
    stranger.run("cmake", "--build", folder)
    return folder


@pytest.mark.parametrize("compiler", COMPILERS)
def test_consumer_builds_without_warnings_from_cpp14_to_cpp20(
    stranger: Stranger, tmp_path: Path, compiler: str
) -> None:
    if not shutil.which(compiler):
        lacks(f"there is no {compiler}")
    layouts = set()
    for standard in (14, 17, 20):
        folder = build(
            stranger,
            tmp_path / str(standard),
            f"-DCMAKE_CXX_COMPILER={compiler}",
            f"-DCMAKE_CXX_STANDARD={standard}",
            f"-Dtasklib_DIR={stranger.option('cmakedir')}",
        )
        layouts.add(stranger.run(folder / "layout"))
        assert stranger.run(folder / "typed") == TYPED
    assert len(layouts) == 1, "a class's layout depends on the language version"
    assert stranger.call_hello(tmp_path / "14" / "hello") == HELLO


def test_package_is_found_through_the_prefix_path(stranger: Stranger, tmp_path: Path) -> None:
    build(stranger, tmp_path, f"-DCMAKE_PREFIX_PATH={stranger.option('cmakedir')}")
    hello = tmp_path / "hello"
    asked_for = [name for name in needed(hello) if "cbor" in name]
    assert len(asked_for) == (0 if stranger.libcbor == "fetched" else 1)
    for name in asked_for:  # the program runs on a machine without libcbor
        assert f"{name} => {stranger.package}/lib/{name}" in stranger.run("ldd", hello)
    if stranger.libcbor == "fetched":
        assert stranger.call_hello(tmp_path / "other_libcbor") == "b'42'"
