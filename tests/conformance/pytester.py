"""Executor "pytester": what the conformance suite asks of an executor, in Python.

usage: pytester.py [threads]
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rain import tasklib
from rain.tasklib import Context, DataInstance

executor = tasklib.Executor("pytester")
kept: list[memoryview] = []
calls = 0


@executor.task
def hello(ctx: Context, name: DataInstance) -> bytes:
    return b"Hello " + bytes(name) + b"!"


@executor.task
def fail(ctx: Context, message: DataInstance) -> None:
    raise ValueError(message.get_str())


# ---- Data ---------------------------------------------------------------------------------------


@executor.task
def echo(ctx: Context, *inputs: DataInstance) -> Any:
    return inputs[0] if len(inputs) == 1 else inputs


@executor.task
def repeat(ctx: Context, first: DataInstance) -> Any:
    """The input as every output."""
    return first if len(ctx.outputs) == 1 else [first] * len(ctx.outputs)


@executor.task
def concat(ctx: Context, *inputs: DataInstance) -> bytes:
    return b"".join(map(memoryview, inputs))


@executor.task
def split(ctx: Context, data: DataInstance) -> Any:
    n, size, view = len(ctx.outputs), len(data), memoryview(data)
    pieces = [view[size * i // n : size * (i + 1) // n] for i in range(n)]
    return pieces[0] if n == 1 else pieces


@executor.task
def part(ctx: Context, *inputs: DataInstance) -> memoryview:
    """config: offset, size. These bytes of the last input."""
    offset, size = ctx.config["offset"], ctx.config["size"]
    if offset + size > len(inputs[-1]):
        raise IndexError(f"a slice of {size} bytes at offset {offset}")
    view: memoryview = inputs[-1][offset : offset + size]
    return view


@executor.task
def rows(ctx: Context, data: DataInstance) -> DataInstance:
    """config: begin, end. These rows of an array."""
    array = data[ctx.config["begin"] : ctx.config["end"]]
    output = ctx.blob(array, content_type="user/ndarray")
    output.attributes["ndarray"] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    return output


@executor.task
def split_by_label(ctx: Context, data: DataInstance) -> dict[str, bytes]:
    """Each output is the data followed by its own label."""
    return {spec.label: bytes(data) + spec.label.encode() for spec in ctx.outputs}


@executor.task
def sum_doubles(ctx: Context, *inputs: DataInstance) -> tasklib.Buffer:
    output = ctx.alloc(8)
    with memoryview(output).cast("d") as view:
        view[0] = sum(sum(memoryview(data).cast("d")) for data in inputs)
    return output


@executor.task
def scribble(ctx: Context, data: DataInstance) -> bytes:
    """The input with another first byte, written in a copy of one's own."""
    own = data.as_array(copy="on-write")
    own[0] = ord("X")
    return own.tobytes()


@executor.task
def fill(ctx: Context) -> Any:
    """config: size, byte; optional shrink_to. Written in place."""
    output = ctx.alloc(ctx.config["size"])
    view = memoryview(output)
    step = bytes([ctx.config["byte"]]) * (1 << 20)
    for begin in range(0, len(view), len(step)):
        part = view[begin : begin + len(step)]
        part[:] = step[: len(part)]
    return view[: ctx.config["shrink_to"]] if "shrink_to" in ctx.config else output


@executor.task
def fill_memory(ctx: Context) -> bytes:
    """config: size, byte. Made in ordinary memory."""
    return bytes([ctx.config["byte"]]) * ctx.config["size"]


@executor.task
def keep(ctx: Context, *inputs: DataInstance) -> str:
    """Keeps views of its inputs until "release" is called."""
    kept.extend(memoryview(data) for data in inputs)
    return str(len(kept))


@executor.task
def release(ctx: Context) -> bytes:
    everything = b"".join(kept)
    kept.clear()
    return everything


@executor.task
def list_directory(ctx: Context, data: DataInstance) -> str:
    """Of a directory: "name=content" of its files, sorted, one a line."""
    assert data.is_directory
    assert data.path is not None
    top = Path(data.path)
    files = sorted(path for path in top.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(top)}={path.read_text()}" for path in files)


