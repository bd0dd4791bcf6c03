"""Draws docs/report_page.png: the report page's charts and one instance side by side, in a real Chromium.

One command, from the checkout's root: `python -m benchmarks.page_picture`. It runs four embedded methods on twelve
scenes first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import PIL.Image
from playwright.sync_api import Page

from benchmarks import browser
from harness.page import build_page

ROOT = Path(__file__).resolve().parent.parent
RUN = "sam_vs_ours_scenes"
INSTANCE = "val-00003/2"
"""A tie on a shirt on a person."""
WIDTH, HEIGHT, GAP = 1180, 900, 10
"""The window in pixels; pixels between both pictures."""


def finished(runs: str) -> Path:
    """A run of twelve scenes, without Ray."""
    local = ["--limit", "12", "--set", "workers.executor=local", "--runs", runs]
    subprocess.run([sys.executable, "-m", "harness", "run", RUN, *local], cwd=ROOT, check=True)
    return Path(runs) / RUN


def moments(page: Page) -> list[PIL.Image.Image]:
    """The charts, then the instance with every method's mask."""
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.evaluate("document.querySelector('#chart-list').scrollIntoView()")
    page.wait_for_timeout(2000)
    found = [browser.shot(page, WIDTH // 2)]
    page.fill("#f-class", INSTANCE)
    page.get_by_role("button", name=INSTANCE, exact=True).click()
    page.wait_for_selector("#layers input", state="attached")
    page.keyboard.press("s")
    page.wait_for_timeout(1000)
    return [*found, browser.shot(page, WIDTH // 2)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser.window() as page:
        made = build_page(finished(folder), figures=False)
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        browser.opened(page, made.page)
        shots = moments(page)
    both = PIL.Image.new("RGB", (WIDTH + GAP, HEIGHT // 2), "white")
    for place, one in enumerate(shots):
        both.paste(one, (place * (WIDTH // 2 + GAP), 0))
    browser.save(both, ROOT / "docs" / "report_page.png")


if __name__ == "__main__":
    main()
