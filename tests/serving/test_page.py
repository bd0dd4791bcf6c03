"""The page of `try`, clicked through in a real browser on a real server."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Page, expect

from benchmarks import browser
from harness.clicks.recordings import read
from try_servers import api_of, config_of, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.program() is None, reason="no Chromium on PATH; on Debian, apt-get install chromium"),
]
METHODS = ("Marks", "Names", "Once", "Breaks")
START = "#source=nested&name=nested-0"
EXPECTED = "Failed to load resource"
"""What a browser logs of an answer that is an error; the page says it in its own words."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("try")
    return api_of(config_of(folder, METHODS))


@pytest.fixture(scope="module")
def address(api: Any) -> Iterator[str]:
    with running(api) as found:
        yield found


@pytest.fixture(scope="module")
def window() -> Iterator[Page]:
    with browser.window() as one:
        one.errors = []  # type: ignore[attr-defined]
        one.on("pageerror", lambda error: one.errors.append(str(error)))  # type: ignore[attr-defined]
        one.on("console", lambda said: one.errors.append(said.text) if said.type == "error" else None)  # type: ignore[attr-defined]
        yield one


@pytest.fixture
def page(window: Page, address: str) -> Iterator[Page]:
    """The page at the first picture; an error in its scripts, or a thing that its policy forbids, fails the test."""
    window.errors.clear()  # type: ignore[attr-defined]
    window.set_viewport_size({"width": 1400, "height": 900})
    opened(window, address, START)
    yield window
    window.unroute_all()
    assert [one for one in window.errors if EXPECTED not in one] == []  # type: ignore[attr-defined]


def opened(page: Page, address: str, state: str = "") -> None:
    page.goto("about:blank")  # Else a link that differs in its # alone would not load the page anew.
    page.goto(address + state)
    settled(page)


def other_window(page: Page) -> Page:
    """Another browser's: nothing is shared with the first."""
    assert page.context.browser
    return page.context.browser.new_page(viewport={"width": 1400, "height": 900})


def settled(page: Page) -> None:
    """Wait until every method has answered to what is asked now."""
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    until(page, "document.documentElement.dataset.at === location.hash && !report.tiles.busy()")


def until(page: Page, true: str) -> None:
    # The page's policy forbids to evaluate texts, with which Playwright's own waiting would work.
    ends = time.monotonic() + 30
    while not page.evaluate(true):
        assert time.monotonic() < ends, true
        time.sleep(0.02)


def click(page: Page, x: float, y: float, button: Any = "left", at: str = "#stage") -> None:
    """Click on a pixel of the picture, which is 48 x 32."""
    box = page.locator(at).bounding_box()
    assert box
    place = {"x": (x + 0.5) * box["width"] / 48, "y": (y + 0.5) * box["height"] / 32}
    page.locator(at).click(button=button, position=place)
    settled(page)


def tile(page: Page, place: int) -> str:
    return page.locator(".tile").nth(place).inner_text()


def pixels(page: Page, place: int = 0) -> int:
    """How many pixels the mask of a tile has, as the tile says."""
    return int(re.findall(r"([\d,]+) pixels", tile(page, place))[0].replace(",", ""))


def picture(tmp_path: Path, name: str = "mine.png", seed: int = 3) -> Path:
    noise = np.random.default_rng(seed).integers(0, 255, (32, 48, 3), np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / name)
    return tmp_path / name


def test_left_adds_right_takes_away_and_every_step_can_be_gone_back(page: Page) -> None:
    click(page, 10, 10)
    assert pixels(page) == 25 and page.evaluate("location.hash") == f"{START}&clicks=10,10"
    click(page, 12, 10, "right")
    assert pixels(page) == 10 and page.evaluate("location.hash").endswith("10,10;-12,10")
    page.click("#undo")
    settled(page)
    assert pixels(page) == 25
    page.click("#redo")
    settled(page)
    assert pixels(page) == 10
    page.keyboard.press("Control+z")
    settled(page)
    page.keyboard.press("Control+z")
    settled(page)
    assert "pixels" not in tile(page, 0) and page.locator("#undo").is_disabled()
    page.keyboard.press("Control+y")
    settled(page)
    assert pixels(page) == 25
    page.keyboard.press("n")
    settled(page)
    assert "pixels" not in tile(page, 0) and page.evaluate("location.hash") == START


