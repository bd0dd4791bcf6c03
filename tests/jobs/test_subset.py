"""An order of images of which every beginning is stratified: counted, nested, the same in every process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.config.run_config import load_run
from harness.jobs.subset import Stratum, in_order, spread
from toy_runs import written

CLASSES: dict[str, list[Stratum]] = {
    **{f"c{at}": [("cat", True)] * 3 for at in range(60)},
    **{f"d{at}": [("dog", False), ("cat", True)] for at in range(30)},
    **{f"t{at}": [("tie", False), ("dog", False)] for at in range(10)},
}


def test_every_beginning_has_its_share_of_each_stratum_by_an_images_rarest_class() -> None:
    order = [one for _, one in spread(CLASSES, seed=0)]
    assert sorted(order) == sorted(CLASSES)
    for count in (10, 20, 50, 90):
        found = Counter(one[0] for one in order[:count])
        for letter, size in {"c": 60, "d": 30, "t": 10}.items():
            assert abs(found[letter] - size * count / 100) <= 2


def test_an_image_comes_early_as_often_as_any_other_and_the_seed_decides() -> None:
    alone: dict[str, list[Stratum]] = {"a": [("cat", None)], "b": [("dog", None)], "c": [("tie", None)]}
    first = Counter(spread(alone, seed)[0][1] for seed in range(300))
    assert all(70 <= first[one] <= 130 for one in alone)
    assert spread(CLASSES, 3) == spread(dict(reversed(CLASSES.items())), 3) != spread(CLASSES, 4)
    assert len(spread({"none": [], "other": []}, 0)) == 2


def test_two_data_sets_take_turns_in_proportion(tmp_path: Path) -> None:
    toys = [{"name": "fakes:Known", "label": name, "params": {"count": count}} for name, count in (("A", 8), ("B", 4))]
    order = in_order(load_run(written(tmp_path / "two.yaml", datasets=toys)))
    assert Counter(one.dataset for one in order) == {"A": 8, "B": 4}
    assert abs(Counter(one.dataset for one in order[:6])["A"] - 4) <= 1
    assert all(one.instances is not None for one in order)
