"""One training job in one plain process: a recipe in, a checkpoint with its card out.

Everything random comes from (seed, step): a job that was stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import logging
import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import UInt8

from harness import registry
from harness.card import card
from harness.config import Recipe, Schedule
from harness.interfaces import Dataset, Learner
from harness.store import write_bytes
from harness.structures import Instance, Sample, UserError

KEPT_BYTES = 4 * 2**30
"""Of decoded samples that stay in memory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a training job stands.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Mean over the steps since the last report.
        lr: The learning rate.
        steps_per_s: Since this process started.
    """

    step: int
    steps: int
    loss: float
    lr: float
    steps_per_s: float

    @property
    def remaining_s(self) -> float:
        """Seconds to go, at the rate so far."""
        return (self.steps - self.step) / self.steps_per_s


@dataclass(frozen=True)
class Draw:
    """An instance that training may draw, by its data set's position and its ids."""

    dataset: int
    sample_id: str
    instance_id: str
    category: str


def train(recipe: Recipe, report: Callable[[Progress], None], report_every: int = 20) -> Path:
    """Train, and save the weights to the recipe's checkpoint; continues where an earlier call was stopped.

    Args:
        recipe: What to train.
        report: Called every `report_every` steps and at the end.
        report_every: Steps.

    Raises:
        UserError: The data holds nothing to train on, or the device is absent.
        FloatingPointError: The loss is not finite.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    learner: Learner = registry.build("learners", recipe.learner.name, recipe.learner.params)
    device = chosen_device(recipe.device)
    learner.network.to(device).train()
    samples = SampleCache([registry.build("datasets", d.name, d.params) for d in recipe.datasets])
    draws = Draws(samples.draws(recipe.classes == "seen"), recipe)
    state = TrainingState.fresh(learner, recipe)
    first = state.restored(recipe)
    losses: list[float] = []
    started = time.monotonic()
    for step in range(first, recipe.steps):
        torch.manual_seed(recipe.seed * 1_000_003 + step)  # Of dropout: the same after a resume.
        losses.append(state.advanced(step, batch(learner, samples, draws, step, device)))
        done = step + 1
        if done % recipe.save_every == 0:
            state.saved(recipe, done)
        if done % report_every == 0 or done == recipe.steps:
            rate = (done - first) / (time.monotonic() - started)
            report(Progress(done, recipe.steps, float(np.mean(losses)), state.lr, rate))
            losses.clear()
    return export(recipe, learner, draws.categories)


def chosen_device(device: str) -> torch.device:
    """What a recipe's `device` is here; "auto" takes the GPU if there is one.

    Raises:
        UserError: A GPU is asked for where there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"training: found no GPU for device: {device}; wanted one. Set `device: auto` or `cpu`.")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


class SampleCache:
    """Decoded samples by data set and id, kept in memory with masks as bits: training sees each many times.

    Args:
        datasets: Where samples come from.
        limit: Bytes; beyond it the samples kept longest go.
    """

    def __init__(self, datasets: Sequence[Dataset], limit: int = KEPT_BYTES) -> None:
        self.datasets, self.limit, self.bytes = datasets, limit, 0
        self.kept: dict[tuple[int, str], PackedSample] = {}

    def sample(self, dataset: int, sample_id: str) -> Sample:
        """The sample, decoded at its first use."""
        key = (dataset, sample_id)
        if key not in self.kept:
            self._keep(key, PackedSample.packed(self.datasets[dataset].load(sample_id)))
        return self.kept[key].sample()

    def _keep(self, key: tuple[int, str], packed: PackedSample) -> None:
        self.kept[key] = packed
        self.bytes += packed.bytes
        while self.bytes > self.limit and len(self.kept) > 1:
            self.bytes -= self.kept.pop(next(iter(self.kept))).bytes

    def draws(self, seen_only: bool) -> list[Draw]:
        """Every instance that may be trained on."""
        return [
            Draw(position, sample_id, listed.id, listed.category)
            for position, dataset in enumerate(self.datasets)
            for sample_id in dataset.sample_ids()
            for listed in self._listed(position, dataset, sample_id)
            if listed.seen or not seen_only
        ]

    def _listed(self, position: int, dataset: Dataset, sample_id: str) -> Sequence[Any]:
        """As the data set lists them; one whose listing loads the sample is loaded once, into the cache."""
        if type(dataset).list_instances is Dataset.list_instances:
            return self.sample(position, sample_id).instances
        return dataset.list_instances(sample_id)


