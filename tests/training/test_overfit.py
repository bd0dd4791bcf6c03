"""The whole way from photographs to masks: a small network learns the objects of ten of them by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import real_data
from harness import places
from harness.clicks import Situation, click_rng
from harness.clicks.paper import interior
from harness.config.recipe import Recipe
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset, Method
from harness.running.one_training import train
from harness.structures import Click, Prompt

WEIGHTS = places.ROOT / "methods" / "weights"

FEW = """
from dataclasses import replace

import cv2
import numpy as np

from harness.datasets.coco.coco import Coco

LONGEST = 128


class Few(Coco):
    'The first 10 images with an instance of at least 2 % of them, and those instances, made small.'

    def sample_ids(self):
        if not hasattr(self, "chosen"):
            found = (self.shrunk(one) for one in super().sample_ids())
            self.chosen = {one.id: one for one, _ in zip((one for one in found if one.instances), range(10))}
        return list(self.chosen)

    def list_instances(self, sample_id):
        kept = {instance.id for instance in self.chosen[sample_id].instances}
        return [one for one in super().list_instances(sample_id) if one.id in kept]

    def load(self, sample_id):
        self.sample_ids()
        return self.chosen[sample_id]

    def shrunk(self, sample_id):
        sample = super().load(sample_id)
        large = [instance for instance in sample.instances if instance.mask.mean() >= 0.02]
        width, height = (round(side * LONGEST / max(sample.size)) for side in sample.size[::-1])

        def resized(values):
            return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)

        small = [replace(one, mask=resized(one.mask.astype(np.float32)) > 0.5) for one in large]
        nothing = np.zeros((height, width), bool)
        return replace(sample, image=resized(sample.image), instances=tuple(small), ignore=nothing)
"""


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "overfit_few.py").write_text(FEW)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "resumable"
    monkeypatch.setattr("harness.running.one_training.resumable", lambda recipe: folder / f"{recipe.key}.pt")


def recipe(checkpoint: Path, text: dict[str, Any]) -> Recipe:
    network = {"encoder": "tu-regnetx_002", "decoder_channels": 64, "output_stride": 16, "size": 96}
    return Recipe.model_validate({
        "learner": {
            "name": "prompted_deeplab",
            "params": {**network, **text, "loss": "ce_dice", "flip": False, "dropout": 0.0},
        },
        "datasets": [{"name": "overfit_few:Few", "params": {"root": str(real_data.COCO), "split": "val2017"}}],
        "checkpoint": str(checkpoint),
        "classes": "all",
        "steps": 140,
        "batch": 12,
        "optimizer": {"lr": 3e-3},
        "schedule": {"warmup": 20},
        "device": "cpu",
    })  # fmt: skip


def ious(method: Method, dataset: Dataset) -> list[float]:
    """Of every instance, asked with the click that training showed."""
    found = []
    for sample in map(dataset.load, dataset.sample_ids()):
        prompts = []
        for instance in sample.instances:
            rng = click_rng(0, "training", sample.id, instance.id, 1)
            clicks: tuple[Click, ...] = interior(Situation(sample, instance, (), None, rng))
            prompts.append(Prompt(clicks, instance.category, vocabulary=dataset.classes))
        (answers,) = method.segment([(method.encode([sample.image])[0], prompts)])
        for instance, answer in zip(sample.instances, answers, strict=True):
            found.append(float((answer.masks[0] & instance.mask).sum() / (answer.masks[0] | instance.mask).sum()))
    return found


@pytest.mark.slow
@real_data.needs("coco")
def test_ten_photographs_by_heart(tmp_path: Path) -> None:
    # A CLIP that has seen drawn scenes alone: its saliency of photographs says little, but passes through every part.
    clip = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": str(WEIGHTS / "scenes_clip.safetensors")}
    saliency = {"name": "maskclip", "params": {**clip, "input": 128}}
    text = {"saliency": saliency}
    job = recipe(tmp_path / "w.safetensors", text)
    checkpoint = train(job, lambda progress: print(progress.step, round(progress.loss, 3), flush=True))
    method = parameters.build("methods", "text_click", {"checkpoint": str(checkpoint), "device": "cpu"} | text)
    (entry,) = job.datasets
    dataset = parameters.build("datasets", entry.name, entry.params)
    found = ious(method, dataset)
    print(len(found), "instances, mIoU", np.mean(found))
    assert len(dataset.sample_ids()) == 10
    assert np.mean(found) > 0.65
