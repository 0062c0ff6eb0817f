"""`rain executors stub`: the module that it writes runs, and mypy checks what uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rain.cli.app import rain
from rain.cli.probe import Probe, ProbedTask, Value
from rain.cli.stubs import stub_module

ROOT = Path(__file__).resolve().parents[2]
TYPEDTESTER = ROOT / "tests" / "conformance" / "typedtester.py"


@pytest.fixture
def config(tmp_path: Path, cpptester: Path, pytester_command: list[str]) -> Path:
    file = tmp_path / "executors.toml"
    file.write_text(
        f'[executors.cpptester]\ncommand = "{cpptester}"\n'
        f"[executors.pytester]\ncommand = {pytester_command!r}\n"
        f"[executors.typedtester]\ncommand = {[sys.executable, str(TYPEDTESTER)]!r}\n"
    )
    return file


@pytest.fixture
def stubs(config: Path) -> Path:
    module = config.with_name("stubs.py")
    done = CliRunner().invoke(rain, ["executors", "stub", str(config), "-o", str(module)])
    assert done.exit_code == 0, done.output
    assert "of 3 executors" in done.output
    return module


def python(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, capture_output=True, text=True
    )


def mypy(folder: Path, program: str) -> list[str]:
    """What mypy --strict says of the program, and of what it imports."""
    (folder / "program.py").write_text(program)
    cache = ROOT / "build" / "mypy-cache"  # numpy's stubs take long the first time
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()[:-1]


def test_its_functions_make_tasks(stubs: Path) -> None:
    done = python(
        stubs.parent,
        "from rain.client import Client, blob\n"
        "from stubs import cpptester, pytester\n"
        "with Client(config='executors.toml') as client, client.new_session():\n"
        "    first = cpptester.hello(b'Rain', name='first')\n"
        "    second = pytester.hello(first, cpus=1)\n"
        "    print(first.name, second.output.fetch().get_bytes())\n",
    )
    assert done.stdout == "first b'Hello Hello Rain!!'\n", done.stderr


def test_mypy_checks_what_uses_it(stubs: Path) -> None:
    said = mypy(
        stubs.parent,
        "from rain.client import Task\n"
        "from stubs import cpptester\n"
        "task: Task = cpptester.hello(b'Rain', name='first', retries=2)\n"
        "cpptester.helo(b'Rain')\n"
        "cpptester.hello(b'Rain', retries='many')\n",
    )
    assert [line.split(":")[:2] for line in said] == [["program.py", "4"], ["program.py", "5"]]
    assert '"Cpptester" has no attribute "helo"' in said[0]
    assert 'Argument "retries"' in said[1]


def values(*values: str) -> list[Value]:
    """Of "name: type" or just types."""
    pairs = (value.rpartition(": ") for value in values)
    return [Value(type_, name) for name, _, type_ in pairs]


@pytest.fixture
def typed_stubs(config: Path) -> Path:
    """The module as it is for executors that tell the types of their tasks."""
    array = "ndarray float64 of 1 dimension"
    matrix = "ndarray int32 of 2 dimensions"
    tasks = [
        ProbedTask("typed_scale", values(f"x: {array}", "factor: float64 scalar"), values(array)),
        ProbedTask("typed_transpose", values(f"matrix: {matrix}"), values(matrix)),
        ProbedTask("typed_move", values("point: value", "tag: text"), values("value")),
        ProbedTask("typed_parts", values("text", "any"), values("text", "int64 scalar", "any")),
        ProbedTask("typed_nothing", values("flag: bool scalar"), []),
        ProbedTask("lambda", values("ndarray", "name: bytes", "name: any"), values("any")),
    ]
    probes = [Probe(name, tasks=tasks) for name in ("cpptester", "typedtester")]
    module = config.with_name("stubs.py")
    module.write_text(stub_module("executors.toml", probes))
    return module


@pytest.mark.parametrize("executor", ["cpptester", "typedtester"])
def test_values_become_what_typed_tasks_take(typed_stubs: Path, executor: str) -> None:
    done = python(
        typed_stubs.parent,
        "from rain.client import Client, blob\n"
        f"from stubs import {executor} as typed\n"
        "with Client(config='executors.toml') as client, client.new_session():\n"
        "    print(typed.typed_scale([1, 2], factor=2.5).result())\n"
        "    print(typed.typed_scale(x=typed.typed_scale([4.0], 1.0), factor=2).result())\n"
        "    print(typed.typed_transpose([[1, 2], [3, 4]]).result().tolist())\n"
        "    point = {'x': 1.0, 'y': 2.0, 'tags': []}\n"
        "    print(typed.typed_move(point, tag='a').result()['tags'])\n"
        "    parts = typed.typed_parts('text', b'any')\n"
        "    print(len(parts.outputs), parts.outputs[0].fetch().load())\n"
        "    nothing = typed.typed_nothing(flag=True)\n"
        "    nothing.session.submit()\n"
        "    nothing.wait()\n",
    )
    assert done.stdout == "[2.5 5. ]\n[8.]\n[[1, 3], [2, 4]]\n['a']\n3 text!\n", done.stderr


def test_mypy_checks_types_of_typed_tasks(typed_stubs: Path) -> None:
    said = mypy(
        typed_stubs.parent,
        "import numpy as np\n"
        "from rain.client import blob\n"
        "from stubs import cpptester, typedtester\n"
        "scaled = cpptester.typed_scale(np.zeros(3), factor=2.0, name='scaled')\n"
        "typedtester.typed_scale(scaled, factor=blob(b''))\n"
        "cpptester.typed_scale([1.0], factor='2')\n"
        "typedtester.typed_scale([1.0])\n"
        "typedtester.typed_move({}, marker='a')\n"
        "typedtester.lambda_([1], name_=b'x', name__=blob(b'y'), name='of the task')\n",
    )
    lines = [line for line in said if ": error: " in line]
    assert [line.split(":")[:2] for line in lines] == [["program.py", str(n)] for n in (6, 7, 8)]
    assert 'Argument "factor"' in lines[0]
    assert 'Missing positional argument "factor"' in lines[1]


def test_an_executor_that_fails_is_left_out(tmp_path: Path) -> None:
    config, module = tmp_path / "executors.toml", tmp_path / "stubs.py"
    config.write_text(f'[executors.broken]\ncommand = ["{sys.executable}", "-c", "1/0"]\n')
    done = CliRunner().invoke(rain, ["executors", "stub", str(config), "-o", str(module)])
    assert done.exit_code == 1
    assert "broken is left out" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    compile(module.read_text(), module, "exec")
