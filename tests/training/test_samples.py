"""Which instances a step sees, and the samples that stay in memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.plugins.interfaces import Dataset
from harness.structures import Instance, Sample, UserError
from harness.training.samples import Draw, Draws, SampleCache
from toy_trainings import IMAGE, Boxes, Listing, recipe


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


def test_a_data_set_that_gives_nothing_is_missed_beside_one_that_does() -> None:
    class Splitless(Boxes):
        def load(self, sample_id: str) -> Sample:
            sample = super().load(sample_id)
            return replace(sample, instances=tuple(replace(one, seen=None) for one in sample.instances))

    entries = [{"name": "scenes"}, {"name": "scenes", "label": "mine"}]
    cache = SampleCache([Boxes(), Splitless()])
    with pytest.raises(UserError, match="data set 'mine' holds no instance to train on of a seen category; set `class"):
        Draws(cache.draws(True), recipe(datasets=entries))
    assert len(Draws(cache.draws(False), recipe(datasets=entries, classes="all")).draws) == 12


NO_MASK: Any = None
"""In place of masks, which are compared by their pixels."""


def test_a_cached_sample_is_the_sample() -> None:
    odd = np.random.default_rng(0).random((4, 7, 11)) < 0.5
    instances = tuple(Instance(f"x{number}", mask, "car", None, 3) for number, mask in enumerate(odd[1:]))

    class Odd(Boxes):
        def load(self, sample_id: str) -> Sample:
            return Sample(sample_id, IMAGE[:7, :11], instances, {"x9": "no mask"}, odd[0])

    for found in [SampleCache([Odd()]).sample(0, "x")] * 2:
        assert (found.id, found.broken, found.size) == ("x", {"x9": "no mask"}, (7, 11))
        np.testing.assert_array_equal(found.image, IMAGE[:7, :11])
        np.testing.assert_array_equal(found.ignore, odd[0])
        for instance, expected in zip(found.instances, instances, strict=True):
            assert replace(instance, mask=NO_MASK).__dict__ == replace(expected, mask=NO_MASK).__dict__
            assert instance.mask.dtype == bool
            np.testing.assert_array_equal(instance.mask, expected.mask)


def test_the_cache_keeps_to_its_limit() -> None:
    dataset = Boxes()
    one = IMAGE.nbytes + 3 * 32 * 48 // 8 + 32 * 48  # the image, three masks as bits, `ignore`
    roomy, tight, none = (SampleCache([dataset], limit) for limit in (2 * one, 2 * one - 1, 0))
    for cache, loads in [(roomy, 2), (tight, 4), (none, 4)]:
        dataset.loads = 0
        for sample_id in ("a", "b", "a", "b"):
            assert cache.sample(0, sample_id).id == sample_id
        assert dataset.loads == loads
        assert cache.bytes == one * len(cache.kept)


def test_instances_that_an_evaluation_fails_are_broken_here_too() -> None:
    class Odd(Boxes):
        def load(self, sample_id: str) -> Sample:
            good = super().load(sample_id).instances[0]
            masks = {
                "empty": np.zeros((32, 48), bool),
                "turned": good.mask.T,
                "ignored": good.mask,
                "bytes": IMAGE[..., 0],
            }
            odd = tuple(Instance(name, mask, "seen", True) for name, mask in masks.items())
            return Sample(sample_id, IMAGE, (replace(good, mask=~good.mask), *odd), {}, good.mask)

    found = SampleCache([Odd()]).sample(0, "a")
    assert [one.id for one in found.instances] == ["a0"]
    assert found.broken == {
        "empty": "ground truth: no pixel that counts; wanted one at least.",
        "turned": "ground truth: bool (48, 32); wanted bool (32, 48), the image's (h, w).",
        "ignored": "ground truth: no pixel that counts; wanted one at least.",
        "bytes": "ground truth: uint8 (32, 48); wanted bool (32, 48), the image's (h, w).",
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: {}["left.jpg"], r"KeyError: 'left\.jpg' \(test_samples\.py, line \d+\)\."),
        (lambda _: None, r"load\('a'\) returned NoneType; wanted harness\.Sample\."),
        (lambda sample: replace(sample, id="b"), r"load\('a'\) returned the sample 'b'; wanted that of"),
    ],
)
def test_whatever_a_data_set_does_wrong_names_the_sample(change: Any, told: str) -> None:
    class Wrong(Boxes):
        def load(self, sample_id: str) -> Any:
            return change(super().load(sample_id))

    with pytest.raises(UserError, match=f"^training: sample 'a' cannot be read: {told}.* the same command again"):
        SampleCache([Wrong()]).sample(0, "a")
