"""Who connects to the ports of a cluster and is no client."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from clusters import SERVER, Cluster, Process, cluster
from rain.cli import registry, service, tls
from rain.cli.app import rain
from rain.client import Client
from rain.common.errors import ConnectionFailed
from rain.engine import knock
from rain_command import RAIN
from tasks import call
from world import wait_until

NONSENSE = {
    "random bytes": os.urandom(1000),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS greeting that ends": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(40),
    "a frame that never comes": struct.pack("<QQQ", 24, 1, 1 << 62),
    "many frames": struct.pack("<QQ", 16, 1 << 40),
    "no msgpack": struct.pack("<QQQ", 19, 1, 3) + b"\xc1\xc1\xc1",
}


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses, as the kernel writes them, and TCP ports on which the process itself listens."""
    own = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(fd))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                address, _, port = words[1].rpartition(":")
                found.add((address, int(port, 16)))
    return found


def ports_of(process: Process) -> set[int]:
    return {port for _, port in listening(process.pid)}


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 15)


def descriptors(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def is_over(connection: socket.socket) -> None:
    """Wait until the other side ends the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while connection.recv(1 << 16):
            pass


def is_page(port: int) -> bool:
    """Whether there is a web server without TLS: of a governor, on this machine only."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=15) as answer:
            return bool(answer.read() == b"ok")
    except (OSError, http.client.HTTPException):
        return False


def works(client: Client) -> None:
    """A graph through both governors, whose data pass between them."""
    with client.new_session():
        made = [call("cpptester/fill", size=20_000, byte=i) for i in range(8)]
        total = call("pytester/concat", *made)
        total.keep_outputs()
        assert len(total.output.fetch().get_bytes()) == 160_000


def all_ports(made: Cluster) -> list[int]:
    ports = ports_of(made.server)
    assert {made.port, made.http_port} <= ports
    for governor in made.governors:
        own = ports_of(governor)
        assert own
        ports |= own
    return sorted(ports)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the cluster, and beside it: "other", of another CA; "old", of its CA, but expired."""
    pytest.importorskip("cryptography")
    top = tmp_path_factory.mktemp("tls")
    tls.make(str(top / "own"), timedelta(days=1))
    tls.make(str(top / "other"), timedelta(days=1))
    shutil.copytree(top / "own", top / "old")
    tls.make(str(top / "old"), timedelta(seconds=-60), renew=True)
    return top


@pytest.fixture
def plain(two: Cluster) -> Cluster:
    return two


@pytest.fixture
def secured(place: Path, commands: dict[str, Any], certificates: Path) -> Iterator[Cluster]:
    with cluster(place, commands, tls=str(certificates / "own")) as made:
        yield made


@pytest.mark.parametrize("kind", ["plain", "secured"])
def test_nonsense_on_every_port_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    made: Cluster = request.getfixturevalue(kind)
    with made.client() as client:
        works(client)
        before = [descriptors(each) for each in (made.server, *made.governors)]
        for port in all_ports(made):
            for data in NONSENSE.values():
                with connect(port) as connection:
                    with contextlib.suppress(OSError):
                        connection.sendall(data)
                        connection.shutdown(socket.SHUT_WR)
                    is_over(connection)
        works(client)
        for process, count in zip((made.server, *made.governors), before, strict=True):
            wait_until(lambda p=process, n=count: descriptors(p) <= n + 8, "nothing is left of it")
    assert all(each.process.poll() is None for each in (made.server, *made.governors))


def test_a_thousand_half_open_connections_to_each_port(two: Cluster) -> None:
    with two.client() as client:
        works(client)
        for port in all_ports(two):
            strangers = [connect(port) for _ in range(1000)]
            for number in range(0, 1000, 3):
                with contextlib.suppress(OSError):
                    strangers[number].send(b"\x10")
            works(client)
            with two.client() as another:
                works(another)
            for stranger in strangers:
                stranger.close()
    wait_until(lambda: descriptors(two.server) < 200, "nothing is left of them")


def is_refused(port: int, folder: Path | None) -> bool:
    """Whether a peer with these certificates gets no greeting; with TLS 1.3 the refusal may come
    after its own handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if folder is not None:
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    try:
        with connect(port) as plain, context.wrap_socket(plain) as connection:
            return connection.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_who_has_no_good_certificate_is_refused_on_every_port(
    secured: Cluster, certificates: Path
) -> None:
    for port in all_ports(secured):
        if port == secured.http_port or is_page(port):
            continue  # pages ask for no certificate
        assert not is_refused(port, certificates / "own"), port
        assert is_refused(port, None)
        for whose in ("other", "old"):
            assert is_refused(port, certificates / whose), whose
    for whose in ("other", "old"):
        with pytest.raises(ConnectionFailed):
            Client("127.0.0.1", secured.port, tls=str(certificates / whose))
    with pytest.raises(ConnectionFailed):
        Client("127.0.0.1", secured.port)
    with secured.client() as client:
        works(client)


LOOPBACK = "0100007F"  # 127.0.0.1


def test_services_are_for_this_machine_alone_by_default(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 12: Dask itself listens on all addresses."""
    (place / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place / "run"))
    commands = (
        ("server", "--listen", "0", "--http-listen", "0"),
        ("governor", "127.0.0.1:{port}", "--cpus", "1"),
    )
    port = 0
    with contextlib.ExitStack() as stack:
        for command in commands:
            ready = place / f"{command[0]}-ready"
            words = [word.format(port=port) for word in command]
            process = stack.enter_context(
                subprocess.Popen([*RAIN, *words, "--ready-file", str(ready)])
            )
            stack.callback(process.terminate)
            wait_until(lambda ready=ready: ready.exists(), f"{command[0]} is ready")
            addresses = listening(process.pid)
            assert {address for address, _ in addresses} == {LOOPBACK}
            if command[0] == "server":
                (entry,) = registry.entries()
                port = int(entry.address.rpartition(":")[2])


def page_of(made: Cluster, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Ask as a browser does that trusts the cluster's CA; of a stream its first event's line."""
    context = ssl.create_default_context(cafile=f"{made.tls}/ca.pem")
    context.check_hostname = False
    connection = http.client.HTTPSConnection(
        "127.0.0.1", made.http_port, timeout=15, context=context
    )
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        if path != "/rain/stream":
            return answer.status, answer.read()
        return answer.status, next(line for line in answer if line.startswith(b"event"))


def test_pages_of_a_server_with_tls_are_encrypted(secured: Cluster) -> None:
    with secured.client() as client:
        works(client)
        for path, part in (
            ("/rain", b"EventSource"),
            ("/rain/stream", b"event: all"),
            ("/rain/status.json", b'"kind": "server"'),
            ("/rain/metrics", b"\nrain_governors 2\n"),
            ("/metrics", b"\nrain_governors 2\n"),
            ("/health", b"ok"),
        ):
            status, body = page_of(secured, "GET", path)
            assert (status, part in body) == (200, True), path
        status, body = page_of(secured, "POST", "/events", b"{}")
        assert (status, b"Monitoring" in body) == (200, True)
        with connect(secured.http_port) as plain:
            plain.sendall(b"GET /rain/status.json HTTP/1.0\r\n\r\n")
            is_over(plain)
        with pytest.raises(OSError, match=r"."):
            urllib.request.urlopen(f"http://127.0.0.1:{secured.http_port}/rain", timeout=15)


def test_commands_have_to_show_a_certificate(secured: Cluster, certificates: Path) -> None:
    where = (f"127.0.0.1:{secured.port}", "--http-port", str(secured.http_port))

    def ask(*words: str) -> Result:
        return CliRunner().invoke(rain, words)

    done = ask("status", *where, "--tls", str(secured.tls))
    assert done.exit_code == 0, done.output
    assert "2 governors" in done.output
    done = ask("store", *where, "--tls", str(secured.tls))
    assert done.exit_code == 0, done.output
    for options, part in (((), "TLS"), (("--tls", str(certificates / "other")), "trust")):
        for command in (("status",), ("stop",), ("stop", "--force"), ("store",)):
            refused = ask(*command, *where, *options)
            assert refused.exit_code == 1
            assert part in refused.output, refused.output
            assert "Traceback" not in refused.output
    assert secured.server.process.poll() is None


def test_pages_change_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where Dask's configuration asks for its pages that do."""
    monkeypatch.setenv(
        "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
        "['distributed.http.health', 'distributed.http.scheduler.api', 'distributed.http.proxy']",
    )
    with cluster(place, {}, governors=1) as made:
        address = f"http://127.0.0.1:{made.http_port}"
        with urllib.request.urlopen(f"{address}/health", timeout=15) as answer:
            assert answer.read() == b"ok"
        for path in ("/api/v1/retire_workers", "/proxy/80/127.0.0.1/x"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}{path}", data=b'{"n": 1}', timeout=15)


@contextlib.contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port that answers so whatever it is told, None: not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:

        def talk(connection: socket.socket) -> None:
            with connection:
                while connection.recv(4096) and answer is None:
                    pass
                connection.sendall(answer or b"")

        def serve() -> None:
            with contextlib.suppress(OSError):  # the end
                while True:
                    threads.submit(talk, server.accept()[0])

        threads.submit(serve)
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "command",
    [("status",), ("stop",), ("stop", "--force"), ("store",), ("logs", "py", "--server")],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "is a web server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", r"no Rain server"),
        (None, "says nothing|does not answer"),
        (b"", "Connection refused"),
    ],
    ids=["web server", "another server", "silence", "nothing"],
)
def test_commands_say_what_is_there_instead_of_a_server(
    place: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...],
    answer: bytes | None, message: str,
) -> None:  # fmt: skip
    assert knock.SECONDS < 5
    assert service._SECONDS < 5
    monkeypatch.setitem(knock.knock.__kwdefaults__, "seconds", 0.3)  # for the silent one
    monkeypatch.setattr(service, "_SECONDS", 0.3)
    with listener(answer) as port:
        if answer == b"":
            with socket.create_server(("127.0.0.1", 0)) as closed:
                port = closed.getsockname()[1]
        asked = CliRunner().invoke(rain, [*command, f"127.0.0.1:{port}", "--http-port", str(port)])
    assert asked.exit_code == 1
    assert isinstance(asked.exception, SystemExit)
    assert re.search(message, asked.output), asked.output
    assert f"127.0.0.1:{port}" in asked.output


