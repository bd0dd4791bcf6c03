"""Draws docs/try.png: the page of `try` at four moments, on an embedded scene, in a real Chromium.

One command, from the checkout's root: `python -m benchmarks.try_strip`
"""

from __future__ import annotations

import time
from pathlib import Path

import PIL.Image
from playwright.sync_api import Page

from benchmarks import browser
from benchmarks.trying import served

ROOT = Path(__file__).resolve().parent.parent
SCENE = "#source=scenes&name=val-00003"
WARM = "#source=scenes&name=val-00001&clicks=96,96&text=person"
"""A page to open first, since a server's first answer takes longer: libraries prepare themselves."""

STATES = (
    f"{SCENE}&clicks=152,132&text=person",
    f"{SCENE}&clicks=152,132&text=tie",
    f"{SCENE}&clicks=152,132;152,170&text=tie",
    f"{SCENE}&clicks=152,132&text=tie&show=saliency,candidates,truth",
)
WIDTH, GAP = 540, 10
"""Pixels of one moment's width and between moments."""


def settled(page: Page) -> None:
    """Wait until every method has answered."""
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    while not page.evaluate("document.documentElement.dataset.at === location.hash && !report.tiles.busy()"):
        time.sleep(0.05)


def moments(page: Page, address: str) -> list[PIL.Image.Image]:
    """The page after a click with one word, with another, with a further click; then in the dark, with all it shows."""
    found = []
    for state in (WARM, *STATES):
        page.goto("about:blank")
        page.goto(address + state)
        settled(page)
        if "show=" in state:
            page.click("#theme")
            page.wait_for_timeout(2000)
        found.append(browser.shot(page, WIDTH))
    return found[1:]


def main() -> None:
    with served() as (address, _), browser.window() as page:
        page.set_viewport_size({"width": 1180, "height": 1000})
        shots = moments(page, address)
    width, height = shots[0].size
    strip = PIL.Image.new("RGB", (2 * width + GAP, 2 * height + GAP), "white")
    for place, one in enumerate(shots):
        strip.paste(one, (place % 2 * (width + GAP), place // 2 * (height + GAP)))
    browser.save(strip, ROOT / "docs" / "try.png")


if __name__ == "__main__":
    main()
