"""Makes the pictures of the dashboard in docs/img: `.venv/bin/python tools/screenshots.py`.

Needs chromium and chromedriver (`apt-get install chromium chromium-driver`), and selenium.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rain.client import Client, RainException, blob, remote

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "python"))
from chromium import browser  # noqa: E402

# Whoever makes the picture, the traceback is of a user's installation.
HOME = r"""
const pre = document.querySelector("#failed pre");
pre.textContent = pre.textContent.replace(/"[^"]*\/(lib\/python)/g, '"/home/me/.venv/$1');
"""
TARGET = ROOT / "docs" / "img"


@remote()
def simulate(ctx: Any, grid: Any, step: int) -> bytes:
    time.sleep(0.1 + 0.4 * (step * 7919 % 11) / 10)
    return bytes(200_000)


@remote()
def merge(ctx: Any, *parts: Any) -> bytes:
    time.sleep(0.6)
    return b"".join(bytes(part)[:100_000] for part in parts)


@remote()
def check(ctx: Any, result: Any, limit: float) -> bytes:
    time.sleep(0.2)
    deviation = round(len(bytes(result)) / 1_000_000 + 0.417, 3)
    if deviation > limit:
        raise ValueError(f"deviation {deviation} is above the limit of {limit}")
    return b"ok"


def work(client: Client, ready: threading.Event) -> None:
    """Runs rounds of tasks until the client is closed."""
    with client.new_session("weather", on_error="continue") as session:
        grid = blob(np.zeros(4_000_000), label="grid")
        grid.keep()
        kept = []
        for round in range(1000):
            merged = merge(*(simulate(grid, 24 * round + i) for i in range(24)))
            merged.output.keep()
            verdict = check(merged, 0.9 if round == 1 else 4.0)
            kept.append((merged, verdict))
            session.submit()
            if round > 0:  # one round ahead
                kept[round - 1][1].exception()
            if round == 4:
                ready.set()


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, browser(Path(home)) as chrome:
        client = Client(cpus=4, dashboard=True)
        ready = threading.Event()

        def run() -> None:
            with contextlib.suppress(RainException):  # the client is closed
                work(client, ready)

        worker = threading.Thread(target=run)
        chrome.get(client.dashboard_link)
        worker.start()
        ready.wait()
        chrome.set_window_size(1300, 1180)
        time.sleep(1.0)
        chrome.save_screenshot(str(TARGET / "dashboard.png"))
        chrome.find_element("css selector", "#failed summary").click()
        chrome.execute_script(HOME)
        chrome.find_element("id", "failures").screenshot(str(TARGET / "failure.png"))
        client.close()
        worker.join()
    for name in ("dashboard.png", "failure.png"):
        shrink(TARGET / name)


def shrink(path: Path) -> None:
    """A picture of few colours."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
