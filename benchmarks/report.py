"""Times the tables of three million rows: `python -m benchmarks.report`, one core, no downloads, a temporary 0.5 GB.

A run is generated: 36,000 instances of 5,000 images, as in COCO val2017, eight methods and rankings, ten clicks each.
It is written like a run's folder and read back by `harness.load`, and every table, the comparison and the leaderboard
are made from it, one after the other in one process. A figure is the process's CPU time, which on a free core is the
wall time.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from harness.plugins.registry import names
from harness.report.board import board
from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.several_runs import Source, entries
from harness.statistics.comparisons import compare
from harness.statistics.final_clicks import SHOWN as METRICS
from harness.statistics.final_clicks import FinalClicks
from harness.storage.rows import as_frame, schema

MOST_S = 15.0
MOST_GB = 4.0

IMAGES, INSTANCES, CLICKS = 5_000, 36_000, 10
ENTRIES = (
    ("Text+Click", "text_click", "single", 0.60),
    ("Text+Click 34", "text_click", "single", 0.58),
    ("Click only", "click_only", "single", 0.50),
    ("Click only 34", "click_only", "single", 0.48),
    ("RITM", "ritm", "single", 0.50),
    ("SAM", "sam", "confidence", 0.52),
    ("SAM", "sam", "clip", 0.51),
    ("SAM", "sam", "oracle", 0.62),
)


@dataclass(frozen=True)
class Cost:
    """The cost of one table or other result."""

    name: str
    cpu_s: float
    wall_s: float


def generated(images: int, instances: int, clicks: int) -> pa.Table:
    """The rows of the whole run, sorted as the store sorts them."""
    rng = np.random.default_rng(0)
    image = np.sort(rng.integers(images, size=instances))
    area = np.exp(rng.normal(8, 2, instances)).astype(np.int64) + 1
    made = rng.integers(0, 480, size=(instances, clicks, 2))
    parts = [entry_rows(rng, entry, image, area, made) for entry in ENTRIES]
    return pa.concat_tables(parts).sort_by(
        [("method", "ascending"), ("image_id", "ascending"), ("instance_id", "ascending")]
    )


def entry_rows(
    rng: np.random.Generator, entry: tuple[str, str, str, float], image: Any, area: Any, made: Any, first: int = 0
) -> pa.Table:
    """The rows of one method and ranking.

    Args:
        rng: The generator that draws them.
        entry: One of `ENTRIES`.
        image: The image of each instance, sorted.
        area: The pixels of each instance.
        made: The clicks of each instance, (instances, clicks, 2).
        first: The number of the first instance.
    """
    method, plugin, ranking, mean = entry
    instances, clicks = made.shape[:2]
    own = np.repeat(np.arange(instances), clicks)
    number, image, area = first + own, image[own], area[own]
    index = np.tile(np.arange(1, clicks + 1), instances)
    level = rng.normal(0, 0.1, image.max() - image.min() + 1)[image - image.min()]
    level += rng.normal(0, 0.15, instances)[own]
    iou = np.clip(mean + level + 0.03 * (index - 1), 0, 1)
    union = area + 100
    values: dict[str, Any] = {
        "run": "synthetic",
        "dataset": "coco",
        "dataset_plugin": "coco",
        "method": method,
        "method_plugin": plugin,
        "ranking": ranking,
        "image_id": image.astype(str),
        "instance_id": number.astype(str),
        "category": np.char.add("class ", (number % 80).astype(str)),
        "seen": number % 80 < 20,
        "text_rule": "given",
        "click_strategy": "paper/v1",
        "clicks": _clicks(made, index),
        "click_index": index,
        "under_click": 1 + number % 3 // 2,
        "under_click_area_ratio": 0.5,
        "click_depth_px": 0.5,
        "candidate": 0,
        "hit": "target",
        "intersection_px": (iou * union).astype(np.int64),
        "union_px": union,
        "gt_area_px": area,
        "pred_area_px": area,
        "same_class_count": 1 + number % 7,
        "height": 480,
        "width": 640,
        "encode_ms": 20.0,
        "segment_ms": 5.0,
        "device": "cpu",
        "status": "ok",
        "iou": iou,
        "boundary_iou": 0.7 * iou,
    }
    values["text"] = values["category"]
    return pa.table(
        [_column(values.get(field.name), field.type, len(number)) for field in schema(METRICS)], schema=schema(METRICS)
    )


def _column(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    return value.cast(kind) if isinstance(value, pa.Array) else pa.array(np.broadcast_to(value, count), kind)


def _clicks(made: Any, index: Any) -> pa.Array:
    """After the k-th round, the first k clicks."""
    clicks = made.shape[1]
    kept = np.tril(np.ones((clicks, clicks), dtype=bool))
    x, y = (np.broadcast_to(made[:, None, :, axis], (len(made), clicks, clicks))[:, kept].ravel() for axis in (0, 1))
    points = pa.StructArray.from_arrays(
        [pa.array(x, pa.int32()), pa.array(y, pa.int32()), pa.array(np.ones(len(x), bool))],
        names=["x", "y", "positive"],
    )
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(index)]), pa.int32()), points)


def context(instances: int) -> Context:
    """The facts about the run that a config would give."""
    labels = {
        name: MethodFacts("Text" in name, "coco", plugin=plugin, trained_classes=34 if "34" in name else 64)
        for name, plugin, _, _ in ENTRIES
    }
    return Context("synthetic", None, labels, {(name, "coco"): instances for name in labels}, intervals=True)


def main(
    images: Annotated[int, typer.Option(min=10)] = IMAGES,
    instances: Annotated[int, typer.Option(min=100)] = INSTANCES,
    clicks: Annotated[int, typer.Option(min=1)] = CLICKS,
) -> None:
    """Make every table, and print the cost of each; exit code 1 if one took longer than allowed."""
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.parquet"
        pq.write_table(generated(images, instances, clicks), path, compression="zstd")
        pa.default_memory_pool().release_unused()
        before_gb = _peak_gb()
        rows = _timed(costs, "load", lambda: as_frame(pq.read_table(path, columns=schema(METRICS, masks=False).names)))
    about = context(instances)
    final = _timed(costs, "checked and sorted", lambda: FinalClicks.of(rows))
    for name in names("tables"):
        _timed(costs, name, lambda name=name: build_table(name, final, about))
    _timed(costs, "compare", lambda: compare(rows, "Text+Click", ("SAM", "confidence")))
    _timed(costs, "leaderboard of runs", lambda: board(entries([Source("runs/synthetic", rows, about, {})])))
    _show(costs, rows, before_gb)
    slow = [cost.name for cost in costs if cost.cpu_s > MOST_S]
    if slow or _peak_gb() > MOST_GB:
        raise SystemExit(f"Over {MOST_S:g} s: {', '.join(slow) or 'none'}; {_peak_gb():.1f} GB of {MOST_GB:g}.")


def _timed(costs: list[Cost], name: str, make: Callable[[], Any]) -> Any:
    cpu, wall = time.process_time(), time.perf_counter()
    made = make()
    costs.append(Cost(name, time.process_time() - cpu, time.perf_counter() - wall))
    print(f"{name}: {costs[-1].cpu_s:.1f} s", flush=True)
    return made


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _show(costs: list[Cost], rows: pd.DataFrame, before_gb: float) -> None:
    listing = Table("Made of " + f"{len(rows):,} rows", "CPU s", "wall s")
    for cost in costs:
        listing.add_row(cost.name, f"{cost.cpu_s:.1f}", f"{cost.wall_s:.1f}")
    Console().print(listing)
    Console().print(f"Peak memory {_peak_gb():.2f} GB; {before_gb:.2f} GB before, to generate the rows.")


if __name__ == "__main__":
    typer.run(main)
