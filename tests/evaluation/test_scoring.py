from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from harness import Prediction
from harness.evaluation.scoring import check, choices, measured, score
from harness.masks.measure import Metric, metric
from harness.masks.region import Region
from harness.structures import Mask

SIZE = (32, 48)
ALL = tuple(map(metric, ("iou", "boundary_iou")))


def box(y0: int, y1: int, x0: int, x1: int) -> Mask:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


TRUTH = box(10, 20, 10, 30)
MASKS = np.stack([box(10, 20, 10, 20), box(10, 20, 10, 26), box(0, 32, 0, 48)])


def ious(masks: np.ndarray, truth: Mask = TRUTH) -> list[float]:
    return [(mask & truth).sum() / (mask | truth).sum() for mask in masks]


def by_ranking(prediction: Prediction, truth: Mask = TRUTH, ignore: Mask | None = None) -> dict:
    check(prediction, SIZE)
    return {one.ranking: one for one in score(prediction, Region(truth, ignore), ALL, ignore)}


def test_each_ranking_takes_its_best_and_the_oracle_the_best_of_all() -> None:
    scores = by_ranking(Prediction(MASKS, {"confidence": [0.5, 0.1, 0.2], "clip": np.float32([-3, -2, -1])}))
    assert {name: one.candidate for name, one in scores.items()} == {"confidence": 0, "clip": 2, "oracle": 1}
    for one in scores.values():
        assert one.metrics["iou"] == pytest.approx(ious(MASKS)[one.candidate])
    one = scores["confidence"]
    assert (one.intersection_px, one.union_px, one.gt_area_px, one.pred_area_px) == (100, 200, 200, 100)
    assert np.array_equal(coco_mask.decode({"counts": one.mask, "size": list(SIZE)}), MASKS[0])
    assert list(one.metrics) == [metric.name for metric in ALL]


def test_no_ranking_beats_the_oracle_on_random_masks() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        k = int(rng.integers(1, 6))
        masks = rng.random((k, *SIZE)) < rng.random((k, 1, 1))
        truth = rng.random(SIZE) < 0.5
        ignore = rng.random(SIZE) < 0.2
        scores = by_ranking(Prediction(masks, {"a": rng.random(k), "b": rng.integers(0, 2, k)}), truth, ignore)
        best = max(ious(masks & ~ignore, truth & ~ignore))
        assert scores["oracle"].metrics["iou"] == pytest.approx(best)
        assert all(one.metrics["iou"] <= scores["oracle"].metrics["iou"] for one in scores.values())


def test_the_first_of_equals_is_taken() -> None:
    same = np.stack([MASKS[0], MASKS[1], MASKS[1], MASKS[0]])
    scores = by_ranking(Prediction(same, {"confidence": [0.2, 0.7, 0.7, 0.7], "flat": [1, 1, 1, 1]}))
    assert {name: one.candidate for name, one in scores.items()} == {"confidence": 1, "flat": 0, "oracle": 1}


def test_infinite_scores_rank() -> None:
    assert choices(Prediction(MASKS, {"logit": [-np.inf, 3.0, np.inf]})) == {"logit": 2}


def test_a_lone_mask_is_single_and_a_ranked_one_has_its_oracle() -> None:
    alone = by_ranking(Prediction(MASKS[:1]))
    assert {name: one.candidate for name, one in alone.items()} == {"single": 0}
    ranked = by_ranking(Prediction(MASKS[:1], {"confidence": [0.4]}))
    assert {name: one.candidate for name, one in ranked.items()} == {"confidence": 0, "oracle": 0}
    assert ranked["oracle"].metrics == alone["single"].metrics


@pytest.mark.parametrize("yes", [True, False, np.bool_(True), np.bool_(False)])
def test_a_metric_may_answer_yes_or_no(yes: bool) -> None:
    answers = Metric("touches", lambda *_: yes, takes_regions=True, place="here")
    assert measured(answers, Region(TRUTH), Region(MASKS[0])) == float(yes)


@pytest.mark.parametrize("name", ["", "oracle", "single", 1, None])
def test_a_ranking_has_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(ValueError, match=r"a ranking named .*; wanted a text other than '', 'oracle' and 'single'\."):
        check(Prediction(MASKS, {name: [1, 2, 3]}), SIZE)


def test_ignored_pixels_count_nowhere_but_stay_in_the_mask() -> None:
    ignore = box(0, 32, 0, 15)
    one = by_ranking(Prediction(MASKS[:1]), ignore=ignore)["single"]
    assert (one.intersection_px, one.union_px, one.gt_area_px, one.pred_area_px) == (50, 150, 150, 50)
    assert np.array_equal(coco_mask.decode({"counts": one.mask, "size": list(SIZE)}), MASKS[0])


def test_masks_may_lie_in_memory_as_they_like() -> None:
    last_axis = np.ascontiguousarray(MASKS.transpose(1, 2, 0)).transpose(2, 0, 1)
    flipped = np.ascontiguousarray(MASKS[:, :, ::-1])[:, :, ::-1]
    wanted = by_ranking(Prediction(MASKS, {"a": [1, 2, 3]}))
    for masks in (last_axis, flipped):
        assert not masks.flags.c_contiguous
        found = by_ranking(Prediction(masks, {"a": [1, 2, 3]}))
        assert {k: vars(v) for k, v in found.items()} == {k: vars(v) for k, v in wanted.items()}


@pytest.mark.parametrize(
    ("prediction", "found"),
    [
        (None, "NoneType"),
        (MASKS, "ndarray"),
        (Prediction(MASKS.tolist(), {"a": [1, 2, 3]}), "list"),
        (Prediction(MASKS.astype(np.uint8), {"a": [1, 2, 3]}), r"uint8 \(3, 32, 48\)"),
        (Prediction(MASKS[0]), r"bool \(32, 48\)"),
        (Prediction(MASKS.transpose(0, 2, 1), {"a": [1, 2, 3]}), r"bool \(3, 48, 32\)"),
        (Prediction(MASKS[:0]), r"bool \(0, 32, 48\)"),
        (Prediction(np.array(True)), r"bool \(\)"),
        (Prediction(MASKS), "3 masks without scores"),
        (Prediction(MASKS, {"a": [1, 2]}), "wanted 3 numbers"),
        (Prediction(MASKS, {"a": [[1, 2, 3]]}), "wanted 3 numbers"),
        (Prediction(MASKS, {"a": 5}), "wanted 3 numbers"),
        (Prediction(MASKS, {"a": [1, float("nan"), 3]}), "nan"),
        (Prediction(MASKS, {"a": [1, 2, 3], "oracle": [1, 2, 3]}), "'oracle'"),
        (Prediction(MASKS[:1], {"single": [1]}), "'single'"),
        (Prediction(MASKS[:1], {0: [1]}), "named 0"),
    ],
)
def test_what_is_no_answer_is_refused(prediction: Prediction, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        check(prediction, SIZE)


@pytest.mark.parametrize(
    ("masks", "remedy"),
    [
        (np.zeros((1, 32, 48), np.float32), "Compare with a threshold: masks > 0.5."),
        (np.zeros((32, 48), bool), "Give a lone mask as mask[None]."),
        (np.zeros((1, 48, 32), bool), "Its h and w are swapped"),
        (np.zeros((1, 33, 49), bool), "the image's (h, w)."),
    ],
)
def test_a_common_mistake_is_told_with_what_mends_it(masks: np.ndarray, remedy: str) -> None:
    with pytest.raises(ValueError, match="wanted bool") as told:
        check(Prediction(masks), SIZE)
    assert remedy in str(told.value)
