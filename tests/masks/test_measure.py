"""A metric by its name: of two masks or of two regions, and what it must not be."""

from __future__ import annotations

import numpy as np
import pytest

from harness import UserError
from harness.evaluation.scoring import MetricError, measured
from harness.masks import Region, metric, metrics
from harness.masks import region as regions
from harness.masks.measure import Metric
from harness.structures import Mask

SIZE = (32, 48)
TRUTH, PREDICTION, IGNORED = np.zeros((3, *SIZE), bool)
TRUTH[4:14, 10:30] = PREDICTION[8:20, 20:40] = True
IGNORED[:10, :25] = True


def dice(truth, prediction):
    return 2 * (truth & prediction).sum() / (truth.sum() + prediction.sum())


def missed(truth: Mask, prediction: Mask) -> int:
    """Pixels of the object that a mask lacks."""
    return int((truth & ~prediction).sum())


def extra(truth: Region, prediction: Region) -> float:
    return prediction.area - truth.intersection(prediction)


def extra_too(truth: regions.Region, prediction: regions.Region) -> float:
    return extra(truth, prediction)


def inverted(truth, prediction):
    prediction ^= truth
    return prediction.mean()


def of_three(truth, prediction, image):
    return 0.0


def of_regions_by_mistake(truth: Region, prediction: Region) -> float:
    return (truth & prediction).sum()


def named(name: str) -> Metric:
    return metric(f"{__name__}:{name}")


def test_a_metric_of_two_masks_is_the_naive_formula() -> None:
    found = named("dice")
    assert (found.name, found.takes_regions) == ("dice", False)
    assert found(Region(TRUTH), Region(PREDICTION)) == 2 * (TRUTH & PREDICTION).sum() / (200 + 240)
    assert named("missed")(Region(TRUTH), Region(PREDICTION)) == (TRUTH & ~PREDICTION).sum()


def test_ignored_pixels_are_in_neither_mask() -> None:
    truth, prediction = TRUTH & ~IGNORED, PREDICTION & ~IGNORED
    pair = Region(TRUTH, IGNORED), Region(PREDICTION, IGNORED)
    assert named("dice")(*pair) == 2 * (truth & prediction).sum() / (truth.sum() + prediction.sum())
    assert named("extra")(*pair) == (prediction & ~truth).sum()
    np.testing.assert_array_equal(pair[0].mask, truth)


def test_a_metric_annotated_region_is_given_regions() -> None:
    for name in ("extra", "extra_too"):
        assert named(name).takes_regions
        assert named(name)(Region(TRUTH), Region(PREDICTION)) == (PREDICTION & ~TRUTH).sum()
    assert metric("iou").takes_regions and metric("iou").function is metrics.iou
    assert metric("boundary_iou").function is metrics.boundary_iou


def test_a_region_s_mask_is_made_once_and_of_any_mask() -> None:
    region = Region(TRUTH)
    assert region.mask is region.mask and region.mask.dtype == bool and region.mask.shape == SIZE
    for mask in (np.zeros(SIZE, bool), np.ones(SIZE, bool), TRUTH, IGNORED):
        np.testing.assert_array_equal(Region(mask).mask, mask)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "inverted",
            r"two bool \(h, w\) arrays: ValueError: .* read-only \(test_measure\.py, line \d+\)$",
        ),
        (
            "of_regions_by_mistake",
            r"two harness\.masks\.Region: TypeError: .* \(test_measure\.py, line",
        ),
    ],
)
def test_a_metric_that_fails_is_named_with_its_line_and_what_it_is_given(name: str, said: str) -> None:
    placed = rf"^metric '{name}' \(tests/masks/test_measure\.py, line \d+\) failed on truth and prediction, "
    with pytest.raises(MetricError, match=placed + said):
        measured(named(name), Region(TRUTH), Region(PREDICTION))


def test_a_metric_of_other_arguments_is_refused() -> None:
    with pytest.raises(UserError, match=r"of_three\(truth, prediction, image\) cannot be called .* 'image'"):
        named("of_three")
