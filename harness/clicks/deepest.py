"""The deepest point of a region, in exact integers and with numpy alone.

A pixel's depth is the distance from its centre to that of the nearest pixel outside the region. Squared, it is an
integer, so that it is the same on every machine:

    . . . . . . .
    . # # # # # .        1 1 1 1 1
    . # # # # # .        1 4 4 4 1        squared depths; the deepest pixel has 9
    . # # # # # .        1 4 9 4 1
    . # # # # # .        1 4 4 4 1
    . # # # # # .        1 1 1 1 1
    . . . . . . .

A distance transform computes all of these. Only the largest is needed here, so most pixels are never measured:

1. The largest square. If a square of 2 h + 1 pixels fits around a pixel and no larger one, something outside is within
   h + 1 rows and columns, but nothing within h, and so h + 1 <= depth <= sqrt(2) (h + 1). Squares cost little: a mask
   of one byte a pixel is AND-ed with itself, shifted. The largest h is found by doubling it, then by halving the steps.
2. A first bound. Some pixels that the largest square fits around are measured exactly; the best is the bound. Around a
   pixel as deep as that, a square, an upright line and a level line fit whose sizes follow from the bound
   (`_possible`). All three fit around few pixels.
3. Exact distances of these, in order (`_Rows`). The nearest outside pixel is in some row, dy rows away, and is the
   nearest one of that row. So the squared depth is the smallest sum, over the rows above and below, of dy * dy and the
   squared distance within the row, which one pass over the rows finds for all pixels:

        dy = -1    # # # # .      the nearest in that row is 2 columns away: 4 + 1 = 5
        dy =  0    # # X # #
        dy = +1    # . # # #      1 column away: 1 + 1 = 2, which is X's squared depth
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from harness.structures import Click, Mask

SEEDS = 32
"""How many pixels are measured for a first bound."""

CHUNK = 1024
"""How many pixels are measured at once: few enough for the processor's caches."""

Places = Int[np.ndarray, " n"]
"""Positions in a flattened array."""


class Deepest(NamedTuple):
    """A pixel, and the squared distance from its centre to the centre of the nearest pixel outside the region."""

    squared: int
    x: int
    y: int


