"""Training jobs: the same weights every time, whatever interrupted them, and a card that trains them again."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from harness.methods.click_only import ClickOnly
from harness.methods.shared.prompted_deeplab import read_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness import environment, places
from harness.clicks import NoClickError
from harness.config.recipe import KnownRecipe, Optimizer, Recipe, Schedule, identified, load_recipe
from harness.plugins import registry
from harness.plugins.interfaces import Dataset, Listed
from harness.running import train as training
from harness.running.train import stored, train
from harness.structures import Click, Instance, Sample, UserError
from harness.training.batches import Batches
from harness.training.card import card, card_of
from harness.training.fit import Progress, chosen_device
from harness.training.journal import METRICS
from harness.training.samples import Draw, Draws, SampleCache
from harness.training.state import StateFile
from harness.training.steps import decay, learning_rate

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
SCENES = {"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}
LEARNER = {
    "name": "prompted_deeplab",
    "params": {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 32, "jitter": 0.3},
}

KILLED = """
import os, pathlib, signal, sys
from harness.running import train as training
from harness.config.recipe import load_recipe
training.resumable = lambda recipe: pathlib.Path(sys.argv[2])
report = lambda progress: progress.step == 5 and os.kill(os.getpid(), signal.SIGKILL)
training.train(load_recipe(pathlib.Path(sys.argv[1])), report, report_every=1)
"""


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


pytestmark = pytest.mark.usefixtures("resumable")


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
    done: list[int] = []
    train(job, lambda progress: done.append(progress.step), report_every=1)
    assert done == list(range(step // 3 * 3 + 1, 9))
    assert same(job.output, undisturbed)
    assert not list(resumable.glob("*.pt"))


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
    monkeypatch.setattr("harness.running.train.resumable", lambda job: resumable / f"{job.key}.pt")
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


def test_fewer_gpus_than_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(chosen_device(name)) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
    with pytest.raises(UserError, match="found 2 GPUs for device: cuda:2; wanted that one"):
        chosen_device("cuda:2")


# What a job sees.


def draws(dataset: Dataset, **changes: Any) -> Draws:
    job = recipe(**changes)
    return Draws(SampleCache([dataset]).draws(job.classes == "seen"), job)


@pytest.mark.parametrize("dataset", [Boxes(), Listing()])
def test_seen_draws_no_unseen_instance(dataset: Boxes) -> None:
    seen, both = (draws(dataset, classes=classes, batch=50) for classes in ("seen", "all"))
    assert {draw.instance_id for draw, _ in seen.at(0)} == {"a0", "b0"}
    assert {draw.instance_id for draw, _ in both.at(0)} == {"a0", "a1", "a2", "b0", "b1", "b2"}
    assert (seen.categories, both.categories) == (["seen"], ["seen", "unseen"])


def test_a_listing_loads_no_image_and_loading_happens_once() -> None:
    listing, loading = Listing(), Boxes()
    assert SampleCache([listing]).draws(False) == SampleCache([loading]).draws(False)
    assert (listing.loads, loading.loads) == (0, 2)
    cache = SampleCache([loading])
    cache.draws(False)
    for sample_id in ("a", "b", "a"):
        cache.sample(0, sample_id)
    assert loading.loads == 4


@pytest.mark.parametrize(("balance", "share"), [(True, 1 / 2), (False, 1 / 3)])
def test_balance_draws_categories_equally(balance: bool, share: float) -> None:
    made = draws(Boxes(), classes="all", balance=balance, batch=3000)
    counts = Counter(draw.category for draw, _ in made.at(0))
    assert counts["seen"] / 3000 == pytest.approx(share, abs=0.03)  # three standard deviations


def test_draws_depend_on_seed_and_step_alone() -> None:
    def drawn(step: int, **changes: Any) -> list[tuple[Draw, float]]:
        return [(draw, rng.random()) for draw, rng in draws(Boxes(), batch=20, classes="all", **changes).at(step)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(3) != drawn(3, seed=1)
    assert len({number for _, number in drawn(3)}) == 20


@pytest.mark.parametrize(
    ("classes", "advice"), [("seen", "of a seen category; set `classes: all`"), ("all", "train on.")]
)
def test_nothing_to_train_on(classes: str, advice: str) -> None:
    class Empty(Boxes):
        def load(self, sample_id: str) -> Sample:
            return replace(super().load(sample_id), instances=())

    with pytest.raises(UserError, match=re.escape(advice)):
        draws(Empty(), classes=classes)


class Identity:
    """As much of a learner as an example needs."""

    def example(self, _: Sample, instance: Instance, *__: Any) -> dict[str, np.ndarray]:
        return {"id": np.array(instance.id)}


class Unclickable(Identity):
    """Finds no click for the instances of b."""

    def example(self, sample: Sample, instance: Instance, *rest: Any) -> dict[str, np.ndarray]:
        if sample.id == "b":
            raise NoClickError("no pixel off the object")
        return super().example(sample, instance, *rest)


def test_an_unclickable_instance_gives_its_place_to_another(caplog: pytest.LogCaptureFixture) -> None:
    samples = SampleCache([Listing()])
    batches = Batches(Unclickable(), samples, Draws(samples.draws(False), recipe(batch=40)))  # type: ignore[arg-type]
    made = [batches._example(*drawn)[1]["id"].item()[0] for drawn in batches._share(0)]
    assert made == ["a"] * 40
    assert "is left out: no pixel off the object" in caplog.text


class Noisy:
    """An example that tells its draw from any other."""

    def example(self, _: Sample, instance: Instance, __: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"noise": rng.random(2), "mask": instance.mask}


def noise(**options: Any) -> list[list[list[float]]]:
    """Of every forward pass of steps 3 to 9."""
    samples = SampleCache([Listing()])
    made = Batches(Noisy(), samples, Draws(samples.draws(False), recipe(batch=12)), **options)  # type: ignore[arg-type]
    return [[one["noise"].flatten().tolist() for one in step] for step in made.steps(3, 10)]


def test_threads_change_nothing() -> None:
    assert noise() == noise(threads=3) == noise(threads=2)
    assert len(noise()) == 7


class Foresighted(Noisy):
    """Wants to see the images of a step first; an example of one that it has not seen fails."""

    def __init__(self) -> None:
        self.seen: list[list[bytes]] = []
        self.asked: list[bytes] = []

    def prepare(self, images: list[np.ndarray], texts: list[str], vocabularies: list[tuple[str, ...]]) -> None:
        assert set(texts) <= {"seen", "unseen"} and set(vocabularies) == {Listing.classes}
        self.seen.append([image.tobytes() for image in images])

    def example(self, sample: Sample, *rest: Any) -> dict[str, np.ndarray]:
        assert any(sample.image.tobytes() in step for step in self.seen)
        self.asked.append(sample.image.tobytes())
        return super().example(sample, *rest)


class Pictures(Listing):
    """Every image is another one."""

    def load(self, sample_id: str) -> Sample:
        return replace(super().load(sample_id), image=np.full((32, 48, 3), ord(sample_id), np.uint8))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_learner_sees_a_steps_images_before_its_examples(threads: int) -> None:
    learner, samples = Foresighted(), SampleCache([Pictures()])
    made = Batches(learner, samples, Draws(samples.draws(False), recipe(batch=6)), threads=threads)  # type: ignore
    assert len(list(made.steps(3, 10))) == 7
    assert [len(step) for step in learner.seen] == [6] * 7
    assert sorted(learner.asked) == sorted(image for step in learner.seen for image in step)
    if threads == 1:
        assert learner.asked == [image for step in learner.seen for image in step]


def test_workers_and_parts_share_the_batch_in_order() -> None:
    whole = [step[0] for step in noise()]
    for world, parts in [(2, 1), (1, 3), (2, 3), (4, 1)]:
        ranks = [noise(rank=rank, world=world, parts=parts) for rank in range(world)]
        shared = [[row for rank in ranks for part in rank[step] for row in part] for step in range(7)]
        assert shared == whole
        assert all(len(step) == parts for rank in ranks for step in rank)


def test_an_image_that_cannot_be_read_ends_the_training() -> None:
    class Broken(Listing):
        def load(self, sample_id: str) -> Sample:
            raise OSError("no such picture.")

    samples = SampleCache([Broken()])
    for threads in (1, 2):
        made = Batches(Noisy(), samples, Draws(samples.draws(False), recipe()), threads=threads)  # type: ignore[arg-type]
        with pytest.raises(UserError, match=r"sample '[ab]' cannot be read: no such picture\. Mend it; the same"):
            list(made.steps(0, 5))


def test_an_unreadable_instance_gives_its_place_to_another(caplog: pytest.LogCaptureFixture) -> None:
    def ids() -> list[str]:
        samples = SampleCache([Listing(broken=True)])
        made = Draws(samples.draws(False), recipe(batch=40))
        batches = Batches(Identity(), samples, made)  # type: ignore[arg-type]
        return [str(batches._example(*drawn)[1]["id"]) for drawn in made.at(0)]

    assert set(ids()) == {"a1", "a2", "b1", "b2"}
    assert ids() == ids()
    assert "instance a0 is left out: no polygon" in caplog.text


def test_nothing_but_unreadable_instances() -> None:
    samples = SampleCache([Listing(broken=True)])
    made = Draws(samples.draws(True), recipe())
    draw, rng = next(made.at(0))
    with pytest.raises(UserError, match=r"found no readable instance \(.0: no polygon\)\. Repair"):
        Batches(Identity(), samples, made)._example(draw, rng)  # type: ignore[arg-type]


def test_a_cached_sample_is_the_sample() -> None:
    odd = np.random.default_rng(0).random((3, 7, 11)) < 0.5
    instances = tuple(Instance(f"x{number}", mask, "car", None, 3) for number, mask in enumerate(odd))

    class Odd(Boxes):
        def load(self, sample_id: str) -> Sample:
            return Sample(sample_id, IMAGE[:7, :11], instances, {"x9": "no mask"}, odd[0])

    for found in [SampleCache([Odd()]).sample(0, "x")] * 2:
        assert (found.id, found.broken, found.size) == ("x", {"x9": "no mask"}, (7, 11))
        np.testing.assert_array_equal(found.image, IMAGE[:7, :11])
        np.testing.assert_array_equal(found.ignore, odd[0])
        for instance, expected in zip(found.instances, instances, strict=True):
            assert replace(instance, mask=expected.mask).__dict__ == expected.__dict__
            assert instance.mask.dtype == bool
            np.testing.assert_array_equal(instance.mask, expected.mask)


def test_the_cache_keeps_to_its_limit() -> None:
    dataset = Boxes()
    one = IMAGE.nbytes + 3 * 32 * 48 // 8
    roomy, tight, none = (SampleCache([dataset], limit) for limit in (2 * one, 2 * one - 1, 0))
    for cache, loads in [(roomy, 2), (tight, 4), (none, 4)]:
        dataset.loads = 0
        for sample_id in ("a", "b", "a", "b"):
            assert cache.sample(0, sample_id).id == sample_id
        assert dataset.loads == loads
        assert cache.bytes == one * len(cache.kept)


# The learning rate.


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "constant", "warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "poly", "power": 1.0}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"name": "poly", "power": 2.0, "warmup": 2}, [0.5, 0.81, 0.64, 0.49, 0.36, 0.25, 0.16, 0.09, 0.04, 0.01]),
        ({"name": "poly", "power": 1.0, "horizon": 5}, [1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0]),
        ({"name": "poly", "power": 0.9, "horizon": 20}, [(1 - step / 20) ** 0.9 for step in range(10)]),
        (
            {"name": "cosine"},
            [1, 0.975528, 0.904508, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472],
        ),
    ],
)
def test_schedules_by_hand(schedule: dict[str, Any], expected: list[float]) -> None:
    found = [decay(Schedule.model_validate(schedule), step, 10) for step in range(10)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_optimiser_follows_the_schedule_down_to_its_floor(tmp_path: Path) -> None:
    schedule = {"name": "poly", "power": 1.0, "warmup": 2, "min_lr": 0.003}
    job = recipe(tmp_path / "w.safetensors", steps=5, optimizer={"name": "sgd", "lr": 0.01}, schedule=schedule)
    found: list[float] = []
    train(job, lambda progress: found.append(progress.lr), report_every=1)
    assert found == pytest.approx([0.005, 0.008, 0.006, 0.004, 0.003])


def test_mmsegs_schedule_by_hand() -> None:
    schedule = {"power": 0.9, "horizon": 200_000, "min_lr": 1e-4, "min_lr_rule": "mmseg"}
    job = recipe(steps=90_000, optimizer={"name": "sgd", "lr": 5e-3}, schedule=schedule)
    for step in (0, 1, 50_000, 89_999):
        assert learning_rate(job, step) == pytest.approx((5e-3 - 1e-4) * (1 - step / 200_000) ** 0.9 + 1e-4, rel=1e-12)
    floor = recipe(steps=10, optimizer={"lr": 0.1}, schedule={"power": 1.0, "min_lr": 0.05})
    assert [learning_rate(floor, step) for step in (0, 5, 9)] == pytest.approx([0.1, 0.05, 0.05])


# How it is computed.


def kept_losses(job: Recipe) -> list[float]:
    found: list[float] = []
    train(job, lambda progress: found.append(progress.loss), report_every=1)
    return found


def test_accumulated_parts_are_the_batch(tmp_path: Path) -> None:
    still = {"learner": {"name": "toy_learners:Still"}, "batch": 6, "batch_norm": "frozen", "clip_norm": 0.1}
    one, three = (recipe(tmp_path / f"{parts}.safetensors", accumulate=parts, **still) for parts in (1, 3))
    assert kept_losses(three) == pytest.approx(kept_losses(one), abs=1e-5)
    for name, value in weights(one.output).items():
        torch.testing.assert_close(weights(three.output)[name], value, rtol=0, atol=1e-5)


def test_frozen_norms_keep_their_statistics_and_others_do_not(tmp_path: Path) -> None:
    for rule, moved in [("frozen", False), ("own", True), ("sync", True)]:
        path = train(recipe(tmp_path / f"{rule}.safetensors", batch_norm=rule), lambda _: None)
        assert bool(weights(path)["1.running_mean"].abs().max() > 0) == moved


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


def test_half_precision_learns_much_the_same(tmp_path: Path) -> None:
    full, half = (kept_losses(recipe(tmp_path / f"{kind}.safetensors", compute=kind)) for kind in ("fp32", "bf16"))
    assert full != half
    assert half == pytest.approx(full, abs=0.02)
    assert weights(tmp_path / "bf16.safetensors")["0.weight"].dtype == torch.float32


def test_validation_looks_at_the_same_examples_and_changes_nothing(tmp_path: Path, undisturbed: Path) -> None:
    looked: dict[int, float | None] = {}
    job = recipe(tmp_path / "w.safetensors", validation={"datasets": [SCENES], "every": 4, "examples": 5})
    train(job, lambda progress: looked.update({progress.step: progress.validation}), report_every=2)
    assert sorted(step for step, loss in looked.items() if loss is not None) == [4, 8]
    assert same(job.output, undisturbed)
    still = job.model_copy(update={"optimizer": Optimizer(lr=1e-12), "batch_norm": "frozen"})
    train(still, lambda progress: looked.update({progress.step: progress.validation}), report_every=2)
    assert looked[4] == pytest.approx(looked[8], abs=1e-6)  # the same examples, without dropout


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


def test_a_checkpoint_prints_its_card(tmp_path: Path) -> None:
    job = recipe(tmp_path / "w.safetensors", note="Tiny.")
    train(job, lambda _: None)
    assert card_of(job.output) == job.output.with_suffix(".md").read_text()
    with safe_open(job.output, "pt") as file:
        about = file.metadata()
    assert set(json.loads(about["classes"])) <= set(registry.find("datasets", "scenes")().seen)
    assert json.loads(about["data"])[0]["name"] == "scenes"
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(UserError, match="found no recipe in its metadata"):
        card_of(other)
    other.write_bytes(b"x")
    with pytest.raises(UserError, match="found no whole safetensors file"):
        card_of(other)
    with pytest.raises(UserError, match="no such file"):
        card_of(tmp_path / "absent.safetensors")


EMBEDDED = sorted((places.ROOT / "methods" / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("path", EMBEDDED, ids=[path.stem for path in EMBEDDED])
def test_embedded_weights_print_the_card_beside_them(path: Path) -> None:
    assert card_of(path) == path.with_suffix(".md").read_text()


def test_the_card_of_another_file_is_not_printed(tmp_path: Path) -> None:
    source = places.ROOT / "methods" / "weights" / "scenes_clip.safetensors"
    other = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    other.with_suffix(".md").write_text(source.with_suffix(".md").read_text())
    with pytest.raises(UserError, match=r"found no recipe in its metadata; .*/w\.md names another SHA-256"):
        card_of(other)


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


def test_the_card_says_what_the_weights_are(tmp_path: Path) -> None:
    job = recipe(tmp_path / "w.safetensors", note="Tiny | of {no} use.", steps=2, precision="fp16")
    train(job, lambda _: None)
    text = job.output.with_suffix(".md").read_text()
    content = job.output.read_bytes()
    for fact in (
        "# w.safetensors",
        "Tiny | of {no} use.",
        "it is no published model",
        "scenes (split: train, count: 3, size: 32)",
        "of seen categories alone",
        "2, 2 examples each",
        "python -m harness train recipe.yaml --force",
        environment.commit().removesuffix("+"),
        hashlib.sha256(content).hexdigest(),
        f"{len(content)} bytes, fp16",
    ):
        assert fact in text, fact
    categories = next(line for line in text.splitlines() if line.startswith("| Categories")).split("|")[2]
    assert set(categories.strip().split(", ")) <= set(registry.find("datasets", "scenes")().seen)


def test_a_cards_recipe_is_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "elsewhere"))
    clip = {"model": "tiny.json", "checkpoint": str(places.ROOT / "weights" / "clip.safetensors")}
    learner = {"name": "prompted_deeplab", "params": {"saliency": {"name": "maskclip", "params": clip}, "jitter": 0.1}}
    coco = {"name": "coco", "params": {"root": str(tmp_path / "elsewhere" / "coco"), "seen": ["a: b", "yes"]}}
    job = recipe("weights/w.safetensors", learner=learner, datasets=[coco, SCENES], optimizer={"betas": (0.9, 0.98)})
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    text = card(job, tmp_path / "w.safetensors", "0123abc+")
    assert str(places.ROOT) not in text
    assert "root: data/coco" in text
    assert "checkpoint: weights/clip.safetensors" in text
    assert "commit 0123abc, with changed files" in text
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    simpler = re.sub(r"- name: coco\n.*?(?=- name: scenes)", "", block[1], flags=re.S)  # data that a test lacks
    (tmp_path / "recipe.yaml").write_text(simpler)
    again = load_recipe(tmp_path / "recipe.yaml")
    assert again.model_copy() == job.model_copy(update={"datasets": job.datasets[1:]})


def test_a_copy_of_the_checkout_is_told_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.delenv("HARNESS_COMMIT", raising=False)
    assert environment.commit() == ""
    monkeypatch.setenv("HARNESS_COMMIT", "450b1b1a2b3c")
    assert environment.commit() == "450b1b1a2b3c"
