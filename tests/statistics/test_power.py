"""How many images a difference needs: counted by hand, held against the intervals, and told by `plan --detect`."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.cli import terminal
from harness.statistics.power import powers
from harness.statistics.resampling import intervals_of_means, sign_flip_p, spread_of_means
from toy_runs import STEADY, WIDE, written

CLICK = {"x": 3, "y": 5, "positive": True}
IMAGES = ["1", "1", "2", "3"]


def rows_of(scores: dict[str, list[float]], images: list[str] = IMAGES) -> pd.DataFrame:
    """Each method's scores on the same instances, which lie in these images."""
    known = {
        "run": "r",
        "dataset": "d",
        "ranking": "single",
        "image_id": images,
        "instance_id": [str(at) for at in range(len(images))],
        "seen": None,
        "clicks": [[CLICK]] * len(images),
        "click_index": 1,
        "status": "ok",
    }
    return pd.concat([pd.DataFrame({**known, "method": name, "iou": own}) for name, own in scores.items()])


def test_images_are_counted_as_by_hand() -> None:
    # The example of `spread_of_means`: differences 0.2 and 0.0 in image 1, 0.4 in 2, 0.0 in 3; the variance of an
    # image's influence is 0.0534375 / 2. Images = (1.959964 + 0.841621)^2 * 0.02671875 / 0.05^2 = 83.88.
    (one,) = powers(rows_of({"a": [0.7, 0.5, 0.9, 0.5], "b": [0.5, 0.5, 0.5, 0.5]}), ["a", "b"])
    assert (one.images, f"{one}") == (3, "a – b")
    assert one.difference == pytest.approx(0.15) and one.spread**2 == pytest.approx(0.02671875)
    assert one.images_for(0.05) == 84
    assert one.images_for(0.025) == math.ceil(4 * 83.884)
    assert one.detectable(84) == pytest.approx(0.05, rel=1e-3) and math.isnan(one.found) and one.detectable(6) > 0


def test_one_image_tells_nothing_and_equal_methods_need_as_many_as_the_test() -> None:
    (alone,) = powers(rows_of({"a": [0.7, 0.5], "b": [0.5, 0.5]}, ["1", "1"]), ["a", "b"])
    assert math.isnan(alone.spread) and alone.images_for(0.01) is None and math.isnan(alone.found)
    (equal,) = powers(rows_of({"a": [0.5] * 4, "b": [0.5] * 4}), ["a", "b"])
    assert equal.spread == 0 and equal.images_for(0.01) == 6
    # Of five images that agree the paired test says p = 2 / 2^5, of six 2 / 2^6.
    assert [sign_flip_p(np.ones((images, 1)))[0] < 0.05 for images in (5, 6)] == [False, True]


@pytest.mark.slow
def test_pairs_go_by_the_configs_order_and_of_many_methods_with_the_first() -> None:
    names = [f"m{at}" for at in range(7)]
    rows = rows_of({name: [0.5, 0.4, 0.3, 0.2] for name in names})
    oracle = rows[rows["method"] == "m0"].assign(ranking="oracle")
    assert len(powers(pd.concat([rows, oracle]), names[:3])) == 3
    assert len(powers(rows, names[:6])) == 15, "of six methods every two"
    with_first = powers(rows, names[::-1])
    assert [one.b[0] for one in with_first] == names[-2::-1] and {one.a[0] for one in with_first} == {names[-1]}
    assert powers(rows, ["m0", "absent"]) == []


def test_only_instances_with_the_same_clicks_tell() -> None:
    rows = rows_of({"a": [0.7, 0.5, 0.9, 0.5], "b": [0.5, 0.5, 0.5, 0.5]}).reset_index(drop=True)
    rows.at[7, "clicks"] = [CLICK | {"x": 4}]
    (one,) = powers(rows, ["a", "b"])
    assert (one.images, one.difference) == (2, pytest.approx(0.2))
    (none,) = powers(rows.assign(clicks=[[CLICK | {"x": at}] for at in range(8)]), ["a", "b"])
    assert none.images == 0 and math.isnan(none.difference) and none.images_for(0.1) is None


def test_the_spread_is_that_of_the_drawn_intervals() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 8, (400, 1)).astype(float)
    sums = counts * rng.normal(0.05, 0.1, (400, 1)) + np.sqrt(counts) * rng.normal(0, 0.1, (400, 1))
    low, high = intervals_of_means(sums, counts)
    images = (counts > 0).sum()
    assert (high - low)[0] / 2 == pytest.approx(1.96 * spread_of_means(sums, counts)[0] / np.sqrt(images), rel=0.06)


@pytest.mark.slow
def test_so_many_images_find_the_difference_as_often_as_said() -> None:
    rng = np.random.default_rng(1)
    spread, truth = 0.1, 0.03
    images = math.ceil(7.849 * (spread / truth) ** 2)
    found = [sign_flip_p(rng.normal(truth, spread, (images, 1)), 400)[0] < 0.05 for _ in range(500)]
    assert 0.75 <= np.mean(found) <= 0.85


@pytest.mark.slow
def test_plan_says_what_is_not_known_yet_and_what_rows_tell(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "_width", 400)
    path = written(tmp_path / "planned.yaml", methods=[STEADY, WIDE])
    plan = ["plan", path, "--runs", tmp_path, "--detect", 0.5]
    before = here(*plan)
    assert before.returncode == 0 and "found no rows of steady and another method on toys yet" in before.stdout
    assert here("run", path, "--runs", tmp_path).returncode == 0
    after = here(*plan).stdout
    assert "0.5 points need" in after and "steady (size) – wide (size)" in after and "no rows" not in after
