"""What is particular to cbor-1: locations, caches, frames of limited size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from calls import SESSION, In, Out
from fake_governor import MAX_FRAME
from kinds import OLD, Start

old_protocol = pytest.mark.parametrize("kind", OLD)


@old_protocol
def test_our_executors_cache_nothing(shared: Start, kind: str) -> None:
    result = shared(kind).call("hello", [b"x"])
    assert result.raw.get("cached_objects", []) == []


@old_protocol
def test_dropping_what_was_never_cached_does_no_harm(shared: Start, kind: str) -> None:
    tester = shared(kind)
    tester.executor.send("drop_cached", {"objects": []})
    tester.executor.send("drop_cached", {"objects": [[SESSION, 1], [SESSION, 2]]})
    assert tester.call("hello", [b"x"]).data == b"Hello x!"


@old_protocol
def test_an_input_in_a_cache_it_never_offered_ends_it(start: Start, kind: str) -> None:
    tester = start(kind)
    tester.send_call("hello", [In("cached", number=5)])
    assert tester.executor.at_end()
    assert tester.executor.wait_exit() != 0
    assert "input 0 of task" in tester.executor.logs()


def test_a_foreign_executor_may_cache(start: Start) -> None:
    tester = start("raw-cbor-1")
    first = tester.call("hello", [In(b"kept", number=5)])
    assert first.raw["cached_objects"] == [[SESSION, 5]]
    assert tester.call("concat", [In("cached", number=5)]).data == b"kept"
    tester.executor.send("drop_cached", {"objects": [[SESSION, 5]]})
    assert tester.call("concat", [In(b"new", number=5)]).data == b"new"


@old_protocol
def test_an_output_larger_than_a_frame_becomes_a_file(start: Start, kind: str) -> None:
    tester = start(kind)
    size = MAX_FRAME + 1
    result = tester.call("fill", config={"size": size, "byte": 3})
    assert result.success, result.error
    location, path = result.outputs[0].at
    assert location == "path"
    assert Path(path).parent == tester.executor.directory
    assert os.stat(path).st_size == size


@old_protocol
def test_a_directory_comes_as_a_path(shared: Start, kind: str, tmp_path: Path) -> None:
    directory = In(tmp_path, number=900, directory=True)
    result = shared(kind).call("echo", [directory], [Out(directory=True)])
    assert result.outputs[0].at == ["other_object", [SESSION, 900]]
    refused = shared(kind).call("concat", [directory])
    assert not refused.success
    assert str(tmp_path) in refused.error


def test_a_python_task_may_return_a_file(shared: Start) -> None:
    tester = shared("python-cbor-1")
    expression = "open('made', 'wb').write(b'by hand') and ctx.stage_file('made', 'user/x')"
    result = tester.call("return_of", config={"expression": expression})
    assert result.outputs[0].at == ["path", str(tester.executor.directory / "made")]
    assert result.outputs[0].content_type == "user/x"
    assert result.data == b"by hand"
