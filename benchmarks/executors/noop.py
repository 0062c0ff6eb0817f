"""Executor "pynoop": the cheapest task there is, with one empty output."""

from rain import tasklib

executor = tasklib.Executor("pynoop")


@executor.task
def noop(ctx: tasklib.Context) -> bytes:
    return b""


executor.start()
