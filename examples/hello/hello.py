"""An executor in Python: the process type "example2", with the same task as hello.cpp."""

from rain import tasklib

executor = tasklib.Executor("example2")


@executor.task
def hello(ctx: tasklib.Context, name: tasklib.DataInstance) -> bytes:
    return b"Hello " + bytes(name) + b"!"


executor.start()
