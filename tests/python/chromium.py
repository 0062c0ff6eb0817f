"""A real browser without a screen: Debian's chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Pixels of a canvas that are not transparent.
PAINTED = """
const canvas = document.getElementById(arguments[0]);
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
let count = 0;
for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
return count;
"""


@contextmanager
def browser(home: Path) -> Iterator[Any]:
    """Chromium, which leaves its own files in `home`."""
    driver = shutil.which("chromedriver")
    if driver is None:
        reason = "there is no chromedriver (apt-get install chromium chromium-driver)"
        if os.environ.get("RAIN_REQUIRE_ALL"):
            pytest.fail(f"RAIN_REQUIRE_ALL is set, but {reason}")
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1300,1000"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    service = webdriver.ChromeService(driver, env=environment)
    chrome = webdriver.Chrome(options=options, service=service)
    try:
        yield chrome
    finally:
        chrome.quit()
