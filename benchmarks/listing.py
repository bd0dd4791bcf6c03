"""Times the listing of data sets: `python -m benchmarks.listing`, one core, no downloads, 4 GB of temporary files.

Annotations of the published data sets' sizes are generated: COCO's JSON, with a million annotations and with the
860,001 of train2017; Open Images' tables of its training split, 2.7 million masks and 14.6 million boxes. Each is
listed by a new process on one core, from nothing and then from the kept index, whose answers must be equal. Times are
the process's CPU time, which on a free core is the wall time, and its wall time, which other processes lengthen.
"""

from __future__ import annotations

import hashlib
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from harness.plugins import parameters

MOST_S = 60.0
MOST_S_TRAIN2017 = 30.0
MOST_GB = 4.0

COCO_IMAGES = 118_287
BOXES_A_MASK = 5.4
ROWS_AT_ONCE = 200_000
LABELS = [f"/m/0{number:03x}" for number in range(350)]


T = TypeVar("T")


class Cost(NamedTuple):
    """The cost of a process: seconds (CPU; wall) until all ids and until all instances are listed, and peak memory."""

    ids_s: float
    all_s: float
    wall_s: float
    peak_gb: float
    instances: int
    digest: str


def coco(root: Path, annotations: int, images: int) -> None:
    """A COCO root of one split, "train2017", without pictures; some 480 bytes an annotation, as in the real one."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    outlines = [", ".join(f"{x:.2f}" for x in rng.uniform(0, 640, 42)) for _ in range(5000)]
    image, category = rng.integers(0, images, annotations), rng.integers(1, 81, annotations)
    with (root / "annotations" / "instances_train2017.json").open("w") as file:
        file.write('{"info": {}, "licenses": [], "images": [')
        file.write(", ".join(coco_image(number) for number in range(images)))
        file.write('], "annotations": [')
        for number in range(annotations):
            file.write(
                f'{", " if number else ""}{{"segmentation": [[{outlines[number % 5000]}]], "area": {number % 9973}.25, '
                f'"iscrowd": 0, "image_id": {image[number]}, "bbox": [473.07, 395.93, 38.65, 28.67], '
                f'"category_id": {category[number]}, "id": {number}}}'
            )
        file.write('], "categories": [')
        file.write(", ".join(f'{{"supercategory": "x", "id": {n}, "name": "class {n}"}}' for n in range(1, 81)) + "]}")


def coco_image(number: int) -> str:
    return (
        f'{{"license": 3, "file_name": "{number:012d}.jpg", "coco_url": "http://images.cocodataset.org/train2017/'
        f'{number:012d}.jpg", "height": 480, "width": 640, "date_captured": "2013-11-14 11:18:45", "flickr_url": '
        f'"http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg", "id": {number}}}'
    )


def openimages(root: Path, masks: int, images: int) -> None:
    """Open Images' tables of one split, "train", without pictures."""
    rng = np.random.default_rng(0)
    for folder in ("train", "train-masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes-segmentation.txt").write_text("\n".join(LABELS) + "\n")
    (root / "class-descriptions-boxable.csv").write_text("".join(f"{label},Class {label[3:]}\n" for label in LABELS))
    image, label = rng.integers(0, images, masks), rng.integers(0, len(LABELS), masks)
    corners = rng.uniform(0, 1, (masks, 4)).round(6)
    write(root / "train-annotations-object-segmentation.csv", mask_tables(image, label, corners))
    write(root / "oidv6-train-annotations-bbox.csv", box_tables(rng, image, label, corners))


