"""Writes golden-cbor2.json: frames that freeze the format of cbor-2.

    python tests/data/golden_cbor2.py

Bytes come from the tests' own encoder (tests/conformance/minicbor.py), not from the library's, and
so a mistake of that is not made twice. tests/cpp/wire/golden_cbor2_test.cpp checks that the library
reads each frame as `decoded` says, writes the same bytes again, and that every key of the grammar
(docs/protocol.md) is used.

To add a message or key: add a frame to FRAMES and run this. A frame that is there never changes:
the program refuses to write one that differs. What an older side would misread needs the next
number of the protocol.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conformance"))

import minicbor  # noqa: E402

TARGET = HERE / "golden-cbor2.json"

USER = {"note": [1, -2, None, True, "text", {"half": 0.5, "third": 1 / 3}]}
OBJECT_INFO = {
    "size": 70000,
    "content_type": "user/ndarray",
    "error": "no",
    "debug": "said",
    "user": USER,
}
TASK_INFO = {
    "error": "ValueError: bad",
    "debug": "line 1\nline 2",
    "governor": "here",
    "start_time": "2026-11-28T12:00:00Z",
    "duration": 1.5,
    "user": USER,
}

# name: (direction, message). Maps have their keys in the order of the grammar.
FRAMES: dict[str, tuple[str, list[Any]]] = {
    "register_all_keys": (
        "to_governor",
        [
            "register",
            {
                "protocol": "cbor-2",
                "executor_id": 7,
                "executor_type": "example1",
                "threads": 4,
                "features": ["board", "lease_wanted", "ping"],
                "tasklib": "0.1.0",
                "tasks": [
                    {"name": "hello"},
                    {
                        "name": "scale",
                        "in": [
                            {"type": "ndarray float64 of 1 dimension", "name": "x"},
                            {"type": "float64 scalar"},
                        ],
                        "out": [{"type": "ndarray float64 of 1 dimension"}],
                    },
                    {"name": "stop", "in": [], "out": []},
                ],
            },
        ],
    ),
    "register_required_keys": (
        "to_governor",
        ["register", {"protocol": "cbor-2", "executor_id": -1, "executor_type": "x"}],
    ),
    "result_all_keys": (
        "to_governor",
        [
            "result",
            {
                "seq": 300,
                "task": [1, 12],
                "failed": True,
                "cancelled": True,
                "out": [
                    {"at": {"bytes": "00ff"}, "info": OBJECT_INFO},
                    {"at": "/run/x/output"},
                    {"at": [1, 10]},
                    {"at": [3, 4096, 8589934592], "info": {"content_type": "text"}},
                    {},
                ],
                "info": TASK_INFO,
                "ns": 123456789,
                "copied": 70000,
                "held": [0, 2],
                "printed": [0, 10, 5, 4294967296],
                "exception": {"bytes": "80049500"},
            },
        ],
    ),
    "result_required_keys": ("to_governor", ["result", {"seq": 1, "task": [1, 2]}]),
    "result_began": (
        "to_governor",
        ["result", {"seq": 1, "task": [1, 2], "ns": 1000, "began": 1099511627776}],
    ),
    "released": ("to_governor", ["released", {"blobs": [[3, 64, 5], [4, 0, 0]]}]),
    "lease_request": ("to_governor", ["lease_request", {"request": 4, "size": 5368709120}]),
    "lease_returned": ("to_governor", ["lease_returned", {"regions": [3, 4]}]),
    "log_all_keys": (
        "to_governor",
        ["log", {"seq": 300, "level": 30, "text": "nearly full: 98 °", "lost": 12}],
    ),
    "log_required_keys": ("to_governor", ["log", {"seq": 1, "level": 10, "text": ""}]),
    "debug": ("to_governor", ["debug", {"seq": 300, "text": "half way"}]),
    "pong": ("to_governor", ["pong", {"number": 70000}]),
    "welcome_all_keys": (
        "to_executor",
        [
            "welcome",
            {
                "credit": 512,
                "inline_limit": 65536,
                "board": True,
                "features": ["log"],
                "tasklib": "0.1.0",
            },
        ],
    ),
    "welcome_required_keys": ("to_executor", ["welcome", {"credit": 1, "inline_limit": 0}]),
    "call_all_keys": (
        "to_executor",
        [
            "call",
            {
                "seq": 300,
                "id": [1, 12],
                "type": "example1/hello",
                "in": [
                    {
                        "id": [1, 10],
                        "as": "left",
                        "label": "result",
                        "type": "user/ndarray",
                        "dir": True,
                        "user": USER,
                        "info": OBJECT_INFO,
                        "at": [3, 64, 70000],
                    },
                    {"id": [1, 11], "at": {"bytes": "576f726c64"}},
                    {"id": [1, 13], "info": {}, "at": "/run/x/input"},
                ],
                "out": [
                    {"id": [1, 14], "label": "output", "type": "text", "user": {"k": None}},
                    {"id": [1, 15], "dir": True},
                ],
                "config": {"depth": 3, "factor": 2.5},
                "cpus": 4,
                "name": "group/name",
                "user": USER,
                "res": {"gpu": ["0", "3"], "licence": []},
            },
        ],
    ),
    "call_required_keys": ("to_executor", ["call", {"seq": 1, "id": [1, 2], "type": "x/y"}]),
    "region_lease": (
        "to_executor",
        [
            "region",
            {
                "id": 3,
                "size": 33554432,
                "writable": True,
                "request": 9,
                "free": [[0, 64], [128, 8589934592]],
            },
        ],
    ),
    "region_to_read": ("to_executor", ["region", {"id": 3, "size": 33554432}]),
    "lease_refused": ("to_executor", ["lease_refused", {"request": 9, "message": "full"}]),
    "freed": ("to_executor", ["freed", {"region": 3, "extents": [[64, 64], [256, 64]]}]),
    "region_dropped": ("to_executor", ["region_dropped", {"id": 3}]),
    "cancel": ("to_executor", ["cancel", {"seq": 7, "task": [1, 12]}]),
    "shutdown": ("to_executor", ["shutdown", {}]),
    "lease_wanted": ("to_executor", ["lease_wanted", {}]),
    "ping": ("to_executor", ["ping", {"number": 70000}]),
}


def with_bytes(value: Any) -> Any:
    """What stands for a byte string in `decoded` ({"bytes": "hex"}) as one."""
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        return {key: with_bytes(each) for key, each in value.items()}
    return [with_bytes(each) for each in value] if isinstance(value, list) else value


def hex_of(message: list[Any]) -> str:
    payload = minicbor.dumps(with_bytes(message))
    return (struct.pack("<I", len(payload)) + payload).hex()


def main() -> None:
    frames = [
        {"name": name, "direction": direction, "hex": hex_of(message), "decoded": message}
        for name, (direction, message) in FRAMES.items()
    ]
    new = {frame["name"]: frame["hex"] for frame in frames}
    frozen = json.loads(TARGET.read_text()) if TARGET.exists() else []
    changed = [frame["name"] for frame in frozen if new.get(frame["name"]) != frame["hex"]]
    if changed:
        raise SystemExit(f"these frames are frozen and would change: {', '.join(changed)}")
    lines = ",\n".join(json.dumps(frame, ensure_ascii=False) for frame in frames)
    TARGET.write_text(f"[\n{lines}\n]\n")
    print(f"{TARGET}: {len(frames)} frames, {len(frames) - len(frozen)} new")


if __name__ == "__main__":
    main()
