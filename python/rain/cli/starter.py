"""Starting a server and governors, here and over ssh: all of them get ready, or none stays."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from rain.common.errors import RainException

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.25
_END_SECONDS = 6.0  # after SIGTERM; then SIGKILL
_TAIL_LINES = 12
_TAIL_BYTES = 4096


class StartFailed(RainException):
    """A process did not get ready."""


class Process(Protocol):
    """A process that was started and is to get ready."""

    name: str

    def is_ready(self) -> bool:
        """Whether it is. Raises StartFailed if it never will be."""

    def ask_to_end(self) -> None: ...

    def is_gone(self) -> bool: ...

    def kill(self) -> None: ...


class LocalProcess:
    """A process on this machine, in a session of its own: it outlives the starter.

    Parameters
    ----------
    name : str
        Its output goes to ``{name}.out`` and ``{name}.err`` in `folder`.
    command : list of str
        ``--ready-file`` is added.
    """

    def __init__(self, name: str, command: Sequence[str], folder: str) -> None:
        self.name = name
        self._folder = folder
        self._ready_file = os.path.join(folder, f"{name}-ready")
        with suppress(FileNotFoundError):
            os.unlink(self._ready_file)
        with ExitStack() as stack:
            out, err = (
                stack.enter_context(_create(os.path.join(folder, f"{name}.{end}")))
                for end in ("out", "err")
            )
            try:
                self._process = subprocess.Popen(
                    [*command, "--ready-file", self._ready_file],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                raise StartFailed(
                    f"Process '{name}' can't be started: {command[0]}: {error.strerror}"
                ) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_ready(self) -> bool:
        ended = self._process.poll()
        if os.path.exists(self._ready_file):
            with suppress(OSError):
                os.unlink(self._ready_file)
            return True
        if ended is not None:
            status = ended if ended >= 0 else f"{128 - ended} ({signal.Signals(-ended).name})"
            raise StartFailed(
                f"Process '{self.name}' terminated with exit code {status}; process outputs can be "
                f"found in {self._folder}/{self.name}.{{out/err}}"
                + _tail(os.path.join(self._folder, f"{self.name}.err"))
            )
        return False

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def is_gone(self) -> bool:
        """Whether nothing of its session's first process group is left."""
        self._process.poll()
        return not self._signal(0)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        with suppress(FileNotFoundError):
            os.unlink(self._ready_file)

    def let_go(self) -> None:
        """Forget the process, which stays: without this, Popen complains of it."""
        self._process.returncode = self._process.returncode or 0

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True


class RemoteProcess:
    """A governor on another host, started by ``/bin/sh`` there, which ssh runs.

    The script on its standard input starts the governor in a session of its own, waits until it is
    ready, and says so; the connection ends then. To end the governor there is another script.
    """

    def __init__(
        self,
        name: str,
        host: str,
        command: Sequence[str],
        *,
        folder: str,
        ssh: Sequence[str],
        prepare: str = "",
        leave_cpu: bool = False,
    ) -> None:
        self.name = name
        self.host = host
        self.pid: int | None = None
        self._folder = folder
        self._ssh = [*ssh, host, "/bin/sh"]
        self._told = os.path.join(folder, f"{name}.ssh")
        self._errors = os.path.join(folder, f"{name}.ssh-err")
        self._stopping: subprocess.Popen[bytes] | None = None
        script = start_script(name, command, folder, os.getcwd(), prepare, leave_cpu)
        with _create(self._told) as out, _create(self._errors) as err:
            self._process = self._run(script, out, err)

    def is_ready(self) -> bool:
        ended = self._process.poll()
        with open(self._told, errors="replace") as file:
            lines = file.read().splitlines()
        for line in lines:
            word, _, rest = line.partition(": ")
            if word == "Ok":
                self.pid = int(rest)
            elif word == "Error":
                raise StartFailed(f"Process '{self.name}' on {self.host}: {rest}" + self._why())
            elif word == "Ended":
                log = "\n  ".join(["", *lines[lines.index(line) + 1 :][-_TAIL_LINES:]])
                raise StartFailed(
                    f"Process '{self.name}' terminated with exit code {rest}; process outputs can "
                    f"be found on {self.host} in {self._folder}/{self.name}.{{out/err}}{log}"
                )
            elif line == "Ready" and ended is not None:
                return True
        if ended is not None:
            raise StartFailed(
                f"Process '{self.name}': ssh to {self.host} ended with exit code {ended}"
                + self._why()
            )
        return False

    def ask_to_end(self) -> None:
        self._process.kill()
        self._process.wait()
        with open(os.devnull, "wb") as null:
            self._stopping = self._run(stop_script(self.name, self._folder), null, null)

    def is_gone(self) -> bool:
        return self._stopping is None or self._stopping.poll() is not None

    def kill(self) -> None:
        """Only tell: its own script has used SIGKILL by now, or the host can't be reached."""
        if self._stopping is None or self._stopping.poll() == 0:
            return
        self._stopping.kill()
        self._stopping.wait()
        process = f"process {self.pid}" if self.pid else self.name
        print(f"Warning: {process} on {self.host} may still run", file=sys.stderr)

    def _run(self, script: str, out: IO[bytes], err: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                self._ssh,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C is for the starter
            )
        except OSError as error:
            raise StartFailed(f"{self._ssh[0]}: {error.strerror}: is ssh installed?") from error
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin as stream:
            stream.write(script.encode())
        return process

    def _why(self) -> str:
        return _tail(self._errors)


