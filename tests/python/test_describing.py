"""Inputs, outputs and specs: what the client says of tasks, without running any."""

from __future__ import annotations

from typing import Any

import pytest
from rain.client import (
    DataObject,
    Input,
    Output,
    RainException,
    Session,
    Task,
    blob,
    pickled,
)
from rain.common import ID, DataType

TYPE = "example1/do"


def make(inputs: Any = (), outputs: Any = None, **arguments: Any) -> Task:
    return Task(inputs, outputs, task_type=TYPE, **arguments)


def test_ids_count_from_10_and_task_comes_before_its_outputs(graph: Session) -> None:
    first = blob("x")
    task = make((first,), 2)
    assert (first.id, task.id) == ((7, 10), (7, 11))
    assert [output.id for output in task.outputs] == [(7, 12), (7, 13)]
    assert repr(task.id) == "7/11"
    assert task.id == ID(7, 11)
    assert hash(task.id) == hash((7, 11))
    labeled = make((), ["a", Output("b")])
    assert [labeled.id, *(o.id for o in labeled.outputs)] == [(7, 14), (7, 15), (7, 16)]


def test_counts_what_is_not_submitted(graph: Session) -> None:
    make((blob("x"),), 2)
    assert (graph.task_count, graph.dataobj_count) == (1, 3)
    make((), [DataObject("made before"), "label"])
    assert (graph.task_count, graph.dataobj_count) == (2, 5)


def test_input_may_be_an_object_a_task_or_labelled(graph: Session) -> None:
    data = blob("x")
    producer = make((), 1)
    task = make([data, ("second", producer)], 0)
    assert list(task.inputs) == [data, producer.output]
    assert task.inputs["second"] is producer.output
    assert task.inputs.get_label(0) is None


def test_inputs_may_be_any_iterable(graph: Session) -> None:
    producers = [make((), 1) for _ in range(3)]
    task = make((p for p in producers), 0)
    assert [i.id for i in task.inputs] == [p.output.id for p in producers]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda: make([make((), 0)]), "does not have any output"),
        (lambda: make([make((), 2)]), "returns multiple outputs"),
        (lambda: make(["text"]), "cannot be used as a data object. Use blob"),
        (lambda: make([17]), "cannot be used as a data object. Use pickled"),
    ],
)
def test_wrong_input_is_refused(graph: Session, bad: Any, message: str) -> None:
    with pytest.raises(RainException, match=message):
        bad()


def test_single_object_as_inputs_is_explained(graph: Session) -> None:
    with pytest.raises(TypeError, match=r"write inputs=\(obj,\)"):
        make(blob("x"))


def test_duplicate_labels_are_refused(graph: Session) -> None:
    data = blob("x")
    with pytest.raises(KeyError, match="Label 'a' already present"):
        make([("a", data), ("a", data)])
    with pytest.raises(KeyError, match="Label 'a' already present"):
        make((), ["a", Output("a")])


def test_outputs_may_be_described_in_several_ways(graph: Session) -> None:
    mine = DataObject("mine", content_type="json")
    task = make((), ["text", Output("coded", encode="pickle"), mine, Output()])
    assert [o.label for o in task.outputs] == ["text", "coded", "mine", None]
    assert task.outputs["mine"] is mine
    assert [o.content_type for o in task.outputs] == [None, "pickle", "json", None]
    assert len(make((), "one label").outputs) == 1
    assert make((), "one label").output.label == "one label"
    assert len(make((), None).outputs) == 0


def test_wrong_outputs_are_refused(graph: Session) -> None:
    with pytest.raises(TypeError, match="Only `OutputBase`, `DataObject` and `str` allowed"):
        make((), [17])
    with pytest.raises(ValueError, match="outputs must be between 0 and"):
        make((), -1)
    with pytest.raises(RainException, match="has data"):
        make((), [blob("x")])
    taken = make((), 1).output
    with pytest.raises(RainException, match="is the output of another task"):
        make((), [taken])


def test_output_needs_exactly_one(graph: Session) -> None:
    with pytest.raises(RainException, match=r"has no unique output \(outputs=2\)"):
        make((), 2).output  # noqa: B018


def test_task_type_is_needed(graph: Session) -> None:
    with pytest.raises(ValueError, match="no task type: give Task a class attribute TASK_TYPE"):
        Task((), 1)
    with pytest.raises(TypeError, match="must be a str"):
        Task((), 1, task_type=5)  # type: ignore[arg-type]


def test_arguments_are_checked(graph: Session) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'inptus'"):
        Task(inptus=(), task_type=TYPE)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="two values for argument 'inputs'"):
        Task((), inputs=(), task_type=TYPE)  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        Task((), 1, {})  # type: ignore[misc]
    for cpus in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match="cpus must be an int, 0 or more"):
            make(cpus=cpus)
    assert make(cpus=0).cpus == 0
    assert make(cpus=None).cpus == 1


