"""Times the parts of a training example, and training against the bare model: `python -m benchmarks.training`.

Photographs are generated (COCO's format, 640 x 480, 80 categories), or are those of `--coco`; the network is
Text+Click's. First each part of an example is timed on one thread. Then a training's images per second, from files to
optimiser steps, are compared with those of the bare model's forward and backward passes on tensors that are on the
device already, in the same precision and memory format. The two take turns in one process. Only images of steps in
progress are kept in memory, so nearly all are decoded anew, as COCO's are. On a GPU figures are wall time until the
device is done; on a CPU they are CPU time of the process. For one H100:

    python -m benchmarks.training --device cuda --size 512 --batch 32 --compute bf16 --encoder tu-resnet50c \
        --decoder-channels 512 --output-stride 8 --loaders 12 --coco data/coco --split train2017 \
        --clip RN50-quickgelu --clip-checkpoint weights/RN50.pt --clip-input native --features runs/features
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
import typer
from harness.methods.learners.shared.augmentation import labels_at
from harness.methods.learners.shared.mask_losses import cross_entropy
from harness.methods.shared.saliency_cache import KEPT_IMAGES
from rich.console import Console
from rich.table import Table

from benchmarks.engine import SPLIT, generate
from benchmarks.goals import verdict
from benchmarks.training_parts import SAMPLES, Parts, clock
from harness import places
from harness.config.recipe import Recipe
from harness.training.batches import Batches, batches_of
from harness.training.loaders import STEPS_AHEAD, Loaders
from harness.training.one_rank import Training

LEAST_SHARE = 0.9
"""The least share of the bare model's images per second that training must reach."""

WARM_UP = 2
CATEGORIES = 80
BYTES_AN_IMAGE = 3 * 640 * 480 + 10 * 640 * 480 // 8
"""The bytes of a decoded image with the masks of ten instances."""
WEIGHTS = places.ROOT / "methods" / "weights"
CLIP, CLIP_CHECKPOINT = WEIGHTS / "scenes_clip.json", WEIGHTS / "scenes_clip.safetensors"


def photographs(root: Path, images: int) -> None:
    """A COCO folder with as many categories as COCO, by which saliency is contrasted."""
    generate(root, images)
    path = root / "annotations" / f"instances_{SPLIT}.json"
    document = json.loads(path.read_text())
    document["categories"] = [{"id": number + 1, "name": f"thing {number}"} for number in range(CATEGORIES)]
    for number, one in enumerate(document["annotations"]):
        one["category_id"] = number % CATEGORIES + 1
    path.write_text(json.dumps(document))


def bare(job: Training) -> Callable[[], None]:
    """Forward and backward passes of as many images as a step has, in the same parts."""
    learner: Any = job.learner
    device, recipe, channels = job.state.device, job.recipe, learner.architecture.channels
    size = (recipe.batch // recipe.accumulate, channels.count, channels.size, channels.size)
    inputs = torch.randn(size, device=device)
    if device.type == "cuda":
        inputs = inputs.to(memory_format=torch.channels_last)
    target = torch.from_numpy(labels_at(np.eye(2, dtype=np.uint8), size[2:])).to(device).expand(size[0], -1, -1)

    def step() -> None:
        learner.network.zero_grad(set_to_none=True)
        for _ in range(recipe.accumulate):
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.compute == "bf16"):
                loss = cross_entropy(learner.network(inputs).float(), target)
            loss.backward()

    return step


def trained(job: Training, steps: int, waited: list[float]) -> Iterator[None]:
    """A step of training, from files on, for every `next`; appends the seconds that it waited for its examples."""
    coming, device = job.steps(0, steps), job.state.device
    for step in range(steps):
        started = clock(device)
        share = next(coming)
        waited.append(clock(device) - started)
        job.state.step(step, share)
        yield


def rates(job: Training, steps: int, rounds: int) -> tuple[float, float, float]:
    """Images a second of training and of the bare model, medians of rounds of some steps, which take turns.

    Returns:
        Both, and the share of training's time in which it waited for examples.
    """
    device = job.state.device
    # Examples that the loaders had time to prepare in the bare model's turn are not counted.
    settling = WARM_UP + (STEPS_AHEAD * len(job.loaders.pools) if job.loaders else 0)
    waited: list[float] = []
    train, alone = partial(next, trained(job, (settling + steps) * rounds, waited)), bare(job)
    taken: dict[Any, list[float]] = {train: [], alone: []}
    for _ in range(rounds):
        for run, times in taken.items():
            for _ in range(settling):
                run()
            started = clock(device)
            for _ in range(steps):
                run()
            times.append(clock(device) - started)
    images = job.recipe.batch * steps
    counted = [time for number, time in enumerate(waited) if number % (settling + steps) >= settling]
    idle = sum(counted) / sum(taken[train])
    return images / median(taken[train]), images / median(taken[alone]), idle


