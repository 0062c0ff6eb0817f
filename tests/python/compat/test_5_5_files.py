"""Reference 5.5 and 4.8: the built-in tasks on data, files and directories, running."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    OutputDir,
    RainException,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    UsageError,
    WaitTimeout,
    blob,
    directory,
)
from rain.client.data import to_dataobj
from rain.client.tasks import (
    Concat,
    Load,
    LoadDir,
    MakeDirectory,
    Sleep,
    SliceDirectory,
    Store,
)


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Any:
    """A session without any registered executor, in which failures concern nothing else."""
    client = make_client(executors={}, cpus=2)
    with client.new_session(on_error="continue") as session:
        yield session


def message_of(task: Task) -> str:
    """Run a task that must fail; its message."""
    task.session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    assert task.state is TaskState.failed
    assert f"Message: {caught.value.message}" in str(caught.value)
    return caught.value.message


def custom(method: str, *inputs: Any, outputs: Any = 1, config: Any = None) -> Task:
    return Task(inputs, outputs, task_type=f"buildin/{method}", config=config)


def content(root: str | Path) -> dict[str, bytes | None]:
    root = Path(root)
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


# ---- what all have in common -------------------------------------------------------------------


def test_unknown_task_names_the_known(session: Session) -> None:
    with pytest.raises(UsageError, match=r"^Unknown task type buildin/nope.*concat"):
        custom("nope")


WITH_CONFIG = ["sleep", "open", "open_dir", "export", "make_directory", "slice_directory"]


@pytest.mark.parametrize("method", WITH_CONFIG)
def test_missing_config(session: Session, method: str) -> None:
    inputs = () if method.startswith("open") else (blob("x"),)
    assert message_of(custom(method, *inputs)).startswith(
        "Task config is empty, but non-empty config is expected"
    )


@pytest.mark.parametrize("method", WITH_CONFIG)
@pytest.mark.parametrize(
    "config", ["text", [], {"nope": 1}, {"path": 5}, {"paths": "x"}, {"path": ["x"]}, True]
)
def test_config_of_wrong_shape(session: Session, method: str, config: Any) -> None:
    inputs = () if method.startswith("open") else (blob("x"),)
    text = message_of(custom(method, *inputs, config=config))
    assert text.startswith("Cannot parse task config: ")


@pytest.mark.parametrize(
    ("method", "count", "config"),
    [
        *(("sleep", 2, 0.1), ("sleep", 0, 0.1), ("open", 1, {"path": "/x"})),
        *(("open_dir", 1, {"path": "/x"}), ("export", 2, {"path": "/x"})),
        *(("export", 0, {"path": "/x"}), ("slice_directory", 0, {"path": "x"})),
        *(("make_directory", 1, {"paths": ["a", "b"]}), ("make_directory", 2, {"paths": ["a"]})),
    ],
)
def test_wrong_number_of_inputs(session: Session, method: str, count: int, config: Any) -> None:
    inputs = [blob("x") for _ in range(count)]
    outputs = 0 if method == "export" else 1
    assert message_of(custom(method, *inputs, outputs=outputs, config=config)).startswith(
        "Invalid number of arguments, expected: "
    )


def test_user_of_old_names_finds_states_and_info(session: Session) -> None:
    task = Concat([blob("a")])
    session.submit()
    task.wait()
    assert task.state is TaskState.finished
    assert task.info is not None
    assert task.info.error == ""


# ---- concat ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(), (0,), (0, 0), (3, 0, 5), (1, 70_000, 0, 300_000, 2)])
def test_concat_joins_bytes(session: Session, sizes: tuple[int, ...]) -> None:
    pieces = [bytes([65 + i]) * size for i, size in enumerate(sizes)]
    task = Concat([blob(piece) for piece in pieces])
    assert task.output.fetch().get_bytes() == b"".join(pieces)


def test_concat_takes_an_object_twice(session: Session) -> None:
    data = blob("ab")
    assert Concat([data, data]).output.fetch().get_bytes() == b"abab"


def test_concat_of_a_directory(session: Session, tmp_path: Path) -> None:
    assert message_of(Concat([blob("x"), directory(tmp_path)])) == "Input 1 object is not blob"


def test_q33_concat_of_an_empty_file(session: Session, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    empty = Load(str(tmp_path / "empty"))
    assert Concat([empty, blob("x"), empty]).output.fetch().get_bytes() == b"x"


# ---- sleep -------------------------------------------------------------------------------------


def test_sleep_passes_its_input_on(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    big = blob(b"x" * 100_000)
    assert Sleep(big, 0.001).output.fetch().get_bytes() == b"x" * 100_000
    assert content(Sleep(directory(tmp_path), 0.001).output.fetch().path) == {"f": b"x"}  # type: ignore[attr-defined]


def test_sleep_sleeps(session: Session) -> None:
    task = Sleep(blob("x"), 1e6)
    session.submit()
    with pytest.raises(WaitTimeout):
        task.wait(timeout=0.05)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.wait()


def test_q8_sleep_of_no_time(session: Session) -> None:
    assert Sleep(blob("x"), 0).output.fetch().get_bytes() == b"x"


def test_sleeps_take_no_thread_each(make_client: Callable[..., Client]) -> None:
    client = make_client(executors={}, cpus=200)
    before = len(os.listdir("/proc/self/task"))
    with client.new_session() as session:
        data = blob("x")
        for _ in range(100):
            Sleep(data, 1e6)
        session.submit()
        running = client.get_server_info()["governors"][0]["tasks"]
        assert len(running) == 100
        assert len(os.listdir("/proc/self/task")) < before + 20
    assert threading.active_count() >= 1


# ---- open, open_dir ----------------------------------------------------------------------------


def test_load_reads_a_file(session: Session, tmp_path: Path) -> None:
    for size in (0, 1, 1_000_000):
        (tmp_path / str(size)).write_bytes(b"x" * size)
        task = Load(str(tmp_path / str(size)))
        assert task.output.fetch().get_bytes() == b"x" * size


def test_load_is_a_copy(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("then")
    data = Load(str(path)).output.fetch()
    path.write_text("now!")
    assert data.get_bytes() == b"then"


def test_load_reads_a_directory_into_a_directory_output(session: Session, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("x")
    wanted = {"d": None, "d/f": b"x"}
    assert content(LoadDir(str(tmp_path)).output.fetch().path) == wanted  # type: ignore[attr-defined]
    task = custom("open", outputs=[OutputDir("d")], config={"path": str(tmp_path)})
    assert content(task.output.fetch().path) == wanted  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [Load, LoadDir])
def test_load_texts(session: Session, tmp_path: Path, kind: Any) -> None:
    for path in ("relative", "", "../x", "./x"):
        assert message_of(kind(path)) == f'Path "{path}" is not absolute'
    missing = str(tmp_path / "missing")
    assert message_of(kind(missing)) == f"Path '{missing}' not found"


def test_load_of_the_wrong_kind(session: Session, tmp_path: Path) -> None:
    text = message_of(Load(str(tmp_path), output="mine"))
    assert text == "Output 'mine' (content_type=) expects type blob, but dir is provided"
    (tmp_path / "file").touch()
    message_of(LoadDir(str(tmp_path / "file")))


def test_load_of_what_is_no_file_ends(session: Session, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert str(tmp_path / "fifo") in message_of(Load(str(tmp_path / "fifo")))


@pytest.mark.parametrize("name", ["a\nb", "ü" * 127, "x" * 255, " ", "-rf", "'\"$(x)"])
def test_load_of_unusual_names(session: Session, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("content")
    assert Load(tmp_path / name).output.fetch().get_bytes() == b"content"


def test_name_that_is_no_utf_8_is_refused_at_once(session: Session, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(path).touch()
    for make in (Load, LoadDir, lambda name: Store(blob("x"), name)):
        with pytest.raises(ValueError, match=r"path.*UTF-8|surrogates"):
            make(path)
    assert session.task_count == 0


# ---- export ------------------------------------------------------------------------------------


def stored(data: Any, path: Path) -> None:
    task = Store(data, str(path))
    task.session.submit()
    task.wait()


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_store_writes_and_overwrites_a_file(session: Session, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    stored(blob(b"x" * size), path)
    assert path.read_bytes() == b"x" * size
    stored(blob("other"), path)
    assert path.read_text() == "other"


def test_q49_stored_file_is_writable_for_its_owner_not_for_all(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "source").write_text("x")
    stored(Load(str(tmp_path / "source")), tmp_path / "file")
    mode = (tmp_path / "file").stat().st_mode
    assert mode & stat.S_IWUSR
    assert not mode & stat.S_IWOTH
    assert not mode & stat.S_IXUSR


def test_store_of_a_directory(session: Session, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("x")
    stored(directory(source), tmp_path / "target")
    assert content(tmp_path / "target") == content(source)
    (tmp_path / "target" / "d" / "f").write_text("may be written")


@pytest.mark.parametrize("there", ["file", "directory"])
def test_q34_store_of_a_directory_over_something_is_refused(
    session: Session, tmp_path: Path, there: str
) -> None:
    (tmp_path / "source").mkdir()
    target = tmp_path / "target"
    target.mkdir() if there == "directory" else target.write_text("mine")
    before = content(tmp_path)
    assert str(target) in message_of(Store(directory(tmp_path / "source"), str(target)))
    assert content(tmp_path) == before


def test_store_texts(session: Session, tmp_path: Path) -> None:
    for path in ("relative", "", "../x"):
        assert message_of(Store(blob("x"), path)) == f'Path "{path}" is not absolute'
    missing = str(tmp_path / "missing" / "file")
    assert "No such file or directory" in message_of(Store(blob("x"), missing))
    assert "Is a directory" in message_of(Store(blob("x"), str(tmp_path)))


# ---- make_directory ----------------------------------------------------------------------------


def test_make_directory_makes_parents(session: Session, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("i")
    task = MakeDirectory({"a": blob("1"), "d/e/f": blob("2"), "d/g": directory(tmp_path)})
    assert content(task.output.fetch().path) == {  # type: ignore[attr-defined]
        "a": b"1",
        "d": None,
        "d/e": None,
        "d/e/f": b"2",
        "d/g": None,
        "d/g/in": b"i",
    }


def test_make_directory_on_the_base_of_another(session: Session, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("i")
    task = MakeDirectory([(".", directory(tmp_path)), ("more", blob("m"))])
    assert content(task.output.fetch().path) == {"in": b"i", "more": b"m"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["/abs", "/", "", "../out", "a/../../out", "a/.."])
def test_make_directory_stays_inside(session: Session, tmp_path: Path, path: str) -> None:
    text = message_of(MakeDirectory({path: blob("x")}))
    assert path in text
    if path.startswith("/") or not path:
        assert text == f"Path '{path}' is not relative"


def test_make_directory_of_inputs_that_collide(session: Session) -> None:
    assert "'a'" in message_of(MakeDirectory([("a", blob("1")), ("a", blob("2"))]))
    assert "a/b" in message_of(MakeDirectory([("a", blob("1")), ("a/b", blob("2"))]))


@pytest.mark.parametrize("name", ["a\nb", "x" * 255, "ü", " "])
def test_make_directory_of_unusual_names(session: Session, name: str) -> None:
    task = MakeDirectory({name: blob("x")})
    assert content(task.output.fetch().path) == {name: b"x"}  # type: ignore[attr-defined]


def test_make_directory_of_a_name_that_is_too_long(session: Session) -> None:
    assert "File name too long" in message_of(MakeDirectory({"x" * 256: blob("x")}))


# ---- slice_directory ---------------------------------------------------------------------------


@pytest.fixture
def tree(session: Session, tmp_path: Path) -> Any:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "f").write_text("x")
    (tmp_path / "d" / "run").touch(mode=0o755)
    (tmp_path / "to_file").symlink_to("d/f")
    made = directory(tmp_path)
    made.keep()
    return made


def test_slice_of_a_file_and_of_a_directory(tree: Any) -> None:
    assert SliceDirectory(tree, "d/f").output.fetch().get_bytes() == b"x"
    folder = SliceDirectory(tree, "d/").output.fetch()
    assert content(folder.path) == {"e": None, "f": b"x", "run": b""}  # type: ignore[attr-defined]
    assert os.access(Path(folder.path) / "run", os.X_OK)  # type: ignore[attr-defined]
    assert content(SliceDirectory(tree, "d/e/").output.fetch().path) == {}  # type: ignore[attr-defined]
    assert SliceDirectory(tree, "to_file").output.fetch().get_bytes() == b"x"


def test_slice_texts(tree: Any) -> None:
    assert message_of(SliceDirectory(tree, "d/missing")) == "Path 'd/missing' now found."
    assert message_of(SliceDirectory(tree, "d", output="o")) == (
        "Output 'o' (content_type=) expects type blob, but dir is provided"
    )
    assert message_of(SliceDirectory(tree, "d/f/")).endswith(
        ("expects type dir, but blob is provided", "now found.")
    )


@pytest.mark.parametrize("path", ["..", "../x", "d/../../x", "/etc/passwd", "d/../f"])
def test_slice_stays_inside(tree: Any, path: str) -> None:
    assert path in message_of(SliceDirectory(tree, path))


# ---- big and bad directories -------------------------------------------------------------------


@pytest.fixture
def in_memory() -> Iterator[str]:
    """A folder whose files cost no time of a disk, where there is such a thing."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield folder


