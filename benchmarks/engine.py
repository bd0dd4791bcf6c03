"""Times the harness itself: `python -m benchmarks.engine`, one core, no downloads, no network.

A null method answers every prompt with one fixed ellipse, so that all the time taken is the harness's own: a COCO
folder of generated 640 x 480 JPEGs goes through the engine from end to end in one process (decode, rasterise, click,
score, run lengths, Parquet). It is compared with the sum of its bare parts: the calls that do the work, on the same
data, in plain loops with nothing in between; they take turns. The last part, "under the click, hit", finds the objects
under a click and the one that a mask hit, which a simpler harness would leave out; the ratio is given with it and
without. The engine does more than all parts: words, seeds, failures, records. Figures are CPU time of the process:
other processes change it least.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import PIL.Image
import typer
from harness.datasets.coco.coco import Coco
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from harness.clicks.depth import inside
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.images.reading import read_rgb
from harness.masks import metric
from harness.masks.destinations import Objects
from harness.masks.region import Region
from harness.masks.rle import encode
from harness.masks.segmentations import decode
from harness.plugins.interfaces import Method
from harness.storage.folder import write_bytes
from harness.storage.manifest import JobFacts
from harness.storage.shards import Header, shard
from harness.storage.store import Store
from harness.structures import Click, Image, Instance, Mask, Prediction, Record

SIZE = (480, 640)
INSTANCES_AN_IMAGE = 7
"""COCO val2017's mean is 7.3."""
LEAST_A_SECOND = 700
MOST = 1.3
COMPARED = "under the click, hit"
METRICS = ("iou", "boundary_iou")
FACTS = JobFacts("null", "coco", {}, {"metrics": {name: {} for name in METRICS}})
SPLIT = "generated"


class Null(Method):
    """Answers every prompt with one fixed ellipse, the same array, so that the method takes no time."""

    device = "cpu"

    def __init__(self) -> None:
        drawn = np.zeros(SIZE, np.uint8)
        cv2.ellipse(drawn, (330, 230), (90, 60), 20, 0, 360, 1, -1)
        self.masks = drawn.view(np.bool_)[None]

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:  # noqa: ARG002
        return Prediction(self.masks)


