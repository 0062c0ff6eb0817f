"""Reference 4.11: DataInstance, as the client gets it from fetch()."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rain.client import RainException, Session, Task, blob, directory, pickled
from rain.common import DataInstance, DataType


def make_tree(root: Path) -> Path:
    (root / "d" / "empty").mkdir(parents=True)
    (root / "d" / "file").write_text("text")
    (root / "nothing").touch()
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("d/file")
    return root


def listing(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


@pytest.fixture
def folder(session: Session, tmp_path: Path) -> tuple[Path, Any]:
    """A directory, and its instance."""
    source = make_tree(tmp_path / "source")
    return source, directory(source).fetch()


def test_blob_has_type_spec_and_info(session: Session) -> None:
    data = blob("text", label="l")
    instance = data.fetch()
    assert isinstance(instance, DataInstance)
    assert instance.data_type is DataType.BLOB
    assert instance.spec == data.spec
    assert instance.info == data.info
    assert (instance.info.size, instance.content_type) == (4, "text")


def test_content_type_is_of_info_before_spec(session: Session) -> None:
    task = Task((), 1, task_type="pytester/attributes")
    assert task.output.fetch().content_type == "json"
    assert blob(b"x").fetch().content_type is None


def test_get_bytes_and_str(session: Session) -> None:
    assert blob("ü").fetch().get_bytes() == "ü".encode()
    assert blob("ü").fetch().get_str() == "ü"
    with pytest.raises(UnicodeDecodeError):
        blob(b"\xff").fetch().get_str()


def test_load_decodes_by_content_type(session: Session) -> None:
    assert blob("ü").fetch().load() == "ü"
    assert blob("ü", encode="text-latin1").fetch().load() == "ü"
    assert pickled([1, {2}]).fetch().load() == [1, {2}]
    assert blob({"a": 1}, encode="json").fetch().load() == {"a": 1}
    with pytest.raises(RainException, match="can't decode None content_type"):
        blob(b"x").fetch().load()
    with pytest.raises(RainException, match="Decoding from 'user/x' unsupported"):
        blob(b"x", content_type="user/x").fetch().load()


def test_cached_load_gives_the_same_object(session: Session) -> None:
    instance = pickled([1]).fetch()
    assert instance.load() is not instance.load()
    assert instance.load(cache=True) is instance.load(cache=True)


def test_q30_empty_data_can_be_loaded(session: Session) -> None:
    assert blob("").fetch().load() == ""
    assert blob(b"").fetch().get_bytes() == b""


def test_write_replaces_and_link_writes(session: Session, tmp_path: Path) -> None:
    instance = blob("new").fetch()
    path = tmp_path / "file"
    path.write_text("old and longer")
    instance.write(path)
    assert path.read_text() == "new"
    path.write_text("writable")
    instance.link(str(tmp_path / "linked"))
    assert (tmp_path / "linked").read_text() == "new"
    assert not (tmp_path / "linked").is_symlink()


def test_q44_repr_has_the_size(session: Session) -> None:
    assert repr(blob(b"x" * 2_000_000).fetch()) == "<DataInstance size=2000000>"


# ---- directories -------------------------------------------------------------------------------


def test_directory_has_type_spec_and_info(session: Session, tmp_path: Path) -> None:
    data = directory(make_tree(tmp_path / "source"))
    instance = data.fetch()
    assert isinstance(instance, DataInstance)
    assert instance.data_type is DataType.DIRECTORY
    assert instance.spec == data.spec
    assert instance.content_type is None
    assert instance.info == data.info
    assert instance.info.size == len("text") + len("#!/bin/sh\n")  # Q5: of its files


def test_get_bytes_of_a_directory_is_a_tar_rooted_at_a_dot(
    folder: tuple[Path, Any], tmp_path: Path
) -> None:
    source, instance = folder
    with tarfile.open(fileobj=io.BytesIO(instance.get_bytes()), mode="r:") as tar:
        assert sorted(tar.getnames()) == [
            *(".", "./d", "./d/empty", "./d/file", "./link", "./nothing", "./run"),
        ]
        filters = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
        tar.extractall(tmp_path / "out", **filters)
    assert listing(tmp_path / "out") == listing(source)


def test_directory_is_written_as_a_copy_that_may_be_changed(
    folder: tuple[Path, Any], tmp_path: Path
) -> None:
    source, instance = folder
    target = tmp_path / "copy"
    instance.write(target)
    assert listing(target) == listing(source)
    # Q49: writable for the owner, not for everybody.
    for path in (target, target / "d", target / "run", target / "nothing"):
        assert path.stat().st_mode & stat.S_IWUSR
        assert not path.stat().st_mode & stat.S_IWOTH
    (target / "d" / "file").write_text("changed")
    (target / "d" / "more").touch()
    assert (Path(instance.path) / "d" / "file").read_text() == "text"


def test_directory_is_not_written_over_anything(folder: tuple[Path, Any], tmp_path: Path) -> None:
    for name in ("d", "f", "l"):
        target = tmp_path / name
        {"d": target.mkdir, "f": target.touch, "l": lambda: target.symlink_to("nowhere")}[name]()  # noqa: B023
        with pytest.raises(FileExistsError, match="exists"):
            folder[1].write(target)


def test_directory_is_linked(folder: tuple[Path, Any], tmp_path: Path) -> None:
    folder[1].link(tmp_path / "linked")
    assert (tmp_path / "linked").is_symlink()
    assert (tmp_path / "linked" / "d" / "file").read_text() == "text"


def test_directory_has_no_text_value_or_buffer(folder: tuple[Path, Any]) -> None:
    instance = folder[1]
    with pytest.raises(RainException, match="is a directory"):
        instance.get_str()
    with pytest.raises(RainException, match="can't decode None content_type"):
        instance.load()
    with pytest.raises((BufferError, TypeError), match="a directory has no bytes"):
        memoryview(instance)


def test_repr_of_a_directory_has_its_path(folder: tuple[Path, Any]) -> None:
    assert repr(folder[1]) == f"<DataInstance path={folder[1].path!r}>"


def test_directory_is_read_only_and_ends_with_its_last_instance(
    client: Any, folder: tuple[Path, Any]
) -> None:
    path = Path(folder[1].path)
    assert not path.stat().st_mode & 0o222
    assert not (path / "d" / "file").stat().st_mode & 0o222


def test_directory_does_not_outlive_its_client(client: Any, tmp_path: Path) -> None:
    with client.new_session():
        instance = directory(make_tree(tmp_path / "source")).fetch()
    assert listing(Path(instance.path)) == listing(tmp_path / "source")
    path = instance.path
    client.close()
    assert not os.path.exists(path)
    with pytest.raises(RainException, match="went with its client: write"):
        instance.write(tmp_path / "late")


def test_q45_empty_directory(session: Session, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    instance = directory(tmp_path / "empty").fetch()
    assert os.listdir(instance.path) == []
    assert (len(instance), instance.info.size) == (0, 0)
    instance.write(tmp_path / "copy")
    assert os.listdir(tmp_path / "copy") == []