def write(path: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pyarrow.csv.CSVWriter(path, first.schema, write_options=pyarrow.csv.WriteOptions(quoting_style="none")) as csv:
        csv.write_table(first)
        for table in tables:
            csv.write_table(table)


def mask_tables(image: np.ndarray, label: np.ndarray, corners: np.ndarray) -> Iterator[pa.Table]:
    clicks = ";".join(f"0.{n}5498 0.65197 {n % 2}" for n in range(10))
    for start in range(0, len(image), ROWS_AT_ONCE):
        rows = range(start, min(start + ROWS_AT_ONCE, len(image)))
        ids = [f"{image[row]:016x}" for row in rows]
        labels = [LABELS[label[row]] for row in rows]
        names = [
            f"{id}_{name[1:].replace('/', '')}_{row:08x}.png" for id, name, row in zip(ids, labels, rows, strict=True)
        ]
        boxes = {key: corners[rows.start : rows.stop, i] for i, key in enumerate(("XMin", "XMax", "YMin", "YMax"))}
        columns: dict[str, Any] = {"MaskPath": names, "ImageID": ids, "LabelName": labels}
        columns |= {"BoxID": [f"{row:08x}" for row in rows]} | {f"Box{key}": box for key, box in boxes.items()}
        yield pa.table(columns | {"PredictedIoU": np.full(len(ids), 0.86864), "Clicks": [clicks] * len(ids)})


def box_tables(
    rng: np.random.Generator, image: np.ndarray, label: np.ndarray, corners: np.ndarray
) -> Iterator[pa.Table]:
    """A box of every mask, the others anywhere, in the order of their images."""
    count = int(len(image) * BOXES_A_MASK)
    source = np.arange(count) % len(image)
    source = source[np.argsort(image[source], kind="stable")]
    of_mask = np.zeros(count, np.bool_)
    of_mask[np.unique(source, return_index=True)[1]] = True
    for start in range(0, count, ROWS_AT_ONCE):
        rows = source[start : start + ROWS_AT_ONCE]
        box = np.where(of_mask[start : start + ROWS_AT_ONCE, None], corners[rows], rng.uniform(0, 1, (len(rows), 4)))
        columns: dict[str, Any] = {"ImageID": [f"{row:016x}" for row in image[rows]], "Source": ["xclick"] * len(rows)}
        columns |= {"LabelName": [LABELS[n] for n in label[rows]], "Confidence": np.ones(len(rows), np.int8)}
        columns |= {key: box[:, i] for i, key in enumerate(("XMin", "XMax", "YMin", "YMax"))}
        flags = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
        yield pa.table(columns | {flag: rng.integers(0, 20, len(rows), np.int8) // 19 for flag in flags})


def listed(name: str, params: dict[str, Any], index: Path) -> Cost:
    """List a data set in this process, on one of its cores."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["HARNESS_INDEX"] = str(index)
    dataset = parameters.build("datasets", name, params)
    wall, start, digest, instances = time.perf_counter(), time.process_time(), hashlib.sha256(), 0
    ids = dataset.sample_ids()
    ids_s = time.process_time() - start
    for sample_id in ids:
        for instance in dataset.list_instances(sample_id):
            digest.update(f"{instance.id},{instance.category};".encode())
            instances += 1
    all_s, wall_s = time.process_time() - start, time.perf_counter() - wall
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return Cost(ids_s, all_s, wall_s, peak_gb, instances, digest.hexdigest())


def in_a_new_process(work: Callable[..., T], *arguments: Any) -> T:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def rows(what: str, most_s: float, name: str, params: dict[str, Any], index: Path) -> Iterator[tuple[str, ...]]:
    costs = [in_a_new_process(listed, name, params, index) for _ in range(2)]
    assert costs[0].digest == costs[1].digest, f"{what}: the kept index answers otherwise"
    for how, cost in zip(("from nothing", "from the index"), costs, strict=True):
        times = f"{cost.ids_s:.1f} s", f"{cost.all_s:.1f} s", f"{cost.wall_s:.1f} s"
        met = cost.all_s <= most_s and cost.peak_gb <= MOST_GB
        goal = verdict(met, f"{most_s:g} s, {MOST_GB:g} GB")
        yield f"{what}, {how}", f"{cost.instances:,}", *times, f"{cost.peak_gb:.2f} GB", goal


def main(
    scale: Annotated[float, typer.Option(help="Of the published sizes; below 1 for a quick look.")] = 1.0,
) -> None:
    """Time the listing of COCO and of Open Images, from nothing and from the kept index."""
    table = Table("data set", "instances", "ids", "and all", "wall", "peak", "goal", title="Listing, one core")
    with tempfile.TemporaryDirectory() as folder:
        root, index = Path(folder), Path(folder, "index")
        for name, count in (("million", 1_000_000), ("train2017", 860_001)):
            in_a_new_process(coco, root / name, int(count * scale), int(COCO_IMAGES * scale))
        in_a_new_process(openimages, root / "openimages", int(2_700_000 * scale), int(945_000 * scale))
        for what, most_s, name, params in (
            ("COCO, a million", MOST_S, "coco", {"root": root / "million", "split": "train2017", "seen": None}),
            ("train2017", MOST_S_TRAIN2017, "coco", {"root": root / "train2017", "split": "train2017", "seen": None}),
            ("Open Images", MOST_S, "openimages", {"root": root / "openimages", "split": "train", "seen": None}),
            (
                "Open Images without groups",
                MOST_S,
                "openimages",
                {"root": root / "openimages", "split": "train", "seen": None, "drop_group_of": True},
            ),
        ):
            for row in rows(what, most_s, name, params, index):
                table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
