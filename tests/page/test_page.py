"""The report page of a real run, built once; then clicked through in a real browser, where there is one."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from playwright.sync_api import Page, expect
from pycocotools import mask as coco_mask

from benchmarks import browser
from benchmarks.page import synthetic
from harness import UserError
from harness.config.run_config import load_run
from harness.masks import rle
from harness.page import explorer
from harness.page.build import Counts, build_page, write_page
from harness.page.explorer import Listing, natural, stratified
from harness.page.publishing import _without_folders
from harness.report.build import build_table
from harness.report.context import Context
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.statistics.final_clicks import FinalClicks
from harness.storage.store import Store
from toy_runs import STEADY, Quiet, written

PLUGINS = '''
import numpy as np
from harness import Dataset, Instance, Method, Prediction, Saliency, Sample

HOSTILE = "<script>window.hacked = 1</script>"

class Blocks(Dataset):
    """Six images, 30 x 50, each a red block and a blue one in it."""
    classes = (HOSTILE, "cup & $x$")
    def sample_ids(self):
        return [f"image {n}" for n in range(6)]
    def load(self, sample_id):
        n = int(sample_id[-1])
        image = np.zeros((30, 50, 3), np.uint8)
        image[5:25, 5 + n:35] = (200, 0, 0)
        image[10:18, 12:24] = (0, 0, 200)
        red, blue = image[..., 0] > 0, image[..., 2] > 0
        both = Instance(f"{n}/0", red, HOSTILE, False), Instance(f"{n}/1", blue, "cup & $x$", True)
        return Sample(sample_id, image, both)

class Blue(Saliency):
    def features(self, images):
        return list(images)
    def maps(self, features, texts, vocabulary):
        assert HOSTILE in vocabulary
        return np.stack([(features[..., 0 if text == HOSTILE else 2] / 255).astype(np.float32) for text in texts])

class Colour(Method):
    """Right by the text; the one that fails takes all that is not black."""
    uses_text = True
    def __init__(self, saliency: Saliency | None = None, fails: str = ""):
        self.fails = fails
    def predict(self, image, click, text):
        if self.fails and image[20, 5].sum() == 0:
            raise ValueError(self.fails)
        whole = image.max(axis=2) > 0
        dark = image[20, 9].sum() == 0  # As image 5 is.
        mask = whole if self.fails or dark else image[..., 0 if text == HOSTILE else 2] > 0
        return Prediction(mask[None])
'''
CONFIG = """
run: blocks
datasets: [{name: "pictured:Blocks", label: blocks}]
methods:
  - {name: "pictured:Colour", label: "by text <b>", params: {saliency: {name: "pictured:Blue"}}}
  - {name: "pictured:Colour", label: fragile, params: {fails: "<i>too dark</i>"}}
