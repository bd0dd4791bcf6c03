"""One click that lies in two objects at once, so that only the words tell which of them is meant.

Source: "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
https://arxiv.org/abs/2311.14822, Figure 1: one click on a tie means the tie or the man, and the word decides. The paper
shows this in pictures only. The choice of pairs, of the least overlap and of the clicked pixel is ours.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.clicks.deepest import deepest
from harness.clicks.strategy import NoClickError, Situation
from harness.masks.destinations import Objects, Pair
from harness.plugins.registry import register_click_rule
from harness.structures import Click


def overlapping(objects: Objects, least_px: int = 25) -> list[Pair]:
    """The pairs of an image that `shared/v1` clicks on."""
    return objects.pairs(least_px)


@register_click_rule("shared/v1", pairs=overlapping)
def shared(at: Situation, least_px: Annotated[int, Field(ge=1)] = 25) -> tuple[Click, ...]:
    """One click at the deepest pixel that two objects of different classes share; it is used to ask for each of them.

    An instance has one prompt for each such partner. An instance without a partner has no prompt and no row.

        + - - - - - - - - - +
        | person            |     the pair (person, tie) has one click x, the overlap's deepest pixel:
        |      + - +        |     the topmost of equally deep ones, then the leftmost
        |      | x | tie    |
        |      + - +        |     asked for: "person" with x, partner tie; "tie" with x, partner person
        + - - - - - - - - - +

    Args:
        at: The situation; its instance, partner and ignored pixels are used; nothing is drawn by chance.
        least_px: How many counted pixels the two must share.

    Raises:
        NoClickError: There is no partner, or too small an overlap.
    """
    overlap = at.counted(at.instance.mask & at.partner.mask) if at.partner else None
    found = deepest(overlap) if overlap is not None and overlap.sum() >= least_px else None
    if found is None:
        raise NoClickError(f"shared/v1: no other object shares {least_px} pixels with this one.")
    return (Click(found.x, found.y, positive=True),)
