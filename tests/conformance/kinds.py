"""Which executors there are to test: implementation and protocol."""

from __future__ import annotations

from collections.abc import Callable

from calls import Tester

BOTH = ["cpp-cbor-1", "cpp-cbor-2", "python-cbor-1", "python-cbor-2"]
OLD = ["cpp-cbor-1", "python-cbor-1"]
NEW = ["cpp-cbor-2", "python-cbor-2"]
ALL = [*BOTH, "raw-cbor-1"]
PYTHON = ["python-cbor-1", "python-cbor-2"]
TYPED = ["cpp-cbor-1", "cpp-cbor-2", "annotated-cbor-1", "annotated-cbor-2"]

Start = Callable[..., Tester]


def protocol_of(kind: str) -> str:
    return kind.partition("-")[2]