text: {rule: class_name, words: ""}
metrics: [iou]
tables: [leaderboard]
max_failures: 1
workers: {executor: local}
"""

GAPS = ["16.0", "84.0"]
"""The blue block is 96 of the 600 pixels that are not black: 100 - 84 % and 100 - 16 %."""

pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(
    browser.program() is None, reason="no Chromium on PATH; on Debian, apt-get install chromium"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counts]:
    """The page of a run of two methods on six images, one of which the second method fails on."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "pictured.py").write_text(PLUGINS)
    (folder / "blocks.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        run(load_run(folder / "blocks.yaml"), Quiet(), runs=str(folder / "runs"))
        told: list[tuple[str, int, int]] = []
        yield build_page(folder / "runs" / "blocks", pictures=4, tell=lambda *one: told.append(one))
    assert [one for one in told if one[0] == "pictures"] == [("pictures", number, 4) for number in (1, 2, 3, 4)]
    assert [one[0] for one in told if one[1] == one[2]] == [
        "reading the rows",
        "pictures",
        "grids of pictures",
        "charts",
    ]


@pytest.fixture(scope="module")
def errors() -> list[str]:
    """What the window's pages threw, or logged as an error."""
    return []


@pytest.fixture(scope="module")
def window(errors: list[str]) -> Iterator[Page]:
    with browser.window() as one:
        one.on("pageerror", lambda error: errors.append(str(error)))
        one.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        yield one


@pytest.fixture
def page(window: Page, built: Counts, errors: list[str]) -> Iterator[Page]:
    """The page, freshly loaded; an error in its scripts fails the test."""
    browser.opened(window, built.page)
    window.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    yield window
    assert errors == []
    assert window.evaluate("window.hacked") is None


def listed(page: Page) -> list[str]:
    return page.locator("#list .open").all_text_contents()


def test_the_folder_is_whole_and_asks_for_nothing_outside(built: Counts) -> None:
    assert (built.instances, built.entries, built.pictures, built.notes) == (12, 2, 4, ())
    folder = built.page.parent
    wanted = re.findall(r'(?:src|href)="([^"#]+)"', built.page.read_text())
    assert "scripts/chart.umd.min.js" in wanted and "data/instances.js" in wanted
    assert all((folder / name).is_file() for name in wanted)
    assert (folder / "scripts" / "LICENSE.md").is_file()
    assert len(list((folder / "pictures").glob("*.jpg"))) == 8


def test_the_page_counts_the_reasons_of_failures(built: Counts) -> None:
    said = built.page.read_text("utf-8")
    assert "Failed instances (run blocks)" in said and "&lt;i&gt;too dark&lt;/i&gt;" in said


def test_names_come_out_escaped(built: Counts) -> None:
    said = built.page.read_text()
    assert "by text &lt;b&gt;" in said and "by text <b>" not in said
    for data in (built.page.parent / "data").rglob("*.js"):
        assert "<" not in data.read_text()


def test_the_page_says_what_made_its_rows_and_names_no_machine(built: Counts) -> None:
    store = Store(built.page.parents[1])
    (start,) = store.manifest()["starts"]
    made = built.page.read_text().split("<summary>What made these rows</summary>")[1].split("</details>")[0]
    assert "pictured:Colour" in made and "by text &lt;b&gt;" in made and "Seed: 0." in made and "class_name, as" in made
    assert f"commit {start['commit'] or 'unknown'}, torch {start['packages']['torch']}" in made
    assert start["host"] not in re.sub("<[^>]+>", "", made).split()


def test_grids_of_pictures_are_chosen_by_rule_and_drawn(built: Counts) -> None:
    """Figure 9's: on image 5, the mask is the whole block, and the saliency the blue one that was meant."""
    names = {path.name for path in (built.page.parent / "figures").glob("*.png")}
    assert {"figure4_blocks.png", "seen_unseen_blocks.png", "figure9_saliency_right_blocks.png"} <= names


def test_the_sample_of_images_meets_every_class_in_turn() -> None:
    common = [("a", str(n), f"{n}/0", "common") for n in range(50)]
    rare = [("a", "90", "90/0", "rare"), ("b", "91", "91/0", "rare")]
    instances = pd.DataFrame([*common, *rare], columns=["dataset", "image_id", "instance_id", "category"])
    chosen = stratified(instances, 3)
    assert {("a", "90"), ("b", "91")} < set(chosen)
    assert chosen == stratified(instances.sample(frac=1, random_state=1), 3), "whatever the rows' order"
    assert len(stratified(instances, 1000)) == 52


def test_pictures_that_cannot_be_read_are_said_to_lack(
    built: Counts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: object, sample_id: str) -> None:
        raise FileNotFoundError(f"{sample_id}.jpg")

    monkeypatch.setattr(sys.modules["pictured"].Blocks, "load", gone)
    made = build_page(built.page.parents[1], tmp_path / "page", figures=False)
    assert (made.instances, made.pictures) == (12, 0)
    assert len(made.notes) == 1 and ".jpg" in made.notes[0]
    assert "pictures are not shown" in made.page.read_text()


PLACED = """
from pathlib import Path

from fakes import Steady, Toys
from harness import UserError

class Placed(Toys):
    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        if not root.is_dir():
            raise UserError(f"no images under root={root}. Fetch them.")

    def load(self, sample_id):
        if sample_id == "toy-1":
            raise OSError(f"{self.root}/1.jpg is cut; see {self.root / 'a folder' / 'log.txt'}")
        return super().load(sample_id)

class Failing(Steady):
    def predict(self, image, click, text):
        raise ValueError(f"no weights at '{__file__}'")
"""


def test_no_file_names_a_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "placed.py").write_text(PLACED)
    (tmp_path / "images").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    data = {"name": "placed:Placed", "label": "toys", "params": {"root": str(tmp_path / "images")}}
    failing = {"name": "placed:Failing", "label": "failing"}
    path = written(tmp_path / "r.yaml", datasets=[data], methods=[STEADY, failing])
    run(load_run(path), Quiet(), runs=str(tmp_path))
    (tmp_path / "images").rmdir()
    made = build_page(tmp_path / "r", tmp_path / "site", figures=False)
    assert ".../images" in " ".join(made.notes)
    texts = {file: file.read_text("utf-8") for file in (tmp_path / "site").rglob("*") if file.is_file()}
    assert not [file.name for file, text in texts.items() if str(tmp_path) in text]
    assert any(".../1.jpg is cut" in text for text in texts.values())
    assert any("no weights at '.../placed.py'" in text for text in texts.values())
    assert str(tmp_path) in " ".join(recorded_at(tmp_path / "r").rows()["error"].dropna()), "the rows keep it"


