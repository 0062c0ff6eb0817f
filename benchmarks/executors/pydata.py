"""Executor "pydata": makes large blobs and looks at them."""

import numpy as np
from rain import tasklib

executor = tasklib.Executor("pydata")


@executor.task
def fill(ctx: tasklib.Context) -> object:
    """Config: the size. A blob of it, filled with one value."""
    array = ctx.empty(ctx.config, np.uint8)
    array.fill(7)
    return array


@executor.task
def first(ctx: tasklib.Context, data: tasklib.DataInstance) -> bytes:
    """First byte and size."""
    view = memoryview(data)
    return b"%d" % (view[0] + len(view))


@executor.task
def size(ctx: tasklib.Context, data: tasklib.DataInstance) -> bytes:
    """Size alone: the bytes are not touched."""
    return b"%d" % len(memoryview(data))


@executor.task
def sum(ctx: tasklib.Context, data: tasklib.DataInstance) -> bytes:
    """Sum of all bytes."""
    return b"%d" % np.frombuffer(data, np.uint8).sum(dtype=np.uint64)


executor.start()
