"""Executors built with the libraries of Rain 0.4 run under our governor.

The Rust and the Python one are built with what was published; the C++ one is a stand-in that sends
the same bytes, see old/cpp/old_cpp_executor.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import minicbor
import pytest
from old_kinds import (
    OLD,
    ROOT,
    Old,
    OldPython,
    client_of,
    fetch,
    old_cpp,
    old_python,
    old_rust,
)
from rain.client import (
    Client,
    ExecutorDied,
    RainWarning,
    Session,
    Task,
    TaskException,
    TaskState,
    blob,
)
from tasks import contains
from world import exists, wait_until

pytestmark = pytest.mark.timeout(1200)  # the first run builds

IN_MEMORY, AS_PATH = (1 << 18) - 1, 1 << 18  # the largest blob in a message, the smallest file


# Of the session's scope, so that they are built before a test's census begins.


@pytest.fixture(scope="session")
def cpp() -> Old:
    return old_cpp()


@pytest.fixture(scope="session")
def python() -> OldPython:
    return old_python()


@pytest.fixture(scope="session")
def rust() -> Old:
    return old_rust()


@pytest.fixture(scope="session", params=["cpp", "python", "rust"])
def old(request: pytest.FixtureRequest) -> Old:
    old: Old = request.getfixturevalue(request.param)
    return old


def only(*kinds: str) -> pytest.MarkDecorator:
    """The test is for these libraries alone."""
    return pytest.mark.parametrize("old", kinds, indirect=True)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client that has the executor of this test."""
    name = next(name for name in ("old", "python", "rust", "cpp") if name in request.fixturenames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)  # of ids, which have a test of their own
        with client_of(request.getfixturevalue(name)) as client:
            yield client


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session(on_error="continue") as session:
        yield session


