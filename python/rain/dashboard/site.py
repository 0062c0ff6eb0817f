"""What the dashboard answers, for any transport."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from rain.common.errors import RainException
from rain.dashboard.events import QueryError
from rain.dashboard.feed import Feed, TooMany
from rain.dashboard.metrics import CONTENT_TYPE, metrics_text
from rain.dashboard.source import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rain.dashboard.source import Source

_MOST_BODY = 1 << 20  # bytes of criteria
_TEXT = "text/plain; charset=utf-8"


@dataclass
class Answer:
    """An HTTP response. `stream`: its body is what `Site.feed` tells, without end."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: bool = False


class Site:
    """Answers requests about a source. Thread-safe. Read-only: there is nothing to write.

    Paths are /rain, /rain/stream, /rain/status.json, /rain/metrics, /metrics and /events.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.feed = Feed(source)

    def close(self) -> None:
        """End all streams, and the source. Idempotent."""
        self.feed.close()
        self._source.close()

    def answer(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Answer a request; `path` without query, `body` for /events alone.

        A HEAD request is answered as GET: whoever sends it leaves the body out.
        """
        if path == "/events":
            return self._events(body)
        name = path.rstrip("/") or "/"
        if name not in ("/rain", "/rain/stream", "/rain/status.json", "/rain/metrics", "/metrics"):
            return _refusal(404, f"there is nothing at {path}: the page is at /rain")
        if method not in ("GET", "HEAD"):
            answer = _refusal(405, f"{method} is refused: this page only shows what runs")
            answer.headers["Allow"] = "GET, HEAD"
            return answer
        try:
            if name == "/rain":
                return _ok(page(), "text/html; charset=utf-8")
            if name == "/rain/stream":
                return Answer(200, headers=_headers("text/event-stream"), stream=method == "GET")
            if name == "/rain/status.json":
                status = json.dumps(status_of(self._source), indent=1)
                return _ok(status, "application/json")
            return _ok(metrics_text(self._source.engine, self._source.looks()), CONTENT_TYPE)
        except (TooMany, RainException) as error:  # the client is closed
            return _refusal(503, str(error))

    def _events(self, criteria: bytes) -> Answer:
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
        try:
            if len(criteria) > _MOST_BODY:
                raise QueryError("the criteria are too long")
            return Answer(200, self._source.events(criteria), headers)
        except (QueryError, OSError, RainException):
            return Answer(500, b"", headers)


def page() -> str:
    """Return the page, which needs nothing but its stream."""
    from rain.report.html import asset, fill

    own = Path(__file__).parent
    parts = {
        "STYLE": asset("page.css"),
        "TIMELINE": asset("timeline.js"),
        "LIVE": (own / "page.js").read_text(encoding="utf-8"),
    }
    return fill((own / "page.html").read_text(encoding="utf-8"), parts)


def _headers(content_type: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _ok(text: str, content_type: str) -> Answer:
    return Answer(200, text.encode(), _headers(content_type))


def _refusal(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), _headers(_TEXT))
