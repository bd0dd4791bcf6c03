"""One click in two objects at once: what the words then change is the words' doing alone.

Source: "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
https://arxiv.org/abs/2311.14822, Figure 1: one click on a tie means the tie or the man, and the word says which. The
paper shows it in pictures; which objects, how large an overlap and which of its pixels are chosen here.
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
    """The pairs of an image that `shared/v1` asks for."""
    return objects.pairs(least_px)


@register_click_rule("shared/v1", pairs=overlapping)
def shared(at: Situation, least_px: Annotated[int, Field(ge=1)] = 25) -> tuple[Click, ...]:
    """Put one click at the deepest pixel that two objects of different classes share, and ask for each with it.

    An instance is asked for once with every such partner. One without a partner is not asked for, and has no row.

        + - - - - - - - - - +
        | person            |     the pair (person, tie) has one click x, the overlap's deepest pixel:
        |      + - +        |     the topmost of equally deep ones, then the leftmost
        |      | x | tie    |
        |      + - +        |     asked for: "person" with x, partner tie; "tie" with x, partner person
        + - - - - - - - - - +

    Args:
        at: The instance, its partner and the ignored pixels matter; nothing is drawn by chance.
        least_px: How many pixels that count the two must share.

    Raises:
        NoClickError: There is no partner, or too small an overlap.
    """
    overlap = at.counted(at.instance.mask & at.partner.mask) if at.partner else None
    found = deepest(overlap) if overlap is not None and overlap.sum() >= least_px else None
    if found is None:
        raise NoClickError(f"shared/v1: no other object shares {least_px} pixels with this one.")
    return (Click(found.x, found.y, positive=True),)
