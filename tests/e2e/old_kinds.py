"""Executors with the libraries of Rain 0.4: where they come from, how their tasks are called."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, DataObject, Task, blob
from stranger import lacks, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OLD = HERE / "old"
BUILD = ROOT / "build"
PYTHON = "3.7"  # the last one that the old library runs on


class Old:
    """An executor type, and how to call its methods; they have the same names in all three.

    Attributes
    ----------
    kind : "cpp", "python" or "rust"
    name : str
        The executor type.
    command : dict
        For Client(executors={name: command}).
    """

    def __init__(self, kind: str, name: str, command: list[str | Path], **environment: str) -> None:
        self.kind = kind
        self.name = name
        self.command = {"command": [str(word) for word in command], "env": environment}

    def call(self, method: str, *inputs: Any, outputs: Any = 1) -> Task:
        """A task of the active session; bytes and texts become blobs."""
        return Task(as_objects(inputs), outputs, task_type=f"{self.name}/{method}")


class OldPython(Old):
    """`py`: the function is input 0, and the configuration has what stands for each argument."""

    def __init__(self, python: Path) -> None:
        # Ours, if PYTHONPATH names it, has the same name as the old library.
        super().__init__("python", "py", [python, "-m", "rain.executor"], PYTHONPATH="")
        script = OLD / "python" / "pickled_tasks.py"
        self.pickles = json.loads(run(python, script, env=os.environ | {"PYTHONPATH": ""}))

    def function(self, name: str) -> DataObject:
        data = base64.b64decode(self.pickles["functions"][name])
        return blob(data, label=name, content_type="cloudpickle")

    def call(
        self,
        method: str | DataObject,
        *inputs: Any,
        outputs: Any = 1,
        load: bool = False,
        encode: str | None = None,
    ) -> Task:
        """`method`: a name, or what `function` made, to be used in several tasks."""
        function = self.function(method) if isinstance(method, str) else method
        config = {
            "args": self.pickles["loaded" if load else "inputs"][: len(inputs)],
            "kwargs": {},
            "encode_outputs": [encode] * (outputs if isinstance(outputs, int) else len(outputs)),
        }
        return Task([function, *as_objects(inputs)], outputs, config=config, task_type="py/")


def as_objects(inputs: tuple[Any, ...]) -> list[Any]:
    return [blob(item) if isinstance(item, (bytes, str)) else item for item in inputs]


def fetch(task: Task) -> bytes:
    data: bytes = task.output.fetch().get_bytes()
    return data


def old_rust() -> Old:
    """Built once, in build/old-rust."""
    return Old("rust", "oldrust", [build_rust(OLD / "rust", "old-executor", "0.0.0")])


def build_rust(source: Path, name: str, version: str) -> Path:
    """The program of a crate that depends on rain_task 0.4.0; versions.lock says what of."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo (Rust) to build an executor with rain_task 0.4.0")
    if shutil.which("capnp") is None:  # asked for by the build of rain_core, on which it depends
        lacks("there is no capnp, which building rain_task 0.4.0 needs: apt-get install capnproto")
    if not _links("sqlite3"):
        lacks("building rain_task 0.4.0 needs libsqlite3: apt-get install libsqlite3-dev")
    crate = _locked_crate()
    manifest = ["--locked", "--manifest-path", crate / "Cargo.toml"]
    if _fails("cargo", "fetch", "--offline", *manifest):
        _get("the crates of rain_task 0.4.0", "cargo", "fetch", *manifest)
    if source != OLD / "rust":  # the same dependencies under another name
        lock = (crate / "Cargo.lock").read_text()
        own = '[[package]]\nname = "{}"\nversion = "{}"\n'
        crate = BUILD / "old-rust" / name
        shutil.rmtree(crate, ignore_errors=True)
        shutil.copytree(source, crate, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
        assert own.format("old-executor", "0.0.0") in lock
        lock = lock.replace(own.format("old-executor", "0.0.0"), own.format(name, version))
        (crate / "Cargo.lock").write_text(lock)
        manifest = ["--locked", "--manifest-path", crate / "Cargo.toml"]
    run("cargo", "build", "--offline", "--target-dir", BUILD / "old-rust", *manifest)
    return BUILD / "old-rust" / "debug" / name


def _locked_crate() -> Path:
    """A copy of the crate with a lock file: versions.lock, with the registry of this cargo."""
    crate, versions = BUILD / "old-rust" / "crate", OLD / "rust" / "versions.lock"
    lock, stamp = crate / "Cargo.lock", crate / "versions.lock"
    if not stamp.exists() or stamp.read_text() != versions.read_text():
        shutil.copytree(OLD / "rust", crate, dirs_exist_ok=True)
        stamp.unlink()
        lock.unlink(missing_ok=True)
        manifest = ["--manifest-path", crate / "Cargo.toml"]
        _get("the index of crates", "cargo", "generate-lockfile", *manifest)
        registry = next(line for line in lock.read_text().splitlines() if "source = " in line)
        lock.write_text(versions.read_text().replace('source = "the registry"', registry))
        shutil.copy(versions, stamp)
    else:
        shutil.copytree(OLD / "rust" / "src", crate / "src", dirs_exist_ok=True)
    return crate


def old_python() -> OldPython:
    """In an environment of its own, in build/old-python, made once."""
    interpreter = _find_python()
    if interpreter is None:
        pytest.skip(
            f"there is no Python {PYTHON}, which rain-python 0.4.0 needs: RAIN_OLD_PYTHON=…"
        )
    requirements = OLD / "python" / "requirements.txt"
    folder, wanted = BUILD / "old-python", requirements.read_text()
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        run(interpreter, "-m", "venv", folder)
        # The pip that came with it knows no wheels of today's form; the last one for 3.7 does.
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        _get("pip for Python 3.7", *pip, "pip<24.1", "wheel", "setuptools<69")
        _get("rain-python 0.4.0", *pip, "--no-build-isolation", "-r", requirements)
        stamp.write_text(wanted)
    return OldPython(python)


def old_cpp() -> Old:
    """A stand-in: the old C++ library is in no registry."""
    conformance = HERE.parent / "conformance"
    program = [sys.executable, OLD / "cpp" / "old_cpp_executor.py"]
    return Old("cpp", "oldcpp", program, PYTHONPATH=str(conformance))


def client_of(*kinds: Old) -> Client:
    return Client(executors={kind.name: kind.command for kind in kinds}, cpus=2)


def _find_python() -> str | None:
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates = [
        os.environ.get("RAIN_OLD_PYTHON"),
        shutil.which(f"python{PYTHON}"),
        *sorted(str(path) for path in pyenv.glob(f"{PYTHON}.*/bin/python{PYTHON}")),
    ]
    for candidate in filter(None, candidates):
        # A name in PATH may be pyenv's, for a version that isn't there.
        if not _fails(candidate, "-c", "import ensurepip, venv"):
            return candidate
    return None


def _links(library: str) -> bool:
    words = ["cc", "-x", "c", "-", f"-l{library}", "-o", "/dev/null"]
    try:
        done = subprocess.run(words, input=b"int main(void) { return 0; }", capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def _fails(*command: Any) -> bool:
    try:
        return subprocess.run([str(w) for w in command], capture_output=True).returncode != 0
    except OSError:
        return True


def _get(what: str, *command: Any) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        lacks(f"{what} can't be had ({' '.join(words[:4])} …):\n{done.stdout[-1000:]}")
