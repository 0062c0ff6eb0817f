"""What the keys of a registration do to real processes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rain.client import Client, RainWarning, Session
from tasks import call
from world import exists, wait_until

MakeClient = Callable[..., Client]

PROGRAM = """
import os
from rain import tasklib

executor = tasklib.Executor("mine")

@executor.task
def version(ctx):
    return {version!r}

@executor.task
def variable(ctx):
    return os.environ.get(ctx.config["name"], "(none)")

@executor.task
def directory(ctx):
    return os.getcwd()

executor.start()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PROGRAM.format(version="old"))
    return path


def command(script: Path, **options: Any) -> dict[str, Any]:
    return {"mine": {"command": [sys.executable, str(script)], **options}}


def text(session: Session, task_type: str, cpus: int = 1, **config: Any) -> str:
    from rain.client import Task

    task = Task((), 1, task_type=task_type, session=session, cpus=cpus, config=config or None)
    return task.output.fetch().get_bytes().decode()


def pids(client: Client) -> list[int]:
    found: list[int] = client.info()["executor_pids"]
    return found


# ---- which processes there are ------------------------------------------------------------------


def test_prestarted_processes_run_before_any_task(make_client: MakeClient, cpptester: Path) -> None:
    client = make_client({"cpptester": {"command": cpptester, "prestart": 2}})
    wait_until(lambda: len(pids(client)) == 2, "two processes")
    before = set(pids(client))
    with client.new_session() as session:
        assert int(text(session, "cpptester/pid")) in before
    assert set(pids(client)) == before


