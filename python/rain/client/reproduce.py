"""A task's call and inputs in a directory, from which the task runs alone: Task.reproduce()."""

from __future__ import annotations

import os
import shlex

from rain import _core
from rain.common.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from rain.client.client import Client
    from rain.client.task import Task
    from rain.config import Executor

_PROGRAM = "buildin/run"
# What decides which program and which libraries are found; else the caller's environment counts.
_INHERITED = ("PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def reproduce(task: Task, directory: str | PathLike[str], debugger: str | None) -> str:
    """Write the directory, print the command, return it. See Task.reproduce."""
    client = task.session.client
    if client is None or client.closed or not task.session.active:
        raise UsageError(
            f"the inputs of {task!r} went with its session: call reproduce() before Session.close()"
        )
    if client._remote:
        raise UsageError(
            "reproduce() needs a governor inside of this process: of tasks that ran elsewhere the "
            "inputs and the program are there. Run the task with Client() to reproduce it"
        )
    executor = _executor_of(client, task)
    words = _debugger_words(executor, debugger)
    path = os.path.abspath(directory)
    if os.path.isdir(path) and os.listdir(path):
        raise UsageError(f"{path} is not empty: name a directory that is, or that does not exist")
    os.makedirs(path, exist_ok=True)
    _core.write_call(task, path)
    work = os.path.join(path, "work")
    os.mkdir(work)
    if executor is None:
        lines = _program_lines(task, path)
    else:
        lines = _executor_lines(client, task, executor, path)
    script = os.path.join(path, "run.sh")
    with open(script, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join(["#!/bin/sh", *lines, ""]))
    os.chmod(script, 0o755)
    command = shlex.join([script, *words])
    print(f"To run {task.name or task.task_type} alone:\n  {command}")
    return command


def _executor_of(client: Client, task: Task) -> Executor | None:
    """None: it is an external program."""
    name = task.task_type.partition("/")[0]
    if name != "buildin":
        return client._executors[name]  # type: ignore[return-value] # not remote
    if task.task_type != _PROGRAM:
        raise UsageError(
            f"tasks of type {task.task_type!r} run in the client's own process: only programs and "
            "tasks of executors can run alone"
        )
    return None


def _debugger_words(executor: Executor | None, debugger: str | None) -> list[str]:
    if debugger is None:
        return []
    if debugger == "gdb":
        from rain.config import find_gdb

        return [find_gdb("reproduce(debugger='gdb')"), "--args"]
    if debugger == "pdb":
        if executor is not None and _runs_python(executor.argv):
            return ["pdb"]
        raise UsageError("debugger='pdb' is for executors that are started as `python FILE`")
    raise UsageError(f"debugger must be 'gdb' or 'pdb', not {debugger!r}")


def _runs_python(argv: list[str]) -> bool:
    python = os.path.basename(argv[0]).startswith("python")
    return python and len(argv) > 1 and (argv[1] == "-m" or not argv[1].startswith("-"))


def _executor_lines(client: Client, task: Task, executor: Executor, path: str) -> list[str]:
    """The shell script; its arguments go before the executor's command."""
    variables: dict[str, str] = {}
    for name in _INHERITED:
        if name in os.environ:
            variables[name] = os.environ[name]
    if not executor.threads:
        variables |= dict.fromkeys(_THREADS, str(max(1, task.cpus)))
    variables |= dict(entry.split("=", 1) for entry in executor.environment)
    command = shlex.join(executor.argv)
    lines = [
        f"# {task!r} of executor {executor.name!r}, alone.".replace("\n", " "),
        "# Words after run.sh go before the command: run.sh gdb --args, run.sh valgrind, ...",
        "unset RAIN_EXECUTOR_SOCKET RAIN_EXECUTOR_ID RAIN_EXECUTOR_PROTOCOLS RAIN_EXECUTOR_THREADS",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        'here=$(cd "$(dirname "$0")" && pwd) || exit',
        'export RAIN_REPRODUCE="$here"',
        f"cd {shlex.quote(executor.cwd)} || exit" if executor.cwd else 'cd "$here/work" || exit',
    ]
    if _runs_python(executor.argv):
        under = shlex.join([executor.argv[0], "-m", "pdb", "-c", "continue", *executor.argv[1:]])
        lines.append(f'[ "$*" != pdb ] || exec {under}')
    lines.append(f'exec "$@" {command}')
    return lines


def _program_lines(task: Task, path: str) -> list[str]:
    """Move the inputs to where the program expects them."""
    config: Any = task.spec.config
    stdin = ""
    for index, given in enumerate(config["in_paths"]):
        source = os.path.join(path, "inputs", str(index))
        if given["path"] == "+in":
            stdin = f' <"$here/inputs/{index}"'
            continue
        target = os.path.join(path, "work", given["path"])
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
    os.unlink(os.path.join(path, "call"))  # it is for executors
    return [
        f"# {task!r}, alone.".replace("\n", " "),
        "# Words after run.sh go before the command: run.sh gdb --args, run.sh valgrind, ...",
        'here=$(cd "$(dirname "$0")" && pwd) || exit',
        'cd "$here/work" || exit',
        f'exec "$@" {shlex.join(config["args"])}{stdin}',
    ]
