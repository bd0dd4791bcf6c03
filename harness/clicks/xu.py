"""The clicks of Xu et al., on which PhraseClick's and the paper's rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.clicks.depth import outside, squared, to_nearest_zero
from harness.clicks.sampling import Pixels, apart, around, at_places, counted_in, deep_inside, on_any, others, pixels
from harness.clicks.strategy import NoClickError, Situation
from harness.masks.region import Region
from harness.plugins.registry import register_click_rule
from harness.structures import Click


@register_click_rule("xu/v1")
def xu(
    at: Situation,
    positives: Annotated[int, Field(ge=1)] = 1,
    negatives: Annotated[int, Field(ge=0)] = 1,
    negatives_by: Literal[1, 2, 3] = 3,
    step: Annotated[float, Field(ge=0)] = 10,
    margin: Annotated[float, Field(ge=0)] = 5,
    band: Annotated[int, Field(ge=1)] = 40,
) -> tuple[Click, ...]:
    """Positive clicks anywhere in the object, and negative ones by one of the three strategies of Xu et al.

    Positive clicks are uniform over the pixels at least `margin` from the object's border, and `step` from each other.
    Negative clicks follow one of three strategies:

    1. uniform over the background within `band` of the object, with the same margin and step;
    2. uniform over the other objects of the image, with the same margin and step; an image without others uses 1;
    3. the first is uniform over the background within `band`; each further one is at the pixel of it that is farthest
       from the negatives so far and from the band's two borders, so that together they cover the outline.

    If an object is too small for a margin or a step, its deepest or its farthest pixels are clicked; the paper drops
    the click. The paper draws the number of clicks: up to 5 positive ones, and by strategy up to 10, 5 on each object,
    and 10 negative ones. Here the config gives the number.

    Source: Xu et al., "Deep Interactive Object Selection", CVPR 2016, https://arxiv.org/abs/1603.04042, section 3.1.

    Args:
        at: The situation; its predictions are not used.
        positives: The number of positive clicks in each round.
        negatives: The number of negative clicks in each round.
        negatives_by: The strategy of negative clicks.
        step: The least distance between clicks, in pixels.
        margin: The least distance from the border of the region that is clicked, in pixels.
        band: The width of the background around the object that may be clicked, in pixels.

    Raises:
        NoClickError: No pixel off the object counts.
    """
    well_inside = pixels(deep_inside(at.truth, margin), *at.truth.box[:2])
    on = [click for click in at.clicks if click.positive]
    off = [click for click in at.clicks if not click.positive]
    for _ in range(positives):
        on.append(apart(well_inside, on, step, at.rng, positive=True))
    if negatives and negatives_by == 3:
        off += _covering(at, off, negatives, band)
    elif negatives:
        choice = on_any(_on_others(at, margin) if negatives_by == 2 else (), at.truth.size)
        choice = choice if len(choice.x) else _some(around(at, band, margin))
        for _ in range(negatives):
            off.append(apart(choice, off, step, at.rng, positive=False))
    return (*on[len(on) - positives :], *off[len(off) - negatives :])


def _some(choice: Pixels) -> Pixels:
    """The same pixels; `NoClickError` where there are none."""
    if not len(choice.x):
        raise NoClickError("xu/v1: no pixel off the object counts; wanted one for a negative click.")
    return choice


def _on_others(at: Situation, margin: float) -> Iterator[np.ndarray]:
    """For every other object an image of the pixels that are deep enough to be clicked."""
    for mask in others(at, same_class=False):
        region = Region(mask)
        x0, y0, x1, y1 = region.box
        whole = np.zeros_like(mask)
        whole[y0:y1, x0:x1] = deep_inside(region, margin)
        yield whole


def _covering(at: Situation, made: Sequence[Click], count: int, band: int) -> list[Click]:
    """The first uniform over the band; each other at its pixel farthest from the clicks and from the band's borders."""
    away = outside(at.instance.mask, at.truth, band + 1)
    near = away.at_most(band)
    places = np.flatnonzero(near & counted_in(at, near.shape, away.left, away.top))
    choice = _some(at_places(places, near.shape[1], away.left, away.top))
    clicks = [] if made else [choice.drawn(at.rng, positive=False)]
    if len(clicks) == count:
        return clicks
    # OpenCV finds no zero beyond the window, so the image's edge does not count as a border of the band.
    room = np.minimum(squared(to_nearest_zero(near.view(np.uint8)).take(places)), choice.gap([*made, *clicks]))
    # Farthest-point sampling: `room` is each pixel's squared distance to the nearest click or border. The next click
    # goes to the largest, and can only lower the others, so one pass over the pixels for each click suffices:
    #
    #    border |. . . . . . . . .| border      room  1 2 3 4 5 4 3 2 1    click in the middle
    #    border |. . . . x . . . .| border      room  1 2 2 1 0 1 2 2 1    the next one between click and border
    while len(clicks) < count:
        clicks.append(choice.clicked(int(room.argmax()), positive=False))
        np.minimum(room, choice.gap(clicks[-1:]), out=room)
    return clicks
