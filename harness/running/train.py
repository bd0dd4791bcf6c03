"""One training job: a recipe in, a checkpoint with its card out, whichever workers it takes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from harness import atomic, places
from harness.config.recipe import KnownRecipe, Recipe, identified
from harness.environment import commit
from harness.storage.folder import Folder, cannot_write, write_bytes
from harness.storage.lock import Lock
from harness.structures import UserError
from harness.training.card import as_yaml, card
from harness.training.fit import Fitted, Progress, Report, fit
from harness.training.journal import Journal
from harness.training.loaders import LoaderDiedError
from harness.training.mistakes import damaged

__all__ = ["REPORT_EVERY", "Progress", "claimed", "resumable", "train", "trained"]

REPORT_EVERY = 20
"""Steps."""


def train(
    recipe: Recipe,
    report: Report,
    report_every: int = REPORT_EVERY,
    address: str | None = None,
    runs: str | None = None,
) -> Path:
    """Train, and save the weights to the recipe's checkpoint; continues where an earlier call was stopped.

    Args:
        recipe: What to train.
        report: Called every `report_every` steps and at the end.
        report_every: Steps.
        address: Of a Ray cluster, for a recipe with `workers`; None uses this machine.
        runs: Where runs are kept, and with them the states of such a job; None as HARNESS_RUNS says.

    Raises:
        UserError: The data holds nothing to train on, the device or the workers are not to be had, a loader died, the
            disk is full, the memory does not suffice, the learner fails, or another start is at it.
        FloatingPointError: The loss is not finite.
    """
    known = identified(recipe)
    with claimed(known, runs) as lock:
        return trained(known, lock, report, report_every, address, runs)


def claimed(recipe: KnownRecipe, runs: str | None = None) -> Lock:
    """What keeps others, once entered, from training the same: they would share its state."""
    state = resumable(recipe)
    states = _storage(state, runs) if recipe.workers else Folder.at(state.parent)
    return Lock(states / recipe.key, what="training")


def trained(
    recipe: KnownRecipe, lock: Lock, report: Report, report_every: int, address: str | None, runs: str | None
) -> Path:
    """As `train`, for a caller who holds what `claimed` gave."""
    key, state = recipe.key, resumable(recipe)
    journal = Journal(state.with_suffix(""))

    def told(progress: Progress) -> None:
        lock.check()
        journal.add(progress)
        report(progress)

    try:
        if not recipe.workers:
            export(recipe, _fitted_here(recipe, FileKeeper(state, key), told, report_every))
            state.unlink(missing_ok=True)
        else:
            from harness.cluster.ray_training import fit_on_ray, forget

            storage = _storage(state, runs)
            export(recipe, fit_on_ray(recipe, key, storage, told, report_every, address))
            forget(key, storage)
    finally:
        journal.close()
    return recipe.output


def _fitted_here(recipe: Recipe, keeper: FileKeeper, report: Report, report_every: int) -> Fitted:
    try:
        return fit(recipe, keeper, report, report_every)
    except LoaderDiedError as error:  # Ray would replace the worker.
        raise UserError(str(error)) from error


@dataclass(frozen=True)
class FileKeeper:
    """A job's state in a file of this machine."""

    path: Path
    key: str

    def kept(self) -> Mapping[str, Any] | None:
        """The state, if it is one of this very recipe.

        Raises:
            UserError: The file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # An unpickler raises whatever the damage makes of it.
            raise damaged(self.path, error) from error
        return kept if kept["recipe"] == self.key else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Write it, whole or not at all.

        Raises:
            UserError: It cannot be written, as on a full disk; the state before is kept.
        """
        try:
            with atomic.replacing(self.path) as file:  # torch itself would not say why it cannot write.
                torch.save({**state, "recipe": self.key}, file)
        except OSError as error:
            raise cannot_write(self.path, error) from error


def resumable(recipe: KnownRecipe) -> Path:
    """Where a job in this process keeps what it needs to go on: runs/training/<hash of the recipe>.pt.

    How it went stays in the folder of that name without ".pt".
    """
    return places.ROOT / "runs" / "training" / f"{recipe.key}.pt"


def _storage(state: Path, runs: str | None) -> Folder:
    """Where Ray's workers keep it: with the runs, which every node reaches, or where this machine does."""
    place = runs or os.environ.get("HARNESS_RUNS")
    return Folder.at(place) / "training" if place else Folder.at(state.parent)


def export(recipe: KnownRecipe, fitted: Fitted) -> None:
    """Save the weights as safetensors that say what they are, with their card."""
    weights = {name: stored(tensor, half=recipe.precision == "fp16") for name, tensor in fitted.weights.items()}
    made_by = commit()
    about = {
        "recipe": recipe.key,
        "recipe_yaml": as_yaml(recipe),
        "commit": made_by,
        "note": recipe.note,
        "classes": json.dumps(fitted.categories),
        "data": json.dumps(fitted.data),
        "torch": torch.__version__,
    }
    write_bytes(recipe.output, safetensors.torch.save(weights, fitted.metadata | about))
    text = card(recipe, recipe.output, made_by, fitted.categories, fitted.data)
    write_bytes(recipe.output.with_suffix(".md"), text.encode())


def stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    """As the checkpoint keeps a tensor: float32, or float16 unless a value exceeds that; integers as they are."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    fits = tensor.abs().max() <= torch.finfo(torch.float16).max if tensor.numel() else True
    return tensor.to(torch.float16 if half and fits else torch.float32)