def start_script(
    name: str,
    command: Sequence[str],
    folder: str,
    directory: str,
    prepare: str,
    leave_cpu: bool,
) -> str:
    """Return what /bin/sh runs on a host to start a governor there."""
    files = {end: shlex.quote(os.path.join(folder, f"{name}{end}")) for end in (
        ".out", ".err", "-ready", "-pid", "-stop",
    )}  # fmt: skip
    lines = [
        "umask 077",
        f"mkdir -p {shlex.quote(folder)} || {_fail('the log directory cannot be made')}",
        f"rm -f {files['-ready']} {files['-pid']}",
        f": >{files['.out']} && : >{files['.err']} || {_fail('logs cannot be written')}",
        f"cd {shlex.quote(directory)} || {_fail('the directory of rain start is missing')}",
    ]
    if prepare:
        lines += [
            "{",
            prepare,
            f"}} </dev/null >>{files['.out']} 2>>{files['.err']} || "
            + _fail("--remote-init failed with exit code $?"),
        ]
    fewer = ""
    if leave_cpu:
        fewer = " $fewer"
        lines += [
            "fewer=",
            f'[ "$(cat {_BOOT_ID})" = {shlex.quote(boot_id())} ] && fewer=--cpus=-1',
        ]
    lines += [
        f"[ -e {files['-stop']} ] && {_fail('stopped')}",
        f"setsid {shlex.join(command)}{fewer} --ready-file {files['-ready']} "
        f"</dev/null >>{files['.out']} 2>>{files['.err']} &",
        "pid=$!",
        f"echo $pid >{files['-pid']}",
        f'[ -e {files["-stop"]} ] && kill -s TERM -- "-$pid"',
        'echo "Ok: $pid"',
        f"while [ ! -e {files['-ready']} ]; do",
        '  if ! kill -0 "$pid" 2>/dev/null; then',
        '    wait "$pid"',
        '    echo "Ended: $?"',
        f"    tail -n {_TAIL_LINES} {files['.err']}",
        "    exit 1",
        "  fi",
        "  sleep 0.1 || sleep 1",
        "done",
        f"rm -f {files['-ready']}",
        "echo Ready",
    ]
    return "\n".join(lines) + "\n"


def stop_script(name: str, folder: str) -> str:
    """Return what /bin/sh runs on a host to end what start_script started, or is starting."""
    stop, pid, ready = (
        shlex.quote(os.path.join(folder, f"{name}{end}")) for end in ("-stop", "-pid", "-ready")
    )
    return f"""
: >{stop}
sleep 0.3 || sleep 1
pid=$(cat {pid} 2>/dev/null) || exit 0
kill -s TERM -- "-$pid" 2>/dev/null
i=0
while kill -s 0 -- "-$pid" 2>/dev/null; do
  i=$((i + 1))
  [ $i -gt 30 ] && kill -s KILL -- "-$pid" 2>/dev/null
  [ $i -gt 40 ] && exit 1
  sleep 0.1 || sleep 1
done
rm -f {stop} {pid} {ready}
"""


def wait_until_ready(processes: Iterable[Process]) -> None:
    """Wait for all of them, without limit. Raises StartFailed as soon as one can't get ready."""
    waiting = list(processes)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        waiting = [process for process in waiting if not process.is_ready()]
        if not waiting:
            return
        time.sleep(pause)
        pause = min(pause * 1.2, _LONGEST_PAUSE_SECONDS)


def end_all(processes: Sequence[Process]) -> None:
    """End them, last started first: with SIGTERM, and with SIGKILL what is left after a while.

    An error about one is a warning, and the others are ended nevertheless.
    """
    left = list(reversed(processes))
    for process in left:
        with _told_as_warning(process):
            process.ask_to_end()
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline and not all(process.is_gone() for process in left):
        time.sleep(_FIRST_PAUSE_SECONDS)
    for process in left:
        with _told_as_warning(process):
            process.kill()


@contextmanager
def _told_as_warning(process: Process) -> Iterator[None]:
    try:
        yield
    except (OSError, RainException) as error:
        print(f"Warning: {process.name} may still run: {error}", file=sys.stderr)


def rain_command() -> list[str]:
    """Return how the command rain of this installation is run."""
    program = os.path.join(os.path.dirname(sys.executable), "rain")
    return [program] if os.access(program, os.X_OK) else [sys.executable, "-m", "rain"]


_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """Return what tells this machine from others, until it is booted again."""
    with open(_BOOT_ID) as file:
        return file.read().strip()


def _create(path: str) -> IO[bytes]:
    """Open a file to write to, which others can't read, for one process as long as that lives.

    Raises
    ------
    StartFailed
        Another one has it.
    """
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process inherits the lock
    except BlockingIOError:
        file.close()
        raise StartFailed(
            f"{path} is the output of a process that runs; give this service another --logdir, or "
            "end that one with rain stop"
        ) from None
    except OSError:  # a file system without locks
        pass
    file.truncate(0)
    os.fchmod(file.fileno(), 0o600)  # it may have been there
    return file


def _fail(message: str) -> str:
    return f'{{ echo "Error: {message}"; exit 1; }}'


def _tail(path: str) -> str:
    """Return the last lines of a file, indented, below what is said before."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "".join(f"\n  {line}" for line in lines[-_TAIL_LINES:])
