"""What only a GPU can show: its answers are the CPU's, training learns the same, and real errors are survived."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import torch
from harness.methods.saliency.maskclip import MaskClip

from harness import places
from harness.config.recipe import Recipe
from harness.config.run_config import load_run
from harness.plugins import parameters
from harness.plugins.interfaces import Method
from harness.running import one_training as training
from harness.running.one_run import run
from harness.structures import Click, Prompt
from harness.training.one_rank import Training
from toy_runs import Quiet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

WEIGHTS = places.ROOT / "methods" / "weights"
CLIP = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": WEIGHTS / "scenes_clip.safetensors"}
TINY = {"encoder": "tu-regnetx_002", "decoder_channels": 16, "output_stride": 16, "size": 64}
VOCABULARY = ("red circle", "blue square", "green star")

FAULTY = '''
"""A method whose first actor has a real error on its GPU."""

from pathlib import Path

import torch

from harness import Method, Prediction


class Faulty(Method):
    device = "cuda"

    def __init__(self, faulted: Path) -> None:
        self.faulted = faulted

    def predict(self, image, click, text):
        on_gpu = torch.zeros(image.shape[:2], device="cuda")
        if not self.faulted.exists():
            self.faulted.touch()
            on_gpu[torch.tensor([10**6], device="cuda")] = 1
            torch.cuda.synchronize()
        return Prediction((on_gpu.cpu().numpy() == 0)[None])
'''


def picture(seed: int = 0, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def both(**options: Any) -> tuple[MaskClip, MaskClip]:
    return MaskClip(**CLIP, device="cpu", **options), MaskClip(**CLIP, device="cuda", **options)  # type: ignore[arg-type]


def test_saliency_is_the_cpus() -> None:
    images = [picture(seed) for seed in range(10)]
    one, other = both()
    for mine, theirs in zip(one.features(images), other.features(images), strict=True):
        wanted, found = (of.maps(dense, VOCABULARY[:2], VOCABULARY) for of, dense in ((one, mine), (other, theirs)))
        np.testing.assert_allclose(found, wanted, atol=5e-3)  # convolutions on tensor cores, then stretched to [0, 1]
    features = other.features(images)
    each = other.maps_of_each(features, [VOCABULARY[0]] * 10, [VOCABULARY] * 10)
    for dense, found in zip(features, each, strict=True):
        np.testing.assert_allclose(found, other.maps(dense, VOCABULARY[:1], VOCABULARY)[0], rtol=0, atol=1e-5)


def test_threads_get_saliency_while_the_gpu_is_busy_with_something_else() -> None:
    _, clip = both()
    images = [picture(seed) for seed in range(8)]
    wanted = [clip.maps(dense, VOCABULARY, VOCABULARY) for dense in clip.features(images)]
    found: dict[int, np.ndarray] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = clip.maps(clip.features([images[number]])[0], VOCABULARY, VOCABULARY)

    busy = torch.rand(4096, 4096, device="cuda")
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        busy = busy @ busy / 4096
    for number, maps in enumerate(wanted):
        np.testing.assert_allclose(found[number], maps, atol=5e-3)


def inside(mask: np.ndarray) -> Click:
    places = np.argwhere(mask)
    y, x = places[len(places) // 2]
    return Click(int(x), int(y))


@pytest.mark.parametrize("name", ["text_click", "click_only", "sam", "ritm"])
def test_masks_are_the_cpus(name: str) -> None:
    def masks(device: str) -> np.ndarray:
        params: dict[str, Any] = {"checkpoint": WEIGHTS / f"scenes_{name}.safetensors", "device": device}
        if name == "text_click":
            params["saliency"] = {"name": "maskclip", "params": {**CLIP, "device": device}}
        method: Method = parameters.build("methods", name, params)
        (answers,) = method.segment([(method.encode([sample.image])[0], prompts)])
        return np.concatenate([answer.masks for answer in answers])

    scenes = parameters.build("datasets", "scenes", {"split": "val", "count": 1})
    sample = scenes.load("val-00000")
    prompts = [Prompt((inside(one.mask),), one.category, None, scenes.classes) for one in sample.instances]
    wanted, found = masks("cpu"), masks("cuda")
    assert wanted.any() and (wanted != found).mean() < 2e-3


def recipe(device: str, **how: Any) -> Recipe:
    scenes = {"name": "scenes", "params": {"split": "train", "count": 20, "size": 96}}
    saliency = {"name": "maskclip", "params": {**{k: str(v) for k, v in CLIP.items()}, "device": device}}
    learner = {"name": "prompted_deeplab", "params": {**TINY, "saliency": saliency, "crop": "published"}}
    fixed = {"learner": learner, "datasets": [scenes], "classes": "all", "batch": 8, "steps": 12}
    return Recipe.model_validate({**fixed, "checkpoint": "w.safetensors", "device": device, **how})


def losses(device: str, **how: Any) -> list[float]:
    of = recipe(device, **how)
    with closing(Training.of(of, 0, 1)) as made:
        return [made.state.step(step, share) for step, share in enumerate(made.steps(0, of.steps))]


def test_training_goes_as_on_the_cpu() -> None:
    wanted = losses("cpu")
    np.testing.assert_allclose(losses("cuda"), wanted, rtol=0.02)
    np.testing.assert_allclose(losses("cuda", loaders=5), wanted, rtol=0.02)
    np.testing.assert_allclose(losses("cuda", compute="bf16"), wanted, rtol=0.05)
    assert len(set(wanted)) == 12


@pytest.mark.ray
def test_a_worker_of_ray_trains_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "resumable", lambda of: tmp_path / f"{of.key}.pt")
    told: list[training.Progress] = []
    of = recipe("auto", workers=1, loaders=1, compute="bf16", checkpoint=str(tmp_path / "w.safetensors"))
    training.train(of, told.append, report_every=1)
    assert [one.step for one in told] == list(range(1, 13))
    np.testing.assert_allclose([one.loss for one in told], losses("cpu"), rtol=0.05)
    ray.shutdown()


@pytest.mark.ray
def test_a_gpus_error_costs_an_actor_and_no_row(run_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty_on_gpu.py").write_text(FAULTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {
        "run": run_name,
        "datasets": [{"name": "scenes", "params": {"split": "val", "count": 6}}],
        "methods": [{"name": "faulty_on_gpu:Faulty", "params": {"faulted": str(tmp_path / "faulted")}}],
        "tables": ["leaderboard"],
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    finished = run(load_run(tmp_path / "run.yaml"), Quiet())
    rows = pd.read_parquet(places.ROOT / "runs" / run_name / "results.parquet")
    assert (tmp_path / "faulted").exists()
    assert finished.failed == 0 and finished.missing == 0 and finished.instances == len(rows) > 0
    assert set(rows["device"]) == {"cuda"}
