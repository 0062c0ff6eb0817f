"""Reference 4.7: Input, Output and LabeledList."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Input,
    InputBase,
    InputDir,
    Output,
    OutputBase,
    OutputDir,
    RainException,
    Session,
    Task,
    blob,
    directory,
)
from rain.client.output import to_output
from rain.common import DataType, LabeledList

INPUTS: list[Any] = [Input, InputDir]
OUTPUTS: list[Any] = [Output, OutputDir]


@pytest.mark.parametrize("kind", INPUTS)
def test_input_has_label_and_path(kind: Any) -> None:
    assert isinstance(kind("a"), InputBase)
    assert (kind("a").label, kind("a").path) == ("a", "a")
    assert kind("a", path="p").path == "p"
    nameless = kind()
    assert nameless.label is None
    assert nameless.path == f"input_{id(nameless)}"
    assert (kind().load, kind().content_type, kind().write, kind().dataobj) == (
        *(None, None, False, None),
    )


@pytest.mark.parametrize("kind", [*INPUTS, *OUTPUTS])
def test_label_is_a_str(kind: Any) -> None:
    with pytest.raises(Exception, match="Label has to be string"):
        kind(17)


def test_input_takes_an_object_of_its_type(graph: Session, tmp_path: Path) -> None:
    data, tree = blob("x"), directory(tmp_path)
    producer = Task((), 1, task_type="a/b")
    assert Input("a", dataobj=data).dataobj is data
    assert Input("a", dataobj=producer).dataobj is producer.output
    assert InputDir("a", dataobj=tree).dataobj is tree
    with pytest.raises(Exception, match=r"^Input exects data type .*, but provided data"):
        Input("a", dataobj=tree)
    with pytest.raises(Exception, match=r"^Input exects data type .*, but provided data"):
        InputDir("a", dataobj=data)
    with pytest.raises(RainException, match="cannot be used as a data object"):
        Input("a", dataobj="text")


@pytest.mark.parametrize("kind", OUTPUTS)
def test_output(kind: Any) -> None:
    output = kind("a", size_hint=0.5, content_type="user/x", path="p")
    assert isinstance(output, OutputBase)
    assert (output.label, output.size_hint, output.content_type, output.path) == (
        *("a", 0.5, "user/x", "p"),
    )
    assert kind("a", encode="json", content_type="json").encode == "json"
    with pytest.raises(ValueError, match="Content type 'nope' is not recognized"):
        kind("a", content_type="nope")
    with pytest.raises(ValueError, match="must be equal"):
        kind("a", content_type="json", encode="pickle")
    with pytest.raises(RainException, match="must be None"):
        kind("a", mode="file")


def test_output_makes_an_object_of_its_type(graph: Session) -> None:
    data = Output("a", encode="json").create_data_object()
    assert (data.label, data.content_type, data.spec.data_type) == ("a", "json", DataType.BLOB)
    other = Session(None, 8)
    tree = OutputDir("b").create_data_object(other)
    assert (tree.spec.data_type, tree.session) == (DataType.DIRECTORY, other)
    other.close()


def test_output_is_expected_to_be_what_it_is() -> None:
    Output().expect_blob()
    OutputDir().expect_dir()
    with pytest.raises(TypeError, match=r"^Directory expected\.$"):
        Output().expect_dir()
    with pytest.raises(TypeError, match=r"^Blob expected\.$"):
        OutputDir().expect_blob()


def test_merge_with_prototype_prefers_its_own() -> None:
    own = Output("own", path="p", content_type="text-latin1")
    proto = Output("proto", path="q", content_type="text", size_hint=2.0)
    merged = own.merge_with_prototype(proto)
    assert (merged.label, merged.path, merged.content_type) == ("own", "p", "text-latin1")
    assert merged.size_hint == 2.0  # Q24
    blank = Output().merge_with_prototype(Output("proto", path="q", encode="pickle"))
    assert (blank.label, blank.path, blank.encode) == ("proto", "q", "pickle")
    with pytest.raises(RainException, match=r"^Incompatible content types: 'json' and 'text'$"):
        Output(content_type="text").merge_with_prototype(Output(content_type="json"))
    assert OutputDir().merge_with_prototype(Output("x")).data_type is DataType.DIRECTORY


def test_to_output() -> None:
    output = OutputDir("a")
    assert to_output(output) is output
    assert to_output("a").label == "a"
    assert to_output("a").data_type is DataType.BLOB
    with pytest.raises(TypeError, match=r"^Object 17 cannot be used as output$"):
        to_output(17)


def test_labeled_list_is_made_in_several_ways() -> None:
    plain = LabeledList([1, 2])
    assert list(plain) == [1, 2]
    assert list(LabeledList([1, 2, 3], labels=["a", "b"]).items()) == [("a", 1), ("b", 2)]
    pairs: LabeledList[int] = LabeledList(pairs=[("a", 1), (None, 2)])
    assert LabeledList(pairs) == pairs
    assert list(LabeledList(pairs).items()) == [("a", 1), (None, 2)]


def test_labeled_list_finds_by_index_slice_and_label() -> None:
    values: LabeledList[int] = LabeledList(pairs=[("a", 1), (None, 2), ("c", 3)])
    assert (values[0], values["c"], values[1:]) == (1, 3, [2, 3])
    assert type(values[1:]) is list
    with pytest.raises(KeyError):
        values["nope"]
    assert "a" in values
    assert 1 not in values


def test_labeled_list_is_mutable() -> None:
    values: LabeledList[int] = LabeledList()
    values.append(1, "a")
    values.insert(0, 0, label="z")
    values.append(2)
    assert [values.get_label(i) for i in range(3)] == ["z", "a", None]
    values[0] = 5
    assert values.get_label(0) is None
    values.set(0, 6, label="six")
    values.set_label(2, "two")
    assert list(values.items()) == [("six", 6), ("a", 1), ("two", 2)]
    values[1:] = [7, 8]
    assert [values.get_label(i) for i in range(3)] == ["six", None, None]
    assert values.pop() == 8
    del values["six"]
    assert list(values) == [7]
    assert len(values) == 1


def test_labeled_list_refuses_double_and_strange_labels() -> None:
    values = LabeledList([1], labels=["a"])
    with pytest.raises(KeyError, match="Label 'a'"):
        values.append(2, "a")
    for label in (1, slice(0, 1)):
        with pytest.raises(TypeError):
            values.append(2, label)  # type: ignore[arg-type]


def test_labeled_list_is_equal_to_its_like_only() -> None:
    assert LabeledList([1]) == LabeledList([1])
    assert LabeledList([1]) != LabeledList([1], labels=["a"])
    assert LabeledList([1]) != [1]
