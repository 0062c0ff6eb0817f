"""Reference 4.1: where names are imported from."""

from __future__ import annotations

from importlib import import_module

import pytest

NAMES = {
    "rain.client": "Client Session Task DataObject blob pickled directory Input InputDir InputBase "
    "Output OutputDir OutputBase Program remote Remote RainException RainWarning TaskException "
    "SessionException",
    "rain.client.tasks": "Concat Sleep Load LoadDir Store MakeDirectory SliceDirectory Execute",
    "rain.client.session": "Session SessionBinder get_active_session global_session_push "
    "global_session_pop",
    "rain.client.rpc": "common server",
    "rain.client.data": "DataObject to_dataobj blob pickled directory",
    "rain.client.output": "Output OutputDir OutputBase OutputSpec to_output",
    "rain.client.input": "Input InputDir InputBase",
    "rain.client.task": "Task",
    "rain.client.program": "Program",
    "rain.common": "LabeledList DataInstance RainException RainWarning SessionException "
    "TaskException ID DataType",
    "rain.common.content_type": "check_content_type merge_content_types is_type_instance "
    "encode_value decode_value",
    "rain.common.attributes": "TaskSpec TaskSpecInput TaskInfo ObjectSpec ObjectInfo",
    "rain.executor.executor": "unpickle_input_object",
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in NAMES for name in NAMES[module].split()]
)
def test_name_is_where_programs_import_it_from(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


def test_same_class_under_each_of_its_names() -> None:
    import rain.client
    import rain.common

    for name in ("RainException", "RainWarning", "SessionException", "TaskException"):
        assert getattr(rain.client, name) is getattr(rain.common, name)


def test_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from rain.client import *", names)
    assert set(NAMES["rain.client"].split()) <= set(names)
