"""Directories as tar streams: what comes out is what went in, and nothing else can."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rain.common.errors import ProtocolError
from rain.engine import trees


def tree_of(path: Path) -> dict[str, object]:
    """Each entry's name and what it is."""
    found: dict[str, object] = {}
    for entry in sorted(path.rglob("*")):
        name = str(entry.relative_to(path))
        if entry.is_symlink():
            found[name] = ("link", os.readlink(entry))
        elif entry.is_dir():
            found[name] = "directory"
        else:
            found[name] = (entry.read_bytes(), bool(entry.stat().st_mode & 0o111))
    return found


def packed(path: Path) -> bytes:
    return b"".join(trees.pack(str(path)))


def test_a_tree_comes_out_as_it_went_in(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "nothing").touch()
    (source / "block").write_bytes(b"x" * 512)
    (source / "deep" / "large").write_bytes(os.urandom((2 << 20) + 1))
    (source / "deep" / "er" / ("long" * 60)).write_text("name")
    (source / "program").write_text("#!/bin/sh\n")
    (source / "program").chmod(0o755)
    (source / "link").symlink_to("deep/large")
    (source / "deep" / "up").symlink_to("../nothing")
    os.link(source / "block", source / "same")  # of which data have many
    (source / os.fsdecode(b"\xff\xfe")).write_text("no UTF-8")

    trees.unpack(io.BytesIO(packed(source)), str(tmp_path / "target"))

    assert tree_of(tmp_path / "target") == tree_of(source)


def test_an_empty_tree(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    trees.unpack(io.BytesIO(packed(tmp_path / "source")), str(tmp_path / "target"))
    assert tree_of(tmp_path / "target") == {}


def test_the_same_tree_gives_the_same_stream(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir(mode=0o700 if name == "one" else 0o755)
        for file in ("a", "b") if name == "one" else ("b", "a"):
            (tmp_path / name / file).write_text(file)
        os.utime(tmp_path / name / "a", (1, 1) if name == "one" else (2, 2))
    assert packed(tmp_path / "one") == packed(tmp_path / "two")


def archive(fill: Callable[[tarfile.TarFile], None]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        fill(tar)
    stream.seek(0)
    return stream


def entry(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = leads_to
    return info


@pytest.mark.parametrize(
    "entries",
    [
        [entry("../out")],
        [entry("/tmp/out")],
        [entry("a/../../out")],
        [entry("a"), entry("a")],
        [entry("missing/file")],
        [entry("link", tarfile.SYMTYPE, ".."), entry("link/out")],
        [entry("a"), entry("hard", tarfile.LNKTYPE, "a")],
        [entry("fifo", tarfile.FIFOTYPE)],
        [entry("device", tarfile.CHRTYPE)],
    ],
    ids=lambda entries: "+".join(info.name for info in entries),
)
def test_refuses_what_leads_elsewhere_or_is_no_data(
    tmp_path: Path, entries: list[tarfile.TarInfo]
) -> None:
    stream = archive(lambda tar: [tar.addfile(info) for info in entries] and None)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ProtocolError):
        trees.unpack(stream, str(tmp_path / "target"))
    assert [path for path in tmp_path.iterdir() if path.name != "target"] == before


@pytest.mark.parametrize("damage", ["cut", "noise", "nothing"])
def test_refuses_a_damaged_stream(tmp_path: Path, damage: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(bytes(5000))
    data = packed(tmp_path / "source")
    data = {"cut": data[:2000], "noise": os.urandom(4096), "nothing": b""}[damage]
    with pytest.raises(ProtocolError):
        trees.unpack(io.BytesIO(data), str(tmp_path / "target"))
