"""What the wheel contains, and that it needs nothing of the machine."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from stranger import ROOT, Stranger, lacks, libcbor_of, needed

VERSION = re.search(
    r"project\(tasklib VERSION ([0-9.]+)", (ROOT / "cpp/tasklib/CMakeLists.txt").read_text()
).group(1)


def test_wheel_is_a_cpp_sdk(built_wheel: Path) -> None:
    with zipfile.ZipFile(built_wheel) as wheel:
        names = set(wheel.namelist())
        launcher = wheel.getinfo("rain/_bin/rain-launcher")
    assert {
        "rain/__init__.py",
        "rain/py.typed",
        "rain/include/tasklib/executor.h",
        "rain/lib/libtasklib.a",
        "rain/lib/cmake/tasklib/tasklibConfig.cmake",
        "rain/lib/cmake/tasklib/tasklibConfigVersion.cmake",
        "rain/cli/templates/cpp/CMakeLists.txt.in",
        "rain/report/page.html",
        "rain/share/tasklib/CMakeLists.txt",
        "rain/share/tasklib/include/tasklib/executor.h",
        "rain/share/tasklib/licenses/libcbor.md",
    } <= names
    assert not [name for name in names if "lib64" in name or "__pycache__" in name]
    assert launcher.external_attr >> 16 & 0o111, "the launcher is not executable"
    assert sum(re.fullmatch(r"rain/_core\..*\.so", name) is not None for name in names) == 1
    assert {name.split("/")[0] for name in names} == {"rain", f"rain_tasklib-{VERSION}.dist-info"}


def test_wheel_carries_a_shared_libcbor_with_its_licence(built_wheel: Path) -> None:
    with zipfile.ZipFile(built_wheel) as wheel:
        names = wheel.namelist()
    carried = [name for name in names if "libcbor.so" in name]
    assert len(carried) <= 1
    assert [name for name in names if name.endswith("licenses/cpp/tasklib/licenses/libcbor.md")]


def test_both_ways_to_get_libcbor_are_tested(built_wheel: Path, fetched_wheel: Path) -> None:
    assert libcbor_of(fetched_wheel) == "fetched"
    if libcbor_of(built_wheel) != "system":
        lacks("the wheel in build/wheel has no system libcbor (apt-get install libcbor-dev)")


def test_wheel_names_no_path_of_its_build(stranger: Stranger) -> None:
    for file in (stranger.package / "lib" / "cmake" / "tasklib").iterdir():
        assert str(ROOT) not in file.read_text(), file


def test_wheel_depends_on_few_packages(built_wheel: Path) -> None:
    with zipfile.ZipFile(built_wheel) as wheel:
        metadata = wheel.read(f"rain_tasklib-{VERSION}.dist-info/METADATA").decode()
    needed = [line for line in metadata.splitlines() if "extra ==" not in line]
    assert set(re.findall(r"^Requires-Dist: ([\w-]+)", "\n".join(needed), re.MULTILINE)) == {
        "numpy",
        "click",
        "cloudpickle",
        "rich",
        "tomli",  # Python 3.10
    }


def test_sdist_has_what_the_build_reads_and_no_build_results(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "cpp/tasklib/CMakeLists.txt", "python/rain/py.typed"} <= names
    assert not [name for name in names if name.startswith(("build/", ".venv/", "dist/"))]


def test_imports_in_a_fresh_environment(stranger: Stranger) -> None:
    out = stranger.run(stranger.python, "-c", "import rain.client, rain._core as c; print(c)")
    assert str(stranger.package) in out


def test_options_tell_the_places_of_the_package(stranger: Stranger) -> None:
    assert (stranger.option("cmakedir") / "tasklibConfig.cmake").is_file()
    assert (stranger.option("includedir") / "tasklib" / "executor.h").is_file()
    assert (stranger.option("tasklibdir") / "CMakeLists.txt").is_file()
    version = stranger.run(stranger.python, "-m", "rain", "--version").strip()
    assert version == f"Rain {VERSION}"


def test_launcher_is_static_and_runs(stranger: Stranger) -> None:
    launcher = stranger.package / "_bin" / "rain-launcher"
    assert needed(launcher) == []


def test_core_finds_libcbor_in_the_wheel_or_has_it_inside(stranger: Stranger) -> None:
    (core,) = stranger.package.glob("_core.*.so")
    asked_for = [name for name in needed(core) if "cbor" in name]
    if stranger.libcbor == "fetched":
        assert asked_for == []
    else:
        resolved = stranger.run("ldd", core)
        (name,) = asked_for
        assert f"{name} => {core.parent}/lib/{name}" in resolved.replace("/./", "/")


def test_core_exports_its_init_function_alone(stranger: Stranger) -> None:
    (core,) = stranger.package.glob("_core.*.so")
    symbols = stranger.run("nm", "-D", "--defined-only", core)
    assert [line.split()[-1] for line in symbols.splitlines()] == ["PyInit__core"]


def test_archive_keeps_libcbor_to_itself(stranger: Stranger) -> None:
    if stranger.libcbor != "fetched":
        pytest.skip("libcbor is a shared library in this wheel")
    symbols = stranger.run("nm", stranger.package / "lib" / "libtasklib.a")
    cbor = re.findall(r"^.* (\w) _?cbor_\w+$", symbols, re.MULTILINE)
    assert cbor
    assert not [kind for kind in cbor if not kind.islower()], "a symbol of libcbor is global"
