"""Which program provides which executor type: TOML files, and Client's arguments."""

from __future__ import annotations

import os

from rain.common.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any, TypeAlias

    Resource: TypeAlias = tuple[str, int, list[str]]

_KEYS = (
    "command",
    "env",
    "cwd",
    "threads",
    "prestart",
    "max_processes",
    "idle_seconds",
    "start_seconds",
    "reload",
    "debug",
)
_EXAMPLE = '[executors.example1]\ncommand = "./example1"'
_MOST_THREADS = 512  # calls in flight of one process
_MOST_PROCESSES = 10_000
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


class Executor:
    """A program that provides the tasks of one executor type. Checked: it exists and can be run.

    Attributes
    ----------
    name : str
    argv : list of str
        The program's path is absolute.
    environment : list of "NAME=value"
        Added to the client's environment.
    start_seconds : float
        Deadline for its registration.
    cwd : str
        Absolute path of the directory it starts in; "": one of its own.
    threads : int
        Calls that one process runs at once; 0: as the program says.
    prestart : int
        Processes that start with the client and are kept.
    max_processes : int
        0: as many as the CPUs allow.
    idle_seconds : float
        How long a process may have no call before it ends; may be infinite.
    reload : bool
        Whether a changed program takes the place of running processes.
    gdb : str
        Path of the gdb that it runs in; "": none.
    """

    __slots__ = (
        "argv",
        "cwd",
        "environment",
        "gdb",
        "idle_seconds",
        "max_processes",
        "name",
        "prestart",
        "reload",
        "start_seconds",
        "threads",
    )

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name = name
        self.argv = argv
        self.environment: list[str] = []
        self.start_seconds = 30.0
        self.cwd = ""
        self.threads = 0
        self.prestart = 0
        self.max_processes = 0
        self.idle_seconds = 60.0
        self.reload = True
        self.gdb = ""

    @property
    def language(self) -> str:
        """ "Python" if the command runs a Python program, else "C++"."""
        program = os.path.basename(self.argv[0])
        python = program.startswith("python") or any(word.endswith(".py") for word in self.argv)
        return "Python" if python else "C++"


def library_paths() -> dict[str, str]:
    """Return what of this process' environment decides which libraries its executors find."""
    names = ("PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD")
    return {name: os.environ[name] for name in names if name in os.environ}


def read_file(path: str | PathLike[str]) -> dict[str, Executor]:
    """Read a TOML file of executors.

    Raises
    ------
    ConfigError
        Names the file, the key, and what to do.
    """
    file = os.path.abspath(path)
    return _read_table(file, "executors", _executors_of(file), os.path.dirname(file))


def read_file_each(path: str | PathLike[str]) -> dict[str, Executor | ConfigError]:
    """As read_file, but an executor whose entry is wrong is the error that says so."""
    file = os.path.abspath(path)
    read: dict[str, Executor | ConfigError] = {}
    for name, value in _executors_of(file).items():
        try:
            read |= _read_table(file, "executors", {name: value}, os.path.dirname(file))
        except ConfigError as error:
            read[name] = error
    return read


def _executors_of(file: str) -> Any:
    values = _read_toml(file)
    _check_keys(file, "", values, ("executors", "resources"))
    if "executors" not in values and "resources" not in values:
        raise ConfigError(f"{file}: there is no [executors] table; write for instance\n{_EXAMPLE}")
    return values.get("executors", {})


def read_argument(executors: Mapping[str, Any]) -> dict[str, Executor]:
    """Read ``Client(executors=...)``. Raises as read_file."""
    return _read_table("Client", "executors", executors, os.getcwd())


def read_file_resources(path: str | PathLike[str]) -> dict[str, Resource]:
    """Read the table [resources] of a TOML file, if it has one. Raises as read_file."""
    file = os.path.abspath(path)
    return read_resources(file, "resources", _read_toml(file).get("resources", {}))


