"""What processes printed: ranges of files, of which only the end is of interest."""

from __future__ import annotations

import os

MAX_BYTES = 1 << 20


def read_end(path: str, begin: int = 0, end: int | None = None) -> tuple[bytes, int]:
    """Return the last MiB of a range, and how many bytes before it were left out.

    The range may be anything: what is not in the file is not in it. Raises OSError.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = size if end is None else min(end, size)
        begin = min(begin, end)
        left_out = max(end - begin - MAX_BYTES, 0)
        file.seek(begin + left_out)
        return file.read(end - begin - left_out), left_out
