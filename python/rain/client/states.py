"""States of tasks and data objects, with Rain's numbers."""

import enum


class TaskState(enum.IntEnum):
    """Before submit a task's state is None."""

    notAssigned = 0  # noqa: N815 - Rain's names
    ready = 1
    assigned = 2
    running = 3
    finished = 4
    failed = 5
    cancelled = 6
    aborted = 7


class DataObjectState(enum.IntEnum):
    """Before submit an object's state is None."""

    unfinished = 0
    finished = 1
    removed = 2


# By number of the compiled module's states (graph/records.h).
TASK_STATES = (
    None,
    TaskState.notAssigned,
    TaskState.ready,
    TaskState.assigned,
    TaskState.finished,
    TaskState.failed,
    TaskState.cancelled,
    TaskState.aborted,
)
OBJECT_STATES = (
    None,
    DataObjectState.unfinished,
    DataObjectState.finished,
    DataObjectState.removed,
)
