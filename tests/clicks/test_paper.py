"""The paper's prompts of several clicks: where each may fall, and what small objects and full images get."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.clicks import NoClickError, Situation, click_rng, clicks_a_round, interior_depth
from harness.clicks.paper import interior, prompt
from harness.structures import Click, Instance, Mask, Sample

H, W = 90, 140


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


OBJECT = box(20, 60, 30, 90)
TWIN, STRANGER = box(20, 60, 110, 130), box(70, 85, 80, 100)


def situation(
    truth: Mask = OBJECT, seed: int = 0, others: tuple[Instance, ...] = (), ignore: Mask | None = None
) -> Situation:
    instance = Instance("i~a text", truth, "thing")
    sample = Sample("s", np.zeros((H, W, 3), np.uint8), (instance, *others), ignore=ignore)
    return Situation(sample, instance, (), None, click_rng(seed, "d", "s", "i", 1))


def gap(one: Click, other: Click) -> float:
    return float(np.hypot(one.x - other.x, one.y - other.y))


def distances(mask: Mask) -> np.ndarray:
    """Of every pixel to the mask, by trying them all."""
    on = np.argwhere(mask)
    outline = on[[not mask[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].all() or y in (0, H - 1) for y, x in on]]
    y, x = np.indices((H, W))
    squared = ((y[..., None] - outline[:, 0]) ** 2 + (x[..., None] - outline[:, 1]) ** 2).min(axis=-1)
    return np.where(mask, 0, np.sqrt(squared))


@pytest.mark.parametrize("margin", [0, 0.35, 0.8, 1])
def test_the_first_positive_is_version_one_s(margin: float) -> None:
    masks = [OBJECT, STRANGER, box(0, H, 3, 4), box(4, 5, 6, 7), np.indices((H, W)).sum(axis=0) % 3 > 0]
    for seed in range(20):
        for mask in masks:
            first = prompt(situation(mask, seed), positives=3, negatives=1, margin=margin)[0]
            assert (first,) == interior(situation(mask, seed), margin=margin)


def test_by_default_a_click_is_at_least_as_deep_as_35_of_100_of_the_depth() -> None:
    # The object is 40 pixels high, so 20 deep in its middle: 0.35 * 20 = 7, which the rows 26 to 53 are.
    for rule in (interior, prompt):
        rows = [click.y for seed in range(200) for click in rule(situation(seed=seed))]
        assert (min(rows), max(rows)) == (26, 53)


def test_by_default_positives_are_150_pixels_apart_and_negatives_within_40() -> None:
    road = np.zeros((60, 420), bool)
    road[2:9, 5:415] = True
    instance = Instance("i", road, "thing")
    sample = Sample("s", np.zeros((60, 420, 3), np.uint8), (instance,))
    gaps, away = [], []
    for seed in range(120):
        at = Situation(sample, instance, (), None, click_rng(seed, "d", "s", "i", 1))
        one, two, off = prompt(at, positives=2, negatives=1)
        gaps.append(gap(one, two))
        away.append(off.y - 8)
    assert 150 <= min(gaps) < 155 and max(gaps) > 200
    assert 38 <= max(away) <= 40


@pytest.mark.parametrize(("positives", "negatives"), [(1, 0), (2, 1), (1, 1), (5, 4)])
def test_as_many_as_asked_positives_first(positives: int, negatives: int) -> None:
    for truth in (OBJECT, box(4, 5, 6, 7), box(0, H, 0, W - 1)):
        made = prompt(situation(truth), positives=positives, negatives=negatives)
        assert [click.positive for click in made] == [True] * positives + [False] * negatives
        assert all(truth[click.y, click.x] == click.positive for click in made)
    assert clicks_a_round("paper/v2", {"positives": positives, "negatives": negatives}) == positives + negatives


def test_positives_keep_their_distance_and_their_margin() -> None:
    depth, left, top = interior_depth(OBJECT)
    for seed in range(60):
        one, two = prompt(situation(seed=seed), positives=2, distance=15, margin=0.5)
        assert gap(one, two) >= 15
        assert all(depth[click.y - top, click.x - left] >= 0.5 * depth.max() for click in (one, two))
    seconds = {prompt(situation(seed=seed), positives=2, distance=15)[1] for seed in range(60)}
    assert len(seconds) > 40  # drawn, not the one farthest


def test_on_an_object_too_small_the_farthest_pixel_inside_the_margin() -> None:
    for seed in range(20):
        one, two = prompt(situation(seed=seed), positives=2, distance=150, margin=0.5)
        ys, xs = np.mgrid[29:51, 39:81]  # at least 10 of 20 pixels deep
        assert gap(one, two) == np.hypot(ys - one.y, xs - one.x).max()
        assert 29 <= two.y < 51 and 39 <= two.x < 81


def test_margin_in_pixels_and_the_deepest_where_it_is_deeper_than_the_object() -> None:
    found = {(click.x, click.y) for seed in range(200) for click in prompt(situation(seed=seed), margin_px=18)}
    assert {x for x, _ in found} <= set(range(47, 73)) and {y for _, y in found} <= set(range(37, 43))
    deepest = {click.y for seed in range(50) for click in prompt(situation(seed=seed), margin_px=1000)}
    assert deepest == {39, 40}


def test_a_pixel_is_clicked_again_only_where_there_is_no_other() -> None:
    dot = box(4, 5, 6, 7)
    assert prompt(situation(dot), positives=3) == (Click(6, 4),) * 3
    cross = box(9, 10, 8, 11) | box(8, 11, 9, 10)  # its one deepest pixel is the margin of 1
    made = prompt(situation(cross), positives=5, margin=1)
    assert made[0] == Click(9, 9) and len(set(made)) == 5


OTHERS = (
    Instance("i~another text", OBJECT, "thing"),
    Instance("twin", TWIN | box(30, 40, 85, 90), "thing"),
    Instance("stranger", STRANGER, "another"),
)


def test_negatives_along_the_outside() -> None:
    away = distances(OBJECT)
    for seed in range(60):
        (off,) = prompt(situation(seed=seed), negatives=1, sources=("boundary",), band=6)[1:]
        assert not off.positive and 0 < away[off.y, off.x] <= 6


def test_negatives_on_other_instances() -> None:
    for seed in range(60):
        (off,) = prompt(situation(seed=seed, others=OTHERS), negatives=1, sources=("same_class",))[1:]
        assert TWIN[off.y, off.x]
    counts = Counter(
        bool(STRANGER[off.y, off.x])
        for seed in range(400)
        for off in prompt(situation(seed=seed, others=OTHERS), negatives=1, sources=("any_class",))[1:]
    )
    share = STRANGER.sum() / (STRANGER.sum() + TWIN.sum())
    assert abs(counts[True] / 400 - share) < 4 * np.sqrt(share * (1 - share) / 400)


def test_sources_take_turns_evenly_where_they_have_pixels() -> None:
    offs = [prompt(situation(seed=seed, others=OTHERS), negatives=1, band=3)[1] for seed in range(400)]
    on_twin = sum(bool(TWIN[off.y, off.x]) for off in offs)
    assert abs(on_twin - 200) < 4 * 10


def test_without_another_instance_along_the_outside() -> None:
    away = distances(OBJECT)
    for seed in range(30):
        for sources in [("same_class",), ("any_class",), ("same_class", "boundary")]:
            off = prompt(situation(seed=seed), negatives=1, sources=sources, band=6)[1]
            assert 0 < away[off.y, off.x] <= 6


def test_negatives_avoid_ignored_and_clicked_pixels() -> None:
    truth = box(0, H, 0, W) & ~box(10, 12, 10, 12)
    ignore = box(10, 11, 0, W)
    made = prompt(situation(truth, ignore=ignore), negatives=2)
    assert {(click.x, click.y) for click in made if not click.positive} == {(10, 11), (11, 11)}
    with pytest.raises(NoClickError, match="off the object"):
        prompt(situation(truth, ignore=ignore), negatives=3)
    with pytest.raises(NoClickError, match="off the object"):
        prompt(situation(box(0, H, 0, W)), negatives=1)


def test_beyond_the_band_where_the_band_is_ignored() -> None:
    ignore = box(10, 70, 20, 100) & ~OBJECT
    off = prompt(situation(ignore=ignore), negatives=1, sources=("boundary",), band=5)[1]
    assert not ignore[off.y, off.x] and not OBJECT[off.y, off.x]


def test_a_second_round_keeps_its_distance_from_the_first() -> None:
    first = prompt(situation(), positives=2, negatives=1, distance=12)
    at = situation(seed=5)
    second = prompt(Situation(at.sample, at.instance, first, None, at.rng), positives=2, negatives=1, distance=12)
    positives = [click for click in first + second if click.positive]
    assert len(positives) == 4
    assert all(gap(one, other) >= 12 for one in positives for other in positives if one != other)