def test_a_published_page_has_its_rows_and_a_card(built: Counts, tmp_path: Path) -> None:
    run_folder, out = built.page.parents[1], tmp_path / "site"
    for _ in range(2):  # The second takes the place of the first.
        made = build_page(run_folder, out, pictures=2, figures=False, published=True)
    assert (made.page, made.pictures) == (out / "report.html", 2)
    rows, own = pd.read_parquet(out / "results.parquet"), pd.read_parquet(run_folder / "results.parquet")
    pd.testing.assert_frame_equal(rows, own)
    _, head, card = (out / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(head)["app_file"] == "index.html" and yaml.safe_load(head)["sdk"] == "static"
    assert f"{len(own):,} rows" in card and "What made these rows" in card and "| by text" in card
    assert "url=report.html" in (out / "index.html").read_text("utf-8")
    assert str(run_folder.parent) not in card


def test_published_rows_name_no_folder_of_this_machine() -> None:
    texts = {name: pa.array([None, "at /home/ada/private/a.jpg"]) for name in ("error", "retried", "click_options")}
    kept = pa.array(["/home/ada/1", "2"])
    found = _without_folders(pa.table({**texts, "image_id": kept}))
    assert found["image_id"].to_pylist() == kept.to_pylist(), "an id is no path"
    assert all(found[name].to_pylist() == [None, "at .../a.jpg"] for name in texts)


def test_data_of_another_place_must_be_of_this_run(built: Counts, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no data set 'coco'"):
        build_page(built.page.parents[1], tmp_path / "page", roots={"coco": tmp_path})


@needs_browser
def test_the_browser_decodes_what_pycocotools_encodes(page: Page) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((7, 11)) < share for share in (0, 0.02, 0.3, 0.9, 1)] + [np.zeros((200, 300), bool)]
    masks[-1][50:180, 20:290] = True
    for mask in masks:
        counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        height, width = mask.shape
        found = page.evaluate(f"Array.from(report.paint.decode({json.dumps(counts)}, {height}, {width}))")
        assert found == mask.astype(int).ravel().tolist()


@needs_browser
def test_filters_sorting_and_comparison_list_the_right_instances(page: Page) -> None:
    assert (len(listed(page)), page.text_content("#found")) == (12, "12 of 12 instances")
    page.select_option("#f-seen", "1")
    expect(page.locator("#found")).to_have_text("6 of 12 instances")
    assert all(name.endswith("/1") for name in listed(page))
    page.click("#filters button[type=reset]")
    expect(page.locator("#found")).to_contain_text(re.compile("^12"))
    page.fill("#f-class", "SCRIPT")
    expect(page.locator("#found")).to_contain_text(re.compile("^6"))
    assert all(name.endswith("/0") for name in listed(page))
    page.fill("#f-class", "")
    page.click("[data-sort=area]")
    areas = page.evaluate(
        "[...document.querySelectorAll('#list tbody tr')].map((row) => Number(row.cells[4].textContent))"
    )
    assert areas == sorted(areas) and len(set(areas)) > 3
    page.click("[data-sort=area]")
    assert page.evaluate("document.querySelector('th[aria-sort]').ariaSort") == "descending"
    page.select_option("#f-a", "0")
    page.select_option("#f-b", "1")
    page.fill("#f-by", "0")
    page.wait_for_selector("[data-sort=gap]", state="attached")
    expect(page.locator("#found")).to_contain_text(re.compile("^2"))
    assert (
        page.evaluate("[...document.querySelectorAll('#list tbody td:last-child')].map((one) => one.textContent)")
        == GAPS
    )
    page.fill("#f-by", "17")
    expect(page.locator("#found")).to_contain_text(re.compile("^1"))
    page.select_option("#f-b", "")
    page.click("#f-failed")
    expect(page.locator("#found")).to_contain_text(re.compile("^10"))
    assert "–" in page.text_content("#list tr.means"), "nobody was segmented by the one who failed"


@needs_browser
def test_a_mean_of_a_table_leads_to_its_instances(page: Page, built: Counts) -> None:
    links = page.locator("#tables a.rows")
    entries = links.evaluate_all("all => all.map((one) => one.dataset.entry)")
    assert set(entries) == {"by text <b>", "fragile"}
    page.fill("#f-class", "cup")
    expect(page.locator("#found")).to_contain_text(re.compile("^6"))
    links.nth(entries.index("fragile")).click()
    expect(page.locator("#found")).to_have_text("12 of 12 instances")
    assert page.evaluate("location.hash") == "#instances" and page.input_value("#f-class") == ""
    rows = recorded_at(built.page.parent.parent).rows()
    own = rows[rows["method"].eq("fragile")].sort_values("iou", kind="stable")["iou"]
    shown = page.evaluate(
        "[...document.querySelectorAll('#list tbody tr')].map((row) => row.querySelector('td:last-child').textContent)"
    )
    assert shown == ["failed" if np.isnan(iou) else f"{100 * iou:.1f}" for iou in own]
    assert page.evaluate("document.querySelector('th[aria-sort]').textContent") == "fragile"
    page.select_option("#f-seen", "1")
    expect(page.locator("#found")).to_have_text("6 of 12 instances")


@needs_browser
def test_a_seen_mean_leads_to_what_its_own_method_saw(
    window: Page, errors: list[str], tmp_path: Path, pair: pd.DataFrame
) -> None:
    """`click` was also trained on the class of A2: its unseen mean is over B2 alone, that of `ours` over A2 and B2."""
    rows = pair.assign(seen=pair["seen"] | (pair["method"].eq("click") & pair["instance_id"].eq("A2")))
    made = write_page(rows, Context("toy"), [build_table("table1", rows, Context("toy"))], tmp_path / "page")
    browser.opened(window, made.page)
    found = {}
    for name in ("click", "ours"):
        window.click(f'#tables a.rows[data-entry="{name}"][data-seen="0"]')
        found[name] = (
            listed(window),
            window.evaluate("document.querySelector('#list tbody td:nth-child(4)').textContent"),
        )
    assert found == {"click": (["B2"], "unseen"), "ours": (["B2", "A2"], "unseen")}
    assert (
        window.text_content(".means td:last-child")
        == window.text_content('#tables a.rows[data-entry="ours"][data-seen="0"]')[:-1]
        == "55.0"
    )
    assert errors == []


@needs_browser
def test_an_instance_opens_toggles_and_moves_by_keys_and_gives_the_focus_back(page: Page) -> None:
    page.click("#f-pictures")
    expect(page.locator("#found")).to_contain_text(re.compile("^8"))
    names = listed(page)
    page.evaluate("document.querySelector('#list .open').focus()")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#viewer').open && document.querySelector('#layers input')")
    assert page.text_content("#viewer-title").endswith(f"instance {names[0]}")
    assert page.evaluate("document.querySelector('#viewer').contains(document.activeElement)")
    painted = "document.querySelector('#stage canvas').toDataURL().length"
    with_mask = page.text_content("#layers") and page.evaluate("document.querySelector('[data-layer=entry-0]').checked")
    assert with_mask
    page.keyboard.press("1")
    assert not page.evaluate("document.querySelector('[data-layer=entry-0]').checked")
    page.click("[data-layer=entry-0]")
    assert page.evaluate("document.querySelector('[data-layer=entry-0]').checked"), painted
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-title")).to_have_text(re.compile(f"instance {names[1]}$"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-title")).to_have_text(re.compile(f"instance {names[0]}$"))
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('#viewer').open")
    assert page.evaluate("document.activeElement.textContent") == names[0]


