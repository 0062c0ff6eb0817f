"""Counts the words of Python's standard library: C++ counts each file, Python adds up."""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from rain.client import Client, DataObject, Task, blob

HERE = Path(__file__).resolve().parent
FAN_IN = 32  # counts that one task adds up


class Count(Task):
    """C++: text -> its word counts."""

    TASK_TYPE = "wordcount/count"

    def __init__(self, text: DataObject):
        super().__init__(inputs=(text,), outputs=1)


class Add(Task):
    """Python: word counts of parts -> those of all."""

    TASK_TYPE = "merge/add"

    def __init__(self, parts: list[Task]):
        super().__init__(inputs=parts, outputs=1)


def standard_library() -> list[Path]:
    """The .py files of the running Python's standard library, without what pip installed."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (path for path in root.rglob("*.py") if path.is_file())
    return sorted(path for path in files if "site-packages" not in path.parts)


def merge_in_a_tree(tasks: list[Task]) -> Task:
    """Levels of Add, until one is left."""
    while len(tasks) > 1:
        tasks = [Add(tasks[i : i + FAN_IN]) for i in range(0, len(tasks), FAN_IN)]
    return tasks[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--executors-dir",
        type=Path,
        default=HERE.parent.parent / "build" / "examples" / "wordcount",
        help="where CMake built wordcount and copied executors.toml (default: %(default)s)",
    )
    arguments = parser.parse_args()
    # "python3" in executors.toml is the interpreter that runs this program.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    texts = [path.read_bytes() for path in standard_library()]
    print(f"{len(texts):,} files, {sum(map(len, texts)) / 1e6:.1f} MB")

    client = Client(config=arguments.executors_dir / "executors.toml")
    with client.new_session("wordcount"):
        total = merge_in_a_tree([Count(blob(text)) for text in texts])
        lines = total.output.fetch().get_str().splitlines()
    client.close()
    counts = Counter({word: int(count) for count, word in (line.split() for line in lines)})

    print(f"{counts.total():,} words, {len(counts):,} different")
    for rank, (word, count) in enumerate(counts.most_common(20), 1):
        print(f"{rank:>2}. {word:<12} {count:>9,}")

    expected: Counter[str] = Counter()
    for text in texts:
        expected.update(word.decode() for word in re.findall(rb"[A-Za-z_]+", text))
    if counts != expected:
        print("differs from collections.Counter", file=sys.stderr)
        return 1
    print("equal to collections.Counter")
    return 0


if __name__ == "__main__":
    sys.exit(main())
