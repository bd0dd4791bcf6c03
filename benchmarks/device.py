"""Measures how busy a worker keeps its GPU: `python -m benchmarks.device`, three minutes, no GPU, no downloads.

It needs two idle cores. The GPU is simulated: `encode` and `segment` sleep as long as the bare models took on an H100
(docs/performance.md), and leave the processor free meanwhile, as a GPU does. Everything else is real: JPEGs are
decoded, instances clicked, masks scored and written as Parquet. Busy is the share of the time that the worker spends in
these sleeps. If the share is near 1, the other work takes place during the sleeps. Each measurement is one shard of a
worker, which by default has as many images as take ten seconds: its beginning and its end, when the GPU waits, count as
in a run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import typer
from harness.datasets.coco.coco import Coco
from rich.console import Console
from rich.table import Table

from benchmarks.engine import FACTS, INSTANCES_AN_IMAGE, METRICS, SPLIT, Null, generate
from benchmarks.goals import verdict
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.jobs.worker import SHARD_S
from harness.plugins.interfaces import Group
from harness.storage.store import Store
from harness.structures import Image, Prediction

RATES = {"click-only": 246, "Text+Click": 227, "SAM ViT-B": 164, "SAM ViT-H": 37}
"""Instances a second of the bare models on one H100, with seven instances an image."""

ENCODING = 0.8
"""The share of an image's time that its encoding takes; the rest is its prompts'."""

LEAST_BUSY = 0.95


class Simulated(Null):
    """Answers at once, and sleeps as a GPU of this rate would work."""

    device = "simulated"

    def __init__(self, rate: float) -> None:
        super().__init__()
        image_s = INSTANCES_AN_IMAGE / rate
        self.encode_s, self.prompt_s = ENCODING * image_s, (1 - ENCODING) * image_s / INSTANCES_AN_IMAGE
        self.slept_s = 0.0

    def encode(self, images: Sequence[Image]) -> list[Any]:
        self._sleep(self.encode_s * len(images))
        return list(images)

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        self._sleep(self.prompt_s * sum(len(prompts) for _, prompts in groups))
        return [[Prediction(self.masks) for _ in prompts] for _, prompts in groups]

    def _sleep(self, wanted_s: float) -> None:
        start = time.perf_counter()
        time.sleep(wanted_s)
        self.slept_s += time.perf_counter() - start


def busy(rate: float, dataset: Coco, store: Store, for_s: float) -> float:
    """The share of the time in which the simulated GPU works on a shard that takes so long, written at its end."""
    method = Simulated(rate)
    way = Names("simulated", "simulated", "coco", "coco"), Protocol("benchmark", 0, Clicks(), Text(), METRICS)
    evaluation, shard = Evaluation(method, dataset, [way]), dataset.sample_ids()[: images_in(for_s, rate)]
    start = time.perf_counter()
    store.write(FACTS, shard, list(evaluation.records(shard)))
    return method.slept_s / (time.perf_counter() - start)


def images_in(for_s: float, rate: float) -> int:
    """How many images the GPU does in `for_s` seconds."""
    return max(1, round(for_s * rate / INSTANCES_AN_IMAGE))


def main(
    for_s: Annotated[float, typer.Option(min=0.1, help="How long a shard takes.")] = SHARD_S,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured; the median counts.")] = 3,
) -> None:
    """Print how busy each model's GPU would be."""
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, images_in(for_s, max(RATES.values())))
        dataset, store = Coco(root, SPLIT, seen=None), Store(root / "run")
        shares: dict[str, list[float]] = {name: [] for name in RATES}
        for _ in range(rounds):
            for name, rate in RATES.items():
                shares[name].append(busy(rate, dataset, store, for_s))
    table = Table("model", "instances/s, bare on an H100", "busy", "goal", title="A worker's simulated GPU")
    goal = f"at least {LEAST_BUSY:.0%}"
    for name, found in shares.items():
        share = median(found)
        table.add_row(name, str(RATES[name]), f"{share:.1%}", verdict(share >= LEAST_BUSY, goal))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
