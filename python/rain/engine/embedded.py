"""The engine inside the client's process: starts the native governor."""

from __future__ import annotations

import atexit
import os
import sys

import rain
from rain import _core, config
from rain.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike
    from typing import Any

_GDB_SLOWNESS = 4  # it reads symbols before a program registers
_LAUNCHER = os.path.join("_bin", "rain-launcher")

# From which size on blobs go through shared memory. Only benchmarks set another one.
inline_limit_bytes = _core.INLINE_LIMIT_BYTES


def start(
    config_file: str | PathLike[str] | None,
    executors: Mapping[str, Any] | None,
    cpus: int | None,
    memory: int | str | None,
    run_directory: str | PathLike[str] | None,
    resources: Mapping[str, Any] | None = None,
    task_memory: int | str | None = None,
    events: str | PathLike[str] | None = None,
    spill: str | PathLike[str] | bool = True,
    debug: str | None = None,
) -> tuple[_core.Engine, dict[str, config.Executor]]:
    """Start a governor. Returns it, and the executors by type.

    Raises
    ------
    ConfigError
        One of Client's arguments is wrong.
    SystemCallError
    """
    specs = dict[str, config.Executor]()
    if config_file is not None:
        specs.update(config.read_file(config_file))
    if executors is not None:
        specs.update(config.read_argument(executors))
    if "py" not in specs:
        specs.update(_universal_executor())
    if debug is not None:
        gdb = config.read_debugger("Client", "debug", debug)
        for spec in specs.values():
            spec.gdb = gdb
    if cpus is None:
        cpus = _core.usable_cpus()
    elif isinstance(cpus, bool) or not isinstance(cpus, int) or not 1 <= cpus <= 1_000_000:
        raise ConfigError(f"cpus must be a positive int, not {cpus!r}")
    engine = _core.Engine(
        executors=[
            (
                spec.name,
                spec.argv,
                spec.environment,
                spec.start_seconds * (_GDB_SLOWNESS if spec.gdb else 1),
                spec.prestart,
                spec.max_processes,
                spec.threads,
                spec.idle_seconds,
                spec.cwd,
                spec.reload,
                spec.gdb,
            )
            for spec in specs.values()
        ],
        cpus=cpus,
        memory_bytes=0 if memory is None else config.parse_size(memory),
        launcher=find_launcher(),
        resources=read_resources(config_file, resources),
        task_memory_bytes=0 if task_memory is None else config.parse_size(task_memory),
        run_directory="" if run_directory is None else os.path.abspath(run_directory),
        events_file="" if events is None else os.path.abspath(events),
        spill=(None if spill is False else "" if spill is True else os.path.abspath(spill)),
        inline_limit_bytes=inline_limit_bytes,
    )
    return engine, specs


def read_resources(
    config_file: str | PathLike[str] | None, resources: Mapping[str, Any] | None
) -> list[config.Resource]:
    """Return what tasks may ask for: of the file, and of the argument. Raises ConfigError."""
    amounts: dict[str, config.Resource] = {}
    if config_file is not None:
        amounts.update(config.read_file_resources(config_file))
    if resources is not None:
        amounts.update(config.read_resources("Client", "resources", resources))
    return list(amounts.values())


def _universal_executor() -> dict[str, config.Executor]:
    """Executor type "py": this interpreter, which finds modules where this process finds them."""
    if not sys.executable:
        return {}  # embedded in another program: @remote needs a registered "py"
    path = [os.path.abspath(entry) for entry in sys.path if os.pathsep not in entry]
    main = os.path.join(next(iter(rain.__path__)), "executor", "__main__.py")
    return config.read_argument(
        {"py": {"command": [sys.executable, main], "env": {"RAIN_SYS_PATH": os.pathsep.join(path)}}}
    )


def find_launcher() -> str:
    folders = [*rain.__path__, os.path.dirname(_core.__file__ or "")]
    for folder in folders:
        path = os.path.join(folder, _LAUNCHER)
        if os.path.exists(path):
            return path
    raise ConfigError(
        f"there is no {_LAUNCHER} in {' or '.join(folders)}: the installation is incomplete; "
        "install the package again (pip install .)"
    )


_core.set_own_directory(os.path.dirname(os.path.abspath(rain.__file__ or "")) + os.sep)
atexit.register(_core.close_all)
os.register_at_fork(after_in_child=_core.after_fork_in_child)
