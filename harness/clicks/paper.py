"""The paper's clicks: drawn at random well inside the object, along its outside, or on other objects.

Source: "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
https://arxiv.org/abs/2311.14822, sections 4 and 6.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from harness.clicks.depth import inside
from harness.clicks.sampling import Pixels, apart, around, deep, on_any, others, pixels
from harness.clicks.strategy import NoClickError, Situation
from harness.plugins.registry import register_click_rule
from harness.structures import Click

Source = Literal["boundary", "same_class", "any_class"]


@register_click_rule("paper/v1")
def interior(at: Situation, margin: Annotated[float, Field(ge=0, le=1)] = 0.35) -> tuple[Click, ...]:
    """One positive click, uniform over the pixels well inside the object.

    Source: the paper, section 4 ("a random point within the ground-truth segmentation mask boundary", "at least some
    minimum distance from the object border"; the distance is not given). Here the margin is a share of the
    object's greatest depth, so that every object, however thin, has such pixels.

    Args:
        at: The situation; only its instance and generator are used.
        margin: 0 (anywhere inside) to 1 (the deepest pixels only).
    """
    # A margin in pixels would leave thin objects without any pixel to click. As a share of the greatest depth it always
    # leaves some: a rope 6 pixels wide has a greatest depth of 3, and clicks lie at least 0.35 * 3 = 1.05 deep.
    depth = inside(at.truth)
    return (pixels(deep(depth, margin * depth.most), depth.left, depth.top).drawn(at.rng, positive=True),)


@register_click_rule("paper/v2")
def prompt(
    at: Situation,
    positives: Annotated[int, Field(ge=1)] = 1,
    negatives: Annotated[int, Field(ge=0)] = 0,
    margin: Annotated[float, Field(ge=0, le=1)] = 0.35,
    margin_px: Annotated[float, Field(ge=0)] | None = None,
    distance: Annotated[float, Field(ge=0)] = 150,
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = ("same_class", "boundary"),
    band: Annotated[int, Field(ge=1)] = 40,
) -> tuple[Click, ...]:
    """Positive clicks well inside the object and apart from each other, then negative ones just off it or on others.

    The first positive is made as by `paper/v1`. Every further one is uniform over the pixels inside the margin that are
    at least `distance` from all positives so far. On an object too small for that it is the farthest pixel inside the
    margin, one of them at random at a tie; once all pixels inside the margin are clicked, all of the object's pixels
    may be clicked. For each negative one source is drawn among those that have pixels, then one of its pixels. If no
    source has any, the boundary is used, and at last all pixels off the object. Negatives avoid ignored and clicked
    pixels.

    Source: the paper, section 6.1 (150 px; 40 px is what it recommends after Xu et al.; negatives "from other
    instances of the same class" and "along the outside boundary"). It does not give the width of the band, for which
    that of Xu et al. is taken here, nor how the two kinds of negatives are mixed.

    Args:
        at: The situation; its predictions are not used.
        positives: The number of positive clicks in each round.
        negatives: The number of negative clicks in each round.
        margin: The least depth of positives, as a share of the object's greatest depth, 0 to 1.
        margin_px: The same in pixels, in place of `margin`; if the object is nowhere that deep, its deepest pixels are
            used.
        distance: The least distance between positives, in pixels.
        sources: The places of negatives: "boundary" (off the object, within `band`), "same_class" and "any_class" (on
            other instances).
        band: The width of the band around the object, in pixels.

    Raises:
        NoClickError: No pixel off the object is left for a negative click.
    """
    depth = inside(at.truth)
    needed = margin * depth.most if margin_px is None else margin_px
    well_inside = pixels(deep(depth, needed), depth.left, depth.top)
    on = [click for click in at.clicks if click.positive]
    off = [click for click in at.clicks if not click.positive]
    for _ in range(positives):
        # `gap` is each pixel's squared distance to the nearest click, so 0 marks a clicked pixel. If all are 0, every
        # pixel inside the margin was clicked, and the margin is given up.
        all_clicked = on and not well_inside.gap(on).any()
        choice = pixels(depth.at_least(0), depth.left, depth.top) if all_clicked else well_inside
        on.append(apart(choice, on, distance, at.rng, positive=True))
    for _ in range(negatives):
        off.append(_negative(at, off, sources, band))
    # Only the new clicks: both lists begin with those of earlier rounds, from which the new ones keep their distance.
    return (*on[len(on) - positives :], *off[len(off) - negatives :])


def _negative(at: Situation, made: Sequence[Click], sources: Sequence[Source], band: int) -> Click:
    for part in _where_from(at, sources, band):
        free = part.those(part.gap(made) > 0) if made else part
        if len(free.x):
            return free.drawn(at.rng, positive=False)
    raise NoClickError("paper/v2: no pixel off the object is left for a negative click.")


def _where_from(at: Situation, sources: Sequence[Source], band: int) -> Iterator[Pixels]:
    """The sources in random order, so that the first with pixels is any of those that have some; then the others."""
    for index in at.rng.permutation(len(sources)):
        if sources[index] == "boundary":
            yield around(at, band)
        else:
            yield on_any(others(at, same_class=sources[index] == "same_class"), at.truth.size)
    yield around(at, band)
    yield pixels(at.counted(~at.instance.mask))
