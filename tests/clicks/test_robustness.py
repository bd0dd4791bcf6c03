"""First clicks all over an object: their distribution, their cells, and what follows them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from harness.clicks import Situation, click_rng
from harness.clicks.correction import center
from harness.clicks.depth import squared_depth
from harness.clicks.robustness import grid, rclicks
from harness.plugins.registry import find
from harness.structures import Click, Instance, Mask, Sample

H, W = 40, 62


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


def situation(truth: Mask, seed: int = 0, ignore: Mask | None = None, draw: int = 0) -> Situation:
    instance = Instance("i", truth, "thing")
    sample = Sample("s", np.zeros((H, W, 3), np.uint8), (instance,), ignore=ignore)
    return Situation(sample, instance, (), None, click_rng(seed, "d", "s", "i", 1), draw)


Y, X = np.indices((H, W))
SHAPES = {
    "box": box(5, 25, 10, 50),
    "ring": np.abs(np.hypot(Y - 20, X - 30) - 13) < 4,
    "two parts": box(2, 6, 3, 9) | box(20, 38, 30, 60),
    "line": box(7, 8, 4, 50),
    "few pixels": box(7, 9, 4, 6) | box(30, 31, 60, 61),
    "one pixel": box(7, 8, 4, 5),
}
EACH_SHAPE = pytest.mark.parametrize("mask", SHAPES.values(), ids=list(SHAPES))


@pytest.mark.slow
def test_a_pixel_s_probability_is_its_depth_s_share() -> None:
    mask = box(5, 10, 10, 17)
    squared, left, top = squared_depth(mask)
    share = np.sqrt(squared) / np.sqrt(squared).sum()
    counts = np.zeros(squared.shape)
    for seed in range(4000):
        (click,) = rclicks(situation(mask, seed))
        counts[click.y - top, click.x - left] += 1
    chi_square, degrees = ((counts - 4000 * share) ** 2 / (4000 * share)).sum(), share.size - 1
    assert chi_square < degrees + 4 * np.sqrt(2 * degrees)


@EACH_SHAPE
def test_groups_go_from_the_rim_to_the_middle(mask: Mask) -> None:
    squared, left, top = squared_depth(mask)
    depths = []
    for group in range(1, 11):
        clicks = [rclicks(situation(mask, seed), group=group)[0] for seed in range(30)]
        assert all(mask[click.y, click.x] and click.positive for click in clicks)
        depths.append([squared[click.y - top, click.x - left] for click in clicks])
    assert all(max(less) <= min(more) for less, more in itertools.pairwise(depths))
    assert min(depths[0]) == 1 and max(depths[9]) == squared.max()


@pytest.mark.slow
def test_groups_hold_equal_shares() -> None:
    mask, counts = SHAPES["box"], []
    for group in (1, 2):
        clicks = {rclicks(situation(mask, seed), group=group, groups=2) for seed in range(3000)}
        counts.append(clicks)
    depth = np.sqrt(squared_depth(mask)[0])
    by_depth = np.sort(depth.reshape(-1))
    half = int(np.searchsorted(by_depth.cumsum(), by_depth.sum() / 2)) + 1
    assert abs(len(counts[0]) - half) < 25 and abs(len(counts[1]) - (depth.size - half)) < 25
    assert len(counts[0] & counts[1]) <= 1


@EACH_SHAPE
@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_every_cell_of_the_grid_has_a_click_on_the_object(mask: Mask, side: int) -> None:
    clicks = [grid(situation(mask), side=side, cell=cell)[0] for cell in range(side**2)]
    assert all(mask[click.y, click.x] and click.positive for click in clicks)
    assert len(set(clicks)) == min(side**2, int(mask.sum())) or mask.sum() < 3 * side**2


def test_cells_of_a_box() -> None:
    clicks = [grid(situation(box(5, 26, 10, 40)), cell=cell)[0] for cell in range(9)]
    assert clicks == [Click(x, y) for y in (8, 15, 22) for x in (14, 24, 34)]


def test_cells_hold_equally_many_pixels() -> None:
    mask = SHAPES["two parts"]
    small = sum(bool(click.y < 10) for cell in range(25) for click in grid(situation(mask), side=5, cell=cell))
    assert small == 0 or small <= 2  # 24 of its 564 pixels lie in the small part


def test_the_draw_names_the_cell() -> None:
    mask = SHAPES["ring"]
    by_cell = [grid(situation(mask), cell=cell) for cell in range(9)]
    assert [grid(situation(mask, draw=draw)) for draw in range(12)] == by_cell + by_cell[:3]
    assert len(set(by_cell)) == 9


@pytest.mark.parametrize("name", ["rclicks/v1", "grid/v1"])
def test_ignored_pixels_are_not_clicked(name: str) -> None:
    mask = SHAPES["box"]
    for seed in range(50):
        (click,) = find("clicks", name)(situation(mask, seed, ignore=box(0, H, 0, 40), draw=seed))
        assert click.x >= 40


@pytest.mark.parametrize("name", ["rclicks/v1", "grid/v1"])
def test_later_clicks_correct(name: str) -> None:
    at = replace(situation(SHAPES["box"]), clicks=(Click(12, 9),), predicted=box(5, 25, 10, 30))
    assert find("clicks", name)(at) == center(at)
