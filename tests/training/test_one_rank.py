"""Where a training runs, and what it refuses to end with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.config.recipe import Recipe
from harness.running import one_training as training
from harness.running.one_training import train
from harness.structures import UserError
from harness.training.one_rank import chosen_device


def test_fewer_gpus_than_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(chosen_device(name)) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
    with pytest.raises(UserError, match="found 2 GPUs for device: cuda:2; wanted the one"):
        chosen_device("cuda:2")


@pytest.mark.slow
def test_weights_that_the_last_step_made_nan_are_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "resumable", lambda of: tmp_path / f"{of.key}.pt")
    values = {
        "learner": {"name": "toy_learners:Torn"},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 1, "size": 32}}],
        "checkpoint": str(tmp_path / "w.safetensors"),
        "steps": 1,
        "batch": 2,
        "device": "cpu",
    }
    with pytest.raises(UserError, match=r"the last step made 0\.weight NaN or infinite; lower optimizer\.lr"):
        train(Recipe.model_validate(values), lambda _: None)
    assert not (tmp_path / "w.safetensors").exists()