def data_of(size: int) -> bytes:
    return (b"0123456789abcdefghijklm" * (size // 23 + 1))[:size]


def pid(old: Old) -> int:
    return int(fetch(old.call("pid")))


@pytest.mark.usefixtures("session")
def test_hello(old: Old) -> None:
    assert fetch(old.call("hello", "old friend")) == b"Hello old friend!"


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("size", [1, 1 << 16, 1 << 17, IN_MEMORY, AS_PATH, 5_000_000])
def test_inputs_and_outputs_of_any_size_arrive_whole(old: Old, size: int) -> None:
    data = data_of(size)
    assert fetch(old.call("concat", data, b"-", data)) == data + b"-" + data


@pytest.mark.usefixtures("session")
def test_empty_blobs(old: Old) -> None:
    assert fetch(old.call("concat", b"", b"x", b"")) == b"x"
    assert fetch(old.call("nothing")) == b""
    assert fetch(old.call("concat", old.call("nothing"))) == b""


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("size", [0, 5, AS_PATH])
def test_file_made_by_the_task_becomes_the_output(old: Old, size: int) -> None:
    for turn in (b"1", b"2"):  # the second file has the name of the first one
        data = data_of(size) + turn * bool(size)
        staged = old.call("stage_file", data)
        staged.output.keep()
        assert fetch(old.call("concat", staged, b"!")) == data + b"!"
        assert fetch(staged) == data


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("size", [3, AS_PATH])
def test_output_of_one_is_input_of_the_next(old: Old, size: int) -> None:
    data = data_of(size)
    task = old.call("concat", data)
    for _ in range(5):
        task = old.call("concat", task, b".")
    assert fetch(task) == data + b"....."


@only("python", "rust")
@pytest.mark.parametrize("size", [0, 7, AS_PATH])
def test_input_passed_through_is_the_output(old: Old, size: int) -> None:
    data = data_of(size)
    with client_of(old) as client, client.new_session():
        first = old.call("same", data)
        second = old.call("same", first)
        second.output.keep()
        assert fetch(old.call("concat", first, second)) == data * 2
        assert fetch(second) == data


@pytest.mark.usefixtures("session")
def test_large_input_is_a_file_that_can_only_be_read(python: OldPython) -> None:
    assert fetch(python.call("path", data_of(IN_MEMORY))) == b"memory"
    large = blob(data_of(AS_PATH))
    large.keep()
    path = Path(fetch(python.call("path", large)).decode())
    assert path.is_absolute()
    assert path.read_bytes() == data_of(AS_PATH)
    assert not stat.S_IMODE(path.stat().st_mode) & 0o222


@pytest.mark.usefixtures("session")
def test_large_input_is_a_file_for_rust(rust: Old) -> None:
    path = fetch(rust.call("path", data_of(AS_PATH))).decode()
    assert os.path.isabs(path)
    with pytest.raises(ExecutorDied, match="exit code: 101"):
        fetch(rust.call("path", data_of(IN_MEMORY)))


@only("python", "rust")
def test_labels_types_and_user_attributes(old: Old) -> None:
    with client_of(old) as client, client.new_session():
        text = blob(b"{}", label="document", content_type="json")
        task: Task
        if isinstance(old, OldPython):
            template = old.call("attributes", text)
            inputs = [template.inputs[0], ("in", text)]
            config: Any = template.spec.config
            task = Task(inputs, ["result"], config=config, task_type="py/")
        else:
            task = Task([("in", text)], ["result"], task_type="oldrust/attributes")
        assert fetch(task) == b"in json result"
        assert task.info is not None
        assert task.info.user == {"answer": 42}
        assert task.output.info.user == {"unit": "metre"}
        if old.kind == "python":
            assert task.info.debug == "seen document"
            assert task.output.content_type == "text"
        staged = old.call("stage_file", b"x")
        assert fetch(staged) == b"x"
        assert staged.output.content_type == "text"


@pytest.mark.usefixtures("session")
def test_python_outputs_by_label_and_encoded(python: OldPython) -> None:
    pair = python.call("pair", b"2", outputs=["first", "second"])
    pair.keep_outputs()
    assert [data.get_bytes() for data in pair.fetch_outputs()] == [b"1", b"2"]
    numbers = blob([1, 2], encode="json")
    loaded = python.call("plus_one", numbers, load=True, encode="json")
    assert loaded.output.fetch().load() == [2, 3]


FAILURES = {
    "cpp": '"gone wrong: 7 > 6"\nTask failed in executor',
    "python": "ValueError: gone wrong: 7 > 6",
    "rust": "task error: gone wrong: 7 > 6",
}


def test_failure_has_the_tasks_text_and_the_process_goes_on(old: Old) -> None:
    with client_of(old) as client, client.new_session(on_error="continue") as session:
        before = pid(old)
        bad = old.call("fail", "gone wrong: 7 > 6", outputs=0)
        session.submit()
        with pytest.raises(TaskException) as caught:
            bad.wait()
        assert not isinstance(caught.value, ExecutorDied)
        contains(caught.value.message, FAILURES[old.kind], "Task failed in executor")
        assert pid(old) == before


@only("cpp", "rust")
def test_unknown_method_and_wrong_number_of_arguments_are_told(old: Old) -> None:
    texts = {
        "cpp": ["Method 'oldcpp/helo' not found in executor", "expected = 1, but got = 2"],
        "rust": ['Task "helo" not found in executor "oldrust"', "too many inputs"],
    }
    with client_of(old) as client, client.new_session(on_error="continue"):
        for method, inputs, text in zip(
            ("helo", "hello"), ("x", "xy"), texts[old.kind], strict=True
        ):
            with pytest.raises(TaskException) as caught:
                fetch(old.call(method, *inputs))
            contains(caught.value.message, text)


DEATHS = {
    "cpp": ("killed by SIGABRT", "crashed on purpose"),
    "python": ("killed by SIGABRT", "crashed on purpose"),
    "rust": ("ended with exit code: 101", "panicked on purpose"),
}


def test_crash_is_reported_with_stderr_and_the_next_task_gets_a_new_process(old: Old) -> None:
    how, last_words = DEATHS[old.kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        with client_of(old) as client, client.new_session(on_error="continue") as session:
            before = pid(old)
            bad = old.call("crash", outputs=0)
            session.submit()
            with pytest.raises(ExecutorDied) as caught:
                bad.wait()
            contains(caught.value.message, f"'{old.name}' (process {before})", how)
            contains(caught.value.report, last_words)
            assert bad.state is TaskState.failed
            assert pid(old) != before
            assert fetch(old.call("hello", "again")) == b"Hello again!"


@pytest.mark.usefixtures("session")
def test_process_is_used_again(old: Old) -> None:
    assert len({pid(old) for _ in range(5)}) == 1


def test_two_processes_at_once(old: Old, session: Session, tmp_path: Path) -> None:
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    tasks = [old.call("meet", *names), old.call("meet", *reversed(names))]
    for task in tasks:
        task.output.keep()
    session.submit()
    assert len({fetch(task) for task in tasks}) == 2


def test_two_processes_share_a_burst(old: Old, session: Session, tmp_path: Path) -> None:
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    tasks = [old.call("meet", *names), old.call("meet", *reversed(names))]
    tasks += [old.call("pid") for _ in range(200)]
    for task in tasks:
        task.output.keep()
    session.submit()
    processes = {fetch(task) for task in tasks}
    assert processes == {fetch(task) for task in tasks[:2]}


def test_closing_a_session_leaves_the_process_alive(old: Old, client: Client) -> None:
    with client.new_session() as session:
        before = pid(old)
        task = blob(data_of(AS_PATH))
        for _ in range(20):
            task = old.call("concat", task)
        session.submit()
        session.wait_all()
    for _ in range(3):
        with client.new_session():
            assert pid(old) == before


def test_executor_ends_with_the_client(old: Old) -> None:
    with client_of(old) as client, client.new_session():
        process = pid(old)
        assert exists(process)
    wait_until(lambda: not exists(process), "the end of the executor")


def test_idle_process_ends_and_the_next_task_gets_another(old: Old) -> None:
    command = old.command | {"idle_seconds": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        with Client(executors={old.name: command}, cpus=2) as client, client.new_session():
            before = pid(old)
            wait_until(lambda: not exists(before), "the end of the idle process")
            assert pid(old) != before


@pytest.mark.parametrize("way", ["rename", "in place"])
def test_rewritten_program_is_used_from_the_next_task_on(
    cpp: Old, tmp_path: Path, way: str
) -> None:
    program = tmp_path / "executor.py"
    text = (OLD / "cpp" / "old_cpp_executor.py").read_text()
    program.write_text(text)
    command = cpp.command | {"command": [sys.executable, str(program)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RainWarning)
        with Client(executors={cpp.name: command}, cpus=2) as client, client.new_session():
            before = pid(cpp)
            assert fetch(cpp.call("hello", "you")) == b"Hello you!"
            new = text.replace('b"Hello "', 'b"Welcome "')
            assert new != text
            if way == "rename":
                (tmp_path / "new").write_text(new)
                (tmp_path / "new").replace(program)
            else:
                program.write_text(new)
            wait_until(lambda: fetch(cpp.call("hello", "you")) == b"Welcome you!", "the new one")
            wait_until(lambda: not exists(before), "the end of the process of the old program")


def test_program_that_was_rewritten_is_not_reloaded_when_told_so(cpp: Old, tmp_path: Path) -> None:
    program = tmp_path / "executor.py"
    text = (OLD / "cpp" / "old_cpp_executor.py").read_text()
    program.write_text(text)
    command = cpp.command | {"command": [sys.executable, str(program)], "reload": False}
    with Client(executors={cpp.name: command}, cpus=1) as client, client.new_session():
        before = pid(cpp)
        program.write_text(text.replace('b"Hello "', 'b"Welcome "'))
        assert {fetch(cpp.call("hello", "you")) for _ in range(50)} == {b"Hello you!"}
        assert pid(cpp) == before


@pytest.mark.usefixtures("session")
def test_tasks_are_made_without_a_class_and_none_are_announced(cpp: Old, client: Client) -> None:
    tasks = client.executors[cpp.name]
    assert tasks.tasks() == []
    assert "announces no tasks" in repr(tasks)
    assert fetch(tasks.hello(blob("you"), name="greeting")) == b"Hello you!"


def test_wrong_id_of_the_cpp_library_is_accepted_with_a_warning(cpp: Old, tmp_path: Path) -> None:
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    client = client_of(cpp)
    with client.new_session() as session:
        tasks = [cpp.call("meet", *names), cpp.call("meet", *reversed(names))]
        session.submit()
        session.wait_all()
    with pytest.warns(RainWarning) as caught:
        client.close()
    assert len(caught) == 1
    contains(
        caught[0].message,
        "executor 'oldcpp' registered as id 1 instead of 2",
        "as the C++ library of Rain 0.4 does; accepted",
    )
    assert all(task.state is TaskState.finished for task in tasks)


def test_wrong_id_of_the_cpp_library_is_accepted_with_two_digits(cpp: Old) -> None:
    client = client_of(cpp)
    with client.new_session(on_error="continue") as session:
        bad = [cpp.call("crash", outputs=0) for _ in range(9)]  # a process each
        session.submit()
        session.wait_all()
        assert {task.state for task in bad} == {TaskState.failed}
        assert fetch(cpp.call("hello", "tenth")) == b"Hello tenth!"
    with pytest.warns(RainWarning, match="registered as id 2 instead of 10"):
        client.close()


@only("python", "rust")
def test_right_id_gives_no_warning(old: Old, tmp_path: Path) -> None:
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with client_of(old) as client, client.new_session() as session:
            tasks = [old.call("meet", *names), old.call("meet", *reversed(names))]
            session.submit()
            session.wait_all()
    assert all(task.state is TaskState.finished for task in tasks)


def test_function_is_sent_once_and_then_taken_from_the_executors_cache(
    python: OldPython, session: Session
) -> None:
    count = python.function("count")
    count.keep()
    assert [fetch(python.call(count)) for _ in range(4)] == [b"1", b"2", b"3", b"4"]
    assert fetch(python.call("count")) == b"1"


def test_forgotten_function_is_dropped_from_the_executors_cache(
    python: OldPython, client: Client
) -> None:
    with client.new_session() as session:
        process = pid(python)
        function = python.function("cache")
        function.keep()
        held = json.loads(fetch(python.call(function)))
        assert list(function.id) in held
        tasks = [python.call("count") for _ in range(10)]
        session.submit()
        session.wait_all()
        assert len(json.loads(fetch(python.call(function)))) <= len(tasks) + len(held)
    with client.new_session():
        last = python.function("cache")
        assert json.loads(fetch(python.call(last))) == [list(last.id)]
        assert pid(python) == process


def test_executors_of_all_three_libraries_in_one_graph(
    cpp: Old, python: OldPython, rust: Old
) -> None:
    data = data_of(AS_PATH)
    with client_of(cpp, python, rust) as client, client.new_session():
        parts = [old.call("stage_file", data) for old in (cpp, python, rust)]
        wholes = [old.call("concat", *parts) for old in (cpp, python, rust)]
        for task in (parts[0], *wholes):
            task.output.keep()
        assert [fetch(whole) == data * 3 for whole in wholes] == [True] * 3
        assert fetch(rust.call("same", python.call("same", parts[0]))) == data


def golden(name: str) -> list[dict[str, Any]]:
    frames = json.loads((ROOT / "tests" / "data" / "golden-frames.json").read_text())
    return [frame for frame in frames if frame["name"].startswith(name)]


@pytest.fixture
def stand_in() -> Any:
    path = OLD / "cpp" / "old_cpp_executor.py"
    spec = importlib.util.spec_from_file_location("old_cpp_executor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("result", golden("cpp_result_"), ids=lambda frame: frame["step"])
def test_stand_in_answers_byte_for_byte_as_the_cpp_library_did(
    stand_in: Any, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = result["name"].replace("_result_", "_call_")
    (frame,) = (frame for frame in golden(name) if frame["name"] == name)
    _, call = minicbor.loads(bytes.fromhex(frame["hex"])[4:])
    for number, entry in enumerate(call["inputs"]):
        if entry["location"][0] == "path":  # a file of the machine of the capture
            entry["location"] = ["memory", b"ABC"[number : number + 1]]
    if call["spec"]["task_type"] == "cppextra/file_out":
        there = result["decoded"][1]["outputs"][0]["location"][1]
        monkeypatch.setitem(stand_in.METHODS, "file_out", lambda inputs: [["path", there]])
    assert stand_in.answer(call, frame["peer"]).hex() == result["hex"]


def test_stand_in_registers_as_the_cpp_library_did(stand_in: Any) -> None:
    # As the description of the protocol has it: other order of keys, a 32-bit id, 68 bytes.
    frame = stand_in.registration("cpptester", "17")
    assert len(frame) == 4 + 68
    assert frame.endswith(b"kexecutor_id\x1a\x00\x00\x00\x02")
    expected = {"protocol": "cbor-1", "executor_type": "cpptester", "executor_id": 2}
    assert minicbor.loads(frame[4:]) == ["register", expected]
    assert list(minicbor.loads(frame[4:])[1]) == list(expected)
