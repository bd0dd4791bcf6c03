"""Corrective clicks: each lies at the deepest point of what the prediction so far gets wrong.

Ignored pixels are never wrong. A pixel that was clicked is not clicked again. Before the first round everything of
the object is missing, so the first click falls on its deepest point; an instance that starts from a mask has that one
corrected.
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

    Missing and superfluous pixels are two regions with a depth each. Where no wrong pixel is left that was not
    clicked, the click is negative and at (0, 0), as theirs. Of equally deep pixels theirs takes the first by row, then
    column; so does this one, by exact distances, where the last bit of OpenCV's would decide at random (`depth`).

    Source: `isegm/inference/clicker.py` of https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.
    """
    return (_corrective(at) or Click(0, 0, positive=False),)


@register_click_rule("center/v1")
def center(at: Situation) -> tuple[Click, ...]:
    """Into the deepest wrong pixel, as `ritm/v1`; where nothing is left to correct, onto the object once more.

    The regions, the tie between them and the order among equals are RITM's. Where no wrong pixel is left that was
    not clicked, the click confirms: it is positive, at the object's deepest pixel that was not clicked or, once all
    of them were, at the deepest.
    """
    return (_corrective(at) or _on_the_object(at),)


@register_click_rule("sam/v1")
def sam(at: Situation, first: Literal["deepest", "random"] = "deepest") -> tuple[Click, ...]:
    """The SAM paper's: the first at the object's deepest pixel, the others at that of the whole error region.

    The region is all that is wrong, missing or superfluous, where `center/v1` has two; whether the click is positive
    is what the ground truth says there. Where nothing is left to correct, as `center/v1`.

    Source: Kirillov et al., "Segment Anything", ICCV 2023, https://arxiv.org/abs/2304.02643, section 7.1 and
    appendix D.1 ("farthest from the object boundary", "of the error region"; a random first point as the harder way).

    Args:
        at: The generator matters for a random first click alone.
        first: "random": the first click is uniform over the object.
    """
    if first == "random" and not at.clicks:
        return (_anywhere(at),)
    missing, extra = wrong(at)
    found = deepest(missing | extra, at.clicks)
    if found is None:
        return (_on_the_object(at),)
    return (Click(found.x, found.y, positive=bool(missing[found.y, found.x])),)


def wrong(at: Situation) -> tuple[Mask, Mask]:
    """What the prediction lacks, and what it has beyond the object."""
    whole = at.instance.mask
    truth = at.counted(whole)
    if at.predicted is None:
        return truth, np.zeros_like(truth)
    return truth & ~at.predicted, at.counted(at.predicted) & ~whole


def _corrective(at: Situation) -> Click | None:
    """Into the deeper of the two regions; None where no wrong pixel is left that was not clicked."""
    missing, extra = wrong(at)
    off = deepest(extra, at.clicks)
    # A positive click needs a strictly deeper region, since a tie is a negative one's. Asking for more than the other
    # depth also saves the search: where nothing can be so deep, `deepest` ends after its first bound.
    on = deepest(missing, at.clicks, least=off.squared + 1 if off else 1)
    if on:
        return Click(on.x, on.y)
    return Click(off.x, off.y, positive=False) if off else None


def _on_the_object(at: Situation) -> Click:
    truth = at.counted(at.instance.mask)
    found = deepest(truth, at.clicks) or deepest(truth)
    assert found, "an instance without a pixel that counts is never asked for"
    return Click(found.x, found.y)


def _anywhere(at: Situation) -> Click:
    rows, columns = np.nonzero(at.counted(at.instance.mask))
    pick = int(at.rng.integers(len(rows)))
    return Click(int(columns[pick]), int(rows[pick]))