def test_a_prestarted_program_that_does_not_start_is_a_warning(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('I am broken')")
    client = Client(executors=command(broken, prestart=1))
    with pytest.raises(Exception, match="I am broken"):
        client.executors["mine"].tasks()
    with pytest.warns(RainWarning, match="ahead of its tasks"):
        client.close()


@pytest.mark.parametrize("kind", ["cpptester", "pytester"])
def test_an_idle_process_ends(make_client: MakeClient, commands: dict[str, Any], kind: str) -> None:
    client = make_client({kind: {"command": commands[kind], "idle_seconds": 0}})
    with client.new_session() as session:
        first = int(text(session, f"{kind}/pid"))
        wait_until(lambda: not exists(first), "its end")
        assert int(text(session, f"{kind}/pid")) != first


def test_no_more_processes_than_allowed(make_client: MakeClient, cpptester: Path) -> None:
    client = make_client({"cpptester": {"command": cpptester, "max_processes": 1}}, cpus=4)
    with client.new_session() as session:
        tasks = [call("cpptester/pid") for _ in range(20)]
        for task in tasks:
            task.output.keep()
        session.submit()
        assert len({task.output.fetch().get_bytes() for task in tasks}) == 1
        assert len(pids(client)) == 1


# ---- how they start -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cpptester", "pytester"])
def test_threads_of_the_registration_are_used(
    make_client: MakeClient, commands: dict[str, Any], kind: str
) -> None:
    client = make_client({kind: {"command": commands[kind], "threads": 2, "max_processes": 1}})
    with client.new_session() as session:
        text(session, f"{kind}/pid")
        tasks = [call(f"{kind}/sleep", seconds=60) for _ in range(2)]
        session.submit()
        wait_until(
            lambda: all(t.state is not None and t.state.name == "assigned" for t in tasks),
            "both at once in the only process",
        )
        assert len(pids(client)) == 1


def test_a_process_starts_in_its_cwd(make_client: MakeClient, script: Path, tmp_path: Path) -> None:
    client = make_client(command(script, cwd=tmp_path))
    with client.new_session() as session:
        assert os.path.samefile(text(session, "mine/directory"), tmp_path)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_libraries_see_as_many_threads_as_the_task_has_cpus(
    make_client: MakeClient, script: Path, name: str
) -> None:
    client = make_client(command(script))
    with client.new_session() as session:
        assert text(session, "mine/variable", cpus=2, name=name) == "2"


def test_a_number_of_threads_in_env_is_left_alone(make_client: MakeClient, script: Path) -> None:
    client = make_client(command(script, env={"OMP_NUM_THREADS": "7"}))
    with client.new_session() as session:
        assert text(session, "mine/variable", name="OMP_NUM_THREADS") == "7"
        assert text(session, "mine/variable", name="MKL_NUM_THREADS") == "1"


# ---- reload -------------------------------------------------------------------------------------


def rewrite(script: Path, way: str) -> None:
    new = PROGRAM.format(version="a new one")
    if way == "rename":
        other = script.with_suffix(".new")
        other.write_text(new)
        other.replace(script)
    else:
        script.write_text(new)


@pytest.mark.parametrize("way", ["rename", "in place"])
def test_the_next_task_runs_in_the_rewritten_script(
    make_client: MakeClient, script: Path, way: str
) -> None:
    client = make_client(command(script))
    with client.new_session() as session:
        assert text(session, "mine/version") == "old"
        rewrite(script, way)
        wait_until(lambda: text(session, "mine/version") == "a new one", "the new version")
    assert len(client.info()["executor_pids"]) >= 1


def test_the_next_task_runs_in_the_rebuilt_program(
    make_client: MakeClient, cpptester: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    shutil.copy(cpptester, program)
    client = make_client({"cpptester": program})
    with client.new_session() as session:
        first = int(text(session, "cpptester/pid"))
        assert int(text(session, "cpptester/pid")) == first
        program.unlink()  # as a linker does
        shutil.copy(cpptester, program)
        wait_until(lambda: int(text(session, "cpptester/pid")) != first, "a process of the new one")
        wait_until(lambda: not exists(first), "the end of the old one")


def test_a_running_task_of_the_old_program_is_not_disturbed(
    make_client: MakeClient, cpptester: Path, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    shutil.copy(cpptester, program)
    client = make_client({"cpptester": program}, cpus=4)
    with client.new_session() as session:
        first = int(text(session, "cpptester/pid"))
        long = call("cpptester/sleep", seconds=1)
        session.submit()
        program.unlink()
        shutil.copy(cpptester, program)
        wait_until(lambda: int(text(session, "cpptester/pid")) != first, "another process")
        long.wait()
        wait_until(lambda: text(session, "cpptester/pid") and not exists(first), "its end")


def test_without_reload_the_old_program_goes_on(make_client: MakeClient, script: Path) -> None:
    client = make_client(command(script, reload=False))
    with client.new_session() as session:
        assert text(session, "mine/version") == "old"
        rewrite(script, "rename")
        assert {text(session, "mine/version") for _ in range(200)} == {"old"}


# ---- announced tasks ----------------------------------------------------------------------------


def test_executors_tell_their_tasks(make_client: MakeClient, script: Path) -> None:
    client = make_client(command(script))
    mine = client.executors["mine"]
    assert "not started yet" in repr(mine)
    assert "version" not in dir(mine)
    assert mine.tasks() == ["directory", "variable", "version"]
    assert {"directory", "variable", "version"} <= set(dir(mine))
    assert "mine" in dir(client.executors)


def test_tasks_are_made_without_a_class(make_client: MakeClient, commands: Any) -> None:
    from rain.client import blob

    client = make_client()
    with client.new_session() as session:
        hello = client.executors["cpptester"].hello(blob("you"), name="greeting")
        again = client.executors.pytester["hello"](hello, outputs=["text"])
        assert (hello.task_type, hello.name, again.outputs["text"].label) == (
            "cpptester/hello",
            "greeting",
            "text",
        )
        assert again.output.fetch().get_bytes() == b"Hello Hello you!!"
    assert session is hello.session


def test_an_unknown_executor_is_told_with_the_nearest(make_client: MakeClient) -> None:
    client = make_client()
    with pytest.raises(KeyError, match="did you mean 'cpptester'"):
        client.executors["cpptestr"]
    with pytest.raises(AttributeError, match="did you mean 'cpptester'"):
        client.executors.cpptestr  # noqa: B018


# ---- constants of the client --------------------------------------------------------------------

SIZE = 3_000_000


def stored(client: Client) -> int:
    count: int = client.info()["store"]["blobs_bytes"]
    return count


@pytest.mark.embedded("constants are in a store of the client's")
def test_a_put_blob_is_stored_once_for_two_sessions_at_once(make_client: MakeClient) -> None:
    client = make_client()
    big = client.put(b"x" * SIZE, label="big")
    assert stored(client) == SIZE
    with client.new_session() as one, client.new_session() as two:
        tasks = []
        for session in (one, two):
            with session.bind_only():
                tasks += [call("pytester/hello", big)]
                tasks[-1].output.keep()
            session.submit()
        for task in tasks:
            assert task.output.fetch().get_bytes() == b"Hello " + b"x" * SIZE + b"!"
            assert task.inputs[0].label == "big"
        for task in tasks:
            task.output.unkeep()
        del task, tasks
        wait_until(lambda: stored(client) == SIZE, "one copy")
    assert big.fetch().get_bytes() == b"x" * SIZE


@pytest.mark.embedded("constants are in a store of the client's")
def test_a_put_blob_outlives_sessions_and_goes_with_its_object(make_client: MakeClient) -> None:
    client = make_client()
    big = client.put(b"x" * SIZE)
    for _ in range(3):
        with client.new_session():
            done = call("cpptester/hello", big).output.fetch()
            assert len(done.get_bytes()) == SIZE + 7
            del done
    wait_until(lambda: stored(client) == SIZE, "one copy")
    del big
    with client.new_session():
        pass
    wait_until(lambda: stored(client) == 0, "nothing")


def test_a_put_blob_may_be_gone_before_its_task_runs(make_client: MakeClient) -> None:
    client = make_client()
    with client.new_session():
        task = call("cpptester/hello", client.put("x" * SIZE))
        assert len(task.output.fetch().get_bytes()) == SIZE + 7


def test_put_takes_what_blob_takes(make_client: MakeClient) -> None:
    client = make_client()
    assert client.put({"a": 1}, encode="json").fetch().load() == {"a": 1}
    assert client.put("text").content_type == "text"


def test_another_client_cannot_use_a_put_blob(make_client: MakeClient) -> None:
    from rain.client import RainException

    mine, other = make_client(), make_client()
    big = mine.put(b"x")
    with other.new_session(), pytest.raises(RainException, match="of another client"):
        call("cpptester/hello", big)


@pytest.mark.parametrize("which", ["client", "session", "task", "object"])
def test_handles_say_why_they_cannot_be_pickled(make_client: MakeClient, which: str) -> None:
    import pickle

    client = make_client()
    with client.new_session() as session:
        task = call("cpptester/hello", b"x")
        handle = {"client": client, "session": session, "task": task, "object": task.output}[which]
        with pytest.raises(TypeError, match="cannot be pickled: it belongs to this process"):
            pickle.dumps(handle)
