"""The client: a Rust task decodes the text that Python's module `this` hides, another counts."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import sys
from pathlib import Path

from rain.client import Client, DataObject, Task, blob

with contextlib.redirect_stdout(io.StringIO()):  # it prints the text when it is imported
    import this

HERE = Path(__file__).resolve().parent


class Rot13(Task):
    TASK_TYPE = "rust/rot13"

    def __init__(self, text: DataObject):
        super().__init__(inputs=(text,), outputs=1)


class Count(Task):
    TASK_TYPE = "rust/count"

    def __init__(self, text: Task):
        super().__init__(inputs=(text,), outputs=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--program",
        type=Path,
        default=HERE / "target" / "debug" / "rust-example",
        help="what cargo built (default: %(default)s)",
    )
    arguments = parser.parse_args()

    with (
        Client(executors={"rust": [str(arguments.program)]}) as client,
        client.new_session() as session,
    ):
        decoded = Rot13(blob(this.s))
        counted = Count(decoded)
        session.keep_all()
        session.submit()
        text = decoded.output.fetch().get_str()
        counts = counted.output.fetch().load()
    print(text.splitlines()[0])
    print(f"{counts['lines']} lines, {counts['words']} words")

    if text != codecs.decode(this.s, "rot13") or counts["words"] != len(text.split()):
        print("differs from Python's own", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