def read_resources(file: str, place: str, table: Any) -> dict[str, Resource]:
    """Read what tasks may ask for besides cpus: name -> (name, amount in 1/10,000, ids).

    An amount is a number; a list names the ids of an indexed resource; a whole number of "gpu"
    means the ids 0, 1, ... Raises ConfigError.
    """
    from rain.client.limits import amount_of

    if not hasattr(table, "items"):
        raise ConfigError(f"{file}: {place} must be a table, not {type(table).__name__}")
    read: dict[str, Resource] = {}
    for name, value in table.items():
        where = f"{place}.{name}"
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{file}: {place}: {name!r} cannot be the name of a resource")
        if name in ("cpus", "memory"):
            other = "cpus=" if name == "cpus" else "task_memory="
            raise ConfigError(f"{file}: {where}: use Client({other}...)")
        ids: list[str] = []
        if isinstance(value, (list, tuple)):
            ids = [str(each) for each in value]
            if not all(isinstance(each, (int, str)) for each in value) or len(set(ids)) < len(ids):
                raise ConfigError(f"{file}: {where} must be a list of different ids, not {value!r}")
            value = len(ids)
        elif name == "gpu":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 4096:
                raise ConfigError(
                    f"{file}: {where} must be a number of whole gpus or a list of ids, "
                    f"not {value!r}"
                )
            ids = [str(index) for index in range(value)]
        try:
            amount = 0 if value == 0 else amount_of(where, value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{file}: {error}") from error
        read[name] = (name, amount, ids)
    return read


def parse_size(size: int | str) -> int:
    """Return bytes of an int or of a text such as "8 GiB" or "500 MB".

    Raises
    ------
    ConfigError
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    if isinstance(size, str):
        number = size.strip().rstrip("BbKkMmGgTtIi").strip()
        unit = size.strip()[len(number) :].strip().upper()
        try:
            bytes_ = int(float(number) * _UNITS[unit])
        except (KeyError, ValueError, OverflowError):
            bytes_ = 0
        if bytes_ > 0:
            return bytes_
    raise ConfigError(f'memory must be a positive number of bytes, or like "8 GiB", not {size!r}')


def read_debugger(file: str, place: str, debug: Any) -> str:
    """Return the path of the debugger that `debug` names. Raises ConfigError."""
    if debug != "gdb":
        raise ConfigError(f'{file}: {place} must be "gdb", not {debug!r}')
    return find_gdb(f'{file}: {place} = "gdb"')


def find_gdb(where: str) -> str:
    """Return the path of gdb. Raises ConfigError."""
    import shutil

    path = shutil.which("gdb")
    if path is None:
        raise ConfigError(f"{where} needs gdb, which is not in PATH: apt install gdb")
    return path


def _read_toml(file: str) -> dict[str, Any]:
    import sys
    from importlib import import_module

    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        with open(file, "rb") as stream:
            values: dict[str, Any] = toml.load(stream)
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; Client(config=...) needs a TOML file of executors"
        ) from error
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}; it should be like\n{_EXAMPLE}") from error
    return values


def _check_keys(file: str, place: str, values: Mapping[Any, Any], known: Iterable[str]) -> None:
    for key in values:
        if key not in known:
            where = f"{place}.{key}" if place else str(key)
            raise ConfigError(
                f"{file}: unknown key {where!r}{_suggest(str(key), known)}; "
                f"known: {', '.join(known)}"
            )


def _suggest(word: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, list(known), 1)
    return f", did you mean {near[0]!r}?" if near else ""


def _read_table(file: str, place: str, table: Any, base: str) -> dict[str, Executor]:
    if not hasattr(table, "items"):
        raise ConfigError(
            f"{file}: {place} must be a table of executors, not {type(table).__name__}; "
            f"write for instance\n{_EXAMPLE}"
        )
    return {
        name: _read_executor(file, f"{place}.{name}", name, value, base)
        for name, value in table.items()
    }


def _read_executor(file: str, place: str, name: Any, value: Any, base: str) -> Executor:
    if not isinstance(name, str) or not name or "/" in name or name != name.strip():
        raise ConfigError(
            f"{file}: {name!r} cannot be an executor type: it must be a name without '/', since "
            "task types are 'executor/task'"
        )
    if name == "buildin":
        raise ConfigError(f"{file}: 'buildin' is the governor's own executor; choose another name")
    if isinstance(value, (str, list, tuple, os.PathLike)):
        value = {"command": value}
    if not hasattr(value, "items"):
        raise ConfigError(
            f"{file}: {place} must be a table with a command, not {type(value).__name__}; "
            f"write for instance\n{_EXAMPLE}"
        )
    _check_keys(file, place, value, _KEYS)
    if "command" not in value:
        raise ConfigError(f"{file}: {place} has no command; write for instance\n{_EXAMPLE}")
    executor = Executor(name, _read_command(file, f"{place}.command", value["command"], base))
    for key, given in value.items():
        where = f"{place}.{key}"
        if key == "env":
            executor.environment = _read_environment(file, where, given)
        elif key == "cwd":
            executor.cwd = _read_directory(file, where, given, base)
        elif key == "threads":
            executor.threads = _read_count(file, where, given, 1, _MOST_THREADS)
        elif key == "prestart":
            executor.prestart = _read_count(file, where, given, 0, _MOST_PROCESSES)
        elif key == "max_processes":
            executor.max_processes = _read_count(file, where, given, 1, _MOST_PROCESSES)
        elif key == "idle_seconds":
            executor.idle_seconds = _read_idle_seconds(file, where, given)
        elif key == "start_seconds":
            executor.start_seconds = _read_start_seconds(file, where, given)
        elif key == "reload":
            if not isinstance(given, bool):
                raise ConfigError(f"{file}: {where} must be true or false, not {given!r}")
            executor.reload = given
        elif key == "debug":
            executor.gdb = read_debugger(file, where, given)
    if 0 < executor.max_processes < executor.prestart:
        raise ConfigError(
            f"{file}: {place}: prestart = {executor.prestart} is more than max_processes = "
            f"{executor.max_processes}"
        )
    return executor


def _read_command(file: str, place: str, command: Any, base: str) -> list[str]:
    if isinstance(command, str):
        command = _split(file, place, command)
    elif isinstance(command, os.PathLike):
        command = [command]
    words: list[str] = []
    if isinstance(command, (list, tuple)):
        words = [os.fspath(word) if isinstance(word, os.PathLike) else word for word in command]
    if not isinstance(command, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise ConfigError(f"{file}: {place} must be a str or a list of str, not {command!r}")
    if not words or not words[0]:
        raise ConfigError(f"{file}: {place} is empty; write for instance\n{_EXAMPLE}")
    if any("\0" in word for word in words):
        raise ConfigError(f"{file}: {place} contains a NUL character")
    script = os.path.basename(words[0]).startswith("python")
    arguments = []
    for word in words[1:]:
        arguments.append(_argument(file, place, word, base, script))
        script = False  # only the first one is what Python runs
    return [_program(file, place, words[0], base), *arguments]


def _split(file: str, place: str, command: str) -> list[str]:
    if not any(character in command for character in "'\"\\"):
        return command.split()
    import shlex

    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"{file}: {place}: {error} in {command!r}") from error


def _program(file: str, place: str, program: str, base: str) -> str:
    """Return the absolute path of a program that can be run."""
    if "/" not in program:
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = os.path.join(os.path.abspath(folder or os.curdir), program)
            if os.path.isfile(path) and _executable(path):
                return path
        beside = os.path.join(base, program)
        hint = f"; write './{program}' for {beside}" if os.path.exists(beside) else ""
        raise ConfigError(f"{file}: {place}: program {program!r} is not in PATH{hint}")
    path = os.path.normpath(os.path.join(base, os.path.expanduser(program)))
    if not os.path.exists(path):
        raise ConfigError(
            f"{file}: {place}: there is no program {path}; build it, or correct the path"
        )
    if not os.path.isfile(path):
        raise ConfigError(f"{file}: {place}: {path} is not a file that can be run")
    if not _executable(path):
        raise ConfigError(f"{file}: {place}: {path} is not executable; chmod +x {path}")
    return path


def _executable(path: str) -> bool:
    """Whether execve would take it: that counts effective ids and capabilities."""
    return os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _argument(file: str, place: str, word: str, base: str, script: bool) -> str:
    """Make an argument that names a file absolute: executors run in a directory of their own."""
    if os.path.isabs(word) or word.startswith("-") or not word:
        return word
    path = os.path.normpath(os.path.join(base, word))
    if os.path.exists(path):
        return path
    if word.startswith(("./", "../")) or (script and word.endswith(".py")):
        raise ConfigError(f"{file}: {place}: there is no file {path}")
    return word


def _read_environment(file: str, place: str, environment: Any) -> list[str]:
    if not hasattr(environment, "items"):
        raise ConfigError(
            f"{file}: {place} must be a table of str, not {type(environment).__name__}"
        )
    for name, value in environment.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ConfigError(f"{file}: {place}: {name!r} cannot be the name of a variable")
        if not isinstance(value, str) or "\0" in value:
            raise ConfigError(f"{file}: {place}.{name} must be a str, not {value!r}")
    return [f"{name}={value}" for name, value in environment.items()]


def _read_directory(file: str, place: str, directory: Any, base: str) -> str:
    if not isinstance(directory, (str, os.PathLike)):
        raise ConfigError(f"{file}: {place} must be the path of a directory, not {directory!r}")
    path = os.path.normpath(os.path.join(base, os.path.expanduser(os.fspath(directory))))
    if not os.path.isdir(path):
        raise ConfigError(f"{file}: {place}: there is no directory {path}")
    return path


def _read_count(file: str, place: str, count: Any, least: int, most: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not least <= count <= most:
        raise ConfigError(f"{file}: {place} must be an int from {least} to {most}, not {count!r}")
    return count


def _read_idle_seconds(file: str, place: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise ConfigError(
            f"{file}: {place} must be a number of seconds, 0 or more (inf: for ever), "
            f"not {seconds!r}"
        )
    return float(seconds) if seconds < 1e9 else float("inf")


def _read_start_seconds(file: str, place: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < 1e6:
        raise ConfigError(f"{file}: {place} must be a positive number of seconds, not {seconds!r}")
    return float(seconds)
