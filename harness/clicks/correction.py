"""Corrective clicks: each lies at the deepest point of the wrong pixels of the prediction so far.

Two kinds of pixels are wrong: those that the prediction misses, and the surplus ones that it has beyond the object.

    the object       predicted        wrong
    . # # # # # .    # # # . . . .    - . . + + + .     + missing
    . # # # # # .    # # # . . . .    - . . + x + .     - surplus
    . # # # # # .    # # # . . . .    - . . + + + .     x the click: positive, as the missing region is the deeper one

Ignored pixels are never wrong, and no pixel is clicked twice. Before the first round there is no prediction: the whole
object is missing, and the first click falls on its deepest pixel. If the instance starts from a rough mask, that mask
is the first prediction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from harness.clicks.deepest import deepest
from harness.clicks.strategy import Situation
from harness.plugins.registry import register_click_rule
from harness.structures import Click, Mask


@register_click_rule("ritm/v1")
def ritm(at: Situation) -> tuple[Click, ...]:
    """The next click of RITM's public clicker: at the deepest missing or surplus pixel; at a tie at the surplus one.

    The deepest pixels of the missing and of the surplus region are compared. If every wrong pixel was clicked already,
    the click is negative and at (0, 0), as in RITM. Among equally deep pixels both take the first by row, then by
    column. The distances here are exact integers: with OpenCV's, the last bit would decide at random (`depth`).

    Source: `isegm/inference/clicker.py` of https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.
    """
    return (_corrective(at) or Click(0, 0, positive=False),)


@register_click_rule("center/v1")
def center(at: Situation) -> tuple[Click, ...]:
    """A click at the deepest wrong pixel, as `ritm/v1`; where nothing is left to correct, on the object once more.

    The regions, the tie between them and the order among equals are RITM's. If every wrong pixel was clicked already,
    the click confirms the object: it is positive and at the object's deepest pixel that was not clicked yet. Once all
    pixels of the object were clicked, it is at the deepest one again.
    """
    return (_corrective(at) or _on_the_object(at),)


@register_click_rule("sam/v1")
def sam(at: Situation, first: Literal["deepest", "random"] = "deepest") -> tuple[Click, ...]:
    """The SAM paper's clicks: first the object's deepest pixel, then the deepest pixel of the whole error region.

    Missing and surplus pixels form one region, where `center/v1` has two. The click is positive if its pixel lies on
    the object. If nothing is left to correct, it makes the click of `center/v1`.

    Source: Kirillov et al., "Segment Anything", ICCV 2023, https://arxiv.org/abs/2304.02643, section 7.1 and
    appendix D.1 ("farthest from the object boundary", "of the error region"; a random first point as the harder way).

    Args:
        at: The situation; its generator is used for a random first click alone.
        first: "deepest", or "random" for a first click that is uniform over the object.
    """
    if first == "random" and not at.clicks:
        return (_anywhere(at),)
    missing, extra = wrong(at)
    found = deepest(missing | extra, at.clicks)
    if found is None:
        return (_on_the_object(at),)
    return (Click(found.x, found.y, positive=bool(missing[found.y, found.x])),)


def wrong(at: Situation) -> tuple[Mask, Mask]:
    """The missing pixels (of the object, not predicted) and the surplus ones (predicted, not of the object)."""
    whole = at.instance.mask
    truth = at.counted(whole)
    if at.predicted is None:
        return truth, np.zeros_like(truth)
    return truth & ~at.predicted, at.counted(at.predicted) & ~whole


def _corrective(at: Situation) -> Click | None:
    """Into the deeper of the two regions; None where no wrong pixel is left that was not clicked."""
    missing, extra = wrong(at)
    off = deepest(extra, at.clicks)
    # At a tie the click is negative, so the missing region must be strictly deeper to win: hence `least`. It also saves
    # time: if no missing pixel can be that deep, `deepest` stops after its first, cheap bound.
    on = deepest(missing, at.clicks, least=off.squared + 1 if off else 1)
    if on:
        return Click(on.x, on.y)
    return Click(off.x, off.y, positive=False) if off else None


def _on_the_object(at: Situation) -> Click:
    truth = at.counted(at.instance.mask)
    found = deepest(truth, at.clicks) or deepest(truth)
    assert found, "instances without a pixel that counts are sorted out before any rule is called"
    return Click(found.x, found.y)


def _anywhere(at: Situation) -> Click:
    rows, columns = np.nonzero(at.counted(at.instance.mask))
    pick = int(at.rng.integers(len(rows)))
    return Click(int(columns[pick]), int(rows[pick]))
