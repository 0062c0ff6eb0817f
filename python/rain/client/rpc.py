"""Rain's place for the numbers of its protocol: ``rpc.common.TaskState.finished``.

There is no Cap'n Proto: `common` has plain enums and ints, `server` nothing.
"""

from rain.client import states


class common:  # noqa: N801 - Rain's name
    """What clients, governors and servers share."""

    TaskState = states.TaskState
    DataObjectState = states.DataObjectState
    allTasksId = -2  # noqa: N815 - Rain's name
    allDataObjectsId = -2  # noqa: N815 - Rain's name


class server:  # noqa: N801 - Rain's name
    """Rain's remote interface of the server, which a client's own governor has none of."""


__all__ = ["common", "server"]
