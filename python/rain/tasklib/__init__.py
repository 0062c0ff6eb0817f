"""Executors in Python: functions that a governor calls as tasks.

>>> from rain import tasklib
>>> executor = tasklib.Executor("example2")
>>> @executor.task
... def hello(ctx, name):
...     return b"Hello " + bytes(name) + b"!"
>>> executor.start()  # in a program that a governor starts
"""

from rain._core import TaskBuffer as Buffer
from rain.common.errors import StoreFull
from rain.tasklib.context import Context, OutputSpec
from rain.tasklib.datainstance import DataInstance
from rain.tasklib.executor import Executor

__all__ = ["Buffer", "Context", "DataInstance", "Executor", "OutputSpec", "StoreFull"]
