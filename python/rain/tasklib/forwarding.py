"""Records of Python's logging on their way from a task to the client."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rain._core import TaskContext


class _Handler(logging.Handler):
    def __init__(self, context: TaskContext, level: int) -> None:
        super().__init__(level)
        self._context = context
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return  # of another call
        try:
            self._context._log(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


@contextmanager
def forwarded(context: TaskContext, name: str | None, level: int) -> Iterator[None]:
    """See Context.logging()."""
    logger = logging.getLogger(name)
    handler = _Handler(context, level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
