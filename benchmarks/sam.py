"""Times SAM here: `python -m benchmarks.sam`, vit_b with random weights, no downloads; minutes on one core.

Three ways to the same masks: this project's plugin; the naive loop, in which every instance sets the image anew; and
a loop written by hand that encodes the image once and decodes all of its clicks in one batch, which is the bare model.
All three must agree on every mask except for single pixels (MOST_FLIPPED). The naive loop takes the same time for every
click, so on each image it runs over the first few clicks only, and its time is scaled to all; the other two take turns
over all clicks, as their difference is small. Times are CPU times of the process, which other processes change least.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import typer
from harness.methods.sam.sam import Sam
from pycocotools.coco import COCO
from rich.console import Console
from rich.progress import track
from rich.table import Table
from segment_anything import SamPredictor, sam_model_registry

from benchmarks.goals import verdict
from harness.structures import Click, Image, Masks, Prompt

LEAST_RATIO = 6.0
MOST_OVERHEAD = 1.05
MOST_FLIPPED = 1e-5
"""The largest share of pixels that may differ: the package itself flips a few, with logits within 1e-7 of 0, between a
prompt alone and in a batch."""

Scene = tuple[Image, list[Click]]
Way = Callable[[Image, Sequence[Click]], list[Masks]]


def synthetic_scene(rng: np.random.Generator, clicks: int) -> Scene:
    """Coloured blocks and clicks anywhere, 640 x 480."""
    image = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
    places = rng.integers(0, (640, 480), (clicks, 2)).tolist()
    return image, [Click(x, y) for x, y in places]


def coco_scenes(root: Path, images: int) -> list[Scene]:
    """Images of COCO's val2017 under a root, with a click on a random pixel of each of their objects."""
    with redirect_stdout(StringIO()):  # the constructor prints its progress
        coco = COCO(str(root / "annotations" / "instances_val2017.json"))
    rng = np.random.default_rng(0)
    scenes: list[Scene] = []
    for record in coco.loadImgs(coco.getImgIds()):
        masks = [coco.annToMask(one) for one in coco.loadAnns(coco.getAnnIds(record["id"], iscrowd=False))]
        clicks = [click_on(mask, rng) for mask in masks if mask.any()]
        if clicks and len(scenes) < images:
            file = PIL.Image.open(root / "val2017" / record["file_name"])
            scenes.append((np.array(file.convert("RGB")), clicks))
    return scenes


def click_on(mask: np.ndarray, rng: np.random.Generator) -> Click:
    y, x = rng.choice(np.argwhere(mask))
    return Click(int(x), int(y))


def ours(method: Sam) -> Way:
    def run(image: Image, clicks: Sequence[Click]) -> list[Masks]:
        (state,) = method.encode([image])
        (predictions,) = method.segment([(state, [Prompt((click,)) for click in clicks])])
        return [prediction.masks for prediction in predictions]

    return run


def naive(predictor: SamPredictor) -> Way:
    def run(image: Image, clicks: Sequence[Click]) -> list[Masks]:
        masks = []
        for click in clicks:
            predictor.set_image(image)
            masks.append(predictor.predict(np.array([[click.x, click.y]]), np.array([1]))[0])
        return masks

    return run


def by_hand(predictor: SamPredictor) -> Way:
    def run(image: Image, clicks: Sequence[Click]) -> list[Masks]:
        predictor.set_image(image)
        points = predictor.transform.apply_coords(np.array([[(click.x, click.y)] for click in clicks]), image.shape[:2])
        labels = torch.ones(len(clicks), 1)
        masks, _, _ = predictor.predict_torch(torch.as_tensor(points, dtype=torch.float), labels)
        return list(masks.numpy())

    return run


def timed(way: Way, image: Image, clicks: Sequence[Click]) -> tuple[float, list[Masks]]:
    """CPU seconds of all threads, and the masks."""
    start = time.process_time()
    masks = way(image, clicks)
    return time.process_time() - start, masks