@executor.task
def make_directory(ctx: Context) -> DataInstance:
    """config: {name: content}; names may have one slash."""
    top = Path(tempfile.mkdtemp(dir="."))
    for name, content in ctx.config.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(content)
    return ctx.stage_directory(top)


# ---- Few bytes of large data, and in which pages they lie ------------------------------------


def place_of(view: memoryview) -> str:
    """ "device:inode +offset" of the first byte in the file that is mapped there."""
    import numpy as np

    address = np.frombuffer(view, np.uint8).ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            addresses, _, offset, device, inode = line.split()[:5]
            begin, end = (int(word, 16) for word in addresses.split("-"))
            if begin <= address < end:
                return f"{device}:{inode} +{int(offset, 16) + address - begin}"
    raise ValueError("an address that is not mapped")


def private_bytes() -> int:
    """Of this process: what nobody else has."""
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) << 10 for line in rollup if line.startswith("Private_"))


@executor.task
def write_ends(ctx: Context) -> Any:
    """config: size, byte. Writes the first and the last byte, in place; attribute "place"."""
    output = ctx.alloc(ctx.config["size"])
    view = memoryview(output)
    if view.nbytes:
        view[0] = view[-1] = ctx.config["byte"]
    blob = ctx.blob(output)
    blob.attributes["place"] = place_of(view) if view.nbytes else ""
    return blob


@executor.task
def read_ends(ctx: Context, *inputs: DataInstance) -> str:
    """Of each input: size, first and last byte, place."""

    def ends(view: memoryview) -> dict[str, Any]:
        if not view.nbytes:
            return {"size": 0}
        return {"size": view.nbytes, "first": view[0], "last": view[-1], "place": place_of(view)}

    return json.dumps([ends(memoryview(data)) for data in inputs])


@executor.task
def read_pages(ctx: Context, data: DataInstance) -> str:
    """config: until. Reads a byte of every page of the input and says by how much the private
    memory of this process grew; ends when there is a file "until"."""
    before = private_bytes()
    total = sum(memoryview(data)[::4096])
    grown = private_bytes() - before
    until = Path(ctx.config["until"])
    until.with_name(f"{until.name}.{os.getpid()}").write_text(str(total))
    while not until.exists() and not ctx.cancelled():
        time.sleep(0.001)
    return json.dumps({"sum": total, "grown": grown})


@executor.task
def follow(ctx: Context, *inputs: DataInstance) -> Any:
    """config: size. Bytes that are one more than those of the first input, in place, once a byte of
    every page was read: an input is of one byte."""
    for data in inputs:
        if len(set(memoryview(data)[::4096])) != 1:
            raise ValueError("an input of several bytes")
    output = ctx.alloc(ctx.config["size"])
    view, step = memoryview(output), bytes([(inputs[0][0] + 1) % 256]) * (1 << 16)
    for begin in range(0, len(view), len(step)):
        part = view[begin : begin + len(step)]
        part[:] = step[: len(part)]
    return output


