"""Reference 2.1 and 2.7: ids, and the Python mirrors of specs and infos."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from rain.client import Session, Task, blob, directory
from rain.common import ID, DataType
from rain.common.attributes import ObjectInfo, ObjectSpec, TaskInfo, TaskSpec, TaskSpecInput

CLASSES = [TaskSpec, TaskSpecInput, TaskInfo, ObjectSpec, ObjectInfo]


def test_id_is_the_plain_tuple_and_prints_with_a_slash() -> None:
    identity = ID(3, 14)
    assert (identity.session_id, identity.id) == (3, 14)
    assert identity == (3, 14)
    assert hash(identity) == hash((3, 14))
    assert repr(identity) == "3/14"
    assert pickle.loads(pickle.dumps(identity)) == identity


@pytest.mark.parametrize("kind", CLASSES)
def test_unknown_name_is_a_type_error(kind: Any) -> None:
    with pytest.raises(TypeError, match="Unknown attribute name 'nope'"):
        kind(nope=1)


@pytest.mark.parametrize("kind", CLASSES)
def test_unknown_key_is_an_attribute_error(kind: Any) -> None:
    with pytest.raises(AttributeError):
        kind._from_json({"nope": 1})


@pytest.mark.parametrize("kind", CLASSES)
def test_attributes_are_plain_and_can_be_set(kind: Any) -> None:
    item = kind()
    for name in vars(item):
        setattr(item, name, "new")
    assert set(vars(item).values()) == {"new"}


def test_defaults() -> None:
    spec = TaskSpec()
    assert (spec.id, spec.config, spec.name) == (None, None, None)
    assert (spec.inputs, spec.resources, spec.user) == ([], {}, {})
    assert not spec.outputs
    info = TaskInfo()
    assert info.duration is None
    assert not info.error
    assert (info.debug, info.governor, info.start_time, info.user) == ("", "", "", {})
    about = ObjectSpec()
    assert about.data_type is DataType.BLOB
    assert (about.label, about.content_type, about.user) == ("", "", {})
    became = ObjectInfo()
    assert (became.content_type, became.error, became.debug, became.user) == ("", "", "", {})
    assert not became.size


def test_what_is_not_set_is_not_written() -> None:
    for kind in (TaskSpec, TaskSpecInput, TaskInfo, ObjectInfo):
        assert kind()._to_json() == {}  # type: ignore[attr-defined]
    assert ObjectSpec()._to_json() == {"data_type": "blob"}


@pytest.mark.parametrize("config", [0, 0.0, False, {}, [], ""])
def test_q8_config_that_is_false_is_written(config: Any) -> None:
    assert TaskSpec(config=config)._to_json() == {"config": config}
    assert TaskSpec._from_json({"config": config}).config == config


def test_q8_duration_of_nothing_is_written() -> None:
    assert TaskInfo(duration=0.0)._to_json() == {"duration": 0.0}


def test_specs_survive_json(graph: Session, tmp_path: Any) -> None:
    data, tree = blob(b"x", label="in", content_type="user/x"), directory(tmp_path)
    task = Task([("a", data), tree], ["out"], task_type="a/b", config=0, name="group/task")
    for spec in (task.spec, data.spec, tree.spec):
        assert type(spec)._from_json(spec._to_json()) == spec
    written = task.spec._to_json()
    assert written["inputs"] == [{"id": list(data.id), "label": "a"}, {"id": list(tree.id)}]
    assert written["outputs"] == [list(task.output.id)]
    assert (written["id"], written["resources"]) == (list(task.id), {"cpus": 1})
    assert tree.spec._to_json()["data_type"] == "dir"
    read = TaskSpec._from_json(written)
    assert [type(item.id) for item in read.inputs] == [ID, ID]


def test_data_type_has_the_values_of_the_protocol() -> None:
    assert DataType.BLOB.value == "blob"
    assert DataType.DIRECTORY.value == "dir"
    assert DataType("dir") is DataType.DIRECTORY
