"""Times a click: `python -m benchmarks.clicks`, one core, no downloads.

RITM's clicker transforms the whole image twice a click. This file writes it anew from its definition (both kinds of
error padded by one pixel, OpenCV's precise transform, clicked pixels set to 0, the first maximum), as in
https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460. Every strategy here is timed on the same
instances: on the first click and, if it corrects masks, also on a second click into a prediction's errors. They take
turns, a whole pass over the instances at a time, so that no pass finds the other's masks in the caches; a figure is the
median over the passes, in CPU time of the one thread, which other processes change least.

Before anything is timed, `ritm/v1` must make the published clicks. For this check OpenCV's squared distances are
rounded to integers: with Intel's IPP their last bit varies from call to call, and would decide between equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from jaxtyping import Float32
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from benchmarks.scoring import SIZE, microseconds, prediction_for, real_truths, synthetic_truth
from harness.clicks import Situation
from harness.clicks.deepest import deepest
from harness.plugins.registry import find
from harness.structures import Click, Instance, Mask, Sample

MOST_MS = 2.0
"""A click of any strategy, the mean over the instances."""

DRAWN: list[tuple[str, dict[str, Any]]] = [
    ("paper/v1", {}),
    ("paper/v2", {"positives": 2, "negatives": 1}),
    ("xu/v1", {"positives": 2, "negatives": 2}),
    ("rclicks/v1", {}),
    ("grid/v1", {}),
]
CORRECTING = ("ritm/v1", "center/v1", "sam/v1")

Ask = Callable[[Situation], object]


def depth(wrong: Mask) -> Float32[np.ndarray, "h w"]:
    padded = np.pad(wrong, ((1, 1), (1, 1)), "constant").astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1]


def published(at: Situation, exact: bool = False) -> Click:
    """RITM's next click; `exact` makes squared integers of the distances first."""
    truth, predicted = at.instance.mask, at.predicted if at.predicted is not None else np.zeros_like(at.instance.mask)
    not_clicked = np.ones_like(truth)
    for click in at.clicks:
        not_clicked[click.y, click.x] = False
    wrong = np.logical_and(truth, np.logical_not(predicted)), np.logical_and(np.logical_not(truth), predicted)
    depths = [depth(part) * not_clicked for part in wrong]
    if exact:
        depths = [np.rint(np.square(part, dtype=np.float64)) for part in depths]
    on, off = depths
    positive = bool(np.max(on) > np.max(off))
    ys, xs = np.where(on == np.max(on)) if positive else np.where(off == np.max(off))
    return Click(int(xs[0]), int(ys[0]), positive)


def situations(truths: Sequence[Mask]) -> tuple[list[Situation], list[Situation]]:
    """Before the first click, and after it with an outline that is 8 pixels off (one standard deviation)."""
    first, second = [], []
    for number, truth in enumerate(truths):
        rng = np.random.default_rng(number)
        instance = Instance(str(number), truth, "object")
        sample = Sample(str(number), np.zeros((*truth.shape, 3), np.uint8), (instance,))
        first.append(Situation(sample, instance, (), None, rng))
        predicted = prediction_for(truth, rng, amplitude=8.0)
        second.append(Situation(sample, instance, (published(first[-1]),), predicted, rng))
    return first, second


def passed(ask: Ask, over: Sequence[Situation]) -> None:
    for at in over:
        ask(at)


def made_passes(first: Sequence[Situation], second: Sequence[Situation]) -> dict[str, Callable[[], object]]:
    asked: dict[str, tuple[Ask, Sequence[Situation]]] = {"RITM's way, first click": (published, first)}
    for name in CORRECTING:
        asked[f"{name}, first click"] = (find("clicks", name), first)
    asked["RITM's way, next click"] = (published, second)
    for name in CORRECTING:
        asked[f"{name}, next click"] = (find("clicks", name), second)
    for name, options in DRAWN:
        said = ", ".join(f"{count} {key}" for key, count in options.items())
        asked[f"{name}{': ' if said else ''}{said}"] = (partial(find("clicks", name), **options), first)
    return {name: partial(passed, *one) for name, one in asked.items()}


def check(over: Sequence[Situation]) -> int:
    """The number of clicks that the last bit of OpenCV's distances moves to another pixel."""
    moved = 0
    for at in over:
        theirs = published(at, exact=True)
        assert find("clicks", "ritm/v1")(at) == (theirs,), f"instance {at.instance.id}: RITM clicks {theirs}"
        found = deepest(at.instance.mask)
        assert found and depth(at.instance.mask).max() ** 2 - found.squared < 0.1
        moved += published(at) != theirs
    return moved


def table(us: dict[str, float], caption: str) -> Table:
    shown = Table(
        "a click", "time", "RITM's way takes", "goal", title="Clicks, one core", caption=caption, min_width=72
    )
    for name, time_us in us.items():
        theirs = us["RITM's way, next click" if "next" in name else "RITM's way, first click"]
        if name.startswith("RITM"):
            shown.add_row(name, f"{time_us / 1e3:.3f} ms", "", "")
        else:
            goal = verdict(time_us <= MOST_MS * 1e3, f"at most {MOST_MS:g} ms")
            shown.add_row(name, f"{time_us / 1e3:.3f} ms", f"{theirs / time_us:.1f}x", goal)
    return shown


def main(
    coco: Annotated[
        Path | None, typer.Option(help="A COCO root: real masks of val2017 for the synthetic ones.")
    ] = None,
    instances: Annotated[int, typer.Option(help="How many.")] = 100,
    rounds: Annotated[int, typer.Option(help="How often each way passes over all instances.")] = 7,
) -> None:
    """Time every click simulator beside RITM's."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    truths = [synthetic_truth(rng) for _ in range(2 * instances)] if coco is None else real_truths(coco)
    truths = [truth for truth in truths if 0 < truth.sum() < truth.size]
    first, second = situations([truths[i] for i in rng.permutation(len(truths))[:instances]])
    moved = check([*first, *second])
    areas = [at.instance.mask.mean() for at in first]
    source = f"synthetic, {SIZE[1]} x {SIZE[0]}" if coco is None else "COCO val2017"
    caption = (
        f"{len(first)} instances ({source}), areas: median {np.median(areas):.1%}, mean {np.mean(areas):.1%}; "
        f"ritm/v1 clicks as RITM on all (OpenCV's last bit would move {moved} of {2 * len(first)}); means over the "
        f"instances, medians of {rounds} passes"
    )
    Console().print(table(microseconds(made_passes(first, second), len(first), rounds), caption))


if __name__ == "__main__":
    typer.run(main)