def test_config_must_be_json_like_and_the_place_is_named(graph: Session) -> None:
    with pytest.raises(TypeError, match=r"config\['a'\]\[1\] is of type set"):
        make(config={"a": [1, {2}]})
    with pytest.raises(TypeError, match="a key of config is of type int"):
        make(config={1: 2})
    with pytest.raises(ValueError, match="64 bits"):
        make(config=2**64)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="does it contain itself"):
        make(config=endless)


def test_failed_constructor_leaves_nothing_in_the_session(graph: Session) -> None:
    for arguments in ({"config": {1}}, {"outputs": [17]}, {"inputs": ["x"]}, {"cpus": -1}):
        with pytest.raises((TypeError, ValueError, RainException)):
            Task(**arguments, task_type=TYPE)  # type: ignore[arg-type]
    assert (graph.task_count, graph.dataobj_count) == (0, 0)


def test_spec_says_what_was_given(graph: Session) -> None:
    data = blob(b"x", label="in", content_type="user/x")
    task = make(
        [("first", data)],
        ["out"],
        config={"b": 1, "a": [0.5, None]},
        cpus=2,
        name="group/task",
        user_spec={"note": "n"},
    )
    spec = task.spec
    assert (spec.id, spec.task_type, spec.name) == (task.id, TYPE, "group/task")
    assert spec.config == {"a": [0.5, None], "b": 1}
    assert [(i.id, i.label) for i in spec.inputs] == [(data.id, "first")]
    assert spec.outputs == [task.output.id]
    assert spec.resources == {"cpus": 2}
    assert spec.user == {"note": "n"}
    assert (data.spec.label, data.spec.content_type) == ("in", "user/x")
    assert data.spec.data_type is DataType.BLOB
    assert type(spec)._from_json(spec._to_json()) == spec
    assert type(data.spec)._from_json(data.spec._to_json()) == data.spec


def test_spec_refuses_unknown_names(graph: Session) -> None:
    spec = make().spec
    with pytest.raises(TypeError, match="Unknown attribute name 'nmae'"):
        type(spec)(nmae=1)
    with pytest.raises(AttributeError):
        type(spec)._from_json({"nmae": 1})


def test_state_and_info_are_none_before_submit(graph: Session) -> None:
    task = make((), 1)
    assert task.state is None
    assert task.info is None
    assert task.output.state is None
    assert task.output.info is None


def test_keep_is_a_flag_before_submit(graph: Session) -> None:
    task = make((), 2)
    a, b = task.outputs
    a.keep()
    assert (a.is_kept(), b.is_kept()) == (True, False)
    task.keep_outputs()
    assert b.is_kept()
    task.unkeep_outputs()
    assert not a.is_kept()
    with pytest.raises(RainException, match=f"Object {a.id} is not kept"):
        a.unkeep()
    with pytest.raises(TypeError, match="Not a DataObject"):
        graph.unkeep([task])  # type: ignore[list-item]
    graph.keep_all()
    assert a.is_kept()
    assert b.is_kept()


def test_blob_knows_its_content_type(graph: Session) -> None:
    assert blob("text").content_type == "text"
    assert blob(b"bytes").content_type is None
    assert blob(b"bytes", content_type="json").content_type == "json"
    assert blob({"a": 1}, encode="json").content_type == "json"
    assert pickled([1]).content_type == "pickle"
    assert (blob("x").label, pickled(1).label, blob("x", "l").label) == ("const", "pickle", "l")


def test_wrong_blobs_are_refused(graph: Session) -> None:
    with pytest.raises(RainException, match="Specify only one of content_type and encode"):
        blob(b"x", content_type="json", encode="json")
    with pytest.raises(RainException, match="content_type only allowed for `bytes`"):
        blob("x", content_type="json")
    with pytest.raises(RainException, match="Invalid blob type"):
        blob(17)
    with pytest.raises(ValueError, match="not recognized"):
        blob("x", encode="nope")
    assert graph.dataobj_count == 0


def test_input_and_output_check_their_arguments(graph: Session) -> None:
    assert Input("a").path == "a"
    assert Input().path.startswith("input_")
    producer = make((), 1)
    assert Input("a", dataobj=producer).dataobj is producer.output
    with pytest.raises(TypeError, match="Label has to be string"):
        Input(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not recognized"):
        Output("a", content_type="nope")
    with pytest.raises(ValueError, match="must be equal"):
        Output("a", content_type="json", encode="pickle")
    assert Output("a", encode="json").create_data_object().content_type == "json"
    merged = Output(path="p").merge_with_prototype(Output("proto", encode="pickle"))
    assert (merged.label, merged.path, merged.encode) == ("proto", "p", "pickle")
    with pytest.raises(TypeError, match="Directory expected"):
        merged.expect_dir()