@needs_browser
def test_side_by_side_shows_every_method_and_goes_back_to_what_was_on(page: Page) -> None:
    page.click("#f-failed")
    expect(page.locator("#found")).to_contain_text(re.compile("^10"))
    page.click("#list tbody tr .open")
    page.wait_for_selector("#layers input", state="attached")
    page.keyboard.press("s")
    assert page.locator("#stage figcaption").all_text_contents() == ["by text <b>, IoU 100.0", "fragile, failed"]
    page.click("[data-layer=entry-1]")
    expect(page.locator("#stage figcaption")).to_have_count(1)
    page.click("[data-layer=beside]")
    checked = "document.querySelector('[data-layer=entry-{}]').checked"
    assert page.evaluate(checked.format(0)) and not page.evaluate(checked.format(1))


def test_ids_sort_as_numbers() -> None:
    ids = pd.Series(["val-10", "9", "val-9", "10", "a", "10/2", "10/10"])
    assert ids[natural(ids).argsort()].tolist() == ["9", "10", "10/2", "10/10", "a", "val-9", "val-10"]


@needs_browser
def test_every_chart_is_drawn_for_paper(page: Page) -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("report.charts.drawn.length > 0 && report.charts.drawn.every((one) => one.made)")
    page.emulate_media(media="print")
    try:
        assert page.locator("#chart-list canvas").first.is_visible() and page.locator(".swatch").first.is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.swatch')).printColorAdjust") == "exact"
    finally:
        page.emulate_media(media="screen")


