"""Data sets of a few boxes, a recipe of a moment, and what is left of a training: for the tests of trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from harness.config.recipe import KnownRecipe, Recipe, identified
from harness.plugins.interfaces import Dataset, Listed
from harness.structures import Instance, Sample

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
SCENES = {"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}


class Boxes(Dataset):
    """Two images of one seen box and two unseen ones each; a listed one cannot be read."""

    classes = ("seen", "unseen")

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.loads = 0

    def sample_ids(self) -> list[str]:
        return ["a", "b"]

    def load(self, sample_id: str) -> Sample:
        self.loads += 1
        masks = np.zeros((3, 32, 48), bool)
        masks[0, 3:9, 5:11] = masks[1, 20:, 40:] = masks[2, :2, :31] = True
        instances = tuple(
            Instance(f"{sample_id}{number}", mask, "unseen" if number else "seen", seen=not number)
            for number, mask in enumerate(masks)
        )
        ignore = np.zeros((32, 48), bool)
        reasons = {instances[0].id: "no polygon"} if self.broken else {}
        return Sample(sample_id, IMAGE, instances[1:] if self.broken else instances, reasons, ignore)


class Listing(Boxes):
    """Lists its instances without loading."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        return [Listed(f"{sample_id}{number}", "unseen" if number else "seen", not number) for number in range(3)]


def recipe(checkpoint: Path | str = "", **changes: Any) -> KnownRecipe:
    values = {
        "learner": {"name": "toy_learners:Toy"},
        "datasets": [SCENES],
        "steps": 8,
        "batch": 2,
        "save_every": 3,
        "device": "cpu",
    }
    return identified(Recipe.model_validate(values | {"checkpoint": str(checkpoint)} | changes))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)
