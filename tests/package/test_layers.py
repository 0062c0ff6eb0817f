"""Folders are layers: includes and imports point only downward."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from stranger import ROOT

CPP = ROOT / "cpp"
PYTHON = ROOT / "python" / "rain"

# Folder: the folders whose headers it may include. Headers are named from the include roots;
# "public" stands for the tasklib's public headers.
LAUNCHER_HEADERS = {"launcher/protocol.h", "launcher/remove_tree.h"}
# What a Governor in mirror mode tells and hears; the rest of governor/remote lies on top of it.
MIRROR_HEADERS = {
    "remote/outgoing.h",
    "remote/run_means.h",
    "remote/submission.h",
    "remote/update.h",
}
MAY_INCLUDE = {
    "tasklib/include/tasklib": {"public"},
    "tasklib/src/base": {"base"},
    "tasklib/src/wire": {"base", "wire"},
    "tasklib/src/blob": {"base", "blob", "wire/messages.h"},
    "tasklib/src/executor": {"base", "wire", "blob", "executor", "public"},
    "governor/graph": {"graph", "base/ids.h", "base/errors.h", "base/clock.h"},
    "governor/process": {"process", "base", "wire", "blob", "graph", *LAUNCHER_HEADERS},
    "governor/builtin": {
        "annex.h",
        "object_data.h",
        "builtin",
        "graph",
        "process",
        "base",
        "wire",
        "blob",
        *LAUNCHER_HEADERS,
    },
    "governor": {
        "governor",
        "builtin",
        "graph",
        "process",
        "base",
        "wire",
        "blob",
        *LAUNCHER_HEADERS,
        *MIRROR_HEADERS,
    },
    "governor/remote": {
        "annex.h",
        "completion_queue.h",
        "governor.h",
        "method_table.h",
        "object_data.h",
        "remote",
        "graph",
        "base",
        "wire",
        "blob",
    },
    "launcher": {"launcher"},
}

# Package: what it must not import when it is imported itself.
MUST_NOT_IMPORT = {
    "common": {
        "client",
        "tasklib",
        "executor",
        "engine",
        "governor",
        "cli",
        "report",
        "dashboard",
    },
    "tasklib": {"client", "executor", "engine", "cli", "report", "dashboard"},
    "executor": {"client", "engine", "cli", "report", "dashboard"},
    "client": {"engine", "executor", "tasklib", "governor", "cli", "report", "dashboard"},
    "engine": {"executor", "tasklib", "governor", "cli", "report", "dashboard"},
    "dashboard": {"client", "executor", "tasklib", "engine", "governor", "cli"},
    "governor": {"client", "executor", "tasklib", "cli"},
}


def sources(folder: Path, *, deep: bool) -> list[Path]:
    pattern = "**/*" if deep else "*"
    return [file for file in folder.glob(pattern) if file.suffix in (".h", ".cpp")]


def included(file: Path) -> list[str]:
    """The project's own headers that the file includes, named as from the include roots."""
    text = file.read_text()
    names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)
    names += re.findall(r"^\s*#\s*include\s+<(tasklib/[^>]+)>", text, re.MULTILINE)
    own = {header.name for header in sources(file.parent, deep=False)}
    folder = file.parent.name
    return [f"{folder}/{name}" if "/" not in name and name in own else name for name in names]


@pytest.mark.parametrize("layer", MAY_INCLUDE)
def test_cpp_includes_point_downward(layer: str) -> None:
    allowed = MAY_INCLUDE[layer]
    files = sources(CPP / layer, deep=layer not in ("governor", "launcher"))
    assert files
    wrong = []
    for file in files:
        for name in included(file):
            target = name.split("/")[0]
            target = "public" if target == "tasklib" else target
            if target not in allowed and name not in allowed:
                wrong.append(f"{file.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_public_headers_name_only_the_standard_library_and_each_other() -> None:
    for file in sources(CPP / "tasklib/include/tasklib", deep=True):
        for name in re.findall(r"#\s*include\s+<([^>]+)>", file.read_text()):
            assert re.fullmatch(r"[a-z_]+", name), f"{file.name} includes <{name}>"


def test_pybind11_is_named_in_the_bindings_alone() -> None:
    for file in sources(CPP, deep=True):
        if file.is_relative_to(CPP / "bindings"):
            continue
        assert "pybind11" not in file.read_text(), file
        assert "Python.h" not in file.read_text(), file


def imported_at_module_level(file: Path) -> set[str]:
    """Parts of rain that importing the module imports; not those under `if TYPE_CHECKING`."""
    found = set()
    package = ("rain", *file.relative_to(PYTHON).parent.parts)

    def visit(statements: list[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                visit(node.orelse)
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else ()
                module = ".".join((*base, *filter(None, [node.module])))
                found.update(f"{module}.{alias.name}" for alias in node.names)
            elif isinstance(node, (ast.If, ast.Try, ast.ClassDef, ast.With)):
                for name in ("body", "orelse", "finalbody"):
                    visit(getattr(node, name, []))

    visit(ast.parse(file.read_text()).body)
    return {name.split(".")[1] for name in found if name.startswith("rain.")}


@pytest.mark.parametrize("package", MUST_NOT_IMPORT)
def test_python_imports_point_downward(package: str) -> None:
    wrong = []
    for file in (PYTHON / package).rglob("*.py"):
        for name in imported_at_module_level(file) & MUST_NOT_IMPORT[package]:
            wrong.append(f"{file.relative_to(ROOT)} imports rain.{name}")
    assert not wrong, "\n".join(wrong)
