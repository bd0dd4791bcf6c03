"""Loaders: processes of their own that make a training's next steps, and what becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.config.recipe import Recipe
from harness.running import one_training as training
from harness.running.one_training import train
from harness.structures import UserError
from harness.training.batches import Batch, batches_of
from harness.training.loaders import LoaderDiedError, Loaders
from harness.training.one_rank import Training

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")

KILLED = """
import sys
from functools import partial
import torch
from harness.training.batches import batches_of
from harness.training.loaders import Loaders
from harness.config.recipe import Recipe

if __name__ == "__main__":
    recipe = Recipe.model_validate_json(sys.argv[1])
    next(Loaders(partial(batches_of, recipe, 0, 1, torch.device("cpu")), 1, pinned=False).steps(0, 2))
"""


def recipe(learner: str = "Toy", params: dict[str, Any] | None = None, **others: Any) -> Recipe:
    scenes = {"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}
    how = {"learner": {"name": f"toy_learners:{learner}", "params": params or {}}, "datasets": [scenes]}
    return Recipe.model_validate(
        {**how, "classes": "all", "batch": 4, "steps": 50, "checkpoint": "w.safetensors", **others}
    )


def loaders(of: Recipe, count: int) -> Loaders:
    return Loaders(partial(batches_of, of, 0, 1, CPU), count, pinned=False)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a)


@pytest.mark.slow
def test_loaders_make_what_would_be_made_here_in_order_and_again() -> None:
    wanted = list(batches_of(recipe(), 0, 1, CPU).steps(3, 12))
    with closing(loaders(recipe(), 5)) as several:
        assert len(several.pools) == 2
        for _ in range(2):  # Processes stay for another pass.
            found = list(several.steps(3, 12))
            assert len(found) == 9 and all(map(same, found, wanted))
    assert not same(wanted[0], wanted[1])


@pytest.mark.slow
def test_a_job_with_loaders_trains_as_one_without() -> None:
    def losses(**how: Any) -> list[float]:
        with closing(Training.of(recipe(threads=1, **how), 0, 1)) as made:
            return [made.state.step(step, share) for step, share in enumerate(made.steps(0, 3))]

    assert losses() == losses(loaders=2)
    assert len(set(losses())) == 3


@pytest.mark.slow
def test_what_goes_wrong_in_a_loader_is_told_here() -> None:
    with (
        closing(loaders(recipe("Fragile"), 1)) as made,
        pytest.raises(UserError, match="disk is gone"),
    ):
        next(made.steps(0, 5))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("Fragile", {"dies": True}, "a loader's process died, most often for lack of memory. Lower `loaders`"),
        ("Third", {}, "a loader's process died, most often for lack of memory. Lower `loaders`"),
        ("Full", {}, "a loader found no room in /dev/shm .unable to allocate .*. Lower `loaders`"),
        ("Strange", {}, "a loader's process died, .* .here: .*missing 1 required positional argument: 'other"),
    ],
)
def test_a_loader_that_dies_is_told_whenever_it_does(
    name: str, params: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "resumable", lambda of: tmp_path / f"{of.key}.pt")
    dying = recipe(name, params, loaders=1, checkpoint=str(tmp_path / "w.safetensors"))
    with pytest.raises(LoaderDiedError, match=said):
        train(dying, lambda _: None)


@pytest.mark.slow
def test_a_closed_training_waits_for_no_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADER_PIDS", str(tmp_path / "pids"))
    made = loaders(recipe("Patient"), 5)
    ThreadPoolExecutor(1).submit(next, made.steps(0, 5))
    assert within(60, lambda: len(pids(tmp_path)) == 2)  # Each has a step of its own.
    made.close()
    assert within(10, lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids(tmp_path)))


def pids(folder: Path) -> set[str]:
    path = folder / "pids"
    return set(path.read_text().split()) if path.exists() else set()


def test_threads_are_shared_out() -> None:
    with closing(loaders(recipe(), 6)) as made:
        assert len(made.pools) == 2
        assert [pool._initargs[2] for pool in made.pools] == [3, 3]  # type: ignore[attr-defined]
    with closing(loaders(recipe(), 5)) as made:
        assert [pool._initargs[2] for pool in made.pools] == [3, 2]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_loaders_end_with_a_training_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    of = recipe("Patient").model_dump_json()
    env = {**os.environ, "LOADER_PIDS": str(tmp_path / "pids"), "PYTHONPATH": f"{ROOT}:{os.environ['PYTHONPATH']}"}
    training = subprocess.Popen([sys.executable, tmp_path / "killed.py", of], env=env)
    assert within(60, lambda: bool(pids(tmp_path)))
    training.send_signal(signal.SIGKILL)
    training.wait()
    (loader,) = map(int, pids(tmp_path))
    assert loader != training.pid
    assert within(10, lambda: not Path(f"/proc/{loader}").exists())


def within(seconds: float, holds: Any) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(holds())


@pytest.mark.slow
def test_a_worker_shares_its_memory_among_its_loaders() -> None:
    whole, third = (batches_of(recipe(), 0, 1, CPU, processes).samples.limit for processes in (1, 3))
    assert third == whole // 3
    assert np.isclose(whole, 4 * 2**30)
