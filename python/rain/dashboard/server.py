"""The dashboard of a client: a small HTTP server in a thread of its process."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rain.common.errors import ConfigError
from rain.dashboard.feed import TooMany
from rain.dashboard.site import Answer, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rain.dashboard.source import Source

HOST = "127.0.0.1"
_NAMES = {HOST, "localhost", "[::1]"}  # what a browser may call it; others are another site's
_MOST_CONNECTIONS = 100
_MOST_BODY = 1 << 20
_LAST_WORDS_SECONDS = 0.5  # for a browser that takes nothing
_END_SECONDS = 5.0  # for a service that doesn't answer


class Dashboard:
    """Serves one source on this machine alone, from now until close().

    Parameters
    ----------
    port : int
        0: a free one.

    Raises
    ------
    ConfigError
        The port is in use.
    """

    def __init__(self, source: Source, port: int = 0) -> None:
        self._site = Site(source)
        try:
            self._server = _Server((HOST, port), self._site)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"the dashboard cannot listen on port {port} of {HOST}: {reason}; "
                "dashboard=True takes a free port"
            ) from error
        self.link = f"http://{HOST}:{self._server.server_address[1]}/rain"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="rain-dashboard", daemon=True
        )
        self._thread.start()
        _dashboards.add(self)

    def close(self) -> None:
        """End all connections and the port. Idempotent."""
        if self._server.owner != os.getpid():
            return
        _dashboards.discard(self)
        if threading.current_thread() is self._thread:  # the garbage collector's choice
            threading.Thread(target=self.close, name="rain-dashboard-end").start()
            return
        self._site.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.end_connections()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # end_connections() waits for them
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], site: Site) -> None:
        self.site = site
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's looks the host's name up, which can take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._connections) >= _MOST_CONNECTIONS:
                self.shutdown_request(request)
                return
            thread = threading.Thread(
                target=self._serve, args=(request, client_address), name="rain-page", daemon=True
            )
            self._connections[request] = thread
            thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def end_connections(self) -> None:
        with self._lock:
            connections = dict(self._connections)
        for how, seconds in (
            (socket.SHUT_RD, _LAST_WORDS_SECONDS),  # what it is being sent still goes out
            (socket.SHUT_RDWR, _END_SECONDS),
        ):
            for connection, thread in connections.items():
                if thread.is_alive() and thread is not threading.current_thread():
                    with contextlib.suppress(OSError):
                        connection.shutdown(how)
                    thread.join(seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):  # a peer's doing
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "rain"
    sys_version = ""
    timeout = 10.0  # of a peer that says or takes nothing

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        if not self._named_as_this_machine():
            self._send(Answer(403, b"This page is for this machine alone.\n"))
            return
        if path == "/":
            self._send(Answer(302, headers={"Location": "/rain"}))
            return
        answer = self.server.site.answer(self.command, path, self._body())
        if answer.stream:
            self._stream(answer)
        else:
            self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def _named_as_this_machine(self) -> bool:
        """Tell by the Host header: a name that leads here is another site's trick."""
        name = (self.headers.get("Host") or HOST).strip().lower()
        if name.count(":") == 1 or name.startswith("["):
            host, _, port = name.rpartition(":")
            name = host if host and port.isdigit() else name
        return name in _NAMES

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length") or "0"
        if not length.isdigit() or int(length) > _MOST_BODY:
            return b""
        return self.rfile.read(int(length))

    def _send(self, answer: Answer) -> None:
        self._begin(answer, {"Content-Length": str(len(answer.body))})
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _begin(self, answer: Answer, headers: dict[str, str]) -> None:
        self.send_response(answer.status)
        for key, value in {**answer.headers, **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def _stream(self, answer: Answer) -> None:
        try:
            subscription = self.server.site.feed.subscribe()
        except TooMany as error:
            self._send(Answer(503, f"{error}\n".encode()))
            return
        try:
            self._begin(answer, {})
            while True:
                text = subscription.take(timeout=5.0)
                if text is None:
                    return
                self.wfile.write(text or b": still here\n\n")
        finally:
            subscription.close()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


_dashboards: weakref.WeakSet[Dashboard] = weakref.WeakSet()


def _close_all() -> None:
    for dashboard in list(_dashboards):
        dashboard.close()


def _after_fork_in_child() -> None:
    for dashboard in list(_dashboards):
        dashboard._server.socket.close()  # the parent serves it


atexit.register(_close_all)  # before the engines, which are registered earlier
os.register_at_fork(after_in_child=_after_fork_in_child)
