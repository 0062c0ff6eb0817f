"""What users import: clients, sessions, tasks and data objects.

>>> from rain.client import Client, Task, blob
>>> class Hello(Task):
...     TASK_TYPE = "example1/hello"
...     def __init__(self, obj):
...         super().__init__(inputs=(obj,), outputs=1)
>>> with Client(config="executors.toml").new_session() as session:
...     t = Hello(blob("Hello world"))
...     print(t.output.fetch().get_bytes())
"""

from rain.client.client import Client
from rain.client.data import DataObject, blob, directory, pickled
from rain.client.session import Session
from rain.client.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.client.input import Input, InputBase, InputDir
    from rain.client.many import as_completed
    from rain.client.output import Output, OutputBase, OutputDir
    from rain.client.pool import Executor
    from rain.client.program import Program
    from rain.client.pycode import Remote, remote
    from rain.client.states import DataObjectState, TaskState
    from rain.common.data_instance import DataInstance
    from rain.common.errors import (
        Attempt,
        ConfigError,
        ConnectionFailed,
        DependencyFailed,
        ExecutorDied,
        InvalidGraph,
        LauncherLost,
        ProtocolError,
        RainException,
        RainWarning,
        ServerLost,
        SessionClosed,
        SessionException,
        SignatureMismatch,
        StoreFull,
        SystemCallError,
        TaskCancelled,
        TaskException,
        TaskOOM,
        TaskStoreFull,
        TaskTimeout,
        UsageError,
        WaitTimeout,
    )
    from rain.common.labeled_list import LabeledList

__all__ = [
    "Attempt",
    "Client",
    "ConfigError",
    "ConnectionFailed",
    "DataInstance",
    "DataObject",
    "DataObjectState",
    "DependencyFailed",
    "Executor",
    "ExecutorDied",
    "Input",
    "InputBase",
    "InputDir",
    "InvalidGraph",
    "LabeledList",
    "LauncherLost",
    "Output",
    "OutputBase",
    "OutputDir",
    "Program",
    "ProtocolError",
    "RainException",
    "RainWarning",
    "Remote",
    "ServerLost",
    "Session",
    "SessionClosed",
    "SessionException",
    "SignatureMismatch",
    "StoreFull",
    "SystemCallError",
    "Task",
    "TaskCancelled",
    "TaskException",
    "TaskOOM",
    "TaskState",
    "TaskStoreFull",
    "TaskTimeout",
    "UsageError",
    "WaitTimeout",
    "as_completed",
    "blob",
    "directory",
    "pickled",
    "remote",
]

_MODULES = {
    "DataInstance": "rain.common.data_instance",
    "DataObjectState": "rain.client.states",
    "Executor": "rain.client.pool",
    "Input": "rain.client.input",
    "InputBase": "rain.client.input",
    "InputDir": "rain.client.input",
    "LabeledList": "rain.common.labeled_list",
    "Output": "rain.client.output",
    "OutputBase": "rain.client.output",
    "OutputDir": "rain.client.output",
    "Program": "rain.client.program",
    "Remote": "rain.client.pycode",
    "TaskState": "rain.client.states",
    "remote": "rain.client.pycode",
    "as_completed": "rain.client.many",
}


def __getattr__(name: str) -> object:
    """Import the rest when it is first used: it costs more than a first task."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_MODULES.get(name, "rain.common.errors")), name)
    globals()[name] = value
    return value
