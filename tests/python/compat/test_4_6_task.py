"""Reference 4.6: Task."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from rain.client import (
    DataObject,
    Output,
    OutputDir,
    RainException,
    Session,
    Task,
    TaskState,
    blob,
)
from rain.client.tasks import Sleep
from rain.common import DataType, LabeledList

pytestmark = pytest.mark.engines


def make(inputs: Any = (), outputs: Any = None, **options: Any) -> Task:
    return Task(inputs, outputs, task_type="a/b", **options)


class Mine(Task):
    TASK_TYPE = "cpptester/hello"

    def __init__(self, data: Any) -> None:
        super().__init__(inputs=(data,), outputs=1)


def test_type_comes_from_the_argument_or_the_class(graph: Session) -> None:
    assert Mine(blob("x")).task_type == "cpptester/hello"
    assert make().task_type == "a/b"
    with pytest.raises(ValueError, match="TASK_TYPE"):
        Task((), 1)


def test_inputs_are_objects_or_labelled_pairs(graph: Session) -> None:
    data = blob("x")
    task = make([data, ("label", make((), 1)), make((), 1)])
    assert task.inputs[0] is data
    assert [task.inputs.get_label(i) for i in range(3)] == [None, "label", None]
    assert isinstance(task.inputs, LabeledList)


def test_equal_labels_are_refused(graph: Session) -> None:
    data = blob("x")
    with pytest.raises(KeyError):
        make([("a", data), ("a", data)])
    with pytest.raises(KeyError):
        make((), ["a", "a"])


def test_outputs(graph: Session) -> None:
    assert len(make((), None).outputs) == 0
    assert [o.label for o in make((), 2).outputs] == [None, None]
    mine = DataObject("made")
    task = make((), ["text", Output("blob", content_type="json"), OutputDir("dir"), mine])
    assert [o.label for o in task.outputs] == ["text", "blob", "dir", "made"]
    assert task.outputs["made"] is mine
    assert [o.spec.data_type for o in task.outputs] == [
        *(DataType.BLOB, DataType.BLOB, DataType.DIRECTORY, DataType.BLOB),
    ]
    assert task.outputs["blob"].content_type == "json"


def test_wrong_outputs(graph: Session) -> None:
    with pytest.raises(
        TypeError, match=r"^Only `OutputBase`, `DataObject` and `str` allowed as outputs"
    ):
        make((), [17])


def test_q23_single_output_need_not_be_in_a_sequence(graph: Session) -> None:
    assert [o.label for o in make((), Output("abc")).outputs] == ["abc"]
    assert [o.label for o in make((), "abc").outputs] == ["abc"]


def test_cpus_are_a_resource(graph: Session) -> None:
    assert make(cpus=3).spec.resources["cpus"] == 3
    assert make().spec.resources["cpus"] == 1
    assert make(cpus=None).spec.resources["cpus"] == 1


def test_id_of_the_task_comes_before_its_outputs(graph: Session) -> None:
    task = make((), ["a", Output("b")])
    assert [task.id, *(o.id for o in task.outputs)] == [(7, 10), (7, 11), (7, 12)]


def test_members_that_are_known_at_once(graph: Session) -> None:
    task = make([blob("x")], 1, name="group/name", config={"a": 1})
    assert task.name == "group/name"
    assert task.state is None
    assert task.info is None
    assert task.spec.config == {"a": 1}
    assert task.output is task.outputs[0]
    assert make().name is None


@pytest.mark.parametrize("count", [0, 2])
def test_output_is_the_only_one(graph: Session, count: int) -> None:
    task = make((), count)
    with pytest.raises(RainException) as caught:
        task.output  # noqa: B018
    assert str(caught.value) == f"Task {task!r} has no unique output (outputs={count})"


def test_q22_repr_shows_type_inputs_and_outputs_in_their_places(graph: Session) -> None:
    task = make([blob("x")], 2)
    assert repr(task) == "<Task 7/11 a/b inputs=[7/10] outputs=[7/12, 7/13]>"


def test_keep_fetch_and_unkeep_of_all_outputs(session: Session) -> None:
    task = Task((blob("abcd"),), 2, task_type="cpptester/split")
    task.keep_outputs()
    session.submit()
    assert [data.get_bytes() for data in task.fetch_outputs()] == [b"ab", b"cd"]
    task.unkeep_outputs()
    assert not any(output.is_kept() for output in task.outputs)


def test_state_goes_to_finished(session: Session) -> None:
    task = Mine(blob("x"))
    assert task.state is None
    session.submit()
    assert task.state is not None
    task.wait()
    task.update()
    assert task.state is TaskState.finished
    assert task.info is not None
    assert task.info.error == ""


def test_info_says_where_and_when_it_ran(session: Session) -> None:
    begin = datetime.now(timezone.utc)
    task = Mine(blob("x"))
    session.submit()
    task.wait()
    info = task.info
    assert info is not None
    (governor,) = session.client.get_server_info()["governors"]  # type: ignore[union-attr]
    assert info.governor == governor["governor_id"]
    assert info.duration is not None
    assert info.duration > 0
    assert len(info.start_time) == len("2018-12-16T10:00:00.123456789+00:00")
    start = datetime.fromisoformat(info.start_time[:26] + info.start_time[29:])
    # The clock of the day may be set while this runs; by hours it is not.
    assert abs((start - begin).total_seconds()) < 3600


def test_info_of_a_task_that_never_ran_has_no_start(session: Session) -> None:
    task = Task((Sleep(blob("x"), 1e6),), 1, task_type="cpptester/hello")
    task.session.submit()
    task.cancel()
    info = task.info
    assert info is not None
    assert (info.governor, info.start_time, info.duration) == ("", "", 0.0)


def test_user_attributes_of_a_task_reach_its_info(session: Session) -> None:
    task = Task((blob("x"),), 1, task_type="pytester/attributes")
    task.output.keep()
    session.submit()
    task.wait()
    assert task.info is not None
    assert task.info.user == {"seen_inputs": 1}


@pytest.mark.parametrize("config", [0, 0.0, False, "", [], {}])
def test_q8_false_config_arrives(session: Session, config: Any) -> None:
    task = Task((), 1, task_type="pytester/attributes", config=config)
    got = task.output.fetch().load()["config"]
    assert got == config
    assert type(got) is type(config)


@pytest.mark.parametrize("value", [0, False, "", None, [], {}])
def test_q8_false_user_attributes_arrive(session: Session, value: Any) -> None:
    task = Task((), 1, task_type="pytester/attributes")
    task.spec.user["mine"] = value
    got = task.output.fetch().load()["user"]
    assert got == {"mine": value}
