"""Executor "rawtester": cbor-1 without our library, as somebody else would write it."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import minicbor

calls = 0
cache: dict[tuple[int, int], bytes] = {}


class TaskError(Exception):
    pass


def hello(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    if len(inputs) != 1:
        raise TaskError(f"Invalid number of arguments, expected = 1, but got = {len(inputs)}")
    return [b"Hello " + inputs[0] + b"!"]


def fail(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    raise TaskError(inputs[0].decode())


def echo(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    return [["other_object", entry["spec"]["id"]] for entry in call["inputs"]]


def concat(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    return [b"".join(inputs)]


def split(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    n, size = len(call["outputs"]), len(inputs[0])
    return [inputs[0][size * i // n : size * (i + 1) // n] for i in range(n)]


def sum_doubles(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    numbers = [struct.unpack(f"{len(data) // 8}d", data) for data in inputs]
    return [struct.pack("d", sum(map(sum, numbers)))]


def fill(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    config = call["spec"]["config"]
    return [bytes([config["byte"]]) * config.get("shrink_to", config["size"])]


def count_calls(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    global calls
    calls += 1
    return [str(calls).encode()]


def pid(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    return [str(os.getpid()).encode()]


def inode(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    return [str(os.stat(call["inputs"][0]["location"][1]).st_ino).encode()]


def leave_file(call: dict[str, Any], inputs: list[bytes]) -> list[Any]:
    path = os.path.join(os.path.dirname(os.environ["RAIN_EXECUTOR_SOCKET"]), "left")
    with open(path, "wb") as file:
        file.write(inputs[0])
        return [["path", path], str(os.fstat(file.fileno()).st_ino).encode()]


METHODS: dict[str, Callable[[dict[str, Any], list[bytes]], list[Any]]] = {
    f.__name__: f
    for f in (
        hello,
        fail,
        echo,
        concat,
        split,
        sum_doubles,
        fill,
        count_calls,
        pid,
        inode,
        leave_file,
    )
}


def load(entry: dict[str, Any]) -> bytes:
    key = tuple(entry["spec"]["id"])
    if entry["location"] != "cached":
        kind, value = entry["location"]
        if kind == "path":
            with open(value, "rb") as file:
                value = file.read()
        cache[key] = value
    return cache[key]


def run(call: dict[str, Any]) -> dict[str, Any]:
    spec = call["spec"]
    result = {"task": spec["id"], "success": True, "info": {}}
    cached = [entry["spec"]["id"] for entry in call["inputs"]]
    try:
        method = METHODS.get(spec["task_type"].partition("/")[2])
        if method is None:
            raise TaskError(f"Method '{spec['task_type']}' not found in executor")
        outputs = method(call, [load(entry) for entry in call["inputs"]])
        locations = [o if isinstance(o, list) else ["memory", o] for o in outputs]
        result["outputs"] = [{"info": {}, "location": location} for location in locations]
    except TaskError as failure:
        result |= {"success": False, "info": {"error": str(failure)}}
    return result | {"cached_objects": cached}


def main() -> None:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["RAIN_EXECUTOR_SOCKET"])
    stream = connection.makefile("rwb")

    def send(message: list[Any]) -> None:
        payload = minicbor.dumps(message)
        stream.write(struct.pack("<I", len(payload)) + payload)
        stream.flush()

    executor_id = int(os.environ["RAIN_EXECUTOR_ID"])
    register = {"protocol": "cbor-1", "executor_id": executor_id, "executor_type": "rawtester"}
    send(["register", register])
    while header := stream.read(4):
        name, data = minicbor.loads(stream.read(struct.unpack("<I", header)[0]))
        if name == "call":
            send(["result", run(data)])
        elif name == "drop_cached":
            for object_id in data["objects"]:
                del cache[tuple(object_id)]
        else:
            sys.exit(f"unknown message {name!r}")


if __name__ == "__main__":
    main()
