"""The client: one C++ task, then a Python task on its result."""

import argparse
import os
import sys
from pathlib import Path

from rain.client import Client, DataObject, Task, blob

HERE = Path(__file__).resolve().parent


class Hello(Task):
    TASK_TYPE = "example1/hello"

    def __init__(self, obj: DataObject) -> None:
        super().__init__(inputs=(obj,), outputs=1)


class PythonHello(Task):
    TASK_TYPE = "example2/hello"

    def __init__(self, obj: DataObject) -> None:
        super().__init__(inputs=(obj,), outputs=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--executors-dir",
        type=Path,
        default=HERE.parent.parent / "build" / "examples" / "hello",
        help="where CMake built hello and copied executors.toml (default: %(default)s)",
    )
    arguments = parser.parse_args()
    # "python3" in executors.toml is the interpreter that runs this program.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    with Client(config=arguments.executors_dir / "executors.toml").new_session():
        t = Hello(blob("Hello world"))
        print(t.output.fetch().get_bytes())  # submits and keeps what was not submitted yet

        p = PythonHello(t.output)  # C++ wrote it, Python reads it
        print(p.output.fetch().get_bytes())


if __name__ == "__main__":
    main()
