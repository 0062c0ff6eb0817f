"""Executors to test, each in the protocols that it speaks."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from calls import Tester
from fake_governor import Executor
from kinds import Start, protocol_of

HERE = Path(__file__).resolve().parent


def program_of(
    kind: str, request: pytest.FixtureRequest, threads: int = 1
) -> tuple[str, list[str]]:
    """The executor type, and the command."""
    language = kind.partition("-")[0]
    if language == "cpp":
        return "cpptester", [str(request.getfixturevalue("cpptester")), str(threads)]
    name = {"python": "pytester", "annotated": "typedtester", "raw": "rawtester"}[language]
    return name, [sys.executable, str(HERE / f"{name}.py"), str(threads)]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """start(kind, threads=1, ...): a registered and welcomed executor; ends with the test.

    `kind` is of one of the lists in kinds.py: implementation and protocol.
    """
    started: list[Executor] = []

    def start(kind: str, threads: int = 1, *, begin: bool = True, **options: Any) -> Tester:
        name, command = program_of(kind, request, threads)
        directory = options.pop("directory", tmp_path / f"executor-{len(started)}")
        executor = Executor(command, directory, protocol_of(kind), **options)
        started.append(executor)
        if begin:
            executor.start()
        return Tester(executor, name)

    yield start
    for executor in started:
        executor.close()


@pytest.fixture(scope="session")
def shared_testers() -> Iterator[dict[str, Tester]]:
    testers: dict[str, Tester] = {}
    yield testers
    for tester in testers.values():
        tester.executor.close()


@pytest.fixture
def shared(
    shared_testers: dict[str, Tester],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Start]:
    """shared(kind): an executor that many tests use one after the other, with room for outputs.

    What a test does to it must not matter to the next: afterwards it must be there and silent.
    """
    used: set[str] = set()

    def shared(kind: str) -> Tester:
        used.add(kind)
        if kind not in shared_testers:
            program = program_of(kind, request)
            executor = Executor(program[1], tmp_path_factory.mktemp(kind) / "x", protocol_of(kind))
            shared_testers[kind] = Tester(executor, program[0])
            executor.start()
            if protocol_of(kind) == "cbor-2":
                executor.lease(executor.add_region(1, 64 << 20), [(0, 64 << 20)])
        return shared_testers[kind]

    yield shared
    for kind in used:
        tester = shared_testers.pop(kind)
        executor = tester.executor
        if request.node.stash.get(FAILED, False):
            executor.close()
            continue
        assert executor.process.poll() is None, executor.logs()
        assert not executor.messages
        assert not executor.results
        shared_testers[kind] = tester


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report
