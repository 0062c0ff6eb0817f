"""Executor "oldcpp": sends byte for byte what an executor with Rain 0.4's C++ library sends.

That library is in no registry. What it sent was captured (tests/data/golden-frames.json), and
test_old_libraries.py compares this program's answers with it, its defects included: it registers
with the number of digits of its id, wraps error texts in quotes, and ends at what it doesn't know.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import minicbor

Location = list[Any]


class TaskError(Exception):
    pass


def memory(data: bytes) -> Location:
    return ["memory", data]


def concat(inputs: list[bytes]) -> list[Location]:
    return [memory(b"".join(inputs))]


def hello(inputs: list[bytes]) -> list[Location]:
    if len(inputs) != 1:
        raise TaskError(f"Invalid number of arguments, expected = 1, but got = {len(inputs)}")
    return [memory(b"Hello " + inputs[0] + b"!")]


def fail(inputs: list[bytes]) -> list[Location]:
    raise TaskError(inputs[0].decode())


def multi(inputs: list[bytes]) -> list[Location]:
    return [memory(data + b"!") for data in inputs]


def stage_file(inputs: list[bytes]) -> list[Location]:
    """FileDataInstance: a file in the executor's own directory."""
    Path("out.bin").write_bytes(inputs[0])
    return [["path", os.path.abspath("out.bin")]]


def nothing(inputs: list[bytes]) -> list[Location]:
    return [memory(b"")]


def crash(inputs: list[bytes]) -> list[Location]:
    os.write(2, b"crashed on purpose\n")
    os.abort()


def pid(inputs: list[bytes]) -> list[Location]:
    return [memory(str(os.getpid()).encode())]


def meet(inputs: list[bytes]) -> list[Location]:
    """Makes the first file and waits for the second one, which somebody else makes."""
    own, other = (Path(name.decode()) for name in inputs)
    own.touch()
    begin = time.monotonic()
    while not other.exists():
        if time.monotonic() - begin > 60:
            raise TaskError("nobody came within 60 s")
        time.sleep(0.002)
    return pid(inputs)


METHODS = {
    f.__name__: f for f in (concat, crash, fail, hello, meet, multi, nothing, pid, stage_file)
}


def framed(payload: bytes) -> bytes:
    return struct.pack("<I", len(payload)) + payload


def registration(type_name: str, id_text: str) -> bytes:
    """The id is always a 32-bit integer, and not the id but its number of digits."""
    head = minicbor.dumps(["register", {"protocol": "cbor-1", "executor_type": type_name}])
    entry = minicbor.dumps("executor_id") + b"\x1a" + struct.pack(">I", len(id_text))
    return framed(head.replace(b"\xa2", b"\xa3", 1) + entry)


def answer(call: dict[str, Any], type_name: str) -> bytes:
    task_type = call["spec"]["task_type"]
    try:
        method = METHODS.get(task_type[len(type_name) + 1 :])  # the prefix is not looked at
        if method is None:
            raise TaskError(f"Method '{task_type}' not found in executor")
        kinds = {"memory": bytes, "path": lambda name: Path(name).read_bytes()}
        inputs = [kinds[kind](value) for kind, value in (o["location"] for o in call["inputs"])]
        outputs = method(inputs)
        if len(outputs) != len(call["outputs"]):
            raise TaskError(
                f"Task produced {len(outputs)} outputs, but expected {len(call['outputs'])}"
            )
    except TaskError as failure:
        return result(call, success=False, info={"error": f'"{failure}"'})
    return result(
        call,
        success=True,
        outputs=[{"info": {}, "location": location} for location in outputs],
        info={},
    )


def result(call: dict[str, Any], **entries: Any) -> bytes:
    return framed(minicbor.dumps(["result", {"task": call["spec"]["id"], **entries}]))


def main(type_name: str) -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["RAIN_EXECUTOR_SOCKET"])  # no trick for paths of > 107 bytes
    stream = connection.makefile("rb")
    connection.sendall(registration(type_name, os.environ["RAIN_EXECUTOR_ID"]))
    while header := stream.read(4):
        name, data = minicbor.loads(stream.read(*struct.unpack("<I", header)))
        if name != "call":
            sys.exit(1)
        connection.sendall(answer(data, type_name))
    sys.exit(1)


if __name__ == "__main__":
    main("oldcpp")
