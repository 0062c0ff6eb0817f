"""Options of tasks that mean no limit: refused when the task is made, and nothing is left of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rain.client import Session, Task


def make(**options: Any) -> Task:
    return Task((), 1, task_type="example1/hello", **options)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"timeout": 0}, ValueError, "timeout must be above 0"),
        ({"timeout": -1}, ValueError, "timeout must be above 0"),
        ({"timeout": math.nan}, ValueError, "timeout must be above 0"),
        ({"timeout": math.inf}, ValueError, "timeout must be above 0"),
        ({"timeout": True}, TypeError, "timeout must be a number of seconds"),
        ({"timeout": "5 fortnights"}, ValueError, 'timeout must be seconds, or like "30s"'),
        ({"retries": -1}, ValueError, "retries must be between 0 and"),
        ({"retries": 1.5}, TypeError, "retries must be an int"),
        ({"memory": 0}, ValueError, "memory must be a positive number of bytes"),
        ({"memory": "2 GiB of it"}, ValueError, "memory must be a positive number of bytes"),
        ({"memory": 2**60}, ValueError, "memory must be less than 1 EiB"),
        ({"resources": {"gpu": 0}}, ValueError, r"resources\['gpu'\] must be above 0"),
        ({"resources": {"gpu": -1}}, ValueError, r"resources\['gpu'\] must be above 0"),
        ({"resources": {"gpu": 1e300}}, ValueError, r"resources\['gpu'\] must be above 0"),
        ({"resources": {"gpu": math.nan}}, ValueError, r"resources\['gpu'\] must be above 0"),
        ({"resources": {"gpu": 1e-9}}, ValueError, "must be a multiple of 0.0001"),
        ({"resources": {"gpu": "1"}}, TypeError, r"resources\['gpu'\] must be a number"),
        ({"resources": {"cpus": 1}}, ValueError, "cpus is an argument of its own: cpus=1"),
        ({"resources": {1: 1}}, TypeError, "a name must be a str"),
        ({"resources": ["gpu"]}, TypeError, "resources must be a dict"),
    ],
)
def test_what_is_no_limit_is_refused(
    graph: Session, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        make(**options)
    assert (graph.task_count, graph.dataobj_count) == (0, 0)


def test_limits_in_words_are_numbers_in_the_spec(graph: Session) -> None:
    task = make(timeout="1.5 min", memory="2 GiB", resources={"licence": 0.25, "gpu": 2})
    assert task.spec.resources == {"cpus": 1, "memory": 2 << 30, "licence": 0.25, "gpu": 2}
