"""Several machines in one: network namespaces on a switch, whose cables can be cut or slowed.

    with Network() as network:
        a, b = network.machine("a"), network.machine("b")
        server = a.popen(["rain", "server", "--listen", a.address])
        b.cut()

A machine is a network namespace and nothing else: processes, files and users are those of this
one. The switch is a bridge in a namespace of its own, so that nothing is changed outside of them.
No namespace has a name: the kernel removes each, with its links, once the Network and the processes
in it are gone, however they ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def require_machines() -> None:
    """Skip the test where there can be no machines; with RAIN_REQUIRE_ALL it fails."""
    reason = _why_not()
    if not reason:
        return
    if os.environ.get("RAIN_REQUIRE_ALL"):
        pytest.fail(f"RAIN_REQUIRE_ALL is set, but {reason}")
    pytest.skip(reason)


def _why_not() -> str:
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"there is no {program} (apt-get install {package})"
    try:
        with Network() as network:
            network.machine("probe").limit(1_000_000)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        return f"no network namespaces can be made, which takes root and a kernel with them: {said}"
    return ""


class Network:
    """A switch with machines at it. Made and closed by one thread; close() ends what runs there."""

    def __init__(self) -> None:
        self._machines: list[Machine] = []
        self._switch = _Namespace()
        try:
            self._switch.run("ip", "link", "add", "switch", "type", "bridge")
            self._switch.run("ip", "link", "set", "switch", "up")
        except BaseException:
            self._switch.close()
            raise

    def machine(self, name: str) -> Machine:
        """Return another machine; `name`, of at most 11 characters, is for people."""
        machine = Machine(name, f"10.77.0.{len(self._machines) + 1}", self._switch)
        self._machines.append(machine)
        return machine

    def close(self) -> None:
        for machine in self._machines:
            machine.close()
        self._switch.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Machine:
    """Owned by its Network.

    Attributes
    ----------
    name, address : str
        `address` is an IPv4 address that all machines of the network reach; each has 127.0.0.1 to
        itself.
    """

    def __init__(self, name: str, address: str, switch: _Namespace) -> None:
        self.name = name
        self.address = address
        self._switch = switch
        self._port = f"to-{name}"
        self._processes: list[subprocess.Popen[Any]] = []
        self._namespace = _Namespace()
        try:
            switch.run("ip", "link", "add", self._port, "type", "veth",
                       "peer", "name", "eth0", "netns", self._namespace.path)  # fmt: skip
            switch.run("ip", "link", "set", self._port, "master", "switch", "up")
            self.run("ip", "link", "set", "lo", "up")
            self.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            self.run("ip", "link", "set", "eth0", "up")
        except BaseException:
            self._namespace.close()
            raise

    def run(self, *command: str) -> str:
        """Run a command there to its end and return what it prints.

        Raises
        ------
        subprocess.CalledProcessError
            It has what the command wrote to its standard error.
        """
        return self._namespace.run(*command)

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> Any:
        """Start a process there, as subprocess.Popen does, in a process group of its own."""
        options.setdefault("start_new_session", True)
        process = subprocess.Popen([*self._namespace.enter_command, *command], **options)
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be there with this thread: its new sockets, threads and processes are the machine's."""
        with self._namespace.entered():
            yield

    def cut(self) -> None:
        """Pull the cable: packets get lost in both directions, and nobody is told."""
        self._switch.run("ip", "link", "set", self._port, "down")

    def join(self) -> None:
        """Plug the cable in again."""
        self._switch.run("ip", "link", "set", self._port, "up")

    def limit(self, bytes_per_second: int) -> None:
        """Let so much through, in each direction."""
        rate = f"{bytes_per_second * 8}bit"
        bucket = ["tbf", "rate", rate, "burst", "64kb", "latency", "500ms"]
        self.run("tc", "qdisc", "replace", "dev", "eth0", "root", *bucket)
        self._switch.run("tc", "qdisc", "replace", "dev", self._port, "root", *bucket)

    def unlimit(self) -> None:
        """Take a limit() back."""
        self.run("tc", "qdisc", "delete", "dev", "eth0", "root")
        self._switch.run("tc", "qdisc", "delete", "dev", self._port, "root")

    def kill(self) -> None:
        """Kill all that popen() started there, with their process groups, as a power cut would."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def close(self) -> None:
        self.kill()
        self._namespace.close()


class _Namespace:
    """A network namespace, which this descriptor keeps."""

    def __init__(self) -> None:
        made: list[int] = []
        failed: list[OSError] = []

        def make() -> None:
            try:
                _call(_libc.unshare(_CLONE_NEWNET), "unshare")
                made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        self._fd = made[0]

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    @property
    def enter_command(self) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [*self.enter_command, *command], check=True, capture_output=True, text=True
        )
        return done.stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _call(_libc.setns(self._fd, _CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _call(_libc.setns(before, _CLONE_NEWNET), "setns")
        finally:
            os.close(before)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _call(result: int, name: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