@needs_browser
def test_masks_are_where_they_belong_and_failures_say_why(page: Page) -> None:
    """Without the picture the canvas holds nothing but masks: its coloured columns are the block's."""
    page.fill("#f-class", "cup & $x$")
    expect(page.locator("#found")).to_contain_text(re.compile("^6"))
    page.click("#list tbody tr .open")
    page.wait_for_selector("#layers input", state="attached")
    page.click("[data-layer=picture]")
    page.keyboard.press("g")
    box = page.evaluate(
        "(() => { const canvas = document.querySelector('#stage canvas'); const {width, height} = canvas; "
        "const data = canvas.getContext('2d').getImageData(0, 0, width, height).data; const xs = [], ys = []; "
        "for (let at = 0; at < width * height; at++) if (data[4 * at] === 255 && data[4 * at + 1] === 77) "
        "{ xs.push(at % width); ys.push(Math.floor(at / width)); } "
        "return [width, height, Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]; })()"
    )
    assert box == [50, 30, 12, 23, 10, 17]
    page.keyboard.press("Escape")
    page.fill("#f-class", "")
    page.click("#f-failed")
    expect(page.locator("#found")).to_contain_text(re.compile("^10"))
    page.evaluate("document.querySelector('#layers').replaceChildren()")
    page.click("#list tbody tr .open")
    page.wait_for_selector("#layers .error", state="attached")
    assert "<i>too dark</i>" in page.text_content("#layers .error")


MISSED = {"higher_is_better": False, "bounds": [0, None], "unit": "px"}
"""What a manifest says of a metric of which less is better, in pixels."""