def test_a_tile_takes_clicks_and_going_back_asks_nothing(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    click(page, 20, 20, at=".tile canvas >> nth=2")
    click(page, 30, 20)
    assert page.evaluate("location.hash").endswith("clicks=20,20;30,20") and pixels(page) == 50
    asked.clear()
    page.keyboard.press("Control+z")
    settled(page)
    assert pixels(page) == 25 and asked == []


def test_words_ask_the_methods_that_read_them(page: Page) -> None:
    click(page, 24, 18)
    assert "Names needs words" in tile(page, 1) and "broken on request" in tile(page, 3) and pixels(page, 0) == 25
    suggested = page.locator("#vocabulary option").evaluate_all("(all) => all.map((one) => one.value)")
    assert suggested == ["tie", "shirt", "person", "lamp"]
    page.fill("#words", "shirt")
    until(page, "location.hash.endsWith('text=shirt')")
    settled(page)
    assert "IoU 100.0 % with shirt: right" in tile(page, 1) and pixels(page, 1) == 144
    assert "IoU 17.4 % with shirt: a part of it" in tile(page, 0), "25 of the shirt's 144 pixels"


def test_what_lies_under_the_click_can_be_meant(page: Page) -> None:
    page.fill("#words", "shirt")
    click(page, 24, 18)
    assert page.text_content("#under-said") == "3 objects lie under this click: tie, shirt, person"
    assert page.locator("#meant [aria-pressed=true]").all_text_contents() == ["shirt"], "the words name it"
    page.locator("#meant button", has_text="person").click()
    settled(page)
    assert page.input_value("#words") == "person" and "with person: right" in tile(page, 1)
    page.keyboard.press("Control+z")
    settled(page)
    assert page.input_value("#words") == "shirt" and "with shirt: right" in tile(page, 1)
    click(page, 1, 1)
    assert "3 objects" in page.text_content("#under-said"), "the first click says what is meant"
    page.click("#clear")
    click(page, 1, 1)
    assert page.text_content("#under-said") == "No object of the ground truth lies under this click."


def test_masks_are_drawn_where_they_belong_and_the_truth_on_demand(page: Page) -> None:
    click(page, 24, 18)
    page.fill("#words", "tie")
    page.press("#words", "Enter")
    settled(page)
    assert coloured(page, ".tile canvas >> nth=1") == [22, 25, 14, 21]
    assert greens(page, "#stage") == 0
    page.check("#show-truth")
    assert greens(page, "#stage") > 0
    page.uncheck("#show-truth")


def coloured(page: Page, canvas: str) -> list[int]:
    """The columns and rows of the picture that the second method's colour covers, first and last of either."""
    return page.locator(canvas).evaluate(
        """(canvas) => {
          const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          const zoom = width / 48, xs = [], ys = [];
          for (let at = 0; at < width * height; at++) {
            if (data[4 * at] === 63 && data[4 * at + 1] === 169) {
              xs.push(Math.floor((at % width) / zoom));
              ys.push(Math.floor(at / width / zoom));
            }
          }
          return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
        }"""
    )


def greens(page: Page, canvas: str) -> int:
    return page.locator(canvas).evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const green = (at) => data[at] === 40 && data[at + 1] === 220 && data[at + 2] === 110;
          return [...Array(data.length / 4).keys()].filter((pixel) => green(4 * pixel)).length;
        }"""
    )


def test_a_method_for_one_click_keeps_the_mask_of_that_click(page: Page) -> None:
    page.fill("#words", "shirt")
    click(page, 24, 18)
    click(page, 2, 2, "right")
    assert "wanted one click; found 2" in tile(page, 2) and "The mask is that after 1 click." in tile(page, 2)
    assert pixels(page, 2) == 144
    link = page.evaluate("location.href")
    opened(page, link.partition("#")[0], f"#{link.partition('#')[2]}")
    assert pixels(page, 2) == 144, "by the link as well"


def test_a_link_reproduces_the_state(page: Page) -> None:
    page.fill("#words", "a tie & more; %2C")
    page.press("#words", "Enter")
    click(page, 24, 18)
    click(page, 10, 10, "right")
    page.check("#show-candidates")
    page.locator(".tile >> nth=1 >> .rankings button", has_text="wide").click()
    settled(page)
    said = [re.sub(r"\d+ ms", "", tile(page, place)) for place in range(4)]
    link = page.evaluate("location.href")
    other = other_window(page)
    opened(other, link.partition("#")[0], f"#{link.partition('#')[2]}")
    expect(other.locator(".tile >> nth=1 >> .more figure")).to_have_count(2)
    assert [re.sub(r"\d+ ms", "", tile(other, place)) for place in range(4)] == said and pixels(other, 1) == 520
    assert other.input_value("#words") == "a tie & more; %2C" and other.evaluate("location.href") == link
    other.close()


def test_saliency_candidates_and_rankings_on_demand(page: Page) -> None:
    page.fill("#words", "tie")
    click(page, 24, 18)
    assert page.locator(".more figure").count() == 0
    page.keyboard.press("Escape")
    page.locator("#stage").focus()
    page.keyboard.press("s")
    expect(page.locator(".tile >> nth=1 >> .more")).to_contain_text('saliency of "tie"')
    page.keyboard.press("c")
    expect(page.locator(".tile >> nth=1 >> .more figure")).to_have_count(3)
    more = page.locator(".tile >> nth=1 >> .more").inner_text()
    assert "candidate 1, narrow 0.750 (taken), wide 0.100, IoU 100.0 %" in more
    page.locator(".tile >> nth=1 >> .rankings button", has_text="wide").click()
    assert pixels(page, 1) == 520 and pixels(page, 2) == 32
    page.keyboard.press("Control+z")
    settled(page)
    expect(page.locator("#show-candidates")).to_be_checked()
    page.keyboard.press("Control+y")
    for name in ("saliency", "candidates"):
        page.uncheck(f"#show-{name}")
    expect(page.locator(".more figure")).to_have_count(0)


def test_by_keyboard_alone(page: Page) -> None:
    page.locator("#stage").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == START, "there is no cross yet"
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    assert "the cross is at 23, 14" in str(page.get_attribute("#stage", "aria-label"))
    page.keyboard.press("Enter")
    settled(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("-")
    settled(page)
    assert page.evaluate("location.hash").endswith("clicks=23,14;-24,14")
    page.keyboard.press("w")
    page.keyboard.type("shirt")
    page.keyboard.press("Enter")
    settled(page)
    assert pixels(page, 1) == 144
    page.keyboard.press("Control+a")
    page.keyboard.type("nspc")
    assert page.locator("dialog[open]").count() == 0 and page.input_value("#words") == "nspc", "letters are words there"
    page.locator("#undo").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()


def test_by_touch_on_a_phone(window: Page, address: str) -> None:
    context = window.context.browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)  # type: ignore[union-attr]
    phone = context.new_page()
    opened(phone, address, START)
    for x, sign in ((10, "adds"), (12, "takes away")):
        phone.locator("#sign label", has_text=sign).tap()
        box = phone.locator("#stage").bounding_box()
        assert box
        phone.touchscreen.tap(box["x"] + (x + 0.5) * box["width"] / 48, box["y"] + 10.5 * box["height"] / 32)
        settled(phone)
    assert phone.evaluate("location.hash").endswith("clicks=10,10;-12,10") and pixels(phone) == 10
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the screen"
    context.close()


def test_pictures_are_chosen_from_a_list_and_by_arrows(window: Page, address: str) -> None:
    opened(window, address)
    expect(window.locator("#gallery")).to_be_visible()
    expect(window.locator("#thumbs button")).to_have_count(3)
    window.fill("#search", "lamp")
    expect(window.locator("#thumbs button")).to_have_count(1)
    window.fill("#search", "")
    expect(window.locator("#thumbs button")).to_have_count(3)
    window.locator("#thumbs button").nth(1).click()
    settled(window)
    assert window.evaluate("location.hash") == "#source=nested&name=nested-1"
    window.click("#after")
    settled(window)
    assert window.evaluate("location.hash").endswith("nested-2")
    window.click("#after")
    window.click("#before")
    settled(window)
    assert window.evaluate("location.hash").endswith("nested-1")
    window.keyboard.press("Control+z")
    settled(window)
    assert window.evaluate("location.hash").endswith("nested-2"), "a picture can be gone back to"


def test_a_picture_of_one_s_own_and_what_is_none(page: Page, tmp_path: Path) -> None:
    click(page, 10, 10)
    (tmp_path / "notes.png").write_text("no picture")
    page.click("#pictures")
    page.set_input_files("#file", tmp_path / "notes.png")
    expect(page.locator("#gallery-error")).to_contain_text("'notes.png': found 10 bytes that do not decode")
    assert page.evaluate("location.hash").endswith("clicks=10,10"), "what was there stays"
    page.set_input_files("#file", picture(tmp_path))
    until(page, "location.hash.includes('own')")
    settled(page)
    assert page.text_content("#picture-name") == "mine.png" and page.locator("#gallery").is_hidden()
    click(page, 10, 10)
    assert pixels(page) == 25 and page.text_content("#under-said") == ""
    page.evaluate(
        """() => {
          const files = new DataTransfer();
          files.items.add(new File(["no picture either"], "dropped.jpg"));
          window.dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true, bubbles: true }));
        }"""
    )
    expect(page.locator("#banner")).to_contain_text("'dropped.jpg': found 17 bytes that do not decode")
    assert pixels(page) == 25


def test_of_two_pictures_the_one_that_was_chosen_last_is_opened(page: Page, tmp_path: Path) -> None:
    uploads = held(page, "upload?*")
    page.click("#pictures")
    for number, name in enumerate(("large.png", "small.png")):
        page.set_input_files("#file", picture(tmp_path, name, seed=number))
    wait_for(page, uploads, 2)
    for one in reversed(uploads):
        with page.expect_response("**/api/upload?*"):
            one.continue_()
        page.wait_for_timeout(200)
    settled(page)
    assert page.text_content("#picture-name") == "small.png"


def test_a_link_with_a_click_outside_or_an_unknown_picture_is_said(page: Page, address: str) -> None:
    opened(page, address, f"{START}&clicks=400,3")
    assert "click (400, 3): outside the picture; wanted 0 to 47, 0 to 31" in tile(page, 0)
    expect(page.locator("#banner")).to_contain_text("outside the picture")
    page.click("#clear")
    settled(page)
    expect(page.locator("#banner")).to_be_hidden()
    opened(page, address, "#source=nested&name=gone-7")
    expect(page.locator("#banner")).to_contain_text("no picture 'gone-7'")
    page.click("#pictures")
    expect(page.locator("#thumbs button")).to_have_count(3)
    page.locator("#thumbs button").nth(0).click()
    settled(page)
    expect(page.locator("#banner")).to_be_hidden()


def test_no_method_is_waited_for_where_the_next_picture_does_not_load(page: Page) -> None:
    answers = held(page, "predict")
    click_anyhow(page, 24, 18)
    wait_for(page, answers, 2)
    page.evaluate("location.hash = '#source=nested&name=gone-7&clicks=24,18'")
    settled(page)
    assert "asked" not in tile(page, 0) and page.locator(".tile.busy").count() == 0


def test_an_object_that_the_ground_truth_lacks_is_named(window: Page, tmp_path: Path) -> None:
    config = config_of(tmp_path, ("Marks",), datasets=[{"name": "tried:Torn", "label": "torn"}])
    with running(api_of(config)) as address:
        opened(window, address, "#source=torn&name=nested-0&clicks=24,18")
        said, _, broken = str(window.text_content("#under-said")).partition(" · ")
    assert said == "2 objects lie under this click: shirt, person"
    assert broken.startswith("left out of the ground truth: 'nested-0/tie': ") and "no pixel" in broken


def test_two_windows_at_once(page: Page, address: str) -> None:
    other = other_window(page)
    opened(other, address, "#source=nested&name=nested-1")
    for x in (10, 20, 30):
        click(page, x, 10)
        click(other, x, 25)
    assert (pixels(page), pixels(other)) == (75, 75)
    assert page.evaluate("location.hash") != other.evaluate("location.hash")
    other.close()


def test_a_server_that_stops_in_the_middle_loses_nothing(window: Page, tmp_path: Path) -> None:
    config = config_of(tmp_path, ("Marks", "Names"))
    with running(api_of(config)) as first:
        port = urlsplit(first).port
        opened(window, first, START)
        window.click("#pictures")
        window.set_input_files("#file", picture(tmp_path))
        until(window, "location.hash.includes('own')")
        settled(window)
        click(window, 10, 10)
        assert pixels(window) == 25
    click_anyhow(window, 30, 20)
    expect(window.locator("#banner")).to_contain_text("The server does not answer. Start it again")
    until(window, "!report.tiles.busy()")
    assert "The server does not answer" in tile(window, 0)
    window.keyboard.press("Control+z")
    until(window, "!report.tiles.busy()")
    assert pixels(window) == 25, "what was answered is here still"
    window.keyboard.press("Control+y")
    link = window.evaluate("location.hash")
    with running(api_of(config), port=port or 0):
        expect(window.locator("#banner")).to_be_hidden(timeout=20000)
        settled(window)
        until(window, "/50 pixels/.test(document.querySelector('.tile').innerText)")
        assert window.evaluate("location.hash") == link, "the picture of one's own was brought again by itself"


def click_anyhow(page: Page, x: float, y: float) -> None:
    box = page.locator("#stage").bounding_box()
    assert box
    page.mouse.click(box["x"] + (x + 0.5) * box["width"] / 48, box["y"] + (y + 0.5) * box["height"] / 32)


def test_the_state_is_saved_as_a_picture(page: Page) -> None:
    page.fill("#words", "tie")
    click(page, 24, 18)
    with page.expect_download() as saved:
        page.click("#save")
    assert saved.value.suggested_filename == "nested-0_tie.png"
    found = PIL.Image.open(io.BytesIO(Path(saved.value.path()).read_bytes()))
    assert found.size[0] == 4 * (360 + 16) + 16 and found.size[1] > 500
    assert len(found.convert("RGB").getcolors(2**20) or []) > 20


def test_a_very_tall_picture_is_saved_too(page: Page, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (10, 1200), (200, 30, 30)).save(tmp_path / "tall.png")
    page.click("#pictures")
    page.set_input_files("#file", tmp_path / "tall.png")
    until(page, "location.hash.includes('own')")
    settled(page)
    with page.expect_download() as saved:
        page.click("#save")
    found = PIL.Image.open(io.BytesIO(Path(saved.value.path()).read_bytes())).convert("RGB")
    assert sum(count for count, colour in found.getcolors(2**20) or [] if colour == (200, 30, 30)) == 5 * 9 * 1080


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_controls_have_names_and_the_theme_is_the_reader_s(page: Page, theme: str) -> None:
    if page.evaluate("document.documentElement.dataset.theme") != theme:
        page.click("#theme")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (theme == "light")
    page.reload()
    settled(page)
    assert page.evaluate("document.documentElement.dataset.theme") == theme, "it is kept"
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button, canvas')].filter((one) => "
        "!(one.labels?.length || one.ariaLabel || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert json.dumps(nameless) == "[]"


def test_a_prompt_is_recorded_where_its_author_agrees(window: Page, tmp_path: Path) -> None:
    config, kept = config_of(tmp_path, ("Marks",)), tmp_path / "kept"
    with running(api_of(config, recordings=kept)) as first:
        port = urlsplit(first).port
        opened(window, first, START)
        expect(window.locator("#consent")).to_contain_text("Nothing is kept that tells who you are")
        click(window, 24, 18)
        expect(window.locator("#keep")).to_be_disabled()
        assert not kept.exists(), "clicks alone leave nothing"
        window.check("#recording")
        window.click("#meant button:has-text('shirt')")
        click(window, 2, 3, "right")
        window.click("#keep:has-text('Record this prompt for: shirt')")
        expect(window.locator("#kept")).to_have_text("Recorded; 1 in all.")
        assert window.evaluate("report.state.get().clicks.length") == 0, "the next object begins"
        other = other_window(window)
        opened(other, first, "#source=nested&name=nested-1&clicks=43,6")
        other.check("#recording")
        other.click("#keep:has-text('lamp')")
        expect(other.locator("#kept")).to_have_text("Recorded; 2 in all.")
        other.close()
        settled(window)
        click(window, 24, 18)
    window.click("#keep")  # the server is gone
    expect(window.locator("#kept")).to_contain_text("Not recorded: The server does not answer. Press the button again.")
    assert len(read(kept)) == 2
    with running(api_of(config, recordings=kept), port=port or 0):
        expect(window.locator("#banner")).to_be_hidden(timeout=20000)
        window.click("#keep")
        expect(window.locator("#kept")).to_have_text("Recorded; 3 in all.")
    found = {(one["image_id"], one["instance_id"]): one for one in read(kept).to_pylist()}
    shirt = found["nested-0", "nested-0/shirt"]
    assert [tuple(one.values()) for one in shirt["clicks"]] == [(24, 18, True), (2, 3, False)]
    assert (shirt["dataset"], shirt["category"], shirt["text"]) == ("nested", "shirt", "shirt")
    assert 0 < shirt["seconds"] < 60 and found.keys() >= {("nested-1", "nested-1/lamp"), ("nested-0", "nested-0/tie")}


def test_a_prompt_is_not_recorded_for_the_object_of_another_click(window: Page, tmp_path: Path) -> None:
    with running(api_of(config_of(tmp_path, ("Marks",)), recordings=tmp_path / "kept")) as address:
        opened(window, address, "#source=nested&name=nested-1&clicks=43,6")
        window.check("#recording")
        expect(window.locator("#keep")).to_have_text("Record this prompt for: lamp")
        truths = held(window, "truth")
        window.evaluate("location.hash = '#source=nested&name=nested-1&clicks=24,18'")
        wait_for(window, truths, 1)
        assert window.locator("#keep").is_disabled(), "which object lies under the new click is not known yet"
        truths[0].continue_()
        expect(window.locator("#keep")).to_have_text("Record this prompt for: tie")
        window.unroute_all()


def test_clicks_that_are_made_while_a_prompt_is_recorded_stay(window: Page, tmp_path: Path) -> None:
    with running(api_of(config_of(tmp_path, ("Marks",)), recordings=tmp_path / "kept")) as address:
        opened(window, address, "#source=nested&name=nested-1&clicks=43,6")
        window.check("#recording")
        records = held(window, "record")
        window.click("#keep:has-text('lamp')")
        wait_for(window, records, 1)
        window.keyboard.press("n")
        click(window, 24, 18)
        records[0].continue_()
        expect(window.locator("#kept")).to_have_text("Recorded; 1 in all.")
        assert window.evaluate("location.hash").endswith("name=nested-1&clicks=24,18")
        window.unroute_all()
    assert [one["clicks"] for one in read(tmp_path / "kept").to_pylist()] == [[{"x": 43, "y": 6, "positive": True}]]


def test_a_server_that_records_nothing_does_not_ask(page: Page) -> None:
    expect(page.locator("#record")).to_be_hidden()


def held(page: Page, path: str) -> list[Any]:
    """Keep the page's requests to a path back from the server; each goes on by `continue_()`."""
    waiting: list[Any] = []
    page.route(f"**/api/{path}", lambda route: waiting.append(route))
    return waiting