@dataclass(frozen=True, eq=False)
class PackedSample:
    """A sample whose masks are bits, an eighth of the memory."""

    without_masks: Sample
    bits: tuple[UInt8[np.ndarray, " n"], ...]

    @classmethod
    def packed(cls, sample: Sample) -> PackedSample:
        """The sample, its masks packed."""
        nothing = np.zeros((0, 0), bool)
        bits = tuple(np.packbits(instance.mask) for instance in sample.instances)
        bare = tuple(replace(instance, mask=nothing) for instance in sample.instances)
        return cls(replace(sample, instances=bare), bits)

    @property
    def bytes(self) -> int:
        """In memory, of the image and the masks."""
        return self.without_masks.image.nbytes + sum(bits.nbytes for bits in self.bits)

    def sample(self) -> Sample:
        """The sample, its masks unpacked."""
        instances = [
            self._whole(instance, bits) for instance, bits in zip(self.without_masks.instances, self.bits, strict=True)
        ]
        return replace(self.without_masks, instances=tuple(instances))

    def _whole(self, instance: Instance, bits: UInt8[np.ndarray, " n"]) -> Instance:
        height, width = self.without_masks.size
        mask = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
        return replace(instance, mask=mask)


class Draws:
    """Which instances a step sees: every category equally often, or every instance."""

    def __init__(self, draws: Sequence[Draw], recipe: Recipe) -> None:
        if not draws:
            raise UserError(
                "training: the data sets hold no instance to train on"
                + (" of a seen category; set `classes: all` or choose a split." if recipe.classes == "seen" else ".")
            )
        self.draws, self.seed, self.size = draws, recipe.seed, recipe.batch
        counts = Counter(draw.category for draw in draws)
        weights = np.array([1 / counts[draw.category] if recipe.balance else 1.0 for draw in draws])
        self.shares = weights / weights.sum()

    def at(self, step: int) -> Iterator[tuple[Draw, np.random.Generator]]:
        """The step's draws, each with a generator for its augmentation."""
        rng = np.random.default_rng((self.seed, step))
        picks = rng.choice(len(self.draws), size=self.size, p=self.shares)
        return zip((self.draws[pick] for pick in picks), rng.spawn(self.size), strict=True)

    def another(self, rng: np.random.Generator) -> Draw:
        """A draw in the place of one that turned out unreadable."""
        return self.draws[rng.choice(len(self.draws), p=self.shares)]

    @property
    def categories(self) -> list[str]:
        """Those that may be drawn, as far as the listings know."""
        return sorted({draw.category for draw in self.draws} - {""})


def batch(
    learner: Learner, samples: SampleCache, draws: Draws, step: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """The step's examples, stacked, on the device."""
    examples = [example(learner, samples, draws, draw, rng) for draw, rng in draws.at(step)]
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])).to(device) for key in examples[0]}


def example(
    learner: Learner, samples: SampleCache, draws: Draws, draw: Draw, rng: np.random.Generator
) -> Mapping[str, np.ndarray]:
    """One drawn instance as the learner wants it; in the place of an unreadable one, another.

    Raises:
        UserError: As many in a row are unreadable as there are draws.
    """
    for _ in draws.draws:
        sample = samples.sample(draw.dataset, draw.sample_id)
        for instance in sample.instances:
            if instance.id == draw.instance_id:
                return learner.example(sample, instance, samples.datasets[draw.dataset].classes, rng)
        reason = sample.broken.get(draw.instance_id, "listed, but not in its sample")
        _log.warning("training: instance %s is left out: %s", draw.instance_id, reason)
        draw = draws.another(rng)
    raise UserError(f"training: found no readable instance ({draw.instance_id}: {reason}). Repair the data set.")