def test_a_server_with_another_dask_is_named(place: Path) -> None:
    """Dask's messages change with its releases; it would end connections without a reason."""
    import distributed

    old = "import distributed; distributed.__version__ = '2022.1.0'\n"
    server = Process(old + SERVER, "server", tls=None)
    try:
        port = int(server.answer().split()[0])
        versions = f"has distributed 2022.1.0, and here is {distributed.__version__}"
        with pytest.raises(ConnectionFailed, match=versions):
            Client("127.0.0.1", port)
        refused = CliRunner().invoke(rain, ["governor", f"127.0.0.1:{port}"])
        assert refused.exit_code == 1
        assert versions in refused.output
        asked = CliRunner().invoke(rain, ["status", f"127.0.0.1:{port}", "--http-port", str(port)])
        assert asked.exit_code == 1
        assert "Traceback" not in asked.output
        stopped = CliRunner().invoke(rain, ["stop", f"127.0.0.1:{port}", "--force"])
        assert stopped.exit_code == 0, stopped.output  # this much they have in common
        assert server.wait() == 0
    finally:
        server.end()


class Processing:
    """What the relay looks at of a Dask worker."""

    def __init__(self, *keys: Any) -> None:
        self.processing = [SimpleNamespace(key=key) for key in keys]


def test_keys_of_any_type_are_no_parts() -> None:
    """As others that use the same Dask may have them."""
    from rain.governor.relay import Relay

    keys = (5, 1.5, "", b"", "x", (), (1, 2))
    worker = Processing(*keys)
    relay = Relay()
    relay.offers["tcp://w"] = {}
    relay.scheduler = SimpleNamespace(
        extensions={"stealing": object()}, workers={"tcp://w": worker}, running={worker}
    )
    relay._balance()
    for key in keys:
        relay.transition(key, "processing", "erred")


@pytest.mark.parametrize("kind", [set, dict.fromkeys])
def test_what_no_governor_can_run_is_told_with_an_older_dask_too(kind: Any) -> None:
    """Which has a set of such tasks, without times."""
    from rain.governor.relay import PART_PREFIX, Relay, part_resources

    class Task:
        key = (PART_PREFIX, "client", 1, 0)
        resource_restrictions = part_resources(1, ["missing"], {})
        annotations = None

    unrunnable = kind([Task()])
    if isinstance(unrunnable, dict):
        unrunnable = dict.fromkeys(unrunnable, 0.0)
    relay = Relay()
    told: list[Any] = []
    relay.tell_client = lambda client, **message: told.append(message)  # type: ignore[method-assign]
    running = [SimpleNamespace(resources=part_resources(1, ["other"], {}))]
    relay.scheduler = SimpleNamespace(unrunnable=unrunnable, running=running)
    relay._look_for_lacking()
    assert "executor 'missing'" in str(told)
