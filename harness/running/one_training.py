"""Runs one training, in this process or on Ray: a recipe goes in, a checkpoint with its card comes out."""

from __future__ import annotations

import json
import os
from contextlib import closing, nullcontext
from pathlib import Path

import safetensors.torch
import torch

from harness import atomic, places
from harness.config.recipe import KnownRecipe, Recipe, identified
from harness.environment import commit
from harness.storage.folder import Folder, write_bytes
from harness.storage.lock import Lock
from harness.training.card import as_yaml, card
from harness.training.journal import Journal
from harness.training.one_rank import Fitted, Progress, Report, fit
from harness.training.state import StateFile

__all__ = ["REPORT_EVERY", "Progress", "claimed", "resumable", "train"]

REPORT_EVERY = 20
"""The steps between two reports."""


def train(
    recipe: Recipe,
    report: Report,
    report_every: int = REPORT_EVERY,
    address: str | None = None,
    runs: str | None = None,
    lock: Lock | None = None,
) -> Path:
    """Train, and save the weights to the recipe's checkpoint; goes on where an earlier call was stopped.

    Args:
        recipe: What to train.
        report: Called every `report_every` steps and at the end.
        report_every: Steps.
        address: The address of a Ray cluster, for a recipe with `workers`; None uses this machine.
        runs: Where runs are kept, and with them the states of such a training; None as HARNESS_RUNS says.
        lock: What `claimed` returned, if the caller has entered it already.

    Raises:
        UserError: The data holds nothing to train on, the device or the workers are not to be had, a loader died, the
            disk is full, the memory does not suffice, the learner fails, the loss is not finite, or another start is
            at it.
    """
    known = identified(recipe)
    state = resumable(known)
    with (
        nullcontext(lock) if lock else claimed(known, runs) as held,
        closing(Journal(state.with_suffix(""))) as journal,
    ):
        for file in (state, known.output, known.output.with_suffix(".md")):
            atomic.remove_left_over(file)

        def reported(progress: Progress) -> None:
            held.check()
            journal.add(progress)
            report(progress)

        if known.workers:
            from harness.cluster.ray_training import fit_on_ray, forget

            storage = _storage(state, runs)
            (storage / known.key).remove_left_over()
            export(known, fit_on_ray(known, storage, reported, report_every, address))
            forget(known, storage)
        else:
            export(known, fit(known, StateFile(state, known.key), reported, report_every))
            state.unlink(missing_ok=True)
    return known.output


def claimed(recipe: KnownRecipe, runs: str | None = None) -> Lock:
    """The lock that, once entered, keeps others from training the same: they would share its state."""
    state = resumable(recipe)
    states = _storage(state, runs) if recipe.workers else Folder.at(state.parent)
    return Lock(states / recipe.key, what="training")


def resumable(recipe: KnownRecipe) -> Path:
    """Where a training in this process keeps what it needs to go on: runs/training/<key>.pt.

    The folder of that name without ".pt" keeps how it went.
    """
    return places.ROOT / "runs" / "training" / f"{recipe.key}.pt"


def _storage(state: Path, runs: str | None) -> Folder:
    """Where Ray's workers keep states: with the runs, which every node reaches, or where this machine does."""
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
        "vocabulary": json.dumps(fitted.vocabulary, ensure_ascii=False),
        "text": json.dumps({"rule": recipe.text.rule, "template": recipe.text.template}, ensure_ascii=False),
        "torch": torch.__version__,
    }
    write_bytes(recipe.output, safetensors.torch.save(weights, fitted.metadata | about))
    text = card(recipe, recipe.output, made_by, fitted.categories, fitted.data)
    write_bytes(recipe.output.with_suffix(".md"), text.encode())


def stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    """A tensor as the checkpoint keeps it: float32, or float16 unless a value exceeds that; integers as they are."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    fits = tensor.abs().max() <= torch.finfo(torch.float16).max if tensor.numel() else True
    return tensor.to(torch.float16 if half and fits else torch.float32)
