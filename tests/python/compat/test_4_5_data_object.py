"""Reference 4.5: DataObject, blob, pickled, directory, to_dataobj."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    DataObject,
    DataObjectState,
    RainException,
    Session,
    Task,
    blob,
    directory,
    pickled,
)
from rain.client.data import to_dataobj
from rain.common import DataInstance, DataType


def hello() -> Task:
    return Task((blob("x"),), 1, task_type="cpptester/hello")


def test_constructor_takes_the_next_id_of_the_active_session(graph: Session) -> None:
    first, second = DataObject("label"), DataObject(None, graph, DataType.DIRECTORY, "user/x")
    assert (first.id, second.id) == ((7, 10), (7, 11))
    assert (first.label, first.spec.label, first.content_type) == ("label", "label", None)
    assert (first.spec.data_type, second.spec.data_type) == (DataType.BLOB, DataType.DIRECTORY)
    assert second.content_type == "user/x"


def test_session_argument_comes_before_the_active_session(graph: Session) -> None:
    other = Session(None, 8)
    assert DataObject(session=other).session is other
    assert blob("x", session=other).session is other  # Q43
    assert pickled(1, session=other).session is other
    other.close()


def test_state_and_info_are_none_before_submit_and_fetch(session: Session) -> None:
    task = hello()
    assert task.output.state is None
    assert task.output.info is None


def test_content_type_is_the_declared_one_until_the_task_says_more(session: Session) -> None:
    declared = Task((blob(b"x", content_type="text"),), ["o"], task_type="pytester/attributes")
    assert declared.output.content_type is None
    declared.output.fetch()
    assert declared.output.content_type == "json"


def test_q30_unset_content_type_stays_none(session: Session) -> None:
    task = hello()
    assert task.output.fetch().content_type is None
    assert task.output.content_type is None


def test_keep_is_for_before_submit(session: Session) -> None:
    task = hello()
    task.output.keep()
    assert task.output.is_kept()
    session.submit()
    with pytest.raises(RainException) as caught:
        task.output.keep()
    assert str(caught.value) == f"cannot keep submitted data object {task.output!r}"


def test_fetch_needs_the_keep_flag(session: Session) -> None:
    task = hello()
    session.submit()
    with pytest.raises(RainException) as caught:
        task.output.fetch()
    assert str(caught.value) == f"Can't fetch object {task.output!r} without keep flag."


def test_fetch_waits_and_updates_info(session: Session) -> None:
    task = hello()
    task.output.keep()
    session.submit()
    instance = task.output.fetch()
    assert isinstance(instance, DataInstance)
    assert instance.get_bytes() == b"Hello x!"
    info = task.output.info
    assert info is not None
    assert info.size == 8


def test_wait_for_what_is_not_submitted(session: Session) -> None:
    task = hello()
    with pytest.raises(RainException) as caught:
        task.output.wait()
    assert str(caught.value) == f"Object {task.output!r} is not submitted."


def test_q21_kept_constants_can_be_fetched(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    text, tree = blob("text"), directory(tmp_path)
    session.keep_all()
    session.submit()
    assert text.fetch().load() == "text"
    tree.fetch().write(tmp_path / "copy")
    assert (tmp_path / "copy" / "file").read_text() == "content"


def test_expect_dir(graph: Session, tmp_path: Path) -> None:
    directory(tmp_path).expect_dir()
    with pytest.raises(TypeError, match=r"^Directory expected\.$"):
        blob("x").expect_dir()


def test_object_stays_while_it_is_kept_or_needed(client: Client) -> None:
    with client.new_session() as session:
        data = blob("x")
        first = Task((data,), 1, task_type="cpptester/hello")
        second = Task((first,), 1, task_type="cpptester/hello")
        second.output.keep()
        session.submit()
        session.wait_all()
        assert first.output.state is DataObjectState.removed
        assert data.state is DataObjectState.removed
        assert second.output.state is DataObjectState.finished


def test_q41_kept_object_that_nobody_has_goes(client: Client) -> None:
    with client.new_session() as session:
        data = blob(b"x" * 100_000)
        data.keep()
        session.submit()
        data.wait()
        del data
        gc.collect()
        assert client.get_server_info()["governors"][0]["objects"] == []


def test_pickling_elsewhere_is_refused(graph: Session) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(blob("x"))


@pytest.mark.parametrize(
    ("value", "options", "label", "content_type"),
    [
        ("text", {}, "const", "text"),
        (b"bytes", {}, "const", None),
        (b"bytes", {"content_type": "user/x"}, "const", "user/x"),
        (b"bytes", {"label": "mine"}, "mine", None),
        ({"a": 1}, {"encode": "json"}, "const", "json"),
        ("text", {"encode": "text-latin1"}, "const", "text-latin1"),
        ([1], {"encode": "pickle"}, "const", "pickle"),
    ],
)
def test_blob(
    graph: Session, value: Any, options: dict[str, str], label: str, content_type: str | None
) -> None:
    data = blob(value, **options)
    assert (data.label, data.content_type) == (label, content_type)


def test_blob_refuses(graph: Session) -> None:
    with pytest.raises(RainException, match=r"^Specify only one of content_type and encode$"):
        blob(b"x", content_type="json", encode="json")
    with pytest.raises(RainException, match=r"^content_type only allowed for `bytes`$"):
        blob("x", content_type="json")
    with pytest.raises(
        RainException,
        match=r"^Invalid blob type \(only str or bytes are allowed without `encode`\)",
    ):
        blob(1)
    with pytest.raises(ValueError, match=r"^Content type 'nope' is not recognized$"):
        blob(1, encode="nope")


def test_pickled(session: Session) -> None:
    data = pickled({"a": (1, 2)})
    assert (data.label, data.content_type) == ("pickle", "pickle")
    assert data.fetch().load() == {"a": (1, 2)}


def test_directory_has_its_label_and_no_content_type(graph: Session, tmp_path: Path) -> None:
    data = directory(tmp_path)
    assert (data.label, data.content_type, data.spec.data_type) == (
        "const_dir",
        None,
        DataType.DIRECTORY,
    )
    assert directory(str(tmp_path), "mine").label == "mine"


def test_to_dataobj(graph: Session) -> None:
    data, one = blob("x"), hello()
    none = Task((), 0, task_type="a/b")
    several = Task((), 2, task_type="a/b")
    assert to_dataobj(data) is data
    assert to_dataobj(one) is one.output
    for wrong, text in (
        (none, f"{none!r} does not have any output"),
        (several, f"{several!r} returns multiple outputs"),
        ("x", f"Instance of {str!r} cannot be used as a data object."),
        (b"x", f"Instance of {bytes!r} cannot be used as a data object."),
        (17, f"Instance of {int!r} cannot be used as a data object."),
    ):
        with pytest.raises(RainException) as caught:
            to_dataobj(wrong)
        assert str(caught.value).startswith(text)
        if wrong is not none and wrong is not several:
            assert ("blob(value)" if wrong != 17 else "pickled(value)") in str(caught.value)
