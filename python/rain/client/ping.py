"""What Client.ping() returns."""

from __future__ import annotations

from typing import NamedTuple


class Pinged(NamedTuple):
    """One executor process that was asked whether it answers.

    `seconds` until the answer came; None: it did not in time, or cannot (`can_answer` is False for
    those with the libraries of Rain 0.4).
    """

    executor: str
    id: int
    pid: int
    can_answer: bool
    seconds: float | None

    @property
    def answered(self) -> bool:
        return self.seconds is not None
