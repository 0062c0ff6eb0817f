"""Writes the seeds of the corpora: golden frames of both protocols, scripts for the store."""

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


if __name__ == "__main__":
    main()
