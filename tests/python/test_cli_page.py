"""The page of `rain report --html` in a real browser: Debian's chromium, without a screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import PAINTED, browser
from event_logs import executor, task, write_log
from rain.report.html import page
from rain.report.run import read_run

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: <no> "luck" & x'
N_TASKS = 10_000


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """10,000 tasks on four executors, of which one failed."""
    events = []
    for number in range(1, 5):
        events += executor(number, "model", 1.0 + 0.1 * number, 9.0)
    for number in range(N_TASKS - 1):
        end = 2.0 + number // 4 * 0.0025
        events += task(number, end - 0.002, end, 0.002, executor=1 + number % 4,
                       name=f"step {number % 12}")  # fmt: skip
    events += task(
        N_TASKS, 8.5, 8.7, 0.2, name="unlucky", state="failed", error=TRACEBACK, attempts=2
    )
    log = write_log(tmp_path / "run.jsonl", events)
    path = tmp_path / "out.html"
    path.write_text(page(read_run(log), log))
    return path


def test_page_in_a_browser(report: Path) -> None:
    with browser(report.parent) as chrome:
        chrome.get(report.as_uri())
        script = chrome.execute_script
        assert chrome.find_element("css selector", "h1").text == "run.jsonl"
        rows = chrome.find_elements("css selector", "#tasks tbody tr")
        assert len(rows) == 13
        assert script(PAINTED, "lanes") > 10_000
        assert script(PAINTED, "axis") > 1_000

        # A failed task's traceback is a click away.
        failure = chrome.find_element("css selector", "#failures details")
        text = failure.find_element("css selector", "pre")
        assert not text.is_displayed()
        failure.find_element("css selector", "summary").click()
        assert text.is_displayed()
        assert text.text == TRACEBACK

        # Tables sort by what a column means, not by its text.
        count = chrome.find_elements("css selector", "#tasks th button")[1]
        count.click()
        count.click()
        first = chrome.find_element("css selector", "#tasks tbody tr")
        assert first.text.startswith("unlucky 1 ")

        # The timeline zooms and moves, and says what is under the pointer.
        script("show(8.5e6, 8.7e6)")
        script("draw()")
        box = chrome.find_element("id", "lanes").rect
        script(
            "lanes.dispatchEvent(new PointerEvent('pointermove', {clientX: 600, clientY: "
            "lanes.getBoundingClientRect().top + 10}))"
        )
        tip = chrome.find_element("id", "tip")
        assert tip.is_displayed()
        assert "unlucky" in tip.text
        assert "failed" in tip.text
        assert box["width"] > 1000
        script("document.getElementById('all').click()")
        assert script("return [from, to]") == [0, pytest.approx(10_000_000)]

        # 10,000 tasks stay fluid: what is drawn is bounded by the pixels, not by the tasks.
        drawn = script(
            "let count = 0; const original = CanvasRenderingContext2D.prototype.fillRect;"
            "CanvasRenderingContext2D.prototype.fillRect = function (...a) {"
            "  ++count; original.apply(this, a); };"
            "draw(); CanvasRenderingContext2D.prototype.fillRect = original; return count;"
        )
        assert drawn < 4 * 1300 + 1300 + 200

        # Dark where the reader's system is.
        script = chrome.execute_script
        colour = "return getComputedStyle(document.body).backgroundColor"
        light = script(colour)
        chrome.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        )
        assert script(colour) != light
        assert script("draw(); return colours.text") == "#e4e8ef"

        assert chrome.get_log("browser") == []