def photograph(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Smooth shades with grain, which make a JPEG of about a photograph's size (150 KB)."""
    shades = cv2.resize(rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(shades + rng.normal(0, 12, (*SIZE, 3)), 0, 255).astype(np.uint8)


def polygon(rng: np.random.Generator) -> list[float]:
    """An outline of 24 points: COCO's median has about as many."""
    radius = np.exp(rng.normal(3.6, 0.8)) * rng.uniform(0.7, 1.3, 24)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x = rng.uniform(60, SIZE[1] - 60) + radius * np.cos(angle)
    y = rng.uniform(60, SIZE[0] - 60) + radius * np.sin(angle)
    points = np.stack([x.clip(0, SIZE[1]), y.clip(0, SIZE[0])], axis=1)
    return [round(float(value), 2) for value in points.ravel()]


def generate(root: Path, images: int) -> None:
    """A COCO folder."""
    rng = np.random.default_rng(0)
    (root / SPLIT).mkdir()
    (root / "annotations").mkdir()
    pictures, annotations = [], []
    for number in range(1, images + 1):
        PIL.Image.fromarray(photograph(rng)).save(root / SPLIT / f"{number}.jpg", quality=90)
        pictures.append({"id": number, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]})
        for index in range(INSTANCES_AN_IMAGE):
            one = {"id": 100 * number + index, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 1000}
            annotations.append(one | {"segmentation": [polygon(rng)]})
    document = {"images": pictures, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / f"instances_{SPLIT}.json").write_text(json.dumps(document))


def engine(dataset: Coco, store: Store) -> list[Record]:
    """All images as one shard, as a worker does it."""
    names = Names("null", "null", "coco", "coco")
    protocol = Protocol("benchmark", 0, Clicks(), Text(), METRICS)
    ids = dataset.sample_ids()
    records = list(Evaluation(Null(), dataset, [(names, protocol)]).records(ids))
    store.write(FACTS, ids, records)
    return records


def decoded(paths: Sequence[Path]) -> None:
    for path in paths:
        read_rgb(path)


def rasterised(polygons: Sequence[list[float]]) -> None:
    for one in polygons:
        decode([one], *SIZE)


def clicked(truths: Sequence[Region]) -> None:
    for number, truth in enumerate(truths):
        depth = inside(truth)
        places = np.flatnonzero(depth.at_least(float(0.35 * depth.most)))
        np.random.default_rng(number).integers(len(places))


def scored(masks: Sequence[Mask], prediction: Mask) -> None:
    metrics = [metric(name) for name in METRICS]
    for mask in masks:
        truth, predicted = Region(mask), Region(prediction)
        for one in metrics:
            one(truth, predicted)


def packed(masks: Sequence[Mask], prediction: Mask) -> None:
    box = Region(prediction).box
    for _ in masks:
        encode(prediction, box)


def compared(pictures: Sequence[Sequence[tuple[Instance, Region]]], predicted: Region) -> None:
    """Find the objects under the middle of each object's box, and the one that the null method's mask hit."""
    for found in pictures:
        objects = Objects(found)
        for instance, region in found:
            x0, y0, x1, y1 = region.box
            objects.place(instance, [Click((x0 + x1) // 2, (y0 + y1) // 2)])
            objects.hit(instance, predicted)


def parts_of(
    root: Path, dataset: Coco, polygons: Sequence[list[float]], records: Sequence[Record]
) -> dict[str, Callable[[], object]]:
    """Name -> a bare pass over all images or instances."""
    paths, prediction = sorted((root / SPLIT).glob("*.jpg")), Null().masks[0]
    masks = [decode([one], *SIZE) for one in polygons]
    truths = [Region(mask) for mask in masks]
    loaded = [dataset.load(one).instances for one in dataset.sample_ids()]
    pictures = [[(instance, Region(instance.mask)) for instance in own] for own in loaded]
    return {
        "JPEG decoding": partial(decoded, paths),
        "rasterising": partial(rasterised, polygons),
        "clicks": partial(clicked, truths),
        "metrics": partial(scored, masks, prediction),
        "run lengths": partial(packed, masks, prediction),
        "Parquet": lambda: write_bytes(root / "bare.parquet", shard(records, METRICS, Header(("all",), {}))),
        COMPARED: partial(compared, pictures, Region(prediction)),
    }


def seconds(passes: dict[str, Callable[[], object]], for_s: float) -> dict[str, float]:
    """Name -> median CPU seconds of a pass; they take turns until the time is over, three times at least."""
    taken: dict[str, list[float]] = {name: [] for name in passes}
    end = time.monotonic() + for_s
    while time.monotonic() < end or len(next(iter(taken.values()))) < 3:
        for name, run in passes.items():
            start = time.process_time()
            run()
            taken[name].append(time.process_time() - start)
    return {name: median(times) for name, times in taken.items()}


def shown(taken: dict[str, float], instances: int, caption: str) -> Table:
    whole = taken.pop("engine")
    every, fewer = sum(taken.values()), sum(taken.values()) - taken[COMPARED]
    listing = Table("per instance", "ms", "goal", title="The engine, one core, a null method", caption=caption)
    for name, part in taken.items():
        listing.add_row(name, f"{part / instances * 1e3:.3f}", "")
    listing.add_row("sum of the bare parts", f"{every / instances * 1e3:.3f}", "")
    rate = instances / whole
    listing.add_row("the engine", f"{whole / instances * 1e3:.3f}", "")
    listing.add_row("ratio", f"{whole / every:.2f}x", verdict(whole <= MOST * every, f"at most {MOST:.1f}x"))
    listing.add_row(f"ratio without '{COMPARED}'", f"{whole / fewer:.2f}x", "")
    listing.add_row("instances/s/core", f"{rate:.0f}", verdict(rate >= LEAST_A_SECOND, f"at least {LEAST_A_SECOND}"))
    return listing


def main(
    images: Annotated[int, typer.Option(min=1, help="How many images, of 7 instances each.")] = 40,
    for_s: Annotated[float, typer.Option(help="How long to go on measuring, in seconds.")] = 15,
) -> None:
    """Time the whole engine beside the sum of its bare parts."""
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, images)
        dataset, store = Coco(root, SPLIT, seen=None), Store(root / "run")
        document = json.loads(dataset.json_path.read_text())
        polygons = [one["segmentation"][0] for one in document["annotations"]]
        records = engine(dataset, store)
        assert len(records) == len(polygons) and all(record.status == "ok" for record in records)
        passes = {"engine": lambda: engine(dataset, store), **parts_of(root, dataset, polygons, records)}
        caption = f"{images} JPEGs of 640 x 480, {len(polygons)} instances; medians of CPU time"
        Console().print(shown(seconds(passes, for_s), len(polygons), caption))


if __name__ == "__main__":
    typer.run(main)