def wait_for(page: Page, requests: list[Any], count: int) -> None:
    ends = time.monotonic() + 30
    while len(requests) < count:
        assert time.monotonic() < ends, f"{len(requests)} requests; wanted {count}"
        page.wait_for_timeout(20)


def test_a_map_that_comes_late_is_not_shown_for_later_words(page: Page) -> None:
    page.fill("#words", "tie")
    page.check("#show-saliency")
    maps = held(page, "saliency")
    click(page, 24, 18)
    wait_for(page, maps, 2)
    answers = held(page, "predict")
    page.fill("#words", "person")
    page.press("#words", "Enter")
    wait_for(page, answers, 2)
    wait_for(page, maps, 4)
    for one in maps[:2]:
        one.continue_()
    page.wait_for_timeout(300)
    for one in answers:
        one.continue_()
    settled(page)
    expect(page.locator(".tile >> nth=1 >> .more figure")).to_have_count(0)
    for one in maps[2:]:
        one.continue_()
    expect(page.locator(".tile >> nth=1 >> .more")).to_contain_text('saliency of "person"')
    assert yellows(page, ".tile >> nth=1 >> .more canvas") == 520, "the person's pixels; the tie has 32"
    assert len(maps) == 4, "two methods, twice"


def yellows(page: Page, canvas: str) -> int:
    """How many pixels of a saliency map are 1."""
    return page.locator(canvas).evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [...Array(data.length / 4).keys()].filter((at) => data[4 * at] > 150 && data[4 * at + 2] < 120).length;
        }"""
    )


def test_what_is_asked_while_a_picture_loads_is_answered_on_that_picture(page: Page, address: str) -> None:
    opened(page, address, f"{START}&clicks=24,18&text=tie")
    pictures = held(page, "picture?*")
    page.evaluate("location.hash = '#source=nested&name=nested-1&clicks=43,6'")
    wait_for(page, pictures, 1)
    click_anyhow(page, 24, 18)
    page.fill("#words", "shirt")
    page.press("#words", "Enter")
    assert page.evaluate("location.hash") == "#source=nested&name=nested-1&clicks=43,6&text=shirt", "no click"
    assert "32 pixels" in tile(page, 1), "the picture before, with its answers"
    pictures[0].continue_()
    settled(page)
    assert "144 pixels" in tile(page, 1) and "IoU 52.1 % with lamp" in tile(page, 0), "25 of the lamp's 48 pixels"


def test_a_mask_of_earlier_words_has_no_numbers_and_is_not_saved_under_later_ones(page: Page) -> None:
    page.fill("#words", "tie")
    click(page, 24, 18)
    page.check("#show-candidates")
    assert "32 pixels" in tile(page, 1) and saved_blues(page) > 0
    answers = held(page, "predict")
    page.fill("#words", "person")
    page.press("#words", "Enter")
    wait_for(page, answers, 2)
    assert "asked ..." in tile(page, 1) and "32 pixels" not in tile(page, 1) and saved_blues(page) == 0
    for one in answers:
        one.fulfill(status=500, json={"error": "out of memory"})
    settled(page)
    assert "out of memory" in tile(page, 1) and "pixels" not in tile(page, 1) and saved_blues(page) == 0
    page.unroute_all()
    page.keyboard.press("Escape")
    page.locator("#words").blur()
    page.keyboard.press("Control+z")
    settled(page)
    assert "32 pixels" in tile(page, 1) and saved_blues(page) > 0


def saved_blues(page: Page) -> int:
    """How many pixels of the picture that would be saved are as blue as the outline of the second method's mask."""
    return page.evaluate(
        """() => {
          const canvas = report.save.drawn(), context = canvas.getContext("2d");
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
          return [...Array(data.length / 4).keys()].filter((at) => data[4 * at + 2] > data[4 * at] + 150).length;
        }"""
    )


def test_arrows_go_on_from_a_link_and_stay_in_the_data_set_that_is_shown(window: Page, tmp_path: Path) -> None:
    many = {"name": "tried:Nested", "params": {"count": 60}}
    config = config_of(tmp_path, ("Marks",), datasets=[many | {"label": "first"}, many | {"label": "second"}])
    with running(api_of(config)) as address:
        opened(window, address, "#source=first&name=nested-50")
        window.click("#after")
        until(window, "location.hash !== '#source=first&name=nested-50'")
        assert window.evaluate("location.hash") == "#source=first&name=nested-51", "not the list's first picture"
        opened(window, address, "#source=first&name=nested-3")
        window.click("#pictures")
        window.select_option("#source", "second")
        expect(window.locator("#thumbs img").first).to_have_attribute("src", re.compile("source=second"))
        window.keyboard.press("Escape")
        window.click("#before")
        until(window, "location.hash !== '#source=first&name=nested-3'")
        assert window.evaluate("location.hash") == "#source=first&name=nested-2", "not the one of a list only looked at"