def test_directory_of_100_000_files(make_client: Callable[..., Client], in_memory: str) -> None:
    source = Path(in_memory) / "source"
    for i in range(100):
        (source / f"{i:02}").mkdir(parents=True)
    names = [f"{i % 100:02}/{i}" for i in range(100_000)]
    for name in names:
        os.close(os.open(source / name, os.O_CREAT | os.O_WRONLY))
    with make_client(executors={}, run_directory=in_memory).new_session():
        for make in (directory, LoadDir):
            made: Any = make(source)
            instance = to_dataobj(made).fetch()
            found = [len(files) for _, _, files in os.walk(instance.path)]
            assert sum(found) == len(names)


@pytest.mark.parametrize("name", [b"a\nb", b"x" * 255, b"\xff\xfe", b" ", "ü".encode()])
def test_directory_with_unusual_names(session: Session, tmp_path: Path, name: bytes) -> None:
    source = os.fsencode(tmp_path / "source")
    os.mkdir(source)
    Path(os.fsdecode(source + b"/" + name)).write_text("x")
    instance: Any = directory(os.fsdecode(source)).fetch()
    assert os.listdir(os.fsencode(instance.path)) == [name]
    instance.write(tmp_path / "copy")
    assert os.listdir(os.fsencode(tmp_path / "copy")) == [name]
    copied = directory(tmp_path / "copy")
    copied.fetch()


