"""Writes the seeds of the corpora: golden frames, scripts for the store, batches and updates."""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
MAX_BYTES = 1200  # longer frames say nothing more
HEADER_BYTES = 4

# As fuzz_store.cpp reads them: operation, then its arguments.
LEASE, SEAL, RETAIN, RELEASE, VIEW, UNVIEW, RETURN, GONE, TAKE, TICK = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
    10,
    11,
)
BLOB = [1, 0, 10, 0]  # region, offset / 64, size / 16, twist
EMPTY = [1, 0, 0, 0]
SCRIPTS = {
    "life": [LEASE, 1, 1, 0, SEAL, 1, *BLOB, VIEW, 2, *BLOB, RELEASE, *BLOB, UNVIEW, 2, *BLOB,
             TAKE, 1, RETURN, 1, 1, TICK, 20],
    "foreign": [LEASE, 1, 1, 0, SEAL, 2, *BLOB, VIEW, 2, *BLOB, UNVIEW, 3, *BLOB, RETURN, 2, 1],
    "twice": [LEASE, 1, 1, 0, SEAL, 1, *BLOB, SEAL, 1, *BLOB, RELEASE, *BLOB, RELEASE, *BLOB,
              RETURN, 1, 1, RETURN, 1, 1],
    "overlap": [LEASE, 1, 1, 0, SEAL, 1, 1, 0, 10, 0, SEAL, 1, 1, 1, 10, 0, SEAL, 1, 1, 3, 10, 0],
    "out_of_range": [LEASE, 1, 1, 0, *[b for t in range(1, 6) for b in (SEAL, 1, 1, 1, 10, t)],
                     VIEW, 1, 1, 0, 10, 5],
    "empty": [LEASE, 1, 1, 0, SEAL, 1, *EMPTY, SEAL, 1, *EMPTY, RETAIN, *EMPTY, RELEASE, *EMPTY,
              RELEASE, *EMPTY, RELEASE, *EMPTY, RELEASE, *EMPTY],
    "death": [LEASE, 1, 1, 0, SEAL, 1, *BLOB, VIEW, 2, *BLOB, GONE, 1, GONE, 2, RELEASE, *BLOB],
    "full": [*[LEASE, 1, 255, 12] * 3, LEASE, 2, 255, 11, RETURN, 1, 2, LEASE, 3, 255, 12],
    "untold": [LEASE, 1, 1, 0, SEAL, 1, *BLOB, RELEASE, *BLOB, SEAL, 1, *BLOB, TAKE, 1, SEAL, 1,
               *BLOB, RETURN, 1, 1, RELEASE, *BLOB, TICK, 255],
}  # fmt: skip


def cbor(value: object) -> bytes:
    """A few kinds of values, in few bytes."""
    if value is None or isinstance(value, bool):
        return bytes([{None: 0xF6, False: 0xF4, True: 0xF5}[value]])
    if isinstance(value, int):
        assert 0 <= value < 1 << 16
        return bytes([value]) if value < 24 else b"\x19" + value.to_bytes(2, "big")
    if isinstance(value, dict):
        items = b"".join(cbor(key) + cbor(item) for key, item in value.items())
        return bytes([0xA0 + len(value)]) + items
    if isinstance(value, list):
        return bytes([0x80 + len(value)]) + b"".join(map(cbor, value))
    data = value.encode() if isinstance(value, str) else value
    assert isinstance(data, bytes)
    assert len(data) < 24
    return bytes([(0x60 if isinstance(value, str) else 0x40) + len(data)]) + data


# remote/batch.h and remote/update.cpp have the grammars.
BATCHES = {
    "plain": [1, ["e/t"], [], [[10, 0, [], [11]]]],
    "chain": [1, ["e/t"], [], [[10, 0, [], [[11, 2]]], [12, 0, [11, 11], [[13, 1]]]]],
    "inputs": [
        1,
        ["e/t", "label"],
        [[20, b"bytes"], [21, None, {"label": 1, "keep": True}],
         [22, None, {"type": 1, "dir": True, "user": {"k": 1}, "info": {"size": 3}}]],
        [[10, 0, [20, 21, 22], [[11, 0, {"label": 1, "dir": True}]]]],
    ],
    "more": [
        1,
        ["e/t", "name", "gpu"],
        [],
        [[10, 0, [], [], {"name": 1, "config": [1, {"a": None}], "user": {"u": "v"},
                          "cpus": 2, "retries": 3, "timeout": 500, "memory": 999,
                          "resources": {2: 5}}]],
    ],
    "labels": [1, ["e/t", "x"], [[20, b""]], [[10, 0, [20], [], {"labels": [1]}]]],
    "version": [2, [], [], []],
}  # fmt: skip
UPDATES = {
    "finished": [2, [], [], [[10, 4, 500, 321, 1, 1, [[11, 8]]]], []],
    "contents": [2, [], [], [[10, 4, 500, 321, 1, 1,
        [[11, 2, {"content": b"ab", "info": {"content_type": "text"}}],
         [12, 9, {"dir": True}]]]], []],
    "failed": [2, [], [[0, [3, 10], "message", "debug", "report", b"pickled",
                        [[7, "slow", 1, 321, 500], [0, "message", 2, 322, 0]]]],
               [[10, 5, 1, 2, 3, 4, [], {"failure": 0}], [11, 5, 0, 0, 0, 1, [], {"failure": 0}]],
               [12]],
    "printed": [2, ["/out", "/err"], [], [[10, 4, 1, 2, 3, 1, [],
        {"info": {"debug": "d", "user": {"k": 1}}, "copied": 5,
         "printed": [0, 5, 0, 0, 0, 1]}]], []],
    "started": [2, [], [], [], [10, 1, 300]],
}  # fmt: skip


def write(target: str, name: str, data: bytes) -> None:
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main() -> None:
    for target, frames in (("cbor1", "golden-frames.json"), ("cbor2", "golden-cbor2.json")):
        seen = set[str]()
        for frame in json.loads((DATA / frames).read_text()):
            payload = bytes.fromhex(frame["hex"])[HEADER_BYTES:]
            # Captured frames are many and alike: one of each message and size.
            kind = f"{frame['decoded'][0]} {len(payload) // 100}"
            if len(payload) > MAX_BYTES or (target == "cbor1" and kind in seen):
                continue
            seen.add(kind)
            to_executor = frame["direction"] == "to_executor"
            write(target, frame["name"], bytes([to_executor]) + payload)
    for name, script in SCRIPTS.items():
        write("store", name, bytes(script))
    for name, batch in BATCHES.items():
        write("batch", name, cbor(batch))
    for name, updates in UPDATES.items():
        write("updates", name, cbor(updates))


if __name__ == "__main__":
    main()
