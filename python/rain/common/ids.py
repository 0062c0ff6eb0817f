"""Ids of tasks and data objects."""

from __future__ import annotations


class ID(tuple[int, int]):
    """Session and number: equal, also in its hash, to the plain tuple; prints as "S/N"."""

    __slots__ = ()

    def __new__(cls, session_id: int, id: int) -> ID:
        return tuple.__new__(cls, (session_id, id))

    @property
    def session_id(self) -> int:
        return self[0]

    @property
    def id(self) -> int:
        return self[1]

    def __repr__(self) -> str:
        return f"{self[0]}/{self[1]}"

    def __getnewargs__(self) -> tuple[int, int]:
        return (self[0], self[1])
