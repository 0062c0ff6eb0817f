"""What a client of a cluster knows of its parts, without a cluster."""

from __future__ import annotations

import random
from typing import Any

import pytest
from rain.engine.cluster_parts import Part


class Counted:
    """Ids that count how many of them were looked at."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids
        self.looks = 0

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> int:
        self.looks += 1
        return self._ids[index]


@pytest.mark.parametrize("n_wanted", [0, 1, 3, 50, 1000])
def test_tasks_among_others(n_wanted: int) -> None:
    some = random.Random(n_wanted)
    ids = some.sample(range(2000), 1000)
    part = Part("key", ids, [], [], "")
    wanted = sorted(some.sample(range(-10, 2010), n_wanted))
    assert part.tasks_among(wanted) == set(wanted) & set(ids)
    assert [each for each in wanted if part.has_task(each)] == sorted(part.tasks_among(wanted))


def test_one_task_is_found_without_a_walk() -> None:
    """A client that cancels 100,000 tasks one by one would look at 10,000,000,000 ids."""
    part = Part("key", [0], [], [], "")
    ids: Any = Counted(list(range(0, 200_000, 2)))
    part.task_ids = ids
    assert part.tasks_among([131_072]) == {131_072}
    assert part.tasks_among([131_073]) == set()
    assert not part.has_task(200_000)
    assert 0 < ids.looks < 100
