"""The tools of the network tests themselves: machines that are cut and slowed, and a bad proxy."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from machines import Machine, Network, require_machines
from tcp_proxy import Proxy
from world import wait_until


@pytest.fixture
def network() -> Iterator[Network]:
    require_machines()
    with Network() as network:
        yield network


class Echo:
    """A server that sends back what it gets, and an end of file for an end of file."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0))
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.ends: list[str] = []  # of connections: "end", "reset"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                self.ends.append("end")
            except OSError:
                self.ends.append("reset")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as proxy:
        yield proxy


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, f"the end after {len(data)} of {size} bytes"
        data += more
    return data


def is_silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    return not select.select([connection], [], [], seconds)[0]


# ---- machines


def connect(machine: Machine, address: tuple[str, int], timeout: float = 20) -> socket.socket:
    with machine.entered():
        return socket.create_connection(address, timeout)


@contextlib.contextmanager
def echo_on(machine: Machine) -> Iterator[Echo]:
    with machine.entered():
        server = Echo(machine.address)
    try:
        yield server
    finally:
        server.close()


def test_machines_reach_each_other_and_nothing_else(network: Network, echo: Echo) -> None:
    a, b = network.machine("a"), network.machine("b")
    with echo_on(b) as there, connect(a, there.address) as connection:
        connection.sendall(b"hello")
        assert receive(connection, 5) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        connect(a, echo.address)  # this machine's own loopback is none of theirs


def test_a_cut_machine_hears_nothing_until_it_is_joined(network: Network) -> None:
    a, b, c = (network.machine(name) for name in "abc")
    with echo_on(b) as there, echo_on(c) as other, connect(a, there.address) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        b.cut()
        connection.sendall(b"2")
        assert is_silent(connection)
        with connect(a, other.address) as untouched:
            untouched.sendall(b"x")
            assert receive(untouched, 1) == b"x"
        b.join()
        assert receive(connection, 1) == b"2"  # TCP sends it again


def test_a_limited_machine_takes_its_time(network: Network) -> None:
    a, b = network.machine("a"), network.machine("b")
    b.limit(2_000_000)
    with echo_on(b) as there, connect(a, there.address) as connection:
        began = time.monotonic()
        data = os.urandom(1_000_000)
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join()
        assert time.monotonic() - began > 0.3  # 0.5 s less what the bucket lets through at once
    assert "rate 16Mbit" in b.run("tc", "qdisc", "show", "dev", "eth0")
    b.unlimit()
    assert "tbf" not in b.run("tc", "qdisc", "show", "dev", "eth0")


def test_a_program_runs_there_and_ends_with_the_network() -> None:
    require_machines()
    program = "import time; print('up', flush=True); time.sleep(1000)"
    with Network() as network:
        a = network.machine("a")
        assert f"inet {a.address}/24" in a.run("ip", "address", "show", "dev", "eth0")
        process = a.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "up\n"
        own = os.readlink("/proc/self/ns/net")
        assert os.readlink(f"/proc/{process.pid}/ns/net") != own
        with a.entered():
            assert os.readlink("/proc/thread-self/ns/net") == os.readlink(
                f"/proc/{process.pid}/ns/net"
            )
        assert os.readlink("/proc/thread-self/ns/net") == own
    assert process.returncode == -9
    process.stdout.close()


def test_nothing_of_a_network_is_left(network: Network) -> None:
    def links() -> str:
        return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = links(), descriptors()
    with Network() as other:
        a = other.machine("a")
        with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
            a.run("sh", "-c", "exit 3")
    assert (links(), descriptors()) == before


# ---- the proxy


def test_proxy_hands_on_in_both_directions_and_both_ends(proxy: Proxy, echo: Echo) -> None:
    data = os.urandom(3_000_000)
    with socket.create_connection(proxy.address, 20) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join()
        assert proxy.connections == 1
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_until(lambda: echo.ends == ["end"] and proxy.connections == 0, "the end of both")


def test_proxy_delays_and_keeps_the_order(proxy: Proxy) -> None:
    with socket.create_connection(proxy.address, 20) as connection:
        proxy.delay(0.2)
        began = time.monotonic()
        connection.sendall(b"slow")
        assert is_silent(connection, 0.05)
        proxy.delay(0)
        connection.sendall(b"fast")
        assert receive(connection, 8) == b"slowfast"
        assert time.monotonic() - began >= 0.2


def test_proxy_stalls_one_direction_and_resumes(proxy: Proxy) -> None:
    with socket.create_connection(proxy.address, 20) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        proxy.stall("to_client")
        connection.sendall(b"2")
        assert is_silent(connection)
        proxy.resume()
        assert receive(connection, 1) == b"2"
        proxy.stall()
        with socket.create_connection(proxy.address, 20) as second:
            second.sendall(b"3")
            assert is_silent(second)
            proxy.resume()
            assert receive(second, 1) == b"3"


def test_a_stalled_sender_is_held_up_in_the_end(proxy: Proxy) -> None:
    proxy.stall()
    with socket.create_connection(proxy.address, 20) as connection:
        connection.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 1 << 30:
                sent += connection.send(b"x" * (1 << 20))
                select.select([], [connection], [], 1)
        assert sent < 1 << 30


def test_proxy_resets_both_ends(proxy: Proxy, echo: Echo) -> None:
    with socket.create_connection(proxy.address, 20) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    wait_until(lambda: echo.ends == ["reset"], "the reset at the other end")
    with socket.create_connection(proxy.address, 20) as connection:
        connection.sendall(b"2")
        assert receive(connection, 1) == b"2"


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_proxy_closes_one_half(proxy: Proxy, echo: Echo, direction: str) -> None:
    with socket.create_connection(proxy.address, 20) as connection:
        connection.sendall(b"1")
        assert receive(connection, 1) == b"1"
        if direction == "to_client":
            proxy.half_close("to_client")
            assert connection.recv(1) == b""
            assert echo.ends == []  # it knows nothing of it
            connection.sendall(b"2")
        else:
            proxy.half_close("to_server")
            wait_until(lambda: echo.ends == ["end"], "the end at the server")
            assert connection.recv(1) == b""  # the echo of the end


def test_proxy_to_where_nobody_listens_resets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[:2]
    with (
        Proxy(nobody) as proxy,
        pytest.raises(ConnectionResetError),  # while it connects, or when it reads
        socket.create_connection(proxy.address, 20) as connection,
    ):
        connection.recv(1)
