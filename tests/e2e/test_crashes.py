"""Tasks that fail or end their process: the error says how, the next task works, and what becomes
of the others is as the session's policy says. For both of our libraries."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from rain.client import (
    Client,
    DependencyFailed,
    ExecutorDied,
    Session,
    TaskException,
    TaskState,
)
from tasks import call, contains, works
from world import exists, pauses, wait_until

C, PY = "cpptester", "pytester"

# (tester, method, config, what the message says). The process survives these.
FAILURES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    (C, "throw_std", {}, (
        "thrown on purpose\nC++ exception of type std::runtime_error left the task "
        "'cpptester/throw_std'",
    )),
    (C, "throw_int", {}, (
        "an exception without a text", "C++ exception of type int left the task",
    )),
    (C, "wrong_outputs", {"produce": 2}, ("Task produced 2 outputs, but expected 1",)),
    (C, "wrong_outputs", {"produce": 0}, ("Task produced 0 outputs, but expected 1",)),
    (C, "no_such", {}, (
        "Method 'cpptester/no_such' not found in executor 'cpptester'; it has: ",
        "hello, ",
        "split",
    )),
    (PY, "throw_std", {}, (
        "Traceback (most recent call last):", "pytester.py", "in throw_std",
        "RuntimeError: thrown on purpose",
    )),
    (PY, "throw_int", {}, ("SystemExit: 42", "in throw_int")),
    (PY, "throw_nasty", {}, ("Nasty", "in throw_nasty")),
    (PY, "throw_unmade", {}, ("KeyError: \"the exception's own constructor\"",)),
    (PY, "throw_interrupt", {}, ("KeyboardInterrupt", "in throw_interrupt")),
    (PY, "recurse", {}, ("RecursionError: maximum recursion depth exceeded",)),
    (PY, "wrong_outputs", {"produce": 2}, ("TypeError: Invalid result object: ['x', 'x']",)),
    (PY, "return_of", {"expression": "None"}, ("Invalid result object: None",)),
    (PY, "return_of", {"expression": "12"}, ("Invalid result object: 12",)),
    (PY, "no_such", {}, (
        "Method 'pytester/no_such' not found in executor 'pytester'; it has: ", "hello, ", "split",
    )),
]  # fmt: skip

# (tester, method, config, how the process ended, what the report advises). It dies of these.
DEATHS: list[tuple[str, str, dict[str, Any], str, str]] = [
    *((tester, method, config, how, advice)
      for tester in (C, PY)
      for method, config, how, advice in (
          ("abort", {}, "killed by SIGABRT (abort)", ""),
          ("segfault", {}, "killed by SIGSEGV (segmentation fault)", ""),
          ("exit", {"code": 0}, "it ended with exit code: 0", "must not end its process"),
          ("exit", {"code": 3}, "it ended with exit code: 3", "exit(), _exit() and sys.exit()"),
      )),
]  # fmt: skip


def names(cases: list[Any]) -> list[str]:
    return ["-".join([case[0], case[1], *map(str, case[2].values())]) for case in cases]


def check_others_go_on(session: Session, tester: str, bad: Any) -> None:
    """Assert what on_error="continue" promises after `bad` failed."""
    assert bad.state is TaskState.failed
    for other in (C, PY):
        works(other, session)
    with session.bind_only():
        with pytest.raises(TaskException):
            bad.output.fetch()
        again = call(f"{tester}/hello", b"again")
    assert again.output.fetch().get_bytes() == b"Hello again!"


@pytest.mark.parametrize(("tester", "method", "config", "parts"), FAILURES, ids=names(FAILURES))
def test_failed_task_says_why_and_its_process_goes_on(
    session: Session, tester: str, method: str, config: dict[str, Any], parts: tuple[str, ...]
) -> None:
    before = call(f"{tester}/pid").output.fetch().get_bytes()
    bad = call(f"{tester}/{method}", **config)
    bad.output.keep()
    session.submit()
    with pytest.raises(TaskException) as caught:
        bad.wait()
    assert not isinstance(caught.value, ExecutorDied)
    contains(caught.value.message, *parts, "Task failed in executor")
    contains(caught.value, f"{tester}/{method}", "Task created at:", __file__, "bad = call(")
    assert call(f"{tester}/pid").output.fetch().get_bytes() == before
    check_others_go_on(session, tester, bad)


@pytest.mark.parametrize(("tester", "method", "config", "how", "advice"), DEATHS, ids=names(DEATHS))
def test_dead_executor_fails_its_task_with_signal_or_code_and_report(
    session: Session, tester: str, method: str, config: dict[str, Any], how: str, advice: str
) -> None:
    before = int(call(f"{tester}/pid").output.fetch().get_bytes())
    bad = call(f"{tester}/{method}", **config)
    bad.output.keep()
    session.submit()
    with pytest.raises(ExecutorDied) as caught:
        bad.wait()
    contains(
        caught.value.message,
        f"Lost connection to executor '{tester}' (process {before}): {how} "
        f"while running '{tester}/{method}'",
    )
    contains(caught.value.report, "run time ", "peak memory ", "stderr", advice)
    contains(caught.value, "Task created at:", __file__)
    assert int(call(f"{tester}/pid").output.fetch().get_bytes()) != before
    check_others_go_on(session, tester, bad)


def test_last_lines_of_stderr_are_in_the_report(session: Session) -> None:
    text = "\\n".join(f"line {number}" for number in range(40))
    noise = f"print('{text}', file=sys.stderr), __import__('os')._exit(1)"
    with pytest.raises(ExecutorDied) as caught:
        call("pytester/return_of", expression=noise).output.fetch()
    contains(caught.value.report, "last lines of stderr:\nline 20\n", "line 39")
    assert "line 19\n" not in caught.value.report


def test_killed_executor_is_reported_with_the_likely_causes(session: Session, tester: str) -> None:
    pid = int(call(f"{tester}/pid").output.fetch().get_bytes())
    victim = call(f"{tester}/spin")
    session.submit()
    wait_until(lambda: pauses(pid), f"{victim} begins")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ExecutorDied) as caught:
        victim.wait()
    contains(caught.value.message, f"(process {pid}): killed by SIGKILL (killed) while running")
    contains(caught.value.report, "a user, or the kernel for want of memory", "memory limit")
    works(C, session)
    works(PY, session)


def test_idle_executor_that_is_killed_costs_nothing(session: Session, tester: str) -> None:
    pid = int(call(f"{tester}/pid").output.fetch().get_bytes())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not exists(pid))
    assert int(call(f"{tester}/pid").output.fetch().get_bytes()) != pid


def test_with_on_error_fail_a_dead_executor_cancels_the_rest_and_names_itself(
    client: Client, tester: str
) -> None:
    with client.new_session(on_error="fail") as session:
        bad = call(f"{tester}/abort")
        after = call(f"{tester}/hello", bad)
        beside = call("cpptester/sleep", seconds=1e6)
        session.submit()
        for wait in (bad.wait, after.wait, beside.wait, session.wait_all, session.submit):
            with pytest.raises(ExecutorDied, match="SIGABRT") as caught:
                wait()
            assert caught.value.task is bad
        assert [task.state for task in (bad, after, beside)] == [
            TaskState.failed, TaskState.cancelled, TaskState.cancelled,
        ]  # fmt: skip
    works(tester, client.new_session())


def test_with_on_error_continue_dependants_name_the_ancestor(session: Session, tester: str) -> None:
    bad = call(f"{tester}/throw_std")
    last = call(f"{tester}/hello", call(f"{tester}/hello", bad))
    beside = call(f"{tester}/hello", b"beside")
    beside.keep_outputs()
    session.submit()
    session.wait_all()
    assert [task.state for task in (bad, last, beside)] == [
        TaskState.failed, TaskState.aborted, TaskState.finished,
    ]  # fmt: skip
    with pytest.raises(DependencyFailed) as caught:
        last.wait()
    assert (caught.value.task, caught.value.origin_id) == (last, bad.id)
    contains(caught.value, f"not run: task {bad.id}, which it depends on, failed", "on purpose")
    assert beside.output.fetch().get_bytes() == b"Hello beside!"


def test_calls_that_waited_on_a_dead_executor_run_on_another(client: Client) -> None:
    with client.new_session(on_error="continue") as session:
        warm = [call("cpptester/hello", b"warm") for _ in range(50)]
        session.submit()
        session.wait(warm)
        tasks = []
        for number in range(200):
            method = "abort" if number % 40 == 17 else "hello"
            tasks.append(call(f"cpptester/{method}", b"%d" % number))
            tasks[-1].keep_outputs()
        session.submit()
        session.wait_all()
        failed = [number for number, task in enumerate(tasks) if task.state is TaskState.failed]
        assert failed == [17, 57, 97, 137, 177]
        for number, task in enumerate(tasks):
            if number not in failed:
                assert task.output.fetch().get_bytes() == b"Hello %d!" % number


@pytest.mark.parametrize("inputs", [0, 2])
def test_wrong_number_of_arguments_is_the_tasks_error(
    session: Session, tester: str, inputs: int
) -> None:
    bad = call(f"{tester}/hello", *[b"x"] * inputs)
    with pytest.raises(TaskException) as caught:
        bad.output.fetch()
    if tester == C:
        contains(caught.value.message, f"expected = 1, but got = {inputs}")
    else:
        contains(caught.value.message, "TypeError: hello() ", "positional argument")
    works(tester, session)


def test_very_long_error_arrives_shortened(session: Session, tester: str) -> None:
    with pytest.raises(TaskException) as caught:
        call(f"{tester}/big_error", size=200 << 20).output.fetch()
    assert "e" * 1000 in caught.value.message
    assert len(caught.value.message) < 10 << 20
    works(tester, session)
