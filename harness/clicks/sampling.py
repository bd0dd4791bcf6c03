"""Pixels to draw clicks from, and a draw that keeps its distance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from harness.clicks.depth import Distances, eroded, inside, outside
from harness.clicks.strategy import Situation
from harness.masks.region import Region
from harness.structures import Click, Mask

SMALL = 10
"""Up to this margin, in pixels, a mask is eroded faster than its distances are found."""


class Pixels(NamedTuple):
    """Some pixels of an image, in row-major order.

    Rules draw an index into this list. The order must be the same everywhere, so that a seed, which gives the same
    index, also gives the same pixel.
    """

    x: Int[np.ndarray, " n"]
    y: Int[np.ndarray, " n"]

    def gap(self, clicks: Sequence[Click]) -> Int[np.ndarray, " n"]:
        """Each pixel's squared distance to the nearest click. There must be at least one click."""
        squared = [np.square(self.x - click.x) + np.square(self.y - click.y) for click in clicks]
        return np.minimum.reduce(squared)

    def drawn(self, rng: np.random.Generator, positive: bool) -> Click:
        """A click on one of them, each with the same probability."""
        return self.clicked(int(rng.integers(len(self.x))), positive)

    def clicked(self, index: int, positive: bool) -> Click:
        """A click on one of the pixels."""
        return Click(int(self.x[index]), int(self.y[index]), positive)

    def those(self, chosen: np.ndarray) -> Pixels:
        """The pixels whose entry in `chosen`, a bool for each, is True."""
        return Pixels(self.x[chosen], self.y[chosen])


def pixels(mask: Mask, left: int = 0, top: int = 0) -> Pixels:
    """The set pixels of a mask that begins at column `left` and row `top` of the image."""
    return at_places(np.flatnonzero(mask), mask.shape[1], left, top)


def at_places(places: Int[np.ndarray, " n"], width: int, left: int, top: int) -> Pixels:
    """Pixels by their positions in a flattened window of this width."""
    y = places // width  # divided once: NumPy's divmod and nonzero of two dimensions are several times slower
    return Pixels(places - y * width + left, y + top)


def apart(choice: Pixels, clicks: Sequence[Click], distance: float, rng: np.random.Generator, positive: bool) -> Click:
    """A click, uniform over the pixels at least `distance` from all clicks; where there are none, at the farthest."""
    if not clicks:
        return choice.drawn(rng, positive)
    gap = choice.gap(clicks)
    # Both sides are squared distances. If no pixel is far enough, the limit becomes the largest gap that there is, and
    # the same filter then keeps the farthest pixels.
    return choice.those(gap >= min(distance * distance, int(gap.max()))).drawn(rng, positive)


def deep(depth: Distances, margin: float | np.float32) -> Mask:
    """The pixels at least `margin` deep; where there are none, the deepest."""
    return depth.at_least(min(float(margin), float(depth.most)))


def deep_inside(region: Region, margin: float) -> Mask:
    """The pixels in the region's box at least `margin` deep; where there are none, the deepest."""
    if margin <= SMALL:
        found = eroded(region, margin)
        if found.any():
            return found
    return deep(inside(region), margin)


def around(at: Situation, reach: int, margin: float = 0) -> Pixels:
    """The counted pixels off the object that are at least `margin` and at most `reach` pixels from it.

    If no pixel is `margin` away, the farthest ones are taken.
    """
    away = outside(at.instance.mask, at.truth, reach)
    near = away.at_most(reach) & counted_in(at, away.raw.shape, away.left, away.top)
    if margin:
        # Pixels that are not near get distance 0, so that `max` is over the near ones: the farthest of them always
        # passes, however large the margin.
        distance = np.sqrt(away.squared * near)
        near &= distance >= min(margin, distance.max())
    return pixels(near, away.left, away.top)


def counted_in(at: Situation, size: tuple[int, ...], left: int, top: int) -> Mask | np.bool_:
    """The pixels of a window that no metric ignores, bool; one True if the sample ignores no pixels."""
    ignored = at.sample.ignore
    return np.True_ if ignored is None else ~ignored[top : top + size[0], left : left + size[1]]


def on_any(masks: Iterable[Mask], size: tuple[int, int]) -> Pixels:
    """The pixels of the masks of (h, w) together; they come one at a time, as an image may have a thousand."""
    together = np.zeros(size, bool)
    for mask in masks:
        together |= mask
    return pixels(together)


def others(at: Situation, same_class: bool) -> Iterator[Mask]:
    """The image's other objects, less this one's pixels and the ignored ones; no object is left empty."""
    own, beside = at.instance, ~at.instance.mask
    for other in at.sample.instances:
        mask = other.mask
        if mask.shape == beside.shape and (other.category == own.category or not same_class):
            found = at.counted(mask & beside)
            if found.any():
                yield found
