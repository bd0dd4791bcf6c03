"""Runs one training, in this process or on Ray: from a recipe to a checkpoint with its card.

The recipe's key names everything: the lock, the state from which a stopped training goes on, and the journal.

    runs/training/<key>.pt      the state; removed once the checkpoint is saved
    runs/training/<key>/        the journal: how the loss went
    weights/....safetensors     the checkpoint, with a card of the same name (.md)
"""

from __future__ import annotations

import json
import os
from contextlib import closing, nullcontext
from pathlib import Path

import safetensors.torch
import torch

from harness import atomic, places
from harness.config.recipe import KnownRecipe, Recipe, identified
from harness.environment import commit, now
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
        recipe: The recipe.
        report: Called every `report_every` steps and at the end.
        report_every: The number of steps between two reports.
        address: The address of a Ray cluster, for a recipe with `workers`; None uses this machine.
        runs: The folder of runs, which then also keeps the states of such a training; None means HARNESS_RUNS.
        lock: The lock from `claimed`, if the caller has entered it already.

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
            # If this machine slept longer than the lock lasts, another start may have taken it; then this one ends.
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
            # The checkpoint is saved before the state is removed: killed in between, the next start finds both, and a
            # finished state only needs to be exported again.
            export(known, fit(known, StateFile(state, known.key), reported, report_every))
            state.unlink(missing_ok=True)
    return known.output


def claimed(recipe: KnownRecipe, runs: str | None = None) -> Lock:
    """The lock that, once entered, keeps others from the same training, since they would write the same state."""
    state = resumable(recipe)
    states = _storage(state, runs) if recipe.workers else Folder.at(state.parent)
    return Lock(states / recipe.key, what="training")


def resumable(recipe: KnownRecipe) -> Path:
    """The file from which a training in this process goes on: runs/training/<key>.pt."""
    return places.ROOT / "runs" / "training" / f"{recipe.key}.pt"


def _storage(state: Path, runs: str | None) -> Folder:
    """The folder for the states of Ray's workers: with the runs, which every node reaches, else this machine's own."""
    place = runs or os.environ.get("HARNESS_RUNS")
    return Folder.at(place) / "training" if place else Folder.at(state.parent)


def export(recipe: KnownRecipe, fitted: Fitted) -> None:
    """Save the weights as safetensors with their recipe, classes and data in the header, and a card beside them."""
    # The weights are written before the card: a checkpoint without a card is complete, since its header has the same
    # facts, while a card alone would describe a file that is not there.
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
    text = card(recipe, recipe.output, made_by, fitted.categories, fitted.data, date=now()[:10])
    write_bytes(recipe.output.with_suffix(".md"), text.encode())


def stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    """A tensor as the checkpoint keeps it: float32, or float16 unless a value exceeds that; integers as they are."""
    # float16 ends at 65,504. A larger value would become infinite, so such a tensor alone stays in float32.
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    fits = tensor.abs().max() <= torch.finfo(torch.float16).max if tensor.numel() else True
    return tensor.to(torch.float16 if half and fits else torch.float32)
