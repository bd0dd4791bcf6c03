"""Trainings: the same weights every time, whatever interrupted them."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from harness.methods.click_only import ClickOnly
from harness.methods.shared.prompted_deeplab import read_checkpoint
from PIL import Image
from safetensors import safe_open

import toy_learners
from harness import environment, places
from harness.config.parts import Plugin
from harness.config.recipe import Optimizer, Recipe, Validation, identified
from harness.running import one_training as training
from harness.running.one_training import stored, train
from harness.structures import Click, UserError
from harness.training.journal import METRICS
from harness.training.one_rank import Progress
from harness.training.state import StateFile
from toy_trainings import IMAGE, SCENES, recipe, weights

LEARNER = {
    "name": "prompted_deeplab",
    "params": {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 32, "jitter": 0.3},
}

KILLED = """
import os, pathlib, signal, sys
from harness.running import one_training as training
from harness.config.recipe import load_recipe
training.resumable = lambda recipe: pathlib.Path(sys.argv[2])
report = lambda progress: progress.step == 5 and os.kill(os.getpid(), signal.SIGKILL)
training.train(load_recipe(pathlib.Path(sys.argv[1])), report, report_every=1)
"""


pytestmark = pytest.mark.usefixtures("resumable")


def same(one: Path, other: Path) -> bool:
    return all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


class InterruptError(Exception):
    """Ends a training from its report."""


def stop_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step:
            raise InterruptError

    return report


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(tmp_path_factory.mktemp("undisturbed") / "w.safetensors"), lambda _: None)


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_weights(tmp_path: Path, undisturbed: Path, resumable: Path) -> None:
    found: list[Progress] = []
    path = train(recipe(tmp_path / "w.safetensors"), found.append, report_every=3)
    assert same(path, undisturbed)
    assert [progress.step for progress in found] == [3, 6, 8]
    assert all(progress.steps == 8 and math.isfinite(progress.loss) for progress in found)
    assert found[-1].remaining_s == 0
    assert not list(resumable.glob("*.pt"))
    other = train(recipe(tmp_path / "other.safetensors", seed=1), lambda _: None)
    assert not same(other, undisturbed)


@pytest.mark.parametrize("step", [2, 3, 7])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, undisturbed: Path, resumable: Path, step: int
) -> None:
    job = recipe(tmp_path / "w.safetensors")
    with pytest.raises(InterruptError):
        train(job, stop_at(step), report_every=1)
    assert not job.output.exists()
    half = [path.with_name(f".{path.name}.{uuid4().hex}") for path in (resumable / f"{job.key}.pt", job.output)]
    for path in half:
        path.touch()  # as a killed start leaves it
    done: list[int] = []
    train(job, lambda progress: done.append(progress.step), report_every=1)
    assert not any(path.exists() for path in half)
    assert done == list(range(step // 3 * 3 + 1, 9))
    assert same(job.output, undisturbed)
    assert not list(resumable.glob("*.pt"))


def test_data_that_changed_between_two_starts_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("a", "b"):
        Image.fromarray(IMAGE).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(np.uint8(255) * (IMAGE[..., 0] > 99)).save(tmp_path / "masks" / f"{name}.png")
    data = [{"name": "folder", "params": {"root": str(tmp_path)}}]
    job = recipe(tmp_path / "w.safetensors", datasets=data, classes="all")
    for step in (4, 7):
        with pytest.raises(InterruptError):
            train(job, stop_at(step), report_every=1)
    assert "has changed" not in caplog.text
    Image.fromarray(np.uint8(255) * (IMAGE[..., 0] > 9)).save(tmp_path / "masks" / "b.png")
    train(job, lambda _: None)
    assert (
        "training: the data set folder has changed since step 6, from which this goes on (sha256 differ)" in caplog.text
    )


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, undisturbed: Path, resumable: Path) -> None:
    job = recipe(tmp_path / "w.safetensors")
    (tmp_path / "recipe.yaml").write_text(job.model_dump_json())
    arguments = [str(tmp_path / "recipe.yaml"), str(resumable / f"{job.key}.pt")]
    environment = {**os.environ, "PYTHONPATH": f"{places.ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"}
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    done: list[int] = []
    train(job, lambda progress: done.append(progress.step), report_every=1)
    assert done == [4, 5, 6, 7, 8]
    assert same(job.output, undisturbed)


def test_a_changed_recipe_starts_anew(tmp_path: Path, resumable: Path) -> None:
    old, new = recipe(tmp_path / "w.safetensors"), recipe(tmp_path / "w.safetensors", batch=3)
    with pytest.raises(InterruptError):
        train(old, stop_at(4), report_every=1)
    (resumable / f"{old.key}.pt").rename(resumable / f"{new.key}.pt")
    done: list[int] = []
    train(new, lambda progress: done.append(progress.step), report_every=1)
    assert done[0] == 1


def test_a_state_of_another_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = recipe(tmp_path / "w.safetensors")
    with pytest.raises(InterruptError):
        train(job, stop_at(4), report_every=1)
    made = toy_learners.Toy.__init__

    def wider(learner: toy_learners.Toy) -> None:
        made(learner)
        learner.network[4] = torch.nn.Conv2d(8, 2, 1)

    monkeypatch.setattr(toy_learners.Toy, "__init__", wider)
    with pytest.raises(UserError, match=r"state kept after step 3 is of another network than learner .* delete the"):
        train(job, lambda _: None)


def test_a_damaged_resumable_file_is_named(tmp_path: Path, resumable: Path) -> None:
    job = recipe(tmp_path / "w.safetensors")
    resumable.mkdir()
    for content in (b"", b"half a file", b"PK\3\4"):
        (resumable / f"{job.key}.pt").write_bytes(content)
        with pytest.raises(UserError, match=rf"{job.key}\.pt: found a damaged file \(.+\); delete it"):
            train(job, lambda _: None)


def test_a_full_disk_is_one_message_and_the_last_state_is_kept(
    tmp_path: Path, undisturbed: Path, resumable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = recipe(tmp_path / "w.safetensors")
    state = resumable / f"{job.key}.pt"

    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(progress: Progress) -> None:
        if progress.step == 4:
            monkeypatch.setattr("harness.atomic._sync", full)

    reason = rf"{job.key}\.pt: cannot be written \(No space left on device\)\. What was written before is kept: free"
    with pytest.raises(UserError, match=reason):
        train(job, fill, report_every=1)
    assert torch.load(state, weights_only=True)["step"] == 3
    assert not list(resumable.rglob(".*"))
    monkeypatch.undo()
    monkeypatch.setattr("harness.running.one_training.resumable", lambda job: resumable / f"{job.key}.pt")
    assert same(train(job, lambda _: None), undisturbed)


def test_what_else_a_state_fails_by_is_not_put_on_the_disk(tmp_path: Path) -> None:
    states = StateFile(tmp_path / "state.pt", "key")
    with pytest.raises((TypeError, AttributeError, RuntimeError)):
        states.keep({"network": (one for one in "ab")})


def test_the_resumable_file_lies_in_runs() -> None:
    job = recipe()
    assert ORIGINAL(job) == places.ROOT / "runs" / "training" / f"{job.key}.pt"


ORIGINAL = training.resumable


def test_a_loss_that_is_no_number_ends_the_job(tmp_path: Path, resumable: Path) -> None:
    job = recipe(tmp_path / "w.safetensors", optimizer={"lr": 1e30}, save_every=1)
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step 2; lower optimizer\.lr"):
        train(job, lambda _: None)
    assert not job.output.exists()
    assert torch.load(resumable / f"{job.key}.pt", weights_only=True)["step"] == 1


def test_no_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="found no GPU for device: cuda"):
        train(recipe(tmp_path / "w.safetensors", device="cuda"), lambda _: None)


@pytest.mark.slow
def test_any_seed_trains(tmp_path: Path) -> None:
    losses = [kept_losses(recipe(tmp_path / "w.safetensors", seed=seed, steps=1)) for seed in (20261130081952, 2**64)]
    assert losses[0] != losses[1]


# The learning rate.


def test_the_optimiser_follows_the_schedule_down_to_its_floor(tmp_path: Path) -> None:
    schedule = {"name": "poly", "power": 1.0, "warmup": 2, "min_lr": 0.003}
    job = recipe(tmp_path / "w.safetensors", steps=5, optimizer={"name": "sgd", "lr": 0.01}, schedule=schedule)
    found: list[float] = []
    train(job, lambda progress: found.append(progress.lr), report_every=1)
    assert found == pytest.approx([0.005, 0.008, 0.006, 0.004, 0.003])


# How it is computed.


def kept_losses(job: Recipe) -> list[float]:
    found: list[float] = []
    train(job, lambda progress: found.append(progress.loss), report_every=1)
    return found


@pytest.mark.slow
def test_accumulated_parts_are_the_batch(tmp_path: Path) -> None:
    still = {"learner": {"name": "toy_learners:Still"}, "batch": 6, "batch_norm": "frozen", "clip_norm": 0.1}
    one, three = (recipe(tmp_path / f"{parts}.safetensors", accumulate=parts, **still) for parts in (1, 3))
    assert kept_losses(three) == pytest.approx(kept_losses(one), abs=1e-5)
    for name, value in weights(one.output).items():
        torch.testing.assert_close(weights(three.output)[name], value, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_frozen_norms_keep_their_statistics_and_others_do_not(tmp_path: Path) -> None:
    for rule, moved in [("frozen", False), ("own", True), ("sync", True)]:
        path = train(recipe(tmp_path / f"{rule}.safetensors", batch_norm=rule), lambda _: None)
        assert bool(weights(path)["1.running_mean"].abs().max() > 0) == moved


@pytest.mark.slow
def test_an_average_of_the_weights_is_exported_and_survives_an_interrupt(tmp_path: Path, undisturbed: Path) -> None:
    job = recipe(tmp_path / "a.safetensors", ema=0.9)
    whole = weights(train(job, lambda _: None))
    assert not torch.equal(whole["0.weight"], weights(undisturbed)["0.weight"])
    nearly = weights(train(recipe(tmp_path / "n.safetensors", ema=1e-9), lambda _: None))
    torch.testing.assert_close(nearly["0.weight"], weights(undisturbed)["0.weight"], rtol=0, atol=1e-6)
    job.output.unlink()
    with pytest.raises(InterruptError):
        train(job, stop_at(5), report_every=1)
    assert all(torch.equal(value, whole[key]) for key, value in weights(train(job, lambda _: None)).items())


@pytest.mark.slow
def test_half_precision_learns_much_the_same(tmp_path: Path) -> None:
    full, half = (kept_losses(recipe(tmp_path / f"{kind}.safetensors", compute=kind)) for kind in ("fp32", "bf16"))
    assert full != half
    assert half == pytest.approx(full, abs=0.02)
    assert weights(tmp_path / "bf16.safetensors")["0.weight"].dtype == torch.float32


@pytest.mark.slow
def test_validation_looks_at_the_same_examples_and_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    looked: dict[int, float | None] = {}
    job = recipe(tmp_path / "w.safetensors", validation={"datasets": [SCENES], "every": 4, "examples": 5})
    train(job, lambda progress: looked.update({progress.step: progress.validation}), report_every=2)
    assert sorted(step for step, loss in looked.items() if loss is not None) == [4, 8]
    assert same(job.output, undisturbed)
    still = job.model_copy(update={"optimizer": Optimizer(lr=1e-12), "batch_norm": "frozen"})
    train(still, lambda progress: looked.update({progress.step: progress.validation}), report_every=2)
    assert looked[4] == pytest.approx(looked[8], abs=1e-6)  # the same examples, without dropout


@pytest.mark.slow
def test_validation_is_of_the_weights_that_are_exported_and_looks_at_the_last_step(tmp_path: Path) -> None:
    looked: dict[int, float | None] = {}
    # So slow an average stays at the first weights, whose loss is the same at every step.
    slow = recipe(tmp_path / "w.safetensors", ema=1 - 1e-9)
    undisturbed = weights(train(slow, lambda _: None))
    slow = identified(
        slow.model_copy(update={"validation": Validation(datasets=(Plugin(**SCENES),), every=3, examples=5)})
    )
    train(slow, lambda progress: looked.update({progress.step: progress.validation}), report_every=1)
    assert [step for step, loss in looked.items() if loss is not None] == [3, 6, 8]
    assert [looked[6], looked[8]] == pytest.approx([looked[3]] * 2, abs=1e-6)
    assert all(torch.equal(value, undisturbed[name]) for name, value in weights(slow.output).items())


# What it leaves behind.


def test_a_journal_has_every_step_once(tmp_path: Path, resumable: Path) -> None:
    job = recipe(tmp_path / "w.safetensors")
    with pytest.raises(InterruptError):
        train(job, stop_at(5), report_every=1)
    train(job, lambda _: None, report_every=1)
    (folder,) = (path for path in resumable.iterdir() if path.is_dir())
    rows = pq.read_table(folder / METRICS).to_pylist()
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert all(math.isfinite(row["loss"]) and row["lr"] > 0 and 0 <= row["waited"] <= 1 for row in rows)
    assert list(folder.glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_both_precisions_load_through_the_method(tmp_path: Path) -> None:
    paths = [
        train(recipe(tmp_path / f"{kind}.safetensors", learner=LEARNER, precision=kind, steps=2), lambda _: None)
        for kind in ("fp32", "fp16")
    ]
    assert paths[1].stat().st_size < 0.6 * paths[0].stat().st_size
    (_, full), (_, half) = (read_checkpoint(path) for path in paths)
    for name, tensor in full.items():
        torch.testing.assert_close(half[name], tensor, rtol=1e-3, atol=1e-6)
    for path in paths:
        assert ClickOnly(path, "cpu").predict(IMAGE, Click(3, 4), None).masks.shape == (1, 32, 48)


def test_a_value_too_large_for_half_precision_stays() -> None:
    large = torch.tensor([1.0, 7e4])
    assert torch.equal(stored(large, half=True), large)
    assert stored(torch.tensor([1.0, 6e4]), half=True).dtype == torch.float16
    assert stored(torch.tensor([1.0]), half=False).dtype == torch.float32
    assert stored(torch.tensor(7), half=True).dtype == torch.int64
    assert stored(torch.zeros(0), half=True).shape == (0,)


def test_a_checkpoint_names_its_recipe(undisturbed: Path) -> None:
    with safe_open(undisturbed, "pt") as file:
        about = file.metadata()
    assert about["recipe"] == recipe().key
    assert about["commit"] == environment.commit()
    assert sorted(path.name for path in undisturbed.parent.iterdir()) == ["w.md", "w.safetensors"]
