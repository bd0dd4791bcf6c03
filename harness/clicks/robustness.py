"""First clicks all over an object: how much a method's answer depends on where it is clicked.

They make the first click of an instance; later ones are `center/v1`'s.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from harness.clicks.correction import center
from harness.clicks.depth import squared_depth
from harness.clicks.sampling import Pixels, pixels
from harness.clicks.strategy import Situation
from harness.plugins.registry import register_click_rule
from harness.structures import Click, UserError


@register_click_rule("rclicks/v1")
def rclicks(
    at: Situation, group: Annotated[int, Field(ge=0)] = 0, groups: Annotated[int, Field(ge=1)] = 10
) -> tuple[Click, ...]:
    """A first click at a likely or unlikely place: a pixel's probability is proportional to its depth in the object.

    RClicks samples from a network's map of where people click. Here the depth in the object takes the place of this
    map, since people click well inside an object. As in RClicks, the pixels are sorted from the least likely to the
    most, and cut into groups of equal probability: group 1 is the rim, the last one the middle. Among equally likely
    pixels the first by row, then by column, counts as the less likely one.

    Source: Antonov et al., "RClicks: Realistic Click Simulation for Benchmarking Interactive Segmentation", NeurIPS
    2024, https://arxiv.org/abs/2410.11722, for the groups.

    Args:
        at: The situation; its predictions are used after the first click alone.
        group: The group to draw from, 1 (the least likely) to `groups` (the most likely); 0 for all of them.
        groups: The number of groups.

    Raises:
        UserError: There is no such group.
    """
    if group > groups:
        raise UserError(f"rclicks/v1: found group {group} of {groups}; wanted 1 to {groups}, or 0 for all.")
    if at.clicks:
        return center(at)
    squared, left, top = squared_depth(at.counted(at.instance.mask))
    choice = pixels(squared > 0, left, top)
    weights = np.sqrt(squared[squared > 0])
    # Groups hold equal probability, not equally many pixels. Sorted depths 1 1 1 2 2 3 and two groups:
    #
    #    running sum    1 2 3 5 | 7 10      group 1: the first four pixels, with half of the 10
    #    group 1 draws a number from 0 to 5, group 2 from 5 to 10; the pixel is the one whose sum passes it
    order = np.argsort(weights, kind="stable")
    low, high = ((group - 1) / groups, group / groups) if group else (0.0, 1.0)
    return (choice.clicked(int(order[_at_share(weights[order], at.rng.uniform(low, high))]), positive=True),)


@register_click_rule("grid/v1")
def grid(
    at: Situation, side: Annotated[int, Field(ge=1)] = 3, cell: Annotated[int, Field(ge=0)] | None = None
) -> tuple[Click, ...]:
    """A first click in one cell of a grid over the object, whose cells hold equally many of its pixels.

    The object's pixels in row-major order are cut into `side` bands, and each band's, in column-major order, into
    `side` cells. The click is at the pixel of the cell nearest to its centroid, the first of equals. So every cell of
    an object of any shape has a click, and a mean over the cells is a mean over the object. If an object has fewer
    pixels than cells, some pixels are clicked twice.

    Args:
        at: The situation; its predictions are used after the first click alone.
        side: Cells in a row, and in a column.
        cell: The cell's number, from 0, row by row; by default the draw's number, which starts over after the last
            cell.

    Raises:
        UserError: There is no such cell.
    """
    if cell is not None and cell >= side**2:
        raise UserError(f"grid/v1: found cell {cell} of {side} x {side}; wanted 0 to {side**2 - 1}.")
    if at.clicks:
        return center(at)
    #    # # # # # #      bands of equally many pixels         cells of a band, by its columns
    #    # # # # # #      1 1 1 1 1 1                          1 1 | 2 2 | 3 3
    #      # # #          2 2 2 2 2 2
    #      # # #            3 3 3
    #                       3 3 3
    number = at.draw % side**2 if cell is None else cell
    band = _slice(pixels(at.counted(at.instance.mask)), number // side, side)
    order = np.lexsort((band.y, band.x))
    part = _slice(Pixels(band.x[order], band.y[order]), number % side, side)
    return (_nearest_to_centroid(part),)


def _at_share(weights: Float64[np.ndarray, " n"], share: float) -> int:
    """The index at which the running sum of the weights passes this share of it, 0 to 1."""
    running = np.cumsum(weights)
    return min(int(np.searchsorted(running, share * running[-1], side="right")), len(weights) - 1)


def _slice(part: Pixels, index: int, count: int) -> Pixels:
    """One of `count` slices of nearly equal length, none of them empty."""
    start = index * len(part.x) // count
    end = max(start + 1, (index + 1) * len(part.x) // count)
    return Pixels(part.x[start:end], part.y[start:end])


def _nearest_to_centroid(part: Pixels) -> Click:
    """The first by row, then column, of the pixels nearest to their centroid."""
    count = len(part.x)
    # All distances times `count`, so that the centroid's fractions are integers, and equal distances are equal.
    away = np.square(count * part.x - part.x.sum()) + np.square(count * part.y - part.y.sum())
    order = np.lexsort((part.x, part.y))
    return part.clicked(int(order[away[order].argmin()]), positive=True)