@dataclass(frozen=True)
class Taken:
    """CPU seconds on one image: of the naive loop for each of its clicks, of the other two for all of them."""

    clicks: int
    naive: float
    ours: float
    by_hand: float


def measure(scene: Scene, ways: dict[str, Way], rounds: int, naive_clicks: int) -> Taken:
    """Each way's median CPU seconds on one image; all of them must find the same masks."""
    image, clicks = scene
    few = clicks[:naive_clicks]
    seconds, naive_masks = timed(ways["naive"], image, few)
    taken: dict[str, list[float]] = {"ours": [], "by hand": []}
    for number in range(rounds):
        found = {name: timed(ways[name], image, clicks) for name in sorted(taken, reverse=number % 2 == 0)}
        check_same(naive_masks, found["ours"][1][: len(few)])
        check_same(found["by hand"][1], found["ours"][1])
        for name in taken:
            taken[name].append(found[name][0])
    return Taken(len(clicks), seconds / len(few), median(taken["ours"]), median(taken["by hand"]))


def check_same(wanted: Sequence[Masks], found: Sequence[Masks]) -> None:
    same = all(np.mean(a != b) <= MOST_FLIPPED for a, b in zip(wanted, found, strict=True))
    assert same, "the harness and segment_anything disagree on a mask"


def table(taken: Sequence[Taken]) -> Table:
    clicks = sum(one.clicks for one in taken)
    naive = sum(one.naive * one.clicks for one in taken)
    ours, by_hand = sum(one.ours for one in taken), sum(one.by_hand for one in taken)
    overhead = median(one.ours / one.by_hand for one in taken)
    caption = f"{len(taken)} images, {clicks} clicks; the same masks from all; CPU time"
    shown = Table("", "an image", "goal", title="SAM ViT-B, all three masks a click", caption=caption, min_width=72)
    for name, seconds in (("naive", naive), ("by hand", by_hand), ("ours", ours)):
        shown.add_row(name, f"{seconds / len(taken):.2f} s", "")
    ratio = naive / ours
    shown.add_row("naive / ours", f"{ratio:.1f}x", verdict(ratio >= LEAST_RATIO, f"at least {LEAST_RATIO:g}x"))
    shown.add_row(
        "ours / by hand, median", f"{overhead:.3f}x", verdict(overhead <= MOST_OVERHEAD, f"at most {MOST_OVERHEAD}x")
    )
    return shown


def built(checkpoint: Path | None, folder: Path) -> tuple[Sam, Any]:
    """The plugin, and the package's model with the same weights."""
    if checkpoint is None:
        checkpoint = folder / "sam_vit_b.pth"
        torch.manual_seed(0)
        torch.save(sam_model_registry["vit_b"]().state_dict(), checkpoint)
    return Sam(checkpoint, device="cpu"), sam_model_registry["vit_b"](checkpoint=str(checkpoint))


def main(
    coco: Annotated[Path | None, typer.Option(help="A COCO root: images of val2017 for the synthetic ones.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Released weights of vit_b for random ones.")] = None,
    images: Annotated[int, typer.Option(help="How many images.")] = 1,
    naive_clicks: Annotated[
        int, typer.Option(help="Clicks of an image on which the naive loop is timed; all cost it the same.")
    ] = 3,
    rounds: Annotated[int, typer.Option(help="Turns of the plugin and the loop by hand on each image.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 1,
) -> None:
    """Time SAM here beside the naive loop and the bare model."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    scenes = [synthetic_scene(rng, 7) for _ in range(images)] if coco is None else coco_scenes(coco, images)
    with tempfile.TemporaryDirectory() as folder:
        method, model = built(checkpoint, Path(folder))
        predictor = SamPredictor(model)
        ways = {"naive": naive(predictor), "ours": ours(method), "by hand": by_hand(predictor)}
        taken = [measure(scene, ways, rounds, naive_clicks) for scene in track(scenes, "images")]
    Console().print(table(taken))


if __name__ == "__main__":
    typer.run(main)
