"""Reference 4.9 and 3.3: directories in Python tasks."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    Output,
    OutputDir,
    Session,
    TaskState,
    directory,
    remote,
)
from rain.common import DataType

pytest.importorskip("cloudpickle")

pytestmark = pytest.mark.engines


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Iterator[Session]:
    """A session with no registered executor: `py` is always there."""
    with make_client(executors={}, cpus=2).new_session(on_error="continue") as session:
        yield session


def test_call_overrides_outputs(session: Session) -> None:
    @remote(outputs=[Output(encode="json"), OutputDir("tree")])
    def f(ctx: Any) -> Any:
        os.mkdir("d")
        return [1], ctx.stage_directory("d")

    made = []
    for outputs in ([None, None], ["a", "b"], [Output("a"), OutputDir("b")]):
        task = f(outputs=outputs)
        made.append(task)
        types = [output.spec.data_type for output in task.outputs]
        assert types == [DataType.BLOB, DataType.DIRECTORY]  # Q24
        assert task.outputs[0].content_type == "json"
        task.keep_outputs()
    with pytest.raises(ValueError, match=r"^Got 1 outputs, 2 expected\.$"):
        f(outputs=["a"])
    session.submit()
    session.wait_all()
    assert {task.state for task in made} == {TaskState.finished}


def test_context_stages_files_and_directories(session: Session) -> None:
    @remote(outputs=[Output("file", content_type="text"), OutputDir("tree")])
    def f(ctx: Any) -> Any:
        Path("file").write_text("content")
        os.makedirs("tree/empty")
        Path("tree/x").write_text("x")
        return ctx.stage_file("file", "text"), ctx.stage_directory("tree")

    task = f()
    task.keep_outputs()
    session.submit()
    file, tree = task.fetch_outputs()
    assert file.load() == "content"
    assert sorted(os.listdir(tree.path)) == ["empty", "x"]  # type: ignore[attr-defined]


def test_directory_arrives_with_its_members(session: Session, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run").touch(mode=0o755)

    @remote(outputs=[OutputDir("tree")])
    def f(ctx: Any, tree: Any) -> Any:
        assert tree.data_type.value == "dir"
        tree.write("copy")
        assert os.access("copy/d/run", os.X_OK)
        Path("copy/d/more").write_text("m")
        return ctx.stage_directory("copy")

    found = f(directory(tmp_path)).output.fetch()
    assert sorted(os.listdir(os.path.join(found.path, "d"))) == ["more", "run"]  # type: ignore[attr-defined]
