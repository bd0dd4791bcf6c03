"""Clicks: where they may fall, how they are spread, and that they stay what they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clicks import Situation, click_rng, interior_depth
from harness.clicks.paper import interior
from harness.plugins.registry import find
from harness.structures import Click, Instance, Mask, Sample

ROOT = Path(__file__).resolve().parents[1]
H, W = 24, 36


def _click(mask: Mask, rng: np.random.Generator, **options: float) -> Click:
    instance = Instance("i", mask, "thing")
    sample = Sample("s", np.zeros((*mask.shape, 3), np.uint8), (instance,))
    (click,) = interior(Situation(sample, instance, (), None, rng), **options)
    return click


def _depth_by_hand(mask: Mask) -> np.ndarray:
    """Distance to the nearest pixel off the mask, by trying them all; what lies beyond the image is off."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    depth = np.zeros(padded.shape)
    for y, x in np.argwhere(padded):
        depth[y, x] = np.sqrt(((outside - (y, x)) ** 2).sum(axis=1).min())
    return depth[1:-1, 1:-1]


def _masks() -> dict[str, Mask]:
    def painted(*boxes: tuple[int, int, int, int]) -> Mask:
        mask = np.zeros((H, W), bool)
        for top, bottom, left, right in boxes:
            mask[top:bottom, left:right] = True
        return mask

    y, x = np.ogrid[:H, :W]
    return {
        "disc": (y - 11) ** 2 + (x - 20) ** 2 <= 64,
        "ring": (np.hypot(y - 11, x - 20) <= 9) & (np.hypot(y - 11, x - 20) >= 4),
        "one pixel": painted((5, 6, 7, 8)),
        "corner pixel": painted((H - 1, H, W - 1, W)),
        "line": painted((3, 4, 2, 30)),
        "thin column": painted((0, H, 8, 9)),
        "full": painted((0, H, 0, W)),
        "at the border": painted((0, 10, 0, 14)),
        "two parts": painted((2, 4, 2, 4), (10, 22, 10, 34)),
        "checkered": np.indices((H, W)).sum(axis=0) % 2 == 0,
    }


MASKS = _masks()


@pytest.mark.parametrize("mask", MASKS.values(), ids=list(MASKS))
def test_depth_is_the_euclidean_distance(mask: Mask) -> None:
    depth, left, top = interior_depth(mask)
    whole = np.zeros(mask.shape)
    whole[top : top + depth.shape[0], left : left + depth.shape[1]] = depth
    np.testing.assert_allclose(whole, _depth_by_hand(mask), atol=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_depth_of_random_masks(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.7
    mask[4, 6] = True
    depth, left, top = interior_depth(mask)
    expected = _depth_by_hand(mask)
    assert expected.sum() == pytest.approx(depth.sum(), rel=1e-4)
    np.testing.assert_allclose(depth, expected[top : top + depth.shape[0], left : left + depth.shape[1]], atol=1e-4)


@pytest.mark.parametrize("margin", [0, 0.35, 1])
@pytest.mark.parametrize("mask", MASKS.values(), ids=list(MASKS))
def test_a_click_lies_well_inside(mask: Mask, margin: float) -> None:
    depth = _depth_by_hand(mask)
    for seed in range(40):
        click = _click(mask, np.random.default_rng(seed), margin=margin)
        assert click.positive and type(click.x) is int and type(click.y) is int
        assert mask[click.y, click.x]
        assert depth[click.y, click.x] >= margin * depth.max() - 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disc", "ring", "line", "two parts"])
def test_clicks_are_uniform_over_the_pixels_well_inside(name: str) -> None:
    mask = MASKS[name]
    depth = _depth_by_hand(mask)
    allowed = depth >= 0.35 * depth.max() - 1e-6
    allowed &= mask
    draws = 60 * int(allowed.sum())
    counts = np.zeros(mask.shape, int)
    rng = np.random.default_rng(0)
    for _ in range(min(draws, 6000)):
        click = _click(mask, rng)
        counts[click.y, click.x] += 1
    expected = counts.sum() / allowed.sum()
    assert counts[~allowed].sum() == 0
    chi_square, degrees = ((counts[allowed] - expected) ** 2 / expected).sum(), allowed.sum() - 1
    assert abs(chi_square - degrees) < 4 * np.sqrt(2 * degrees)


@pytest.mark.slow
def test_uniform_over_seeds_too() -> None:
    mask = MASKS["line"]
    drawn = [_click(mask, click_rng(seed, "d", "s", "i", 0)).x for seed in range(2800)]
    counts = np.bincount(drawn, minlength=30)[2:30]
    assert counts.sum() == 2800 and ((counts - 100) ** 2 / 100).sum() < 27 + 4 * np.sqrt(54)


def test_the_paper_s_rule_only_looks_at_the_mask() -> None:
    first = _click(MASKS["disc"], np.random.default_rng(3))
    instance = Instance("other", MASKS["disc"], "other")
    sample = Sample("t", np.full((H, W, 3), 9, np.uint8), (instance,), ignore=MASKS["disc"])
    situation = Situation(sample, instance, (Click(1, 1),), MASKS["ring"], np.random.default_rng(3))
    assert find("clicks", "paper/v1")(situation) == (first,)


EXPECTED = {
    ("disc", 0, "scenes", "val/0", "val/0-1", 0): (17, 9),
    ("disc", 0, "scenes", "val/0", "val/0-1", 1): (21, 12),
    ("ring", 0, "coco", "7", "1", 0): (13, 12),
    ("two parts", 17, "coco", "7", "1", 0): (31, 14),
    ("at the border", 0, "Füße", "a", "b", 0): (4, 7),
}
"""(mask, seed, data set, sample, instance, number) -> (x, y). Stored rows rest on these: a change of them is a new
version of the rule, never a new number here."""


@pytest.mark.parametrize("key", EXPECTED, ids=str)
def test_clicks_stay_what_they_are(key: tuple[str, int, str, str, str, int]) -> None:
    name, *asked = key
    click = _click(MASKS[name], click_rng(*asked))  # type: ignore[arg-type]
    assert (click.x, click.y) == EXPECTED[key]


@pytest.mark.slow
def test_another_process_draws_the_same() -> None:
    code = (
        "from harness.clicks import click_rng; print(click_rng(5, 'd', 's', 'i', 2).integers(1 << 60, size=3).tolist())"
    )
    drawn = click_rng(5, "d", "s", "i", 2).integers(1 << 60, size=3).tolist()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(drawn)


def test_every_part_of_the_key_counts_and_none_runs_into_the_next() -> None:
    keys = [
        (0, "a", "bc", "d", 0),
        (0, "ab", "c", "d", 0),
        (0, "a", "b", "cd", 0),
        (0, "a", "bcd", "", 0),
        (0, "", "abcd", "", 0),
        (0, "a", "bc", "d0", 0),
        (0, "a", "bc", "d", 1),
        (1, "a", "bc", "d", 0),
        (10, "a", "bc", "d", 0),
        (1, "0a", "bc", "d", 0),
    ]
    drawn = {tuple(click_rng(*key).integers(1 << 60, size=2).tolist()) for key in keys}
    assert len(drawn) == len(keys)
