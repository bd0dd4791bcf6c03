"""Drawn instances as the batches of a worker: whole, in order, and the same whoever makes them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.clicks import NoClickError
from harness.structures import Instance, Sample, UserError
from harness.training.batches import Batches
from harness.training.samples import Draws, SampleCache
from toy_trainings import Listing, recipe


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


def test_the_only_readable_instance_is_found_whatever_is_drawn() -> None:
    class OneOfSix(Listing):
        def load(self, sample_id: str) -> Sample:
            sample = super().load(sample_id)
            kept = sample.instances[:1] if sample_id == "b" else ()
            reasons = {one.id: "no polygon" for one in sample.instances if one not in kept}
            return replace(sample, instances=kept, broken=reasons)

    samples = SampleCache([OneOfSix()])
    batches = Batches(Identity(), samples, Draws(samples.draws(False), recipe(batch=40)))  # type: ignore[arg-type]
    made = [batches._example(*drawn)[1]["id"].item() for step in range(3) for drawn in batches._share(step)]
    assert made == ["b0"] * 120


def test_nothing_but_unreadable_instances() -> None:
    samples = SampleCache([Listing(broken=True)])
    made = Draws(samples.draws(True), recipe())
    draw, rng = next(made.at(0))
    with pytest.raises(UserError, match=r"found no readable instance \(.0: no polygon\)\. Repair"):
        Batches(Identity(), samples, made)._example(draw, rng)  # type: ignore[arg-type]
