"""Times each part of a training example, for `benchmarks.training`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from harness.methods.learners.prompted_deeplab import PromptedDeepLabLearner, labels
from harness.methods.saliency.maskclip import MaskClip
from harness.methods.shared.channels import window_click_channels

from harness.images.reading import read_rgb
from harness.structures import Sample
from harness.training.one_rank import Training

SAMPLES = 8
"""How many samples are used to time the parts."""


def clock(device: torch.device) -> float:
    """The time in seconds: with a GPU wall time once the device is done, else this process's CPU time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


@dataclass(frozen=True)
class Parts:
    """An example's parts as calls, each on the next of a few samples."""

    learner: PromptedDeepLabLearner
    maskclip: MaskClip | None
    samples: list[Sample]
    vocabulary: tuple[str, ...]
    device: torch.device
    batch: int

    @classmethod
    def of(cls, job: Training) -> Parts:
        learner: Any = job.batches.learner
        ids = list(dict.fromkeys(draw.sample_id for draw in job.batches.draws.draws))[:SAMPLES]
        samples = [sample for sample in map(job.datasets[0].load, ids) if sample.instances]
        return cls(learner, unkept(learner), samples, job.datasets[0].classes, job.state.device, job.recipe.batch)

    def click(self, sample: Sample) -> None:
        self.learner.clicking.clicks(sample, sample.instances[0], np.random.default_rng(0))

    def augment(self, sample: Sample) -> None:
        """Do the whole augmentation of pixels, labels and a saliency map."""
        truth, saliency = labels(sample.instances[0].mask, None), np.zeros(sample.size, np.float32)
        rng = np.random.default_rng(0)
        self.learner._cropped(sample.image[:, ::-1], truth[:, ::-1], saliency[:, ::-1], np.array([[5, 5]]), rng)

    def map(self, sample: Sample, features: Any) -> None:
        assert self.maskclip is not None
        self.maskclip.maps(features, [sample.instances[0].category], self.vocabulary)

    def distances(self) -> Callable[[], object]:
        """A call that computes a batch's distance maps on the device."""
        channels = self.learner.architecture.channels
        clicks = torch.rand(self.batch, 1, 2, device=self.device) * channels.size
        extent = torch.tensor([[0.0, 0.0, 640.0, 480.0]], device=self.device).expand(self.batch, 4)
        return partial(window_click_channels, clicks, extent, (channels.size, channels.size), (0.0, 1.0))

    def timed(self, job: Training, paths: list[Path], rounds: int) -> dict[str, float]:
        """Milliseconds an example."""
        host, images = torch.device("cpu"), [sample.image for sample in self.samples]
        several = [images[number % len(images)] for number in range(self.batch)]
        load = job.datasets[0].load
        each = partial(seconds, rounds=rounds)
        found = {
            "image decoding": each(one_after_another(read_rgb, [(path,) for path in paths]), host),
            "decoding and rasterising": each(one_after_another(load, [(one.id,) for one in self.samples]), host),
            "click sampling": each(one_after_another(self.click, [(one,) for one in self.samples]), host),
            "flip, rescaling, crop": each(one_after_another(self.augment, [(one,) for one in self.samples]), host),
            "distance maps, together": each(self.distances(), self.device) / self.batch,
        }
        if self.maskclip is not None:
            encode = self.maskclip.features
            known = [(sample, encode([sample.image])[0]) for sample in self.samples]
            found |= {
                "saliency: features, one by one": each(lambda: encode(images[:1]), self.device),
                "saliency: features, together": each(lambda: encode(several), self.device) / self.batch,
                "saliency: map of one text": each(one_after_another(self.map, known), self.device),
            }
        return {name: 1e3 * taken for name, taken in found.items()}


def one_after_another(part: Callable[..., object], arguments: list[Any]) -> Callable[[], object]:
    """A call with the next arguments each time."""
    coming = cycle(arguments)
    return lambda: part(*next(coming))


def seconds(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median of some runs, after one that is not counted."""
    run()
    taken = []
    for _ in range(rounds):
        started = clock(device)
        run()
        taken.append(clock(device) - started)
    return median(taken)


def unkept(learner: PromptedDeepLabLearner) -> MaskClip | None:
    """The learner's MaskCLIP, without what keeps its features; None for click-only."""
    found: Any = learner.saliency
    while found is not None and not isinstance(found, MaskClip):
        found = found.saliency
    return found