def deepest(region: Mask, barred: Sequence[Click] = (), least: int = 1) -> Deepest | None:
    """The pixel of a region that is farthest from its outside; among equals the topmost, then the leftmost.

    Args:
        region: Pixels beyond the image are outside, too.
        barred: Clicks whose pixels are not chosen; they remain part of the region.
        least: Only pixels of at least this squared depth are considered.

    Returns:
        None where no pixel is so deep.
    """
    crop, left, top = _cut(region)
    free = _without(crop, barred, left, top)
    if not free.any():
        return None
    half, squares = _largest_squares(crop, free)
    # A pixel that no square of half + 1 fits around has something outside within half + 1 rows and columns, at worst
    # in the corner: its squared depth is at most 2 * (half + 1) ** 2. Every pixel of `squares` has nothing outside
    # within half, so its squared depth is at least (half + 1) ** 2.
    most = 2 * (half + 1) ** 2
    if most < least:
        return None
    candidates = _possible(crop, free, (half + 1) ** 2)
    rows = _Rows(crop, candidates, reach=isqrt(most) + 1)
    # Some of the squares' pixels, spread over all of them, are measured exactly. The best of them is a bound that the
    # winner must reach, and `_possible` is called again with it: that leaves far fewer candidates to measure.
    seeds = squares[:: max(1, len(squares) // SEEDS)]
    bound = max(least, rows.deepest(seeds, 1)[0])
    if bound > (half + 1) ** 2:
        candidates = _possible(crop, free, bound)
    squared, place = rows.deepest(candidates, bound)
    if squared < bound:
        return None
    y, x = divmod(place, crop.shape[1])
    return Deepest(squared, x + left, y + top)


def _cut(region: Mask) -> tuple[Mask, int, int]:
    """The region's box with a rim of one pixel that is outside, and the rim's corner as column and row of the image."""
    rows = np.flatnonzero(region.any(axis=1))
    if not rows.size:
        return np.zeros((2, 2), bool), 0, 0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(region[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    crop = np.zeros((bottom - top + 2, right - left + 2), bool)
    crop[1:-1, 1:-1] = region[top:bottom, left:right]
    return crop, left - 1, top - 1


def _without(crop: Mask, barred: Sequence[Click], left: int, top: int) -> Mask:
    """The crop without the clicked pixels."""
    if not barred:
        return crop
    free, (height, width) = crop.copy(), crop.shape
    for click in barred:
        x, y = click.x - left, click.y - top
        if 0 <= x < width and 0 <= y < height:
            free[y, x] = False
    return free


def _largest_squares(crop: Mask, free: Mask) -> tuple[int, Places]:
    """The largest h for which a square of 2 h + 1 pixels fits around a free pixel, and those pixels."""
    # A mask eroded by h and then by s is the mask eroded by h + s, so each try goes on from the last one that
    # succeeded. With 6 as the largest h:
    #
    #    h = 0    + 1 fits    h = 1    + 2 fits    h = 3    + 4 does not    the step is halved from here on
    #             + 2 fits    h = 5    + 1 fits    h = 6    step 0: done
    half, eroded, step, growing = 0, crop, 1, True
    while step:
        more = _eroded(eroded, step)
        fits = bool((more & _inner(free, half + step)).any())
        if fits:
            half, eroded = half + step, more
        growing = growing and fits
        step = step * 2 if growing else step // 2
    y, x = np.nonzero(eroded & _inner(free, half))
    return half, (y + half) * crop.shape[1] + (x + half)


def _possible(crop: Mask, free: Mask, squared: int) -> Places:
    """The free pixels that may be so deep: a square, an upright line and a level line of the needed sizes fit there.

    No outside pixel may be at a squared distance below `squared`. So a line of floor(sqrt(squared - 1)) pixels to each
    side must fit, upright and level. A square of s pixels to each side has its corners at a squared distance of
    2 * s * s, so the largest square that must fit has s = floor(sqrt((squared - 1) / 2)).
    """
    # With squared = 9, depth 3: lines of isqrt(8) = 2 pixels to each side, and a square of isqrt(4) = 2. With
    # squared = 20: lines of 4 pixels, and a square of 3, whose corner at 2 * 9 = 18 is still nearer than 20.
    #
    # Each erosion cuts its own margins off: all three are aligned to the pixel at (line, line) of the crop before they
    # are AND-ed.
    line, square = isqrt(squared - 1), isqrt((squared + 1) // 2 - 1)
    inner = _eroded(crop, square)[line - square :, line - square :]
    upright, level = _eroded_along(crop, line, 0), _eroded_along(crop, line, 1)
    fits = _inner(free, line) & inner[: len(upright), : level.shape[1]]
    fits &= upright[:, line : line + level.shape[1]] & level[line : line + len(upright)]
    y, x = np.nonzero(fits)
    return (y + line) * crop.shape[1] + (x + line)


def _eroded(mask: Mask, half: int) -> Mask:
    """The centres of squares of 2 half + 1 pixels that fit into the mask, with margins of `half` cut off."""
    return _eroded_along(_eroded_along(mask, half, 0), half, 1)


def _eroded_along(mask: Mask, half: int, axis: int) -> Mask:
    """The centres of lines of 2 half + 1 pixels that fit along an axis, with margins of `half` cut off.

    `mask[i] & mask[i + 1]` is set where two pixels in a row are; AND-ed with itself, shifted by two, where four are. So
    a line of n pixels takes about log2(n) passes rather than n.
    """
    mask, length = mask.swapaxes(0, axis), 1
    while length < 2 * half + 1:
        shift = min(length, 2 * half + 1 - length)
        mask, length = mask[shift:] & mask[: max(0, len(mask) - shift)], length + shift
    return mask.swapaxes(0, axis)


def _inner(mask: Mask, margin: int) -> Mask:
    """The mask without its margins, none left where they meet."""
    height, width = mask.shape
    return mask[margin : max(margin, height - margin), margin : max(margin, width - margin)]


class _Rows:
    """Squared distances to the outside within each row, as far around the candidates as can matter.

    Args:
        crop: The region's box with its rim.
        candidates: Places in the crop, at least one.
        reach: More than the depth of any of the candidates.
    """

    def __init__(self, crop: Mask, candidates: Places, reach: int) -> None:
        y, x = np.divmod(candidates, crop.shape[1])
        self.top, self.left = max(0, int(y.min()) - reach), max(0, int(x.min()) - reach)
        window = crop[self.top : int(y.max()) + reach + 1, self.left : int(x.max()) + reach + 1]
        self.crop_width, self.width = crop.shape[1], window.shape[1]
        self.squared = _squared_within_rows(window).reshape(-1)

    def deepest(self, candidates: Places, least: int) -> tuple[int, int]:
        """The largest squared depth of the candidates, which come in row-major order, and the first place that has it.

        The depth is 0 where none is at least `least`.
        """
        best, place = 0, -1
        for start in range(0, len(candidates), CHUNK):
            chunk = candidates[start : start + CHUNK]
            depths, kept = self._depths(chunk, max(least, best + 1))
            # Only depths above the best so far come back, so the first of them in row-major order is the one that is
            # kept.
            if len(depths):
                first = int(depths.argmax())
                best, place = int(depths[first]), int(chunk[kept[first]])
        return best, place

    def _depths(self, candidates: Places, least: int) -> tuple[Int32[np.ndarray, " m"], Places]:
        """The squared depths that are at least `least`, and which candidates have them."""
        y, x = np.divmod(candidates, self.crop_width)
        places = (y - self.top) * self.width + (x - self.left)
        depths = self.squared[places]
        kept = np.flatnonzero(depths >= least)
        depths, places = depths[kept], places[kept]
        # `depths` begins as the distance within the own row and can only fall, so rows farther away than the largest
        # of them change nothing. If that is 40 rows, there are 3 rounds: rows 1, 4, 7, ..., 40, then 2, 5, ..., 38,
        # then 3, 6, ..., 39, above and below. After each round the candidates that fell below `least` are dropped.
        far = isqrt(int(depths.max())) if len(depths) else 0
        rounds = -(-far // 16)
        for first in range(1, rounds + 1):
            # Rows from near to far in every round, so that the first rules most candidates out.
            away = np.arange(first, far + 1, rounds, dtype=np.int32)
            away = np.concatenate([-away, away])[:, None]
            # Beyond the first and the last row the rim's 0 is read: never closer than the rim itself.
            found = self.squared.take(places + away * self.width, mode="clip") + away * away
            np.minimum(depths, found.min(axis=0), out=depths)
            alive = depths >= least
            depths, places, kept = depths[alive], places[alive], kept[alive]
        return depths, kept


def _squared_within_rows(window: Mask) -> Int32[np.ndarray, "h w"]:
    """The squared distance of each pixel to the nearest one of its row that is outside, the window's ends included."""
    columns = np.arange(window.shape[1], dtype=np.int16 if window.shape[1] < 2**15 else np.int32)
    # The last outside column at or before each pixel, and the first at or after it, as running extremes:
    #
    #    window    . # # # . #      "." is outside
    #    before    0 0 0 0 4 4
    #    after     0 4 4 4 4 5      the window's end counts as outside
    #    nearest   0 1 2 1 0 0
    before = np.maximum.accumulate(np.where(window, columns[0], columns), axis=1)
    after = np.minimum.accumulate(np.where(window, columns[-1], columns)[:, ::-1], axis=1)[:, ::-1]
    return np.square(np.minimum(columns - before, after - columns), dtype=np.int32)
