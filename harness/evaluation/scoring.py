"""A method's candidates and the ground truth -> one score a ranking.

The method ranks its own candidates. The oracle, which chooses the best by IoU with the ground truth, is added here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from harness.masks.measure import Metric, SalientPixels
from harness.masks.metrics import iou
from harness.masks.region import Region
from harness.masks.rle import encode
from harness.plugins.failures import contained, described
from harness.structures import Mask, Prediction


class MetricError(Exception):
    """A metric gave no valid number for a mask; the message has the reason."""


ORACLE = "oracle"
SINGLE = "single"


@dataclass(frozen=True, eq=False)
class Score:
    """The scores of the mask that one ranking chose; the fields are those of `Record`."""

    ranking: str
    candidate: int
    metrics: dict[str, float]
    intersection_px: int
    union_px: int
    gt_area_px: int
    pred_area_px: int
    mask: bytes
    hit: str | None = None
    partner_iou: float | None = None


def check(prediction: Prediction, size: tuple[int, int]) -> None:
    """Refuse a prediction that does not fit an image of (h, w).

    Raises:
        ValueError: It does not fit; the message says what was returned and what was wanted.
    """
    wanted = f"wanted bool (k, {size[0]}, {size[1]}), k >= 1, the image's (h, w)"
    if not isinstance(prediction, Prediction):
        raise ValueError(f"predict returned {type(prediction).__name__}; wanted harness.Prediction.")
    masks = prediction.masks
    if not isinstance(masks, np.ndarray) or masks.dtype != bool or masks.shape[1:] != size or not len(masks):
        kind = f"{masks.dtype} {masks.shape}" if isinstance(masks, np.ndarray) else type(masks).__name__
        raise ValueError(f"predict returned masks of {kind}; {wanted}.{_remedy(masks, size)}")
    for ranking, scores in prediction.scores.items():
        if ranking in (ORACLE, SINGLE, "") or not isinstance(ranking, str):
            raise ValueError(
                f"predict returned a ranking named {ranking!r}; wanted a text other than '', '{ORACLE}' and '{SINGLE}'."
            )
        if np.shape(scores) != (len(masks),) or np.isnan(np.asarray(scores, np.float64)).any():
            raise ValueError(
                f"ranking '{ranking}' scored {np.asarray(scores).tolist()}; wanted {len(masks)} numbers, one per mask."
            )
    if len(masks) > 1 and not prediction.scores:
        raise ValueError(f"predict returned {len(masks)} masks without scores; wanted at least one ranking of them.")


def _remedy(masks: Any, size: tuple[int, int]) -> str:
    """Advice for the common mistakes: probabilities, a lone mask, h and w swapped; "" for others."""
    if not isinstance(masks, np.ndarray):
        return ""
    shape = masks.shape
    if masks.dtype != bool and shape[1:] == size:
        return " Compare with a threshold: masks > 0.5."
    if shape == size:
        return " Give a lone mask as mask[None]."
    swapped = size[0] != size[1] and shape[1:] == size[::-1]
    return " Its h and w are swapped: OpenCV and PIL give sizes as (w, h)." if swapped else ""


def check_map(salient: Any, size: tuple[int, int]) -> None:
    """Refuse a saliency map that does not fit an image of (h, w).

    Raises:
        ValueError: It does not fit; the message says what was returned and what was wanted.
    """
    found = np.asarray(salient)
    if found.dtype.kind != "f" or found.shape != size or not np.isfinite(found).all():
        raise ValueError(f"found {found.dtype} {found.shape}; wanted finite float32 {size}, the image's (h, w).")


def choices(prediction: Prediction) -> dict[str, int]:
    """Ranking -> the candidate that it chooses, without the oracle; {"single": 0} for a mask without scores."""
    if not prediction.scores:
        return {SINGLE: 0}
    return {ranking: int(np.argmax(np.asarray(scores))) for ranking, scores in prediction.scores.items()}


def score(
    prediction: Prediction,
    truth: Region,
    metrics: Sequence[Metric],
    ignore: Mask | None = None,
    what_it_hit: Callable[[Region], str] | None = None,
    partner: Region | None = None,
    seen: SalientPixels | None = None,
) -> Iterator[Score]:
    """A score for each ranking, and one for the oracle.

        masks            confidence   clip   IoU with the truth (known here alone)
        0  whole person     0.9        0.2     0.3          confidence -> candidate 0
        1  tie              0.7        0.8     0.9          clip       -> candidate 1
        2  knot             0.4        0.5     0.2          oracle     -> candidate 1

    A candidate that several rankings choose is measured once. A single mask with a score has an oracle, too: if the
    number of candidates varies, the oracle's mean is then over the same instances as the rankings' means.

    Args:
        prediction: A prediction that passed `check`.
        truth: The instance's region, built once, with the same `ignore`.
        metrics: The run's metrics.
        ignore: Pixels that do not count, bool (h, w).
        what_it_hit: Finds what a mask hit among the image's objects (`harness.masks.destinations`), for `Score.hit`.
        partner: The other object that the click lies in, for `Score.partner_iou`; built with the same `ignore`.
        seen: The text's saliency map, for metrics that measure it; without it, these metrics are left out.

    Raises:
        MetricError: A metric fails, or returns no number, or one outside of its bounds.
    """
    # The oracle needs the IoU of all candidates. All other metrics are computed only for candidates that some ranking
    # chooses, which are fewer.
    regions = {index: Region(prediction.masks[index], ignore) for index in range(len(prediction.masks))}
    chosen = choices(prediction)
    if prediction.scores:
        chosen[ORACLE] = max(regions, key=lambda index: iou(truth, regions[index]))
    of_masks = [one for one in metrics if not one.takes_map]
    worth = {
        index: _worth(prediction.masks[index], regions[index], truth, of_masks)
        for index in sorted(set(chosen.values()))
    }
    if seen is not None:
        of_map = {one.name: measured(one, truth, seen) for one in metrics if one.takes_map}
        worth = {index: one | {"metrics": one["metrics"] | of_map} for index, one in worth.items()}
    if what_it_hit:
        worth = {index: one | {"hit": what_it_hit(regions[index])} for index, one in worth.items()}
    if partner:
        worth = {index: one | {"partner_iou": iou(partner, regions[index])} for index, one in worth.items()}
    for ranking, index in chosen.items():
        yield Score(ranking=ranking, candidate=index, **worth[index])


def measured(metric: Metric, truth: Region, predicted: Region | SalientPixels) -> float:
    """A metric's value.

    Raises:
        MetricError: The metric fails, returns no number, or is outside of the bounds that it declares.
    """
    named = f"metric '{metric.name}' ({metric.place})"
    try:
        with contained():
            value = metric(truth, predicted)
            number = float(value) if isinstance(value, Real | np.bool_) else None
    except Exception as error:
        raise MetricError(f"{named} failed on {metric.takes}: {described(error)}") from error
    if number is None:
        raise MetricError(f"{named} returned {type(value).__name__}; wanted a number.")
    low, high = metric.scale.bounds
    if not metric.scale.holds(number):
        raise MetricError(f"{named} is {number:g}; wanted {low:g} to {high:g}, the bounds that it declares.")
    return number


def _worth(mask: Mask, predicted: Region, truth: Region, metrics: Sequence[Metric]) -> dict[str, Any]:
    """The fields of a `Score` that do not depend on who chose the mask."""
    return {
        "metrics": {one.name: measured(one, truth, predicted) for one in metrics},
        "intersection_px": truth.intersection(predicted),
        "union_px": truth.union(predicted),
        "gt_area_px": truth.area,
        "pred_area_px": predicted.area,
        "mask": encode(mask, predicted.box),
    }