@pytest.mark.parametrize("target", ["/etc", "/etc/passwd", "..", "../..", "d/../../x"])
def test_directory_with_a_link_that_leads_outside(
    session: Session, tmp_path: Path, target: str
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(RainException, match=r"link.*must be relative and stay inside"):
        directory(tmp_path)
    assert session.dataobj_count == 0


def test_directory_with_a_special_file(session: Session, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RainException, match="fifo"):
        directory(tmp_path)


def test_directory_that_is_missing_or_a_file(session: Session, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        directory(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"use blob\(\)"):
        directory(tmp_path / "file")


def test_directory_that_changes_while_it_is_read_is_an_error_or_whole(
    session: Session, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for i in range(300):
        (source / f"{i:03}").write_bytes(b"x" * 5000)
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for i in range(300):
                path = source / f"{i:03}"
                path.unlink()
                path.write_bytes(b"y" * 7000)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        outcomes = []
        for _ in range(10):
            try:
                instance: Any = directory(source).fetch()
            except RainException as error:
                assert str(source) in str(error)  # noqa: PT017 - either is fine
                outcomes.append("refused")
            else:
                sizes = {len(data or b"") for data in content(instance.path).values()}
                assert sizes <= {0, 5000, 7000}
                outcomes.append("taken")
    finally:
        stop.set()
        thread.join()
    assert len(outcomes) == 10
