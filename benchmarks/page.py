"""Times a report page: `python -m benchmarks.page`, 40,000 synthetic instances, no downloads.

It is built from rows of six methods and rankings, masks included, as in a run on COCO's validation images. Then it is
opened in a headless Chromium, if there is one: the time until the tables are drawn and the list of instances reacts.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import browser
from harness.masks import rle
from harness.page.build import write_page
from harness.report.build import build_table
from harness.report.context import Context, MethodFacts

MOST_BUILD_S, MOST_VIEW_S = 180.0, 2.0
METHODS = {"text": ("single",), "click": ("single",), "sam": ("confidence", "clip", "oracle"), "ritm": ("single",)}
SIZE = (480, 640)
INSTANCES_AN_IMAGE = 7


def synthetic(instances: int, seed: int = 0) -> pd.DataFrame:
    """Rows as a store gives them: one click, masks of ellipses, a few failures."""
    rng = np.random.default_rng(seed)
    number = np.arange(instances)
    masks = np.array([ellipse(rng) for _ in range(200)], dtype=object)
    shared = pd.DataFrame(
        {
            "run": "synthetic",
            "dataset": "made",
            "dataset_plugin": "made",
            "image_id": [f"{one // INSTANCES_AN_IMAGE:08d}" for one in number],
            "instance_id": [f"{one:08d}" for one in number],
            "category": [f"class {one}" for one in rng.integers(0, 80, instances)],
            "seen": rng.random(instances) < 0.4,
            "text_rule": "given",
            "click_strategy": "paper/v1",
            "clicks": [[{"x": int(x), "y": int(y), "positive": True}] for x, y in rng.integers(0, 480, (instances, 2))],
            "click_index": 1,
            "under_click": rng.integers(1, 4, instances),
            "under_click_area_ratio": rng.random(instances),
            "click_depth_px": rng.exponential(15, instances),
            "gt_area_px": rng.integers(50, 60_000, instances),
            "same_class_count": rng.integers(1, 8, instances),
            "height": SIZE[0],
            "width": SIZE[1],
            "status": "ok",
            "error": None,
        }
    )
    shared["text"] = shared["category"]
    entries = [(method, ranking) for method, rankings in METHODS.items() for ranking in rankings]
    return pd.concat([_answered(shared, *entry, masks, rng) for entry in entries], ignore_index=True)


def ellipse(rng: np.random.Generator) -> bytes:
    """Run lengths of a mask of COCO's usual size."""
    y, x = np.indices(SIZE)
    centre, radius = rng.uniform(0, SIZE), rng.uniform(5, 150, 2)
    mask = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
    return rle.encode(mask)


def _answered(
    shared: pd.DataFrame, method: str, ranking: str, masks: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    count = len(shared)
    iou = rng.beta(2, 1.5, count)
    own = {"method": method, "method_plugin": method, "ranking": ranking, "iou": iou, "boundary_iou": iou / 2}
    return shared.assign(**own, hit="right", mask=masks[rng.integers(0, len(masks), count)])


def main(instances: Annotated[int, typer.Option(min=1)] = 40_000) -> None:
    """Build, open, and print the times of both; exit code 1 if either took too long."""
    rows = synthetic(instances)
    context = Context("synthetic", labels={name: MethodFacts(name == "text") for name in METHODS})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "page"
        start = time.perf_counter()
        tables = [build_table(name, rows, context) for name in ("table1", "leaderboard")]
        tabled = time.perf_counter() - start
        write_page(rows, context, tables, out)
        built = time.perf_counter() - start
        size = sum(one.stat().st_size for one in out.rglob("*") if one.is_file()) / 2**20
        first = (out / "data" / "instances.js").stat().st_size / 2**20
        view = first_view(out / "report.html") if browser.program() else None
    said = Table("What", "Found", "Wanted")
    said.add_row("build", f"{built:.1f} s (tables {tabled:.1f} s)", f"under {MOST_BUILD_S:.0f} s")
    said.add_row("first view", "no Chromium" if view is None else f"{view:.2f} s", f"under {MOST_VIEW_S:.0f} s")
    said.add_row("folder", f"{size:.0f} MiB, {first:.1f} of them read at once", "")
    Console().print(f"{instances} instances, {len(rows)} rows", said)
    if built > MOST_BUILD_S or (view or 0) > MOST_VIEW_S:
        raise typer.Exit(1)


def first_view(page: Path) -> float:
    """Seconds from the navigation's start until the page reports that all its parts work; the median of three."""
    with browser.window() as window:
        times = []
        for _ in range(3):
            browser.opened(window, page)
            times.append(float(window.evaluate("performance.getEntriesByName('ready')[0].startTime")) / 1000)
        return sorted(times)[1]


if __name__ == "__main__":
    typer.run(main)