class TrainingState:
    """A learner with its optimiser and schedule."""

    def __init__(self, learner: Learner, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
        self.learner, self.optimizer, self.recipe = learner, optimizer, recipe
        self.lr = 0.0

    @classmethod
    def fresh(cls, learner: Learner, recipe: Recipe) -> TrainingState:
        """With the recipe's optimiser."""
        wanted = recipe.optimizer
        groups = learner.parameter_groups(wanted.weight_decay)
        if wanted.name == "sgd":
            return cls(learner, torch.optim.SGD(groups, lr=wanted.lr, momentum=0.9), recipe)
        return cls(learner, torch.optim.AdamW(groups, lr=wanted.lr, betas=wanted.betas), recipe)

    def advanced(self, step: int, examples: Mapping[str, torch.Tensor]) -> float:
        """One optimiser step.

        Returns:
            The loss before it.

        Raises:
            FloatingPointError: The loss is not finite; the last resumable checkpoint is kept.
        """
        self.lr = self.recipe.optimizer.lr * decay(self.recipe.schedule, step, self.recipe.steps)
        self.lr = max(self.lr, self.recipe.schedule.min_lr)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        loss = self.learner.loss(examples)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"training: loss is {loss.item()} at step {step + 1}; lower optimizer.lr.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.learner.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return loss.item()

    def saved(self, recipe: Recipe, step: int) -> None:
        """Write a resumable checkpoint beside the output, whole or not at all."""
        path = resumable(recipe)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        network, optimizer = self.learner.network.state_dict(), self.optimizer.state_dict()
        torch.save({"step": step, "recipe": recipe.key, "network": network, "optimizer": optimizer}, temporary)
        temporary.replace(path)

    def restored(self, recipe: Recipe) -> int:
        """Take up the resumable checkpoint of this very recipe, if there is one; the step to go on from.

        Raises:
            UserError: It is damaged.
        """
        path = resumable(recipe)
        if not path.is_file():
            return 0
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # An unpickler raises whatever the damage makes of it.
            found = f"a damaged file ({type(error).__name__})"
            raise UserError(f"{path}: found {found}; delete it to train anew.") from error
        if kept["recipe"] != recipe.key:
            return 0
        self.learner.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        return int(kept["step"])


def decay(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate's factor at a step: linear warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    done = min(1.0, step / (schedule.horizon or steps))
    if schedule.name == "poly":
        return warm * (1 - done) ** schedule.power
    return warm * (0.5 + 0.5 * math.cos(math.pi * done)) if schedule.name == "cosine" else warm


def resumable(recipe: Recipe) -> Path:
    """Where a job keeps what it needs to go on: runs/training/<hash of the recipe>.pt."""
    return registry.ROOT / "runs" / "training" / f"{recipe.key}.pt"


def export(recipe: Recipe, learner: Learner, categories: Sequence[str] = ()) -> Path:
    """Save the network's weights as safetensors, with their card, and drop the resumable checkpoint."""
    weights = {
        name: stored(tensor, half=recipe.precision == "fp16") for name, tensor in learner.network.state_dict().items()
    }
    made_by = commit()
    about = {"recipe": recipe.key, "commit": made_by, "note": recipe.note}
    metadata = {key: str(value) for key, value in (dict(learner.metadata()) | about).items()}
    write_bytes(recipe.output, safetensors.torch.save(weights, metadata))
    write_bytes(recipe.output.with_suffix(".md"), card(recipe, recipe.output, made_by, categories).encode())
    resumable(recipe).unlink(missing_ok=True)
    return recipe.output


def stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    """As the checkpoint keeps a tensor: float32, or float16 unless a value exceeds that; integers as they are."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    fits = tensor.abs().max() <= torch.finfo(torch.float16).max if tensor.numel() else True
    return tensor.to(torch.float16 if half and fits else torch.float32)


def commit() -> str:
    """The checkout's commit, with "+" where files differ from it; empty outside git."""
    run = [["git", "rev-parse", "--short=12", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
    try:
        head, changed = (
            subprocess.run(c, cwd=registry.ROOT, capture_output=True, text=True, check=True).stdout for c in run
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")
