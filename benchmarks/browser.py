"""A headless Chromium that Playwright drives: the page's own tests and the measure of its first view use it.

The browser is the system's (Debian: `apt-get install chromium`) or the program that the variable CHROMIUM names.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL.Image
from playwright.sync_api import Page, sync_playwright

COLOURS = 256
"""Of a saved picture, to keep the file small."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A container has no sandbox, and the page is our own. Whatever it would fetch from elsewhere than this machine fails.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def program() -> str | None:
    """Path of an installed Chromium; None where there is none."""
    return os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def window() -> Iterator[Page]:
    """One window of a fresh browser, which ends with the context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": 1400, "height": 900})
        finally:
            browser.close()


def opened(page: Page, file: Path) -> None:
    """Load a report page; returns once its scripts report that all its parts work."""
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached")


def shot(page: Page, width: int) -> PIL.Image.Image:
    """A picture of the window, shrunk to a width in pixels."""
    picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return picture.resize((width, round(width * picture.height / picture.width)), PIL.Image.Resampling.LANCZOS)


def save(picture: PIL.Image.Image, path: Path) -> None:
    """Write a small PNG, and print its size."""
    picture.quantize(COLOURS, kmeans=2, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