def clicked_rows() -> pd.DataFrame:
    """Two methods on two instances: `many` with three clicks, each a column wider, `once` with one."""
    answers = [("many", made, 4 + made) for made in (1, 2, 3)] + [("once", 1, 9)]
    return pd.DataFrame(
        [
            {
                "run": "r",
                "dataset": "toy",
                "method": method,
                "ranking": "single",
                "image_id": name,
                "instance_id": f"{name}/0",
                "category": "cup",
                "seen": True,
                "clicks": [{"x": 2 * k, "y": 3, "positive": k == 0} for k in range(made)],
                "click_index": made,
                "height": 20,
                "width": 30,
                "mask": rle.encode(np.indices((20, 30))[1] < width),
                "hit": "right",
                "status": "ok",
                "iou": width / 10,
            }
            for name in ("a", "b")
            for method, made, width in answers
        ]
    )


@needs_browser
def test_a_slider_goes_back_to_earlier_clicks(window: Page, errors: list[str], tmp_path: Path) -> None:
    browser.opened(window, write_page(clicked_rows(), Context("toy"), [], tmp_path / "page").page)
    window.click("#list tbody tr .open")
    window.wait_for_selector("#layers input", state="attached")
    scores = "[...document.querySelectorAll('#layers .score')].map((one) => one.textContent)"
    said = "document.querySelector('#rounds output').textContent"
    assert window.evaluate(scores)[1:3] == ["70.0, right", "90.0, right, after 1 click"]
    assert window.evaluate(said) == "3 clicks" and "3 clicks" in window.text_content("#viewer-facts")
    window.keyboard.press(",")
    assert window.evaluate(scores)[1:3] == ["60.0, right", "90.0, right, after 1 click"]
    window.fill("#rounds input", "1")
    assert window.evaluate(scores)[1:3] == ["50.0, right", "90.0, right"] and window.evaluate(said) == "1 click"
    width = (
        "(() => { const {data, width, height} = (() => { const canvas = document.querySelector('#stage canvas'); "
        "return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height); })(); "
        "const filled = [...Array(width * height).keys()].filter((at) => data[4 * at + 3] === 105); "
        "return Math.max(...filled.map((at) => at % width)); })()"
    )
    narrow = window.evaluate(width)
    window.keyboard.press(".")
    assert window.evaluate(width) == narrow + 1 and window.evaluate(said) == "2 clicks"
    window.focus("#viewer button")  # The slider has the arrow keys for itself.
    window.keyboard.press("ArrowRight")
    expect(window.locator("#viewer-title")).to_have_text(re.compile("b/0$"))
    assert window.evaluate(said) == "2 clicks", "the next instance is shown after as many"
    assert errors == []


@needs_browser
@pytest.mark.parametrize("kept", [0, 1])
def test_a_page_of_no_rows_and_of_one_without_a_score(
    window: Page, errors: list[str], tmp_path: Path, kept: int
) -> None:
    rows = clicked_rows().iloc[:kept].assign(iou=float("nan"))
    made = write_page(rows, Context("toy"), [build_table("leaderboard", rows, Context("toy"))], tmp_path / "page")
    browser.opened(window, made.page)
    assert (made.instances, len(listed(window))) == (kept, kept)
    assert window.text_content("#tables figcaption").startswith("Means over" if kept else "No rows.")
    if kept:
        window.click("#list tbody tr .open")
        window.wait_for_selector("#layers input", state="attached")
        assert "no score" in window.text_content("#layers"), "it was segmented, and is not said to have failed"
    assert errors == []