@executor.task
def stall(ctx: Context, *inputs: DataInstance) -> None:
    """config: size. Has read all of its inputs and written half of its output, and never ends."""
    output = memoryview(ctx.alloc(ctx.config["size"]))
    total = sum(sum(memoryview(data)[::4096]) for data in inputs)
    output[: len(output) // 2] = bytes([total % 256]) * (len(output) // 2)
    while True:
        signal.pause()


# ---- What is known besides bytes ----------------------------------------------------------------


@executor.task
def attributes(ctx: Context, *inputs: DataInstance) -> DataInstance:
    def of_input(data: DataInstance) -> dict[str, Any]:
        client = data.spec_attributes
        return {
            "label": data.label,
            "content_type": data.content_type,
            "size": data.size,
            "is_directory": data.is_directory,
            "spec_user": client,
            "info_user": {k: v for k, v in data.attributes.items() if k not in client},
        }

    everything = {
        "task_type": ctx.task_type,
        "name": ctx.name,
        "cpus": ctx.cpus,
        "config": ctx.config,
        "user": dict(ctx.attributes),
        "inputs": [of_input(data) for data in inputs],
        "outputs": [
            {
                "label": spec.label,
                "content_type": spec.content_type,
                "is_directory": spec.is_directory,
                "spec_user": spec.attributes,
            }
            for spec in ctx.outputs
        ],
    }
    output = ctx.blob(json.dumps(everything), content_type="json")
    output.attributes["numbers"] = [1, -2, 0.5, 2**64 - 1]
    output.attributes["nested"] = {"b": True, "a": None}
    ctx.attributes["seen_inputs"] = len(inputs)
    return output


@executor.task
def debug(ctx: Context, *inputs: DataInstance) -> str:
    for data in inputs:
        ctx.debug(data.get_str())
    return "done"


@executor.task
def say(ctx: Context) -> str:
    """config: log, a list of [level, text]; debug, a list of texts; repeat: how often all of that
    is said; then: "return", "abort", or "spin" until it is cancelled."""
    for _ in range(ctx.config["repeat"]):
        for level, text in ctx.config["log"]:
            ctx.log(level, text)
        for text in ctx.config["debug"]:
            ctx.debug(text)
    if ctx.config["then"] == "abort":
        os.abort()
    while ctx.config["then"] == "spin" and not ctx.cancelled():
        time.sleep(0.001)
    return "said"


# ---- Time ---------------------------------------------------------------------------------------


@executor.task
def sleep(ctx: Context) -> str:
    """config: seconds. Ends early when cancelled."""
    end = time.monotonic() + ctx.config["seconds"]
    while time.monotonic() < end and not ctx.cancelled():
        time.sleep(0.001)
    return "slept"


@executor.task
def spin(ctx: Context) -> None:
    """Never ends, whoever asks."""
    while True:
        signal.pause()


@executor.task
def count_calls(ctx: Context) -> str:
    global calls
    calls += 1
    return str(calls)


@executor.task
def pid(ctx: Context) -> str:
    return str(os.getpid())


@executor.task
def handle_sigterm(ctx: Context) -> None:
    signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM was handled"))


# ---- Ways to fail -------------------------------------------------------------------------------


@executor.task
def throw_std(ctx: Context) -> None:
    raise RuntimeError("thrown on purpose")


@executor.task
def throw_int(ctx: Context) -> None:
    sys.exit(42)


class Nasty(BaseException):
    """Can be neither printed nor pickled nor made anew."""

    def __init__(self, lock: object, other: object) -> None:
        super().__init__(lock)

    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


@executor.task
def throw_nasty(ctx: Context) -> None:
    raise Nasty(object(), None)


class UnmadeError(Exception):
    def __init__(self) -> None:
        raise KeyError("the exception's own constructor")


@executor.task
def throw_unmade(ctx: Context) -> None:
    raise UnmadeError


@executor.task
def throw_interrupt(ctx: Context) -> None:
    raise KeyboardInterrupt


@executor.task
def recurse(ctx: Context) -> None:
    def deeper() -> None:
        deeper()

    deeper()


@executor.task(name="abort")
def abort_process(ctx: Context) -> None:
    os.abort()


@executor.task
def segfault(ctx: Context) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@executor.task(name="exit")
def exit_process(ctx: Context) -> None:
    """config: code"""
    os._exit(ctx.config["code"])


@executor.task
def wrong_outputs(ctx: Context) -> Any:
    """config: produce; how many outputs to make, whatever was declared."""
    return ["x"] * ctx.config["produce"]


@executor.task
def big_error(ctx: Context) -> None:
    """config: size"""
    raise ValueError("e" * ctx.config["size"])


@executor.task
def return_of(ctx: Context) -> Any:
    """config: expression, whose value is returned."""
    return eval(ctx.config["expression"], {"ctx": ctx, "sys": sys})


if __name__ == "__main__":
    executor.start(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    for view in kept:  # they outlive the executor
        print("kept", bytes(view[:10]))
