"""Reference 5.5 and 4.8: programs, running in their sandboxes."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rain.client import (
    Client,
    Input,
    InputDir,
    Output,
    OutputDir,
    Program,
    Session,
    Task,
    TaskCancelled,
    TaskException,
    TaskState,
    blob,
    directory,
    remote,
)
from rain.client.tasks import Concat, Execute, Load, SliceDirectory


@pytest.fixture
def session(make_client: Callable[..., Client]) -> Iterator[Session]:
    """A session without any registered executor, in which failures concern nothing else."""
    with make_client(executors={}, cpus=2).new_session(on_error="continue") as session:
        yield session


def message_of(task: Task) -> str:
    task.session.submit()
    with pytest.raises(TaskException) as caught:
        task.wait()
    assert task.state is TaskState.failed
    return caught.value.message


def stdout_of(*args: Any, **options: Any) -> bytes:
    return Execute(*args, stdout=True, **options).output.fetch().get_bytes()


def sh(script: str, **options: Any) -> Task:
    return Execute(["/bin/sh", "-c", script], **options)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- what a program gets and gives --------------------------------------------------------------


def test_stdout_and_stdin(session: Session) -> None:
    assert stdout_of(["/bin/cat"], stdin=blob("text")) == b"text"
    assert stdout_of("cat", stdin=blob(b"x" * 1_000_000)) == b"x" * 1_000_000
    assert stdout_of("cat") == b""  # no stdin is an empty one
    assert stdout_of("true") == b""


def test_program_is_found_by_path_variable(session: Session) -> None:
    assert stdout_of("echo -n 'a  b'") == b"a  b"


def test_environment_is_inherited(
    make_client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAIN_COMPAT_TEST", "inherited")
    with make_client(executors={}).new_session():
        assert stdout_of("echo -n $RAIN_COMPAT_TEST", shell=True) == b"inherited"


def test_shell(session: Session) -> None:
    assert stdout_of("echo a; echo b | tr b c", shell=True) == b"a\nc\n"
    assert stdout_of(["echo", "a", ";", "echo", "b|tr b c"], shell=True) == b"a\nc\n"


def test_inputs_are_files_at_their_paths(session: Session) -> None:
    a, b = blob("a"), Concat([blob(b"b" * 300_000)])
    assert stdout_of(["cat", a, Input("named", dataobj=b)]) == b"a" + b"b" * 300_000
    a, b = blob("a"), blob("b")
    task = Execute(["ls"], stdout=True, input_paths=[Input("x", dataobj=a), Input("y", dataobj=b)])
    assert task.output.fetch().get_bytes().split() == [b"x", b"y"]


def test_q26_objects_with_equal_labels(session: Session) -> None:
    assert stdout_of(["cat", blob("1"), blob("2"), blob("3")]) == b"123"


def test_q26_results_of_remote_functions(session: Session) -> None:
    pytest.importorskip("cloudpickle")

    @remote()
    def make(ctx: Any, text: str) -> Any:
        return text

    assert stdout_of(["cat", make("a"), make("b")]) == b"ab"


def test_input_is_read_only_unless_it_is_to_be_written(session: Session) -> None:
    data = blob("content")
    data.keep()
    task = sh(
        "cp file out_o && echo more >> file && cp file changed",
        input_paths=[Input("file", dataobj=data, write=True)],
        output_paths=["out_o", "changed"],
    )
    task.keep_outputs()
    session.submit()
    assert [o.get_bytes() for o in task.fetch_outputs()] == [b"content", b"contentmore\n"]
    assert data.fetch().get_bytes() == b"content"
    if os.geteuid() != 0:
        message_of(sh("echo more >> file", input_paths=[Input("file", dataobj=data)]))


def test_outputs(session: Session) -> None:
    task = Execute(
        ["sh", "-c", 'printf 1 > "$0"; mkdir "$1"; printf 2 > "$1/f"; printf 3; printf 4 > o4',
         Output("a"), OutputDir("d")],
        stdout="out",
        output_paths=["o4"],
    )  # fmt: skip
    task.keep_outputs()
    session.submit()
    assert task.outputs["out"].fetch().get_bytes() == b"3"
    assert task.outputs["o4"].fetch().get_bytes() == b"4"
    assert task.outputs["a"].fetch().get_bytes() == b"1"
    tree: Any = task.outputs["d"].fetch()
    assert os.listdir(tree.path) == ["f"]


def test_directories_go_in_and_out(session: Session, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "d" / "run").chmod(0o755)
    tree = directory(tmp_path)
    task = sh(
        "in/d/run > out.txt; cp -r in out; chmod -R u+w out; rm -r out/d/run; touch out/new",
        input_paths=[InputDir("in", dataobj=tree)],
        output_paths=["out.txt", OutputDir("out")],
    )
    task.keep_outputs()
    session.submit()
    text, made = task.fetch_outputs()
    assert text.get_bytes() == b"ran\n"
    assert sorted(os.listdir(made.path)) == ["d", "new"]  # type: ignore[attr-defined]


def test_slice_of_a_result_is_an_argument(session: Session) -> None:
    made = sh("mkdir -p t/sub; printf x > t/sub/f", output_paths=[OutputDir("t")])
    assert stdout_of(["cat", SliceDirectory(made, "sub/f")]) == b"x"


def test_output_that_names_an_input_is_a_copy(session: Session) -> None:
    data = blob(b"x" * 100_000)
    data.keep()
    task = sh("true", input_paths=[Input("f", dataobj=data)], output_paths=["f"])
    assert task.output.fetch().get_bytes() == b"x" * 100_000
    assert data.fetch().get_bytes() == b"x" * 100_000


def test_x_bit_of_outputs_is_kept(session: Session) -> None:
    tree: Any = sh(
        "mkdir t; touch t/a t/b; chmod +x t/a", output_paths=[OutputDir("t")]
    ).output.fetch()
    assert (Path(tree.path) / "a").stat().st_mode & stat.S_IXUSR
    assert not (Path(tree.path) / "b").stat().st_mode & stat.S_IXUSR


def test_q33_empty_output_of_a_program_is_an_input(session: Session) -> None:
    empty = sh("true", stdout=True)
    assert Concat([empty, blob("x")]).output.fetch().get_bytes() == b"x"


def test_each_run_has_a_fresh_directory(session: Session) -> None:
    for _ in range(3):
        assert stdout_of(["sh", "-c", "ls -A; touch left .hidden; mkdir d"]) == b""


def test_program_template_runs(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the tree\n")
    grep = Program(
        ["sh", "-c", "cat; cat tree/f", Input("unused")],
        stdin="text",
        stdout="out",
        input_paths=[InputDir("tree")],
    )
    task = grep(text=blob("stdin\n"), tree=directory(tmp_path), unused=blob(""))
    assert task.output.fetch().get_bytes() == b"stdin\nfrom the tree\n"


# ---- failures ----------------------------------------------------------------------------------


def test_empty_arguments(session: Session) -> None:
    assert message_of(Execute([])) == "Arguments are empty"


def test_program_that_is_missing(session: Session) -> None:
    for program in ("/no/such/program", "no-such-program-anywhere"):
        text = message_of(Execute([program]))
        assert program in text
        assert "No such file or directory" in text or "not found" in text


def test_program_that_may_not_be_executed(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").touch(mode=0o644)
    assert "Permission denied" in message_of(Execute([str(tmp_path / "f")]))


def test_exit_code_and_stderr(session: Session) -> None:
    text = message_of(sh("echo problem >&2; exit 3"))
    assert text.startswith("Program exit with exit code 3\nStderr: problem\n")


def test_signal(session: Session) -> None:
    text = message_of(sh("echo problem >&2; kill -9 $$"))
    assert text.startswith("Program terminated by signal")
    assert "Stderr: problem\n" in text


def test_output_that_is_missing(session: Session) -> None:
    assert message_of(sh("true", output_paths=["x"])).startswith("Path 'x' now found.")


def test_output_of_the_wrong_kind(session: Session) -> None:
    assert message_of(sh("mkdir x", output_paths=["x"])) == (
        "Output 'x' (content_type=) expects type blob, but dir is provided"
    )
    assert message_of(sh("touch x", output_paths=[OutputDir("x")])) == (
        "Output 'x' (content_type=) expects type dir, but blob is provided"
    )


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", "../../../../../../etc/passwd"])
def test_output_that_is_a_link_outside(session: Session, target: str) -> None:
    kind = OutputDir("x") if target == "/etc" else Output("x")
    text = message_of(sh(f"ln -s {target} x", output_paths=[kind]))
    assert "x" in text
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("path", ["/abs", "../x", "d/../../x"])
def test_paths_that_lead_outside_are_refused_by_name(session: Session, path: str) -> None:
    data = blob("x")
    data.keep()
    for task in (
        sh("true", input_paths=[Input("a", path=path, dataobj=data)]),
        sh("true", output_paths=[Output("a", path=path)]),
    ):
        text = message_of(task)
        assert path in text
        if path.startswith("/"):
            assert f"Path '{path}' is not relative" in text


@pytest.mark.parametrize(
    "config",
    [
        *("text", [], {"args": "x"}, {"args": [1], "in_paths": [], "out_paths": []}),
        *({"args": ["true"], "in_paths": [{"path": 1, "write": False}], "out_paths": []},),
        *({"args": ["true"], "in_paths": ["x"], "out_paths": []}, {"nope": 1}),
    ],
)
def test_config_of_wrong_shape(session: Session, config: Any) -> None:
    task = Task((), 0, task_type="buildin/run", config=config)
    assert message_of(task).startswith("Cannot parse task config: ")


def test_missing_config(session: Session) -> None:
    assert message_of(Task((), 0, task_type="buildin/run")).startswith(
        "Task config is empty, but non-empty config is expected"
    )


def test_cancel_kills_the_whole_tree(session: Session, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = sh(f"echo $$ >> {pids}; sleep 1000 & echo $! >> {pids}; wait")
    session.submit()
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    task.cancel()
    with pytest.raises(TaskCancelled):
        task.wait()
    until(lambda: not any(exists(int(pid)) for pid in pids.read_text().split()))


def test_program_that_ignores_sigterm_ends(session: Session, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    task = sh(f"trap '' TERM INT; echo $$ > {mark}; while :; do sleep 0.1; done")
    session.submit()
    until(lambda: mark.exists() and mark.read_text().strip())
    task.cancel()
    until(lambda: not exists(int(mark.read_text())))


def test_much_stderr_is_cut(session: Session) -> None:
    text = message_of(sh("head -c 1000000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1"))
    assert "end" in text
    assert len(text) < 1_000_000


def test_unusual_bytes_on_stderr(session: Session) -> None:
    assert "exit code 1" in message_of(sh("printf '\\377\\0ü' >&2; exit 1"))


@pytest.mark.parametrize("name", ["a\nb", "x" * 255, "ü", " ", "-n", "'"])
def test_unusual_names_of_files(session: Session, name: str) -> None:
    task = Execute(
        ["cp", "--", Input("in", path=name, dataobj=blob("x")), Output("o", path="o" + name[:200])]
    )
    assert task.output.fetch().get_bytes() == b"x"


def test_outputs_with_names_that_are_no_utf_8(session: Session) -> None:
    tree: Any = sh(
        "mkdir t; touch \"$(printf 't/\\377')\"", output_paths=[OutputDir("t")]
    ).output.fetch()
    assert os.listdir(os.fsencode(tree.path)) == [b"\xff"]


def test_program_leaves_no_signals_blocked(session: Session) -> None:
    assert signal.SIGTERM
    status = stdout_of(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]).split()
    assert {int(status[1], 16), int(status[3], 16)} <= {0, 1 << (signal.SIGPIPE - 1)}


def test_loaded_file_is_an_input(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("loaded")
    assert stdout_of(["cat", Load(tmp_path / "f")]) == b"loaded"
