"""Reference 2.9 and the row of rain.client.rpc in 4.1: states and their numbers."""

from __future__ import annotations

from rain.client import DataObjectState, TaskState, rpc


def test_numbers_of_task_states() -> None:
    names = ["notAssigned", "ready", "assigned", "running", "finished", "failed"]
    assert [rpc.common.TaskState[name].value for name in names] == [0, 1, 2, 3, 4, 5]


def test_numbers_of_object_states() -> None:
    names = ["unfinished", "finished", "removed"]
    assert [rpc.common.DataObjectState[name].value for name in names] == [0, 1, 2]


def test_rpc_has_the_same_states_as_the_client() -> None:
    assert rpc.common.TaskState is TaskState
    assert rpc.common.DataObjectState is DataObjectState


def test_numbers_that_mean_all() -> None:
    assert rpc.common.allTasksId == -2
    assert rpc.common.allDataObjectsId == -2
