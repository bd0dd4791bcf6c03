"""Times scoring: `python -m benchmarks.scoring`, one core, no downloads.

The published functions work on full-size masks, the ground truth's included, for every pair: this file writes them
anew from their definition (pad, erode by 3 x 3 as often as the band is wide, subtract; sums of uint8 arrays), as in
https://github.com/bowenc0221/boundary-iou-api at 37d2558. The harness crops, and keeps the ground truth's region.
Both must agree on every pair before anything is timed. They take turns, a whole pass over the pairs at a time, so
that no pass finds the other's masks in the caches; a figure is the median over the passes, in CPU time of the one
thread, which other processes change least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import numpy as np
import typer
from jaxtyping import Float32, UInt8
from pycocotools.coco import COCO
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from harness.masks.metrics import boundary_iou, iou
from harness.masks.region import Region
from harness.masks.rle import encode
from harness.structures import Mask

SIZE = (480, 640)
LEAST_RATIO = 8.0
MOST_MS_A_ROW = 0.35

Pair = tuple[Mask, Mask]
Scores = tuple[float, float]


def smooth_noise(rng: np.random.Generator, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """Standard normal, on a grid of 12 x 16, with a cubic in between."""
    grid = rng.standard_normal((12, 16)).astype(np.float32)
    return cv2.resize(grid, size[::-1], interpolation=cv2.INTER_CUBIC)


def synthetic_truth(rng: np.random.Generator) -> Mask:
    """A blob, perhaps cut by the border, of an area near COCO's: median 0.7 %, mean 4.6 % of the image."""
    area = min(0.9, 0.008 * np.exp(2.3 * rng.standard_normal())) * SIZE[0] * SIZE[1]
    aspect, angle = np.exp(0.5 * rng.standard_normal()), rng.uniform(0, np.pi)
    y, x = np.indices(SIZE, np.float32)
    y, x = y - rng.uniform(0, SIZE[0]), x - rng.uniform(0, SIZE[1])
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along**2 / aspect + across**2 * aspect) * np.pi / area < 1 + 0.4 * smooth_noise(rng, SIZE)


def prediction_for(truth: Mask, rng: np.random.Generator, amplitude: float = 4.0) -> Mask:
    """The truth, its outline moved in and out by `amplitude` pixels (one standard deviation)."""
    inside, outside = (cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, 3) for part in (truth, ~truth))
    return inside - outside + amplitude * smooth_noise(rng, truth.shape) > 0


def real_truths(root: Path) -> list[Mask]:
    """Every mask of COCO's val2017 under a root, crowds included, at its own size."""
    with redirect_stdout(StringIO()):  # the constructor prints its progress
        coco = COCO(str(root / "annotations" / "instances_val2017.json"))
    masks = (coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds()))
    # They come column by column, which would slow the published functions down.
    return [np.ascontiguousarray(mask).view(np.bool_) for mask in masks]


def made_pairs(count: int, coco: Path | None) -> list[Pair]:
    rng = np.random.default_rng(0)
    truths = [synthetic_truth(rng) for _ in range(count)] if coco is None else real_truths(coco)
    chosen = [truth for truth in truths if truth.any()]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))[:count]]
    return [(truth, prediction_for(truth, rng)) for truth in chosen]


def published_band(mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    width = max(1, round(0.02 * np.hypot(*mask.shape)))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return mask - cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]


def published(truth: Mask, prediction: Mask) -> Scores:
    masks = truth.view(np.uint8), prediction.view(np.uint8)
    return ratio_of_sums(*masks), ratio_of_sums(published_band(masks[0]), published_band(masks[1]))


def ratio_of_sums(one: UInt8[np.ndarray, "h w"], other: UInt8[np.ndarray, "h w"]) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def ours(truth: Region, prediction: Mask) -> Scores:
    region = Region(prediction)
    return iou(truth, region), boundary_iou(truth, region)


def row(truth: Region, prediction: Mask) -> tuple[list[float], bytes]:
    """The whole work for a row: every metric, and the mask as it is stored."""
    region = Region(prediction)
    return [iou(truth, region), boundary_iou(truth, region)], encode(prediction, region.box)


def row_of_a_new_instance(truth: Mask, prediction: Mask) -> tuple[list[float], bytes]:
    """A row that pays for its ground truth's region, too: the first of an instance."""
    return row(Region(truth), prediction)


def microseconds(passes: dict[str, Callable[[], object]], pairs: int, rounds: int) -> dict[str, float]:
    """Name -> median over the rounds of a pass's CPU time per pair, in us; the passes take turns in each round."""
    taken: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, run in passes.items():
            start = time.process_time()
            run()
            taken[name].append((time.process_time() - start) / pairs * 1e6)
    return {name: median(times) for name, times in taken.items()}


def measure(pairs: Sequence[Pair], rounds: int) -> dict[str, float]:
    cached = [(Region(truth), prediction) for truth, prediction in pairs]
    theirs, mine = [published(*pair) for pair in pairs], [ours(*pair) for pair in cached]
    assert theirs == mine, "the harness and the published definition disagree"
    passes = {
        "published": lambda: [published(*pair) for pair in pairs],
        "ours": lambda: [ours(*pair) for pair in cached],
        "row": lambda: [row(*pair) for pair in cached],
        "first row": lambda: [row_of_a_new_instance(*pair) for pair in pairs],
    }
    return microseconds(passes, len(pairs), rounds)


def table(us: dict[str, float], caption: str) -> Table:
    ratio, worst = us["published"] / us["ours"], us["first row"] / 1e3
    shown = Table("per pair of masks", "time", "goal", title="Scoring, one core", caption=caption, min_width=72)
    shown.add_row("IoU + Boundary IoU, published way", f"{us['published']:.0f} us", "")
    shown.add_row("the same here, ground truth kept", f"{us['ours']:.0f} us", "")
    shown.add_row("ratio", f"{ratio:.1f}x", verdict(ratio >= LEAST_RATIO, f"at least {LEAST_RATIO:g}x"))
    shown.add_row("a row: all metrics, run lengths", f"{us['row'] / 1e3:.3f} ms", "")
    goal = verdict(worst <= MOST_MS_A_ROW, f"at most {MOST_MS_A_ROW} ms")
    shown.add_row("an instance's first row", f"{worst:.3f} ms", goal)
    return shown


def main(
    coco: Annotated[
        Path | None, typer.Option(help="A COCO root: real masks of val2017 for the synthetic ones.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="How many pairs of masks.")] = 200,
    rounds: Annotated[int, typer.Option(help="How often each way passes over all pairs.")] = 7,
) -> None:
    """Time the harness's scoring beside the published functions'."""
    cv2.setNumThreads(1)
    made = made_pairs(pairs, coco)
    areas = [truth.mean() for truth, _ in made]
    source = "synthetic, 640 x 480" if coco is None else "COCO val2017"
    caption = (
        f"{len(made)} pairs ({source}), areas: median {np.median(areas):.1%}, mean {np.mean(areas):.1%}; "
        f"equal scores on all; medians of {rounds} passes"
    )
    Console().print(table(measure(made, rounds), caption))


if __name__ == "__main__":
    typer.run(main)
