"""A method's candidates and the ground truth -> one score a ranking.

The method ranks its own candidates; the oracle, which takes the best by IoU, is known to the scorer alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.metrics import METRICS, Region
from harness.rle import encode
from harness.structures import Mask, Prediction

ORACLE = "oracle"
SINGLE = "single"


@dataclass(frozen=True, eq=False)
class Score:
    """What one ranking's answer is worth; the fields are those of `Record`."""

    ranking: str
    candidate: int
    metrics: dict[str, float]
    intersection: int
    union: int
    gt_area: int
    pred_area: int
    mask: bytes


def check(prediction: Prediction, size: tuple[int, int]) -> None:
    """Refuse what is no answer for an image of (h, w).

    Raises:
        ValueError: Saying what was returned and what was wanted.
    """
    wanted = f"wanted bool (k, {size[0]}, {size[1]}), k >= 1, the image's (h, w)"
    if not isinstance(prediction, Prediction):
        raise ValueError(f"predict returned {type(prediction).__name__}; wanted harness.Prediction.")
    masks = prediction.masks
    if not isinstance(masks, np.ndarray) or masks.dtype != bool or masks.shape[1:] != size or not len(masks):
        kind = f"{masks.dtype} {masks.shape}" if isinstance(masks, np.ndarray) else type(masks).__name__
        raise ValueError(f"predict returned masks of {kind}; {wanted}.")
    for ranking, scores in prediction.scores.items():
        if ranking in (ORACLE, SINGLE):
            raise ValueError(f"predict returned a ranking named '{ranking}', a name that the scorer keeps for itself.")
        if len(scores) != len(masks) or any(math.isnan(score) for score in scores):
            raise ValueError(f"ranking '{ranking}' scored {list(scores)}; wanted {len(masks)} numbers, one a mask.")
    if len(masks) > 1 and not prediction.scores:
        raise ValueError(f"predict returned {len(masks)} masks without scores; wanted at least one ranking of them.")


def choices(prediction: Prediction) -> dict[str, int]:
    """Ranking -> the candidate it takes, the oracle left out; a lone candidate is every ranking's, or "single"."""
    if not prediction.scores:
        return {SINGLE: 0}
    return {ranking: int(np.argmax(np.asarray(scores))) for ranking, scores in prediction.scores.items()}


def score(prediction: Prediction, truth: Region, metrics: Sequence[str], ignore: Mask | None = None) -> Iterator[Score]:
    """One score a ranking, and the oracle's where there are candidates to choose from.

    Args:
        prediction: Checked.
        truth: Of the instance, built once, with the same `ignore`.
        metrics: Names in `METRICS`.
        ignore: Pixels that do not count, bool (h, w).
    """
    regions: dict[int, Region] = {}

    def region(candidate: int) -> Region:
        if candidate not in regions:
            regions[candidate] = Region(prediction.masks[candidate], ignore)
        return regions[candidate]

    chosen = choices(prediction)
    if len(prediction.masks) > 1:
        overlaps = [METRICS["iou"](truth, region(candidate)) for candidate in range(len(prediction.masks))]
        chosen[ORACLE] = int(np.argmax(overlaps))
    for ranking, candidate in chosen.items():
        yield _scored(ranking, candidate, prediction.masks[candidate], region(candidate), truth, metrics)


def _scored(
    ranking: str, candidate: int, mask: Mask, predicted: Region, truth: Region, metrics: Sequence[str]
) -> Score:
    intersection = truth.intersection(predicted)
    return Score(
        ranking=ranking,
        candidate=candidate,
        metrics={name: METRICS[name](truth, predicted) for name in metrics},
        intersection=intersection,
        union=truth.area + predicted.area - intersection,
        gt_area=truth.area,
        pred_area=predicted.area,
        mask=encode(mask, predicted.box),
    )
