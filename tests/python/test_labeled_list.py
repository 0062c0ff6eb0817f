from __future__ import annotations

import pytest
from rain.common import LabeledList


def test_finds_by_index_slice_and_label() -> None:
    values = LabeledList(["x", "y", "z"], labels=["a", None, "c"])
    assert values[0] == "x"
    assert values[-1] == "z"
    assert values[1:] == ["y", "z"]
    assert values["c"] == "z"
    with pytest.raises(KeyError):
        values["nope"]


def test_is_made_from_pairs_and_from_another_list() -> None:
    values = LabeledList(pairs=[("a", 1), (None, 2)])
    assert list(values.items()) == [("a", 1), (None, 2)]
    assert LabeledList(values) == values


def test_shorter_of_labels_and_items_wins() -> None:
    assert list(LabeledList([1, 2, 3], labels=["a"])) == [1]


def test_contains_asks_for_labels() -> None:
    values = LabeledList(["x"], labels=["a"])
    assert "a" in values
    assert "x" not in values
    assert None not in LabeledList(["x"])


def test_duplicate_label_is_refused_and_changes_nothing() -> None:
    values = LabeledList(["x"], labels=["a"])
    with pytest.raises(KeyError, match="Label 'a' already present"):
        values.append("y", "a")
    with pytest.raises(KeyError, match="Label 'a' already present"):
        values.insert(0, "y", "a")
    values.append("y", "b")
    with pytest.raises(KeyError):
        values.set_label(1, "a")
    values.set_label(1, "b")
    assert list(values.items()) == [("a", "x"), ("b", "y")]


def test_label_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError):
        LabeledList().append("x", 1)  # type: ignore[arg-type]


def test_assigning_clears_labels() -> None:
    values = LabeledList(["x", "y", "z"], labels=["a", "b", "c"])
    values[0] = "q"
    assert values.get_label(0) is None
    values[1:] = ["r"]
    assert list(values.items()) == [(None, "q"), (None, "r")]
    values.set(1, "s", "t")
    assert values["t"] == "s"


def test_deletes_and_pops_with_labels() -> None:
    values = LabeledList(["x", "y", "z"], labels=["a", "b", "c"])
    del values["b"]
    assert values.pop() == "z"
    assert list(values.items()) == [("a", "x")]


def test_equals_only_lists_of_its_class_with_equal_labels() -> None:
    assert LabeledList(["x"]) == LabeledList(["x"])
    assert LabeledList(["x"]) != LabeledList(["x"], labels=["a"])
    assert LabeledList(["x"]) != ["x"]
