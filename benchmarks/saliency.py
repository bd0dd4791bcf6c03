"""Compares the cost of texts with that of an image: `python -m benchmarks.saliency`, a minute, no downloads.

First, a ViT's image encoding, with random weights, against each saliency's computation for 1, 8 and 80 texts on the
grid of its patches, in one run on one thread; stretching maps over the image is left out, as it is the same for all.
Then, SAM's candidates on scenes ranked by CLIP's crops and by a saliency: how many images CLIP encodes, and the time.
Times are CPU times of the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from harness.datasets.scenes.scenes import Scenes
from harness.methods.saliency.chefer import Chefer
from harness.methods.saliency.gradcam import Gradcam
from harness.methods.shared import clip_saliency
from harness.methods.shared.open_clip_model import load_clip
from rich.console import Console
from rich.table import Table

from harness.plugins import parameters
from harness.structures import Click, Prompt

COUNTS = (1, 8, 80)
WEIGHTS = "methods/weights/"
SAM = {"checkpoint": f"{WEIGHTS}scenes_sam.safetensors", "device": "cpu"}
CLIP = {"model": f"{WEIGHTS}scenes_clip.json", "checkpoint": f"{WEIGHTS}scenes_clip.safetensors"}
CROPS = {"clip_model": f"{WEIGHTS}scenes_clip.json", "clip_checkpoint": f"{WEIGHTS}scenes_clip_crops.safetensors"}
MASKCLIP = {"name": "maskclip", "params": {**CLIP, "input": 128, "device": "cpu"}}


def main(
    model: Annotated[str, typer.Option(help="An open_clip name; its weights are random.")] = "ViT-B-16",
    rounds: Annotated[int, typer.Option(help="Of each measurement, of which the median counts.")] = 7,
    images: Annotated[int, typer.Option(help="Scenes on which SAM's masks are ranked.")] = 20,
) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    Console().print(texts_beside_an_image(model, rounds))
    Console().print(rankings(images))


def texts_beside_an_image(model: str, rounds: int) -> Table:
    """A saliency's evidence of several texts, in ms and as a share of one image encoding."""
    clip_saliency.load_clip = lambda name, *_: load_clip(name, None, "cpu", allow_random=True)  # type: ignore[attr-defined]
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    vectors = torch.nn.functional.normalize(torch.randn(max(COUNTS), 1, 512), dim=-1)
    table = Table("saliency", "image encoding, ms", *[f"{count} texts, ms (share)" for count in COUNTS])
    for name, saliency in (("chefer", Chefer(model)), ("gradcam", Gradcam(model))):
        (seen,) = saliency.features([image])
        times = medians([partial(saliency.features, [image]), *asked(saliency, seen.kept[None], vectors)], rounds)
        shares = [f"{one:.1f} ({one / times[0]:.1%})" for one in times[1:]]
        table.add_row(name, f"{times[0]:.0f}", *shares)
    return table


def asked(saliency: Any, kept: torch.Tensor, vectors: torch.Tensor) -> list[Callable[[], Any]]:
    """The evidence of each number of texts, as a call."""

    evidence = torch.inference_mode()(saliency.evidence)
    return [partial(evidence, kept, vectors[:count]) for count in COUNTS]


def medians(calls: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """CPU time of each call in ms; the calls take turns, and the first round warms up."""
    found: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for own, call in zip(found, calls, strict=True):
            started = time.process_time()
            call()
            own.append((time.process_time() - started) * 1000)
    return [median(own[1:]) for own in found]


def rankings(images: int) -> Table:
    """Images that CLIP encodes and CPU time, for SAM ranked by its confidence alone, by crops too, by a saliency too.

    The three take turns at every image, so that other work of the machine affects all of them.
    """
    data = Scenes("val", count=images)
    samples = [data.load(one) for one in data.sample_ids()]
    instances = sum(len(sample.instances) for sample in samples)
    options: dict[str, dict[str, Any]] = {"confidence": {}, "clip": CROPS, "saliency": {"saliency": MASKCLIP}}
    methods, passes = {}, {}
    for ranking, more in options.items():
        names = list(dict.fromkeys(["confidence", ranking]))
        method = methods[" + ".join(names)] = parameters.build("methods", "sam", {**SAM, "rankings": names, **more})
        passes[" + ".join(names)] = counted(method)
    spent = dict.fromkeys(methods, 0.0)
    for turn, sample in enumerate([samples[0], *samples]):
        for name, method in methods.items():
            started = time.process_time()
            ask(method, sample, data.classes)
            spent[name] += (time.process_time() - started) * 1000
            if not turn:  # The first one warms up.
                spent[name] = 0.0
                passes[name].clear()
    table = Table("rankings", "images through CLIP", "ms an instance", "of it for the text", "of confidence alone")
    base = spent["confidence"]
    for name, own in spent.items():
        seen = f"{sum(passes[name])} for {instances} instances"
        table.add_row(name, seen, f"{own / instances:.1f}", f"{(own - base) / instances:.1f}", f"{own / base:.2f}")
    return table


def counted(method: Any) -> list[int]:
    """A list that from now on gets the number of images in each forward pass of a ranking's CLIP."""
    found: list[int] = []
    for ranker in (method.clip, method.saliency):
        if ranker is not None:
            ranker.clip.module.visual.conv1.register_forward_pre_hook(lambda _, given: found.append(len(given[0])))
    return found


def ask(method: Any, sample: Any, classes: tuple[str, ...]) -> None:
    """Ask for every instance of an image by a click on its middle pixel in reading order."""
    (state,) = method.encode([sample.image])
    prompts = []
    for one in sample.instances:
        y, x = np.argwhere(one.mask)[one.mask.sum() // 2]
        prompts.append(Prompt((Click(int(x), int(y)),), one.category, vocabulary=classes))
    method.segment([(state, prompts)])


if __name__ == "__main__":
    typer.run(main)
