"""rain.client.Executor under the tests that CPython has for its own process pools.

They are those of the running CPython's version, from its package `test` or, where that was left
out, from Debian's libpython3.x-testsuite.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from rain.client import Executor

NAME = "test_concurrent_futures"
_folder: tempfile.TemporaryDirectory[str] | None = None


def sources() -> Path | None:
    """Where the standard library's tests are: a package since CPython 3.12, a file before."""
    import test

    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in (*test.__path__, f"/usr/lib/{version}/test"):
        for name in (NAME, f"{NAME}.py"):
            if (Path(folder) / name).exists():
                return Path(folder) / name
    return None


def modules() -> list[ModuleType]:
    """The modules with the tests' classes, imported under a name that executors find, too."""
    global _folder
    found = sources()
    if found is None:
        return []
    _folder = tempfile.TemporaryDirectory()
    (Path(_folder.name) / f"cpython_executor_tests{found.suffix}").symlink_to(found)
    sys.path.append(_folder.name)
    top = "cpython_executor_tests"
    if found.suffix:
        return [importlib.import_module(top)]
    names = ("executor", "test_as_completed", "test_deadlock", "test_init", "test_process_pool",
             "test_shutdown", "test_wait", "util")  # fmt: skip
    return [importlib.import_module(f"{top}.{name}") for name in names]


MODULES = modules()
if not MODULES:
    pytest.skip(
        f"this Python has no {NAME}, and libpython3.x-testsuite is not installed",
        allow_module_level=True,
    )


def of_stdlib(name: str) -> Any:
    for module in MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


# What does not apply to processes that another program manages, and why. Our own tests of the same
# matter are in test_pool.py.
PRIVATE = "looks into ProcessPoolExecutor's private attributes"
BY_NAME = "its program takes the class from concurrent.futures by name"
INHERITED = "shares a multiprocessing object with the processes, which works by inheritance alone"
RECYCLED = "max_tasks_per_child is refused: an executor process serves all sessions of a client"
EXIT = "SystemExit in a call is its TaskException, with the exit code in the text"
LOADED = "a result is unpickled by the one who asks for it, who gets the error as it is"
NOT_APPLICABLE = {
    "test_interpreter_shutdown": BY_NAME,
    "test_submit_after_interpreter_shutdown": BY_NAME,
    "test_hang_gh83386": BY_NAME,
    "test_hang_gh94440": BY_NAME,
    "test_cancel_futures": "while no process has started, no call has, and all are cancelled",
    "test_processes_terminate": PRIVATE,
    "test_context_manager_shutdown": PRIVATE,
    "test_del_shutdown": PRIVATE,
    "test_shutdown_no_wait": PRIVATE,
    "test_killed_child": PRIVATE,
    "test_idle_process_reuse_one": PRIVATE,
    "test_idle_process_reuse_multiple": PRIVATE,
    "test_saturation": INHERITED,
    "test_ressources_gced_in_workers": INHERITED,
    "test_max_workers_too_large": "of Windows",
    "test_max_tasks_per_child": RECYCLED,
    "test_max_tasks_per_child_defaults_to_spawn_context": RECYCLED,
    "test_max_tasks_early_shutdown": RECYCLED,
    "test_python_finalization_error": PRIVATE,
    "test_force_shutdown_workers": PRIVATE,
    "test_force_shutdown_workers_invalid_op": PRIVATE,
    "test_force_shutdown_workers_stops_pool": PRIVATE,
    "test_process_pool_executor_terminate_workers": PRIVATE,
    "test_process_pool_executor_kill_workers": PRIVATE,
    "test_terminate_workers": PRIVATE,
    "test_kill_workers": PRIVATE,
    "test_traceback": "asks for the private class of the cause; here it is RemoteTraceback",
    "test_exit_during_func_exec_on_worker": EXIT,
    "test_exit_during_result_pickle_on_worker": EXIT,
    "test_exit_at_task_unpickle": EXIT,
    "test_error_at_task_unpickle": "the error of the call itself is told, and no process is lost",
    "test_error_during_result_unpickle_in_result_handler": LOADED,
    "test_exit_during_result_unpickle_in_result_handler": LOADED,
    "test_shutdown_deadlock_pickle": PRIVATE,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": PRIVATE,
}


class RainMixin:
    """What the standard library's mixins are for its own pools."""

    executor_type = Executor
    worker_count = 2
    executor_kwargs: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.executor = self.executor_type(max_workers=self.worker_count, **self.executor_kwargs)

    def tearDown(self) -> None:
        self.executor.shutdown(wait=True)

    def get_context(self) -> None:
        """Our pools take mp_context=None alone."""


def adapted(name: str, base: str) -> type[unittest.TestCase]:
    """A test case with those of the standard library's tests which apply."""
    skipped = dict.fromkeys(test for test in NOT_APPLICABLE if hasattr(of_stdlib(base), test))
    return type(name, (RainMixin, of_stdlib(base), unittest.TestCase), {**skipped})


TestExecutor = adapted("TestExecutor", "ProcessPoolExecutorTest")
TestWait = adapted("TestWait", "WaitTests")
TestAsCompleted = adapted("TestAsCompleted", "AsCompletedTests")
TestShutdown = adapted("TestShutdown", "ProcessPoolShutdownTest")
TestDeadlock = adapted("TestDeadlock", "ExecutorDeadlockTest")


class TestInitializer(RainMixin, unittest.TestCase):
    test_initializer = of_stdlib("InitializerMixin").test_initializer

    def setUp(self) -> None:
        self.executor_kwargs = {
            "initializer": of_stdlib("init"),
            "initargs": ("initialized",),
        }
        super().setUp()
