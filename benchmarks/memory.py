"""Measures the memory for a large picture with many instances: `python -m benchmarks.memory`, no downloads, no network.

One photograph of 1500 x 2000 pixels with 1000 objects of 80 classes is generated as a COCO folder. Each embedded method
evaluates it in a new process, as a worker does: with one click and, if it takes several clicks, also with three. The
figure is the process's peak less its memory when the method was built. It is compared with the peak for a tenth of the
instances: memory must not grow with their number.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
import PIL.Image
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict

MOST_MIB = 2048
SPLIT = "generated"
CLASSES = 80
WEIGHTS = "methods/weights"
CLIP = f"{WEIGHTS}/scenes_clip"

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "text_click": (
        "text_click",
        {
            "checkpoint": f"{WEIGHTS}/scenes_text_click.safetensors",
            "saliency": {
                "name": "maskclip",
                "params": {"model": f"{CLIP}.json", "checkpoint": f"{CLIP}.safetensors", "input": 128},
            },
        },
    ),
    "click_only": ("click_only", {"checkpoint": f"{WEIGHTS}/scenes_click_only.safetensors"}),
    "sam, confidence": ("sam", {"checkpoint": f"{WEIGHTS}/scenes_sam.safetensors"}),
    "sam, clip and oracle": (
        "sam",
        {
            "checkpoint": f"{WEIGHTS}/scenes_sam.safetensors",
            "rankings": ["confidence", "clip"],
            "clip_model": f"{CLIP}.json",
            "clip_checkpoint": f"{WEIGHTS}/scenes_clip_crops.safetensors",
        },
    ),
    "sam, chosen": ("sam", {"checkpoint": f"{WEIGHTS}/scenes_sam.safetensors", "candidates": "chosen"}),
    "ritm": ("ritm", {"checkpoint": f"{WEIGHTS}/scenes_ritm.safetensors"}),
}
"""Name -> the measured method and its parameters. RITM at its default sees the whole picture at the first click."""

UNASKED = ("ritm",)
"""Measured only where they are named: RITM passes the whole picture through its network twice for each object."""

SEVERAL_CLICKS = ("sam", "ritm")
"""The methods whose embedded weights take more clicks than one."""


@dataclass(frozen=True)
class Cost:
    """The cost of one process.

    Attributes:
        model_mib: Its memory once the method was built.
        peak_mib: Its peak less `model_mib`.
        seconds: The wall time of the picture.
        failed: How many instances have no mask.
    """

    model_mib: float
    peak_mib: float
    seconds: float
    failed: int


def generate(root: Path, size: tuple[int, int], instances: int, images: int = 1, classes: int = CLASSES) -> None:
    """A COCO folder of pictures of (h, w), each with so many blots of 20 to 140 pixels, anywhere."""
    rng = np.random.default_rng(0)
    height, width = size
    (root / SPLIT).mkdir(parents=True)
    (root / "annotations").mkdir()
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    annotations = []
    for image in range(1, images + 1):
        shades = cv2.resize(rng.uniform(0, 255, (12, 16, 3)).astype(np.float32), (width, height))
        noisy = np.clip(shades + rng.normal(0, 12, (height, width, 1)), 0, 255).astype(np.uint8)
        PIL.Image.fromarray(noisy).save(root / SPLIT / f"{image}.jpg", quality=90)
        for number in range(instances):
            radius = rng.uniform(10, 70) * rng.uniform(0.7, 1.3, 16)
            middles = (rng.uniform(80, side - 80) for side in (width, height))
            x, y = (middle + radius * turn(angle) for middle, turn in zip(middles, (np.cos, np.sin), strict=True))
            points = np.stack([x, y], axis=1).round(2).ravel().tolist()
            about = {"id": len(annotations), "image_id": image, "category_id": number % classes, "iscrowd": 0}
            annotations.append(about | {"area": 1000, "segmentation": [points]})
    pictures = [
        {"id": image, "file_name": f"{image}.jpg", "height": height, "width": width} for image in range(1, images + 1)
    ]
    categories = [{"id": number, "name": f"thing {number}"} for number in range(classes)]
    document = {"images": pictures, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{SPLIT}.json").write_text(json.dumps(document))


def evaluated(root: Path, method: str, clicks: int) -> Cost:
    """Build the method in this process, evaluate the picture, and look at the process's peak."""
    from harness.config.click_protocol import Clicks
    from harness.config.wording import Text
    from harness.evaluation import Evaluation, Names, Protocol
    from harness.jobs.worker import limit_threads
    from harness.plugins import parameters

    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    name, params = METHODS[method]
    built = parameters.build("methods", name, params)
    dataset = parameters.build("datasets", "coco", {"root": root, "split": SPLIT, "seen": None})
    limit_threads(1)
    ids = dataset.sample_ids()
    before_mib, started = peak_mib(), time.perf_counter()
    asked = Protocol("benchmark", 0, Clicks(strategy="center/v1", max_clicks=clicks), Text(), ("iou", "boundary_iou"))
    records = list(Evaluation(built, dataset, [(Names(method, name, "coco", "coco"), asked)]).records(ids))
    failed = len({record.instance_id for record in records if record.status != "ok"})
    return Cost(before_mib, peak_mib() - before_mib, time.perf_counter() - started, failed)


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measured(root: Path, method: str, clicks: int) -> Cost:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(evaluated, root, method, clicks).result()


def row(roots: Sequence[Path], method: str, clicks: int) -> tuple[str, ...]:
    fewer, all_ = (measured(root, method, clicks) for root in roots)
    typer.echo(f"{method}, {clicks} clicks: {fewer.peak_mib:.0f}, {all_.peak_mib:.0f} MiB", err=True)
    goal = verdict(all_.peak_mib < MOST_MIB and not all_.failed, f"under {MOST_MIB} MiB")
    peaks = f"{fewer.peak_mib:.0f} MiB", f"{all_.peak_mib:.0f} MiB"
    return method, str(clicks), f"{all_.model_mib:.0f} MiB", *peaks, f"{all_.seconds:.0f} s", str(all_.failed), goal


def main(
    methods: Annotated[list[str] | None, typer.Argument(help="Which of `METHODS`; all but RITM by default.")] = None,
    instances: Annotated[int, typer.Option(min=10, help="How many, in the one picture.")] = 1000,
    height: Annotated[int, typer.Option(min=200)] = 1500,
    width: Annotated[int, typer.Option(min=200)] = 2000,
    clicks: Annotated[int, typer.Option(min=1, help="How many, of methods that take several.")] = 3,
) -> None:
    """Measure the memory that one large picture with many instances takes."""
    for name in methods or ():
        if name not in METHODS:
            raise typer.BadParameter(f"found '{name}'; wanted one of: {'; '.join(METHODS)}")
    title = f"One picture of {height} x {width}: peak beyond the model"
    table = Table("method", "clicks", "model", f"{instances // 10} instances", f"{instances} instances", title=title)
    for heading in ("time", "failed", "goal"):
        table.add_column(heading)
    with TemporaryDirectory() as folder:
        roots = [Path(folder, str(count)) for count in (instances // 10, instances)]
        for root, count in zip(roots, (instances // 10, instances), strict=True):
            generate(root, (height, width), count)
        for method in methods or [name for name in METHODS if name not in UNASKED]:
            for number in dict.fromkeys((1, clicks if METHODS[method][0] in SEVERAL_CLICKS else 1)):
                table.add_row(*row(roots, method, number))
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
