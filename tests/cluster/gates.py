"""Executor "gates": tasks that wait for each other, and for files of the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from rain import tasklib
from rain.tasklib import Context, DataInstance

executor = tasklib.Executor("gates")


@executor.task
def meet(ctx: Context) -> str:
    """config: directory, of. Ends when so many tasks are in it together; returns the pid."""
    place = Path(ctx.config["directory"])
    place.mkdir(exist_ok=True)
    (place / f"{os.getpid()}-{ctx.task_id}").touch()
    while len(list(place.iterdir())) < ctx.config["of"] and not ctx.cancelled():
        time.sleep(0.002)
    return f"{os.getpid()} "


@executor.task
def wait_for(ctx: Context, *inputs: DataInstance) -> Any:
    """config: file; optional note, a file that is appended to before. The first input, or the pid,
    when there is such a file."""
    if "note" in ctx.config:
        with open(ctx.config["note"], "a") as note:
            note.write(f"{os.getpid()}\n")
    while not Path(ctx.config["file"]).exists() and not ctx.cancelled():
        time.sleep(0.002)
    return inputs[0] if inputs else str(os.getpid())


@executor.task
def count(ctx: Context, *inputs: DataInstance) -> bytes:
    """config: note, a file that gets a line per run: its number and the governor's work directory;
    number; size of what it returns."""
    number, place = ctx.config["number"], os.environ["RAIN_EXECUTOR_SOCKET"].split("/")
    (work,) = (word for word in place if word.startswith("work-"))
    with open(ctx.config["note"], "a") as note:
        note.write(f"{number} {work}\n")
    return bytes([number % 256]) * ctx.config["size"]


@executor.task
def count_and_wait(ctx: Context, *inputs: DataInstance) -> bytes:
    """As count, and ends when there is the file that config calls gate."""
    content = count(ctx, *inputs)
    while not Path(ctx.config["gate"]).exists() and not ctx.cancelled():
        time.sleep(0.002)
    return content


@executor.task
def once(ctx: Context) -> bytes:
    """config: file. Writes its pid there and returns much, the first time; else it fails."""
    with open(ctx.config["file"], "x") as file:
        file.write(str(os.getpid()))
    return bytes(100_000)


@executor.task
def environment(ctx: Context) -> str:
    """config: name"""
    return os.environ.get(ctx.config["name"], "is not set")


@executor.task
def hold_gil(ctx: Context) -> bytes:
    """config: fifo; note, a file that is made before. Holds the GIL until somebody writes to it."""
    Path(ctx.config["note"]).touch()
    fd = ctypes.PyDLL(None).open(ctx.config["fifo"].encode(), os.O_RDONLY)
    os.close(fd)
    return b""


@executor.task
def kill_governor(ctx: Context, *inputs: DataInstance) -> None:
    """config: pids. Kills the one of these that this executor belongs to."""
    work = os.environ["RAIN_EXECUTOR_SOCKET"]
    for pid in ctx.config["pids"]:
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_text()
            if any(word in line for word in work.split("/") if word.startswith("work-")):
                os.kill(pid, signal.SIGKILL)
    time.sleep(60)


if __name__ == "__main__":
    executor.start()