def forgetful(recipe: Recipe, device: torch.device, kept: int, processes: int, threads: int) -> Batches:
    """Batches whose memory holds the images of a step, and features of so many images."""
    made = batches_of(recipe, 0, 1, device, processes, threads)
    learner: Any = made.learner
    made.samples.limit = recipe.batch * BYTES_AN_IMAGE
    if learner.saliency is not None:
        learner.saliency.limit = kept
    return made


def recipe_of(root: Path, split: str, params: dict[str, Any], **others: Any) -> Recipe:
    dataset = {"name": "coco", "params": {"root": root, "split": split, "seen": None}}
    learner = {"name": "prompted_deeplab", "params": params}
    return Recipe.model_validate(
        {"learner": learner, "datasets": [dataset], "classes": "all", "steps": 10**6, **others}
    )


def shown(timed: dict[str, float], training: float, alone: float, waited: float, caption: str) -> Table:
    listing = Table("", "", "goal", title="Training", caption=caption)
    for name, taken in timed.items():
        listing.add_row(name, f"{taken:.2f} ms an example", "")
    listing.add_row("bare model, forward and backward", f"{alone:.2f} images/s", "")
    listing.add_row("training", f"{training:.2f} images/s", "")
    listing.add_row("of its time, waiting for examples", f"{waited:.1%}", "")
    goal = verdict(training >= LEAST_SHARE * alone, f"at least {LEAST_SHARE}")
    listing.add_row("training / bare model", f"{training / alone:.3f}", goal)
    return listing


def main(
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    size: Annotated[int, typer.Option(help="Side of the crops.")] = 128,
    batch: Annotated[int, typer.Option(help="Images in a step.")] = 8,
    accumulate: Annotated[int, typer.Option(help="Forward passes in a step.")] = 1,
    compute: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    encoder: Annotated[str, typer.Option(help="An encoder of segmentation-models-pytorch.")] = "tu-regnetx_002",
    decoder_channels: Annotated[int, typer.Option()] = 64,
    output_stride: Annotated[int, typer.Option(help="8 or 16.")] = 16,
    loaders: Annotated[int, typer.Option(help="Threads that prepare examples.")] = 0,
    clip: Annotated[str, typer.Option(help="MaskCLIP's model.")] = str(CLIP),
    clip_checkpoint: Annotated[Path, typer.Option()] = CLIP_CHECKPOINT,
    clip_input: Annotated[str, typer.Option(help="native, or a square's side.")] = "128",
    features: Annotated[Path | None, typer.Option(help="Where to keep dense features; memory if none.")] = None,
    kept: Annotated[int, typer.Option(help="Images whose features stay in memory.")] = KEPT_IMAGES,
    text: Annotated[bool, typer.Option(help="Text+Click's network, or click-only's.")] = True,
    coco: Annotated[Path | None, typer.Option(help="A COCO root; generated photographs if none.")] = None,
    split: Annotated[str, typer.Option(help="The split of that root.")] = SPLIT,
    images: Annotated[int, typer.Option(help="Generated photographs.")] = 100,
    steps: Annotated[int, typer.Option(help="Steps of a round.")] = 3,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the median is taken.")] = 5,
) -> None:
    """Time the parts of an example, and training beside the bare model."""
    if loaders and not device.startswith("cuda"):
        raise typer.BadParameter("their CPU time is not this process's; wanted 0 on a CPU.", param_hint="--loaders")
    cv2.setNumThreads(1)
    where: Literal["native"] | int = "native" if clip_input == "native" else int(clip_input)
    model = {"model": clip, "checkpoint": clip_checkpoint, "input": where, "templates": "plain", "device": device}
    saliency = {"name": "maskclip", "params": model} if text else None
    network = {"encoder": encoder, "decoder_channels": decoder_channels, "output_stride": output_stride}
    params = {**network, "saliency": saliency, "size": size, "crop": "published", "features_folder": features}
    with TemporaryDirectory() as folder:
        root = coco or Path(folder)
        if coco is None:
            photographs(root, images)
        how = {"device": device, "batch": batch, "accumulate": accumulate, "compute": compute}
        recipe = recipe_of(root, split, params, **how)
        job = Training.of(recipe, 0, 1)
        make = partial(forgetful, recipe, job.state.device, kept)
        job = replace(job, batches=make(1, 1))
        if loaders:
            job = replace(job, loaders=Loaders(make, loaders, pinned=device.startswith("cuda")))
        timed = Parts.of(job).timed(job, sorted((root / split).glob("*.jpg"))[:SAMPLES], rounds)
        training, alone, waited = rates(job, steps, rounds)
        job.close()
    on = torch.cuda.get_device_name(job.state.device) if job.state.device.type == "cuda" else "CPU time"
    method = "Text+Click" if text else "Click only"
    shape = f"{encoder}, stride {output_stride}, {size} x {size}, batch {batch}, {compute}"
    caption = f"{method}, {shape}; {on}; loaders: {loaders}"
    Console().print(shown(timed, training, alone, waited, caption))


if __name__ == "__main__":
    typer.run(main)