@needs_browser
def test_a_metric_of_one_s_own_is_sorted_filtered_and_shown_in_its_unit(
    window: Page, errors: list[str], tmp_path: Path
) -> None:
    """`many` lacks 7 pixels in the end, `once` 9: less is better, so `many` beats `once` by 2."""
    rows = clicked_rows().assign(missed_px=lambda own: own["iou"] * 10)
    context = Context("toy", metrics={"iou": {}, "missed_px": MISSED})
    browser.opened(window, write_page(rows, context, [], tmp_path / "page").page)
    window.select_option("#f-metric", "0")
    window.select_option("#f-a", "0")
    window.select_option("#f-b", "1")
    window.fill("#f-by", "2")
    window.wait_for_selector("[data-sort=gap]", state="attached")
    expect(window.locator("#found")).to_contain_text(re.compile("^2"))
    cells = "[...document.querySelectorAll('#list tbody tr:first-child td')].slice(-3).map((one) => one.textContent)"
    assert window.evaluate(cells) == ["7.00", "9.00", "-2.00"]
    heads = "[...document.querySelectorAll('#list th button')].slice(-1)[0].textContent"
    assert window.evaluate(heads) == "A − B, px" and window.text_content("#unit") == "px"
    means = window.text_content("#list tr.means")
    assert means.startswith("Mean missed_px (px, lower is better) of these instances7.009.00")
    window.fill("#f-by", "3")
    expect(window.locator("#found")).to_contain_text(re.compile("^0"))
    window.fill("#f-by", "2")
    window.click("#list tbody tr .open")
    window.wait_for_selector("#layers input", state="attached")
    scores = "[...document.querySelectorAll('#layers .score')].map((one) => one.textContent)"
    assert window.evaluate(scores)[1] == "70.0, missed_px 7.00 px, right"
    window.keyboard.press("Escape")
    window.wait_for_function("report.charts.drawn.length")
    axes = window.evaluate("report.charts.drawn.map(({ chart }) => [chart.name, chart.y, chart.factor, chart.ends])")
    assert ["iou_by_click_toy_missed_px", "mean missed_px, px, lower is better", 1, [0, None]] in axes
    assert ["iou_by_click_toy", "mean IoU, %", 100, [0, 100]] in axes
    assert errors == []


@needs_browser
def test_a_run_without_iou_shows_its_own_metric_and_what_is_behind_its_means(
    window: Page, errors: list[str], tmp_path: Path
) -> None:
    rows = clicked_rows().assign(missed_px=lambda own: own["iou"] * 10).drop(columns="iou")
    context = Context("toy", metrics={"missed_px": MISSED})
    tables = [build_table("leaderboard", rows, context)]
    browser.opened(window, write_page(rows, context, tables, tmp_path / "page").page)
    assert "missed_px" in window.text_content("#list tr.means")
    window.click("#tables a.rows >> nth=0")
    behind = window.evaluate("[...document.querySelectorAll('#list tbody tr')].length")
    assert behind == len(listed(window)) == rows["instance_id"].nunique()
    assert window.evaluate("document.querySelector('#list [aria-sort]').ariaSort") == "descending", "the worst first"
    assert errors == []


@needs_browser
def test_an_instance_without_a_class_is_named_by_its_id(window: Page, errors: list[str], tmp_path: Path) -> None:
    rows = clicked_rows().assign(category="", seen=None)
    browser.opened(window, write_page(rows, Context("toy"), [], tmp_path / "page").page)
    window.click("#list tbody tr .open")
    window.wait_for_selector("#layers input", state="attached")
    assert window.text_content("#viewer-title") == "instance a/0"
    assert window.text_content("#viewer-facts").startswith("toy, image a; 30 x 20 pixels")
    assert errors == []


@needs_browser
def test_a_class_is_found_however_its_data_sets_write_it(window: Page, errors: list[str], tmp_path: Path) -> None:
    written = {"voc": "person", "openimages": "Person", "coco": "person on a bench"}
    rows = pd.concat([clicked_rows().assign(dataset=name, category=own) for name, own in written.items()])
    browser.opened(window, write_page(rows, Context("toy"), [], tmp_path / "page").page)
    for wanted, count in (("person", 4), ("Person", 4), ("person o", 2), ("", 6)):
        window.fill("#f-class", wanted)
        expect(window.locator("#found")).to_have_text(f"{count} of 6 instances")
    assert errors == []


@needs_browser
def test_an_instance_of_several_draws_says_that_its_scores_are_those_of_the_first(
    window: Page, errors: list[str], tmp_path: Path
) -> None:
    once = clicked_rows().query("method == 'once'")
    rows = pd.concat([once.assign(draw=number, iou=iou) for number, iou in enumerate((0.4, 0.6))])
    browser.opened(window, write_page(rows, Context("toy"), [], tmp_path / "page").page)
    assert window.locator("#list tbody tr >> nth=0 >> td").last.text_content() == "50.0"
    window.click("#list tbody tr .open")
    window.wait_for_selector("#layers input", state="attached")
    assert "40.0, right" in window.text_content("#layers")
    facts = window.text_content("#viewer-facts")
    assert "; the first draw, with its own scores; the list has means over up to 2 draws;" in facts
    assert "30 x 20 pixels; 1 click;" in facts, "the rows have no area, and none is said"
    assert errors == []


