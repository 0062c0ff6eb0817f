"""A task's call and inputs in a directory, from which the task runs alone: Task.reproduce()."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from rain import _core
from rain.client.views import views
from rain.common.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from rain.client.client import Client
    from rain.client.task import Task
    from rain.config import Executor

_PROGRAM = "buildin/run"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def reproduce(task: Task, directory: str | PathLike[str], debugger: str | None) -> str:
    """Write the directory, print the command, return it. See Task.reproduce."""
    client = task.session.client
    if client is None or client.closed or not task.session.active:
        raise UsageError(
            f"the inputs of {task!r} went with its session: call reproduce() before Session.close()"
        )
    found = _executor_of(client, task)
    words = _debugger_words(found.executor if found else None, debugger)
    path = os.path.abspath(directory)
    if os.path.isdir(path) and os.listdir(path):
        raise UsageError(f"{path} is not empty: name a directory that is, or that does not exist")
    # Held until they are written. What is in a governor elsewhere comes here first.
    inputs = views(task.inputs) if client._remote else []
    os.makedirs(path, exist_ok=True)
    _core.write_call(task, path)
    del inputs
    work = os.path.join(path, "work")
    os.mkdir(work)
    lines = _program_lines(task, path) if found is None else _executor_lines(task, found)
    script = os.path.join(path, "run.sh")
    with open(script, "x", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join(["#!/bin/sh", *lines, ""]))
    os.chmod(script, 0o755)
    command = shlex.join([script, *words])
    print(f"To run {task.name or task.task_type} alone:\n  {command}")
    if found is not None and not os.path.exists(found.executor.argv[0]):
        print(f"  {found.executor.argv[0]} is not on this machine: it is {found.where}'s")
    return command


class _Found(NamedTuple):
    executor: Executor
    inherited: dict[str, str]  # of the environment of the one who starts it
    where: str  # who that is; "": this process


def _executor_of(client: Client, task: Task) -> _Found | None:
    """None: it is an external program."""
    name = task.task_type.partition("/")[0]
    if name != "buildin":
        return _asked(client, name) if client._remote else _own(client, name)
    if task.task_type != _PROGRAM:
        raise UsageError(
            f"tasks of type {task.task_type!r} run in the client's own process: only programs and "
            "tasks of executors can run alone"
        )
    return None


def _own(client: Client, name: str) -> _Found:
    from rain.config import library_paths

    return _Found(client._executors[name], library_paths(), "")  # type: ignore[arg-type]


def _asked(client: Client, name: str) -> _Found:
    from rain.config import Executor

    said = client._engine.ask("command_of", executor=name)  # type: ignore[attr-defined]
    if said is None:
        raise UsageError(f"no governor that runs has executor {name!r}: how to start it is unknown")
    executor = Executor(name, list(said["argv"]))
    executor.environment = list(said["environment"])
    executor.cwd = said["cwd"]
    executor.threads = said["threads"]
    where = f"governor {said['governor']} on {said['host']}"
    return _Found(executor, dict(said["inherited"]), where)


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


def _executor_lines(task: Task, found: _Found) -> list[str]:
    """The shell script; its arguments go before the executor's command."""
    executor = found.executor
    variables = dict(found.inherited)
    if not executor.threads:
        variables |= dict.fromkeys(_THREADS, str(max(1, task.cpus)))
    variables |= dict(entry.split("=", 1) for entry in executor.environment)
    command = shlex.join(executor.argv)
    lines = [
        f"# {task!r} of executor {executor.name!r}, alone.".replace("\n", " "),
        *([f"# Command and environment are those of {found.where}."] if found.where else []),
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
