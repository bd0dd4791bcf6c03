"""The metrics of a text's map: counted by hand, and the area under the ROC curve against SciPy's U statistic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from harness.masks.measure import SalientPixels, metric
from harness.masks.region import Region
from harness.masks.salience import saliency_auc, saliency_pointing

TRUTH = np.array([[True, True, False, False], [True, False, False, False]])
MAP = np.float32([[0.9, 0.2, 0.9, 0.1], [0.5, 0.2, 0.0, 0.0]])


def test_auc_by_hand() -> None:
    # 0.9 beats four of the five outside and ties with one; 0.2 beats three and ties with one; 0.5 beats four.
    assert saliency_auc(Region(TRUTH), SalientPixels(MAP)) == pytest.approx((4.5 + 3.5 + 4) / 15)
    assert saliency_auc(Region(TRUTH), SalientPixels(TRUTH.astype(np.float32))) == 1
    assert saliency_auc(Region(TRUTH), SalientPixels(~TRUTH * 1.0)) == 0
    assert saliency_auc(Region(TRUTH), SalientPixels(np.zeros_like(MAP))) == 0.5
    for nothing in (TRUTH & False, TRUTH | True):
        assert saliency_auc(Region(nothing), SalientPixels(MAP)) == 0.5


def test_auc_is_the_u_statistic() -> None:
    rng = np.random.default_rng(0)
    for digits in (1, 6):
        values, truth = rng.random((32, 48)).round(digits).astype(np.float32), rng.random((32, 48)) < 0.2
        u = mannwhitneyu(values[truth], values[~truth]).statistic
        found = saliency_auc(Region(truth), SalientPixels(values))
        assert found == pytest.approx(u / (truth.sum() * (~truth).sum()), abs=1e-9)


def test_pointing_is_the_share_of_the_most_salient_pixels_on_the_object() -> None:
    assert saliency_pointing(Region(TRUTH), SalientPixels(MAP)) == 0.5
    assert saliency_pointing(Region(TRUTH), SalientPixels(np.zeros_like(MAP))) == 3 / 8
    one = MAP.copy()
    one[0, 2] = 0.8
    assert saliency_pointing(Region(TRUTH), SalientPixels(one)) == 1
    assert saliency_pointing(Region(~TRUTH), SalientPixels(one)) == 0
    assert saliency_pointing(Region(TRUTH & False), SalientPixels(one)) == 0
    row = np.array([[True] * 4, [False] * 4])  # half of the pixels
    assert saliency_pointing(Region(row), SalientPixels(MAP)) == 1


def test_ignored_pixels_do_not_count() -> None:
    ignore = np.zeros_like(TRUTH)
    ignore[0, 2] = ignore[0, 1] = True
    truth, seen = Region(TRUTH, ignore), SalientPixels(MAP, ignore)
    assert saliency_pointing(truth, seen) == 1
    assert saliency_auc(truth, seen) == 1
    assert saliency_pointing(Region(TRUTH, TRUTH | True), SalientPixels(MAP, TRUTH | True)) == 0


def test_they_are_metrics_of_a_map_and_no_others_are() -> None:
    for name in ("saliency_auc", "saliency_pointing"):
        found = metric(name)
        assert found.takes_map
        assert 0 < found(Region(TRUTH), SalientPixels(MAP)) < 1
    assert not metric("iou").takes_map
