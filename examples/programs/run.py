"""External programs over the standard library: tar, tr, sort and gzip, with directories as data."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import sys
import sysconfig
import tarfile
from pathlib import Path

from rain.client import Client, InputDir, Output, Program, Task, directory
from rain.client.tasks import Execute, MakeDirectory, SliceDirectory

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = ("asyncio", "email", "json", "logging")

# Templates: an Execute task for each call.
split = Program(["tr", "-cs", "A-Za-z_", "\\n"], stdin="text", stdout="words")
unique = Program(["sort", "-u"], stdin="words", stdout="sorted")


def sources(package: str) -> list[Path]:
    return sorted((STANDARD_LIBRARY / package).glob("*.py"))


def words_and_archive(package: str) -> dict[str, Task]:
    """The tasks of one package: path in the result -> what makes it."""
    tree = directory(STANDARD_LIBRARY / package, label=package)
    parts = []
    for path in sources(package):
        text = SliceDirectory(tree, path.name)
        parts.append(unique(words=split(text=text, name=f"{package}/{path.name}")))
    merged = Execute(["sort", "-m", "-u", *parts], stdout="words", name=f"{package}/merge")
    zipped = Execute(["gzip", "-9", "-n"], stdin=merged, stdout="words.gz", name=f"{package}/gzip")
    archive = Execute(
        ["tar", "-chzf", Output("archive"), InputDir(package, dataobj=tree)],
        name=f"{package}/tar",
    )
    return {
        f"{package}/words.txt": merged,
        f"{package}/words.txt.gz": zipped,
        f"{package}/sources.tar.gz": archive,
    }


def check(result: Path, package: str) -> int:
    """The number of different words; fails if the programs and Python disagree."""
    expected = set()
    for path in sources(package):
        expected.update(re.findall(rb"[A-Za-z_]+", path.read_bytes()))
    folder = result / package
    words = (folder / "words.txt").read_bytes()
    if set(words.split()) != expected:
        raise SystemExit(f"{package}: the words differ from Python's own")
    if gzip.decompress((folder / "words.txt.gz").read_bytes()) != words:
        raise SystemExit(f"{package}: the compressed words differ")
    with tarfile.open(folder / "sources.tar.gz") as archive:
        names = {name for name in archive.getnames() if re.fullmatch(r"\w+/\w+\.py", name)}
    if names != {f"{package}/{path.name}" for path in sources(package)}:
        raise SystemExit(f"{package}: the archive has other files")
    return len(expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("programs-output"),
        help="where the result goes; must not exist (default: %(default)s)",
    )
    result: Path = parser.parse_args().output
    os.environ["LC_ALL"] = "C"  # programs inherit the environment: sort by bytes

    with Client() as client, client.new_session("programs") as session:
        contents: dict[str, Task] = {}
        for package in PACKAGES:
            contents.update(words_and_archive(package))
        everything = MakeDirectory(contents)
        everything.output.keep()
        count = session.task_count
        session.submit()
        everything.output.fetch().write(result)

    print(f"{count} tasks")
    for package in PACKAGES:
        print(f"{package:<8} {len(sources(package)):>3} files {check(result, package):>6,} words")
    print(f"result: {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
