"""What a probe says a training takes, by a clock that only the training's parts move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness import Dataset, Instance, Sample, places
from harness.config.recipe import Recipe
from harness.plugins import parameters
from harness.plugins.interfaces import Learner, Listed
from harness.structures import UserError
from harness.training import estimate as probe
from harness.training import samples as draws
from harness.training.estimate import expected_hours


class Clock:
    """Seconds that have passed, and how long the parts of a training take."""

    now = 0.0
    loading = 1.0
    step = 2.0
    loads = 0


class Slow(Learner):
    """Every loss takes its time."""

    def __init__(self) -> None:
        self.network = torch.nn.Linear(1, 1)

    def example(self, sample: Sample, *_: Any) -> dict[str, np.ndarray]:
        return {"x": np.ones(1, np.float32)}

    def loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        Clock.now += Clock.step
        return self.network(batch["x"]).mean()


class Norming(Slow):
    """A batch norm, which needs two examples."""

    def __init__(self) -> None:
        self.network = torch.nn.BatchNorm1d(1)


class Far(Dataset):
    """So does every image; the listing knows them without."""

    classes = ("thing",)

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def sample_ids(self) -> list[str]:
        return [str(number) for number in range(self.count)]

    def list_instances(self, sample_id: str) -> list[Listed]:
        return [Listed(sample_id, "thing", True)]

    def load(self, sample_id: str) -> Sample:
        Clock.now += Clock.loading
        Clock.loads += 1
        thing = Instance(sample_id, np.ones((4, 6), bool), "thing", seen=True)
        return Sample(sample_id, np.zeros((4, 6, 3), np.uint8), (thing,))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"now": 0.0, "loading": 1.0, "step": 2.0, "loads": 0}.items():
        monkeypatch.setattr(Clock, name, value)
    monkeypatch.setattr(probe, "time", SimpleNamespace(monotonic=lambda: Clock.now))
    parts: dict[str, Any] = {"learners": Slow, "datasets": Far}
    monkeypatch.setattr(parameters, "build", lambda kind, name, params: parts[kind](**params))


def recipe(**changes: Any) -> Recipe:
    values = {"learner": {"name": "slow"}, "datasets": [{"name": "far"}], "steps": 1800, "batch": 2, "device": "cpu"}
    return Recipe.model_validate(values | changes)


def test_images_that_stay_in_memory_are_decoded_once(tmp_path: Path) -> None:
    found = expected_hours(recipe())
    loaded_later = Clock.loads - len({draw.sample_id for draw, _ in first_step(recipe())})
    seconds = 2 + loaded_later / found.measured * 4 / 3600  # 4 images for 3600 examples
    assert found.hours == pytest.approx(1800 * seconds / 3600)
    assert found.device_hours == found.hours
    assert found.steps_per_s == pytest.approx(1 / seconds)
    assert found.measured == probe.MOST_STEPS
    assert "CPU" in found.device


def first_step(job: Recipe) -> Any:
    samples = draws.SampleCache([Far()])
    return draws.Draws(samples.draws(True), job).at(0)


@pytest.mark.slow
def test_images_that_do_not_are_decoded_always(monkeypatch: pytest.MonkeyPatch) -> None:
    many = recipe(datasets=[{"name": "far", "params": {"count": 100_000}}])
    monkeypatch.setattr(probe, "KEPT_BYTES", 1)
    found = expected_hours(many)
    assert found.hours == pytest.approx(1800 * (2 + 2) / 3600)  # two images a step


@pytest.mark.slow
def test_workers_share_the_batch() -> None:
    many = recipe(batch=6, workers=3, datasets=[{"name": "far", "params": {"count": 100_000}}])
    found = expected_hours(many)
    assert found.hours == pytest.approx(1800 * 4 / 3600)  # 100,000 images for 3600 examples: each is decoded
    assert found.device_hours == pytest.approx(3 * found.hours)


def test_norms_over_all_workers_may_have_one_example_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        parameters, "build", lambda kind, name, params: {"learners": Norming, "datasets": Far}[kind](**params)
    )
    monkeypatch.setattr(Clock, "loading", 0.0)
    assert expected_hours(recipe(batch=2, workers=2, batch_norm="sync")).hours == pytest.approx(1.0)  # 1800 * 2 s
    for refused in ({"batch": 2, "workers": 2}, {"batch": 1, "batch_norm": "sync"}):
        with pytest.raises(UserError, match="more than 1 value per channel"):
            expected_hours(recipe(**refused))


@pytest.mark.parametrize(("step", "measured", "took"), [(30.0, 3, 120), (4.0, 8, 68), (0.1, 10, 2.1)])
def test_it_ends_in_time_but_measures_three_steps(
    monkeypatch: pytest.MonkeyPatch, step: float, measured: int, took: float
) -> None:
    monkeypatch.setattr(Clock, "step", step)
    monkeypatch.setattr(Clock, "loading", 0.0)
    found = expected_hours(recipe())
    assert found.measured == measured
    assert found.hours == pytest.approx(1800 * step / 3600)
    assert Clock.now == pytest.approx(took)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    expected_hours(recipe(checkpoint=str(tmp_path / "w.safetensors"), save_every=1))
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_train_on() -> None:
    with pytest.raises(UserError, match="hold no instance to train on"):
        expected_hours(recipe(datasets=[{"name": "far", "params": {"count": 0}}]))