@needs_browser
def test_masks_that_were_not_copied_leave_none_of_another_instance(
    window: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "A_FILE", 1)
    made = write_page(clicked_rows(), Context("toy"), [], tmp_path / "page")
    (tmp_path / "page" / "data" / "masks" / "1.js").unlink()
    with window.context.browser.new_page() as other:  # type: ignore[union-attr]
        browser.opened(other, made.page)
        other.click("#list tbody tr .open")
        expect(other.locator("#stage canvas")).to_have_count(1)
        other.keyboard.press("ArrowRight")
        expect(other.locator("#viewer-facts")).to_have_text("data/masks/1.js is not there")
        assert other.text_content("#viewer-title") == "instance b/0"
        assert other.locator("#stage canvas").count() == 0 and other.text_content("#layers") == ""
        other.keyboard.press("ArrowLeft")
        expect(other.locator("#stage canvas")).to_have_count(1)


@needs_browser
def test_one_click_needs_no_slider_and_intervals_are_shown_on_demand(page: Page) -> None:
    assert page.evaluate("document.querySelector('#rounds').hidden")
    shown = "document.querySelector('#tables td .spread').offsetWidth > 0"
    assert not page.evaluate(shown)
    page.click("#intervals input")
    assert page.evaluate(shown)
    assert re.fullmatch(r" \[[\d.]+, [\d.]+\], n = \d+", page.text_content("#tables td .spread"))


@needs_browser
def test_charts_answer_to_their_check_boxes_and_dark_mode_recolours_them(page: Page) -> None:
    page.evaluate("document.querySelector('#charts').scrollIntoView()")
    page.wait_for_function("report.charts.drawn[0].made")
    shown = "report.charts.drawn[0].made.data.datasets.map((one) => !one.hidden)"
    assert page.evaluate(shown) == [True, True]
    page.click("#series input")
    assert page.evaluate(shown) == [False, True]
    colour = "report.charts.drawn[0].made.data.datasets[1].borderColor"
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate("document.documentElement.dataset.theme") == "dark"
    before = page.evaluate(f"[{colour}, {ground}]")
    page.click("#theme")
    after = page.evaluate(f"[{colour}, {ground}]")
    assert before[0] != after[0] and before[1] != after[1]
    assert page.evaluate("document.querySelector('#theme').ariaPressed") == str(not dark).lower()
    page.click("#theme")


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_contrast_and_controls_have_names(page: Page, theme: str) -> None:
    page.evaluate(f"document.documentElement.dataset.theme = {json.dumps(theme)}")
    pairs = page.evaluate(
        "(() => { const style = getComputedStyle(document.documentElement); "
        "const of = (name) => style.getPropertyValue(name).trim(); "
        "return [['--text', '--ground'], ['--quiet', '--ground'], ['--quiet', '--raised'], ['--link', '--ground'], "
        "['--warning', '--warning-ground'], ['--text', '--hover']].map((pair) => pair.map(of)); })()"
    )
    assert min(contrast(*pair) for pair in pairs) >= 4.5
    nameless = page.evaluate(
        "[...document.querySelectorAll('main input, main select, main button, main canvas')].filter((one) => "
        "!(one.labels?.length || one.ariaLabel || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert nameless == []


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio of two colours."""
    lights = sorted(luminance(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_rows_clicks_are_counted_once_and_not_for_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(Listing, "per_file", property(lambda _: counted.append(1) or 50))
    listing = Listing.of(FinalClicks.of(synthetic(240)), Context("synthetic"))
    files = list(listing.files({}))
    assert [len(one) for one in files] == [50, 50, 50, 50, 40]
    assert len(counted) == 1, "once a file makes the work quadratic in the instances"
