"""The dashboard in a Dask scheduler's HTTP server, beside Dask's own pages."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError

from distributed.http.prometheus import import_metrics_handler
from distributed.http.utils import RequestHandler

from rain.common.errors import ConnectionFailed
from rain.dashboard.events import MergedEvents
from rain.dashboard.feed import TooMany
from rain.dashboard.site import Answer, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any, Protocol

    from rain.dashboard.feed import Subscription
    from rain.dashboard.source import Look

    class Asked(Protocol):
        """Whoever reaches the governors: the Relay."""

        began: float

        async def ask_governors(
            self, operation: str, client: str, arguments: dict[str, Any]
        ) -> tuple[dict[str, Any], dict[str, list[str]]]: ...
        def about(self) -> dict[str, Any]: ...


_ANSWER_SECONDS = 10.0
_STILL_HERE_SECONDS = 5.0
_BaseHandler: Any = RequestHandler
_DaskMetrics: Any = import_metrics_handler(
    "distributed.http.scheduler.prometheus.core", "PrometheusHandler"
)


class ClusterSource:
    """The governors of a Dask scheduler. Called by threads, asks in the scheduler's loop."""

    engine = "cluster"

    def __init__(self, relay: Asked, loop: asyncio.AbstractEventLoop) -> None:
        self.began = relay.began
        self._events = MergedEvents(self._pull)
        self._relay = relay
        self._loop = loop

    def about(self) -> dict[str, Any]:
        return {key: value for key, value in self._relay.about().items() if key != "began"}

    def watch(self, on: bool) -> None:
        if not on:
            self._ask("look_away", {})

    def next_looks(self) -> list[Look]:
        return self._looks(page=True)

    def looks(self) -> list[Look]:
        return self._looks(page=False)

    def events(self, criteria: bytes) -> bytes:
        return self._events.answer(criteria)

    def close(self) -> None:
        pass

    def _pull(self, known: dict[str, int]) -> list[dict[str, Any]]:
        return [
            each for answer in self._ask("events", {"after": known}).values() for each in answer
        ]

    def _looks(self, *, page: bool) -> list[Look]:
        answers = self._ask("look", {"page": page})
        return [look for _, looks in sorted(answers.items()) for look in looks]

    def _ask(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked = self._relay.ask_governors(operation, "", arguments)
        try:
            answers, _ = asyncio.run_coroutine_threadsafe(asked, self._loop).result(_ANSWER_SECONDS)
        except FutureTimeoutError:
            return {}  # the scheduler is busy
        except RuntimeError as error:  # the loop is closed
            asked.close()
            raise ConnectionFailed(f"the server ends: {error}") from None
        return answers


def mount(scheduler: Any, relay: Asked) -> Site:
    """Add our pages to the scheduler's HTTP server; to be called in its loop.

    Whoever calls it closes the Site, by ``await close(site)``. Dask's own pages stay, and its
    /metrics has ours, too.
    """
    site = Site(ClusterSource(relay, asyncio.get_running_loop()))
    site_of: dict[str, Any] = {"site": site, "dask_server": scheduler}
    scheduler.http_application.add_handlers(
        r".*",
        [
            (r"/rain(?:/.*)?", _Page, site_of),
            (r"/events", _Page, site_of),
            (r"/metrics", _Metrics, site_of),
        ],
    )
    return site


def close(site: Site) -> Awaitable[None]:
    """End the streams of a Site without blocking the loop that its source asks in."""
    return asyncio.to_thread(site.close)


class _Page(_BaseHandler):  # type: ignore[misc]
    def initialize(self, site: Site, dask_server: Any = None) -> None:
        super().initialize(dask_server)
        self._site = site
        self._subscription: Subscription | None = None
        self._news = asyncio.Event()

    async def _answer(self, *_: str) -> None:
        request = self.request
        answer = await asyncio.to_thread(
            self._site.answer, request.method, request.path, request.body
        )
        if answer.stream:
            await self._stream(answer)
        else:
            self._write(answer)

    get = head = post = put = delete = patch = options = _answer

    def _write(self, answer: Answer) -> None:
        self._begin(answer)
        if self.request.method != "HEAD":
            self.write(answer.body)

    def _begin(self, answer: Answer) -> None:
        self.set_status(answer.status)
        self.clear_header("Content-Type")
        for key, value in answer.headers.items():
            self.set_header(key, value)

    async def _stream(self, answer: Answer) -> None:
        loop, news = asyncio.get_running_loop(), self._news

        def notify() -> None:
            loop.call_soon_threadsafe(news.set)

        try:
            subscription = self._site.feed.subscribe(notify)
        except TooMany as error:
            self._write(Answer(503, f"{error}\n".encode()))
            return
        self._subscription = subscription
        try:
            self._begin(answer)
            while True:
                news.clear()
                text = subscription.take()
                if text is None:
                    return
                self.write(text or b": still here\n\n")
                await self.flush()
                try:
                    await asyncio.wait_for(news.wait(), _STILL_HERE_SECONDS)
                except asyncio.TimeoutError:
                    continue
        finally:
            subscription.close()

    def on_connection_close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._news.set()


class _Metrics(_DaskMetrics):  # type: ignore[misc]
    """Dask's metrics, if it can tell them (prometheus_client), and ours."""

    def initialize(self, site: Site, dask_server: Any = None) -> None:
        super().initialize(dask_server)
        self._site = site

    async def get(self) -> None:
        super().get()
        answer = await asyncio.to_thread(self._site.answer, "GET", "/rain/metrics")
        if answer.status == 200:
            self.write(b"\n" + answer.body)
            self.set_header("Content-Type", answer.headers["Content-Type"])
