"""Executor "merge": adds up word counts."""

from __future__ import annotations

from collections import Counter

from rain import tasklib

executor = tasklib.Executor("merge")


def read(counts: tasklib.DataInstance) -> Counter[str]:
    """Lines "<count> <word>" -> the same as a Counter."""
    pairs = (line.split() for line in counts.get_str().splitlines())
    return Counter({word: int(count) for count, word in pairs})


@executor.task
def add(ctx: tasklib.Context, *counts: tasklib.DataInstance) -> bytes:
    """Word counts of parts -> those of all together, in the same form."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(read(each))
    return "".join(f"{count} {word}\n" for word, count in total.items()).encode()


executor.start()
