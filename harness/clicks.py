"""Click simulators: ground truth and a seed in, clicks out. One function each, registered by name and version.

A strategy never sees an image or a method's name: every method, worker and resumed run is asked the same clicks.
Published tables rest on these rules, so a rule that changes its clicks becomes a new version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Float32
from pydantic import Field

from harness.structures import Click, Instance, Mask, Sample


@dataclass(frozen=True, eq=False)
class Situation:
    """What a simulator may look at when it chooses the clicks of one round.

    Attributes:
        sample: The image's instances and ignored pixels.
        instance: The one that is meant; its mask holds at least one pixel.
        clicks: Those of earlier rounds, in order.
        predicted: The method's mask after them, bool (h, w); None before the first round.
        rng: Seeded for this instance and this round.
    """

    sample: Sample
    instance: Instance
    clicks: tuple[Click, ...]
    predicted: Mask | None
    rng: np.random.Generator


Strategy = Callable[..., tuple[Click, ...]]
"""(situation, **the strategy's own options from the config) -> the clicks to add."""

STRATEGIES: dict[str, Strategy] = {}


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Function decorator: makes a click simulator known as `name`, `<family>/v<number>`."""

    def add(function: Strategy) -> Strategy:
        STRATEGIES[name] = function
        return function

    return add


@strategy("paper/v1")
def interior(at: Situation, margin: Annotated[float, Field(ge=0, le=1)] = 0.35) -> tuple[Click, ...]:
    """One positive click, uniform over the pixels well inside the object.

    Source: the paper, section 4 ("a random point within the ground-truth segmentation mask boundary", "at least some
    minimum distance from the object border"; the distance is not given). Here the margin is a share of the
    object's greatest depth, so that every object, however thin, has such pixels.

    Args:
        at: Only the instance and the generator matter.
        margin: 0 (anywhere inside) to 1 (the deepest pixels only).
    """
    depth, left, top = interior_depth(at.instance.mask)
    rows, columns = np.nonzero((depth > 0) & (depth >= margin * depth.max()))
    pick = int(at.rng.integers(len(rows)))
    return (Click(int(columns[pick]) + left, int(rows[pick]) + top),)


def interior_depth(mask: Mask) -> tuple[Float32[np.ndarray, "box_h box_w"], int, int]:
    """Euclidean distance in pixels from each pixel of the mask to the nearest one outside; the image's edge is outside.

    Computed on the mask's box, which is exact and cheaper than on the image.

    Returns:
        The depths within the box (0 off the mask), and the box's left and top in the image.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    crop = np.ascontiguousarray(mask[top : top + height, left : left + width]).view(np.uint8)
    padded = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return depth[1:-1, 1:-1].astype(np.float32), left, top


def click_rng(seed: int, dataset: str, sample_id: str, instance_id: str, number: int) -> np.random.Generator:
    """The generator of one instance's round: the same in every process, on every machine, in any order."""
    key = "\x1f".join((str(seed), dataset, sample_id, instance_id, str(number)))
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))
