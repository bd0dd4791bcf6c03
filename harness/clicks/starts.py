"""The start of a prompt beside its clicks: a box around the object, or a rough mask of it to be corrected.

Paper: Warner et al., BMVC 2023, https://arxiv.org/abs/2311.14822, section 5, names "a rough or low quality input
(bounding box, point, low quality mask)" as later work and defines none. The box's jitter is SAM's; the other
definitions are ours.

A rule is a function of a `Situation` before any click, like a click rule: it is given the ground truth, never the
method. Its generator is seeded from the run's seed, the data set, the image, the object and the draw (`click_rng`), so
that every method and every worker gets the same box and the same rough mask for an instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from harness.clicks.depth import inside, outside
from harness.clicks.strategy import Situation
from harness.structures import Box, Mask

Way = Literal["any", "eroded", "dilated", "holed"]
WAYS: tuple[Way, ...] = ("eroded", "dilated", "holed")


@dataclass(frozen=True, eq=False)
class Start:
    """The start of one instance's prompts.

    Attributes:
        kind: "box"; the way in which a mask was made rough ("eroded", "dilated", "holed"); "run" for another method's
            mask; or "given" for one that comes with the data set.
        boxes: The value of `Prompt.boxes`.
        mask: The value of `Prompt.initial`, bool (h, w).
    """

    kind: str
    boxes: tuple[Box, ...] = ()
    mask: Mask | None = None

    def filled(self, size: tuple[int, int]) -> Mask:
        """The mask or, without one, the pixels whose centres lie in a box or on its edge, in an image of (h, w)."""
        if self.mask is not None:
            return self.mask
        y, x = np.ogrid[: size[0], : size[1]]
        inside_any = np.zeros(size, bool)
        for one in self.boxes:
            inside_any |= (x >= one.left) & (x <= one.right) & (y >= one.top) & (y <= one.bottom)
        return inside_any


def box(
    at: Situation,
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.1,
    most_px: Annotated[float, Field(ge=0)] = 20,
) -> Start:
    """The ground truth's bounding box, each side moved by chance.

    The tight box goes from the first to the last column and row of the mask, ignored pixels included. Its left, top,
    right and bottom are moved, in this order, by independent draws from a normal distribution around 0 whose standard
    deviation is `jitter` times the box's width (left, right) or height (top, bottom); each draw is cut to `most_px`
    either way. A side beyond the image is put on its edge; sides that have passed each other are exchanged.

    Source: SAM's training, Kirillov et al., ICCV 2023, appendix A: "random noise in each coordinate with standard
    deviation equal to 10% of the box sidelength, to a maximum of 20 pixels".

    Example: a mask from column 10 to 49 and row 20 to 39 is 40 wide and 20 high. Draws of 0.5, -1, 2 and 0 standard
    deviations move its sides by 2, -2, 8 and 0: from (10, 20, 49, 39) to (12, 18, 57, 39).

    Args:
        at: The instance and the generator matter.
        jitter: The standard deviation as a share of the side's length; 0 keeps the tight box.
        most_px: No side moves farther, in pixels.
    """
    # A region's box ends after its last pixel, and a prompt's box on it: hence x1 - 1 and y1 - 1. The lengths of the
    # sides count pixels.
    x0, y0, x1, y1 = at.truth.box
    height, width = at.truth.size
    tight, sides = np.array([x0, y0, x1 - 1, y1 - 1]), np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
    moved = tight + np.clip(at.rng.normal(size=4) * jitter * sides, -most_px, most_px)
    left, top, right, bottom = np.clip(moved, 0, [width - 1, height - 1, width - 1, height - 1]).tolist()
    return Start("box", (Box(min(left, right), min(top, bottom), max(left, right), max(top, bottom)),))


def rough(
    at: Situation,
    how: Way = "any",
    strength: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    run: str = "",
    method: str = "",
    ranking: str = "",
    dataset: str = "",
    sha256: str = "",
) -> Start:
    """The ground truth made rough, or the mask that another method made of the same instance in a finished run.

    Distances are Euclidean, in pixels, between pixels' centres. D is the greatest distance of a pixel of the object to
    the nearest one outside of it; beyond the image is outside. R = `strength` times D.

    - eroded: the pixels of the object whose distance to the outside is more than R. One with distance D is left.
    - dilated: the object, and the pixels of the image at most R away from it.
    - holed: the object without the pixels at most R away from one of its pixels, which is drawn evenly.
    - any: one of the three, drawn evenly for each instance.

    Example: a square of 9 x 9 pixels has D = 5. With `strength` 0.5, R = 2.5: eroded leaves the 5 x 5 pixels whose
    distance is at least 3, dilated adds all pixels at most 2.5 away, and holed takes 21 pixels out if none of them is
    beyond the square's edge.

    Args:
        at: The situation; its instance and generator are used, ignored pixels are not.
        how: The change to the ground truth.
        strength: The size of the change, as a share of D.
        run: A finished run's folder, such as runs/quickstart: its masks after each instance's last click take the place
            of the ground truth's; `how` and `strength` then do nothing.
        method: The label of the method there.
        ranking: The ranking whose masks are taken, if that method has several.
        dataset: The label of the data set there, if the run has several.
        sha256: The hash of the run's results.parquet. The config's check fills it in, so that rows record the masks
            they started from. Another file at that place is refused.

    Raises:
        ValueError: The run has no mask of this instance, since it failed there or was not asked, or one of another
            size.
    """
    if run:
        # Here, since it loads pyarrow, which evaluation without a disk does without.
        from harness.clicks.other_masks import masks_of

        known = masks_of(Path(run), method, ranking, dataset, sha256)
        return Start("run", mask=known.mask(at.sample.id, at.instance.id, at.sample.size))
    way = WAYS[int(at.rng.integers(len(WAYS)))] if how == "any" else how
    return Start(way, mask=_ROUGH[way](at, strength))


def _eroded(at: Situation, strength: float) -> Mask:
    depth, truth = inside(at.truth), np.zeros(at.sample.size, bool)
    kept = depth.squared > _square_of_reach(at, strength)
    truth[depth.top : depth.top + kept.shape[0], depth.left : depth.left + kept.shape[1]] = kept
    return truth


def _dilated(at: Situation, strength: float) -> Mask:
    truth = at.instance.mask
    square = _square_of_reach(at, strength)
    # The window must hold every pixel within reach. Pixels of the object have distance 0 and stay in.
    around = outside(truth, at.truth, isqrt(square))
    near = around.squared <= square
    truth[around.top : around.top + near.shape[0], around.left : around.left + near.shape[1]] |= near
    return truth


def _holed(at: Situation, strength: float) -> Mask:
    truth = at.instance.mask
    ys, xs = np.nonzero(truth)
    drawn = int(at.rng.integers(len(ys)))
    y, x = np.ogrid[: truth.shape[0], : truth.shape[1]]
    return truth & ((y - ys[drawn]) ** 2 + (x - xs[drawn]) ** 2 > _square_of_reach(at, strength))


def _square_of_reach(at: Situation, strength: float) -> int:
    """The square of R, `strength` times D, rounded down: a distance is at most R exactly if its square is at most this.

    Squares of distances are integers, and exact, while the last bit of a distance is not (`harness.clicks.depth`).
    """
    # With D = sqrt(148) and half of it, R * R is 37. The millionth keeps a product that came out as 36.99999999 whole.
    return int(strength**2 * int(inside(at.truth).squared.max()) + 1e-6)


_ROUGH: Mapping[str, Callable[[Situation, float], Mask]] = {"eroded": _eroded, "dilated": _dilated, "holed": _holed}


class Rule(NamedTuple):
    """A rule, and which field of a prompt it fills in.

    Attributes:
        function: (situation, **options) -> `Start`.
        gives: The field of `Prompt`, which a method must name in `Method.takes`.
        taken_by: Methods here that take it, for messages.
        draws: All options -> whether chance decides, so that each draw begins with another box or mask.
    """

    function: Callable[..., Start]
    gives: str
    taken_by: str
    draws: Callable[[Mapping[str, Any]], bool]

    def start(self, at: Situation, options: Mapping[str, Any]) -> Start:
        """The start of an instance's prompts, by the rule; it raises what the rule raises."""
        return self.function(at, **options)


STARTS = {
    "box/v1": Rule(box, "boxes", "sam", lambda own: own["jitter"] > 0 and own["most_px"] > 0),
    "rough/v1": Rule(
        rough,
        "initial",
        "ritm, simpleclick, focalclick",
        lambda own: not own.get("run") and own["how"] in ("any", "holed"),
    ),
}
"""The rules by the names that configs use. A rule that changes its boxes or masks becomes a new version."""
