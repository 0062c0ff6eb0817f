"""What Client.store() returns."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from rain.common.text import html_table, size_text, text_table

_COLUMNS = ("object", "label", "of task", "size", "place", "where", "made at", "held by", "views")


class StoredBlob(NamedTuple):
    """The data of one object.

    `place` is "inline" (in the client's own memory), "region" (shared memory), "spilled" or "file"
    (on disk), "directory", or "remote" (elsewhere); `where` the path, or region and offset.
    `kept`: by the client, and not only by tasks to come. `viewers` are pids of executors, which
    have `views` in all. `shared`: an object before it in the table has the same bytes.
    `executors`: the types of the viewers. `tasks`: up to three of the `n_tasks` that need it and
    have not ended, each (id, type); `failed_tasks`: ids of failed tasks for whose reproduce() it
    is kept. `made_at`: file and line of the program that made the object or its task, or None.
    """

    id: tuple[int, int]
    label: str
    task_type: str
    size: int
    place: str
    where: str
    kept: bool
    viewers: Sequence[int]
    views: int
    shared: bool
    executors: Sequence[str]
    tasks: Sequence[tuple[tuple[int, int], str]]
    n_tasks: int
    failed_tasks: Sequence[tuple[int, int]]
    made_at: tuple[str, int] | None

    @property
    def holders(self) -> list[str]:
        """Who keeps the data, as text: the client, tasks to come, executors that view them."""
        texts = ["client"] if self.kept else []
        texts += [f"task {a}/{b} {task_type}" for (a, b), task_type in self.tasks]
        if self.n_tasks > len(self.tasks):
            texts.append(f"{self.n_tasks - len(self.tasks)} more tasks")
        texts += [f"failed task {a}/{b}" for a, b in self.failed_tasks]
        viewers = zip(self.executors, self.viewers, strict=True)
        return texts + [f"{name} (pid {pid})" for name, pid in viewers]

    def _row(self) -> tuple[str, ...]:
        size = size_text(self.size) + (" (shared)" if self.shared else "")
        name = f"({self.id[0]}, {self.id[1]})"
        made_at = f"{os.path.basename(self.made_at[0])}:{self.made_at[1]}" if self.made_at else ""
        return (name, self.label, self.task_type, size, self.place, self.where, made_at,
                ", ".join(self.holders), str(self.views))  # fmt: skip


class Store(list[StoredBlob]):
    """A list of StoredBlob that shows itself as a table. `usage`: as in Client.info()."""

    def __init__(self, blobs: Sequence[StoredBlob], usage: dict[str, Any]) -> None:
        super().__init__(blobs)
        self.usage = usage

    def total(self, place: str | None = None) -> int:
        """Return the bytes of all data (in one place): each byte counts once."""
        return sum(blob.size for blob in self if not blob.shared and place in (None, blob.place))

    def _summary(self) -> str:
        text = f"{len(self)} data object{'s' * (len(self) != 1)}, {size_text(self.total())}"
        if self.usage:
            used, budget = self.usage["regions_bytes"], self.usage["budget_bytes"]
            text += f"; memory: {size_text(used)} of {size_text(budget)}"
            text += f"; spilled: {size_text(self.usage['spilled_bytes'])}"
        return text

    def __repr__(self) -> str:
        return f"{self._summary()}\n{text_table(_COLUMNS, [blob._row() for blob in self])}"

    def _repr_html_(self) -> str:
        table = html_table(_COLUMNS, [blob._row() for blob in self])
        return f"<p>{html.escape(self._summary())}</p>{table}"
