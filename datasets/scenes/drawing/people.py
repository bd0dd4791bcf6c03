"""A person, about 100 high, feet at the origin: shirt and hat are parts, a tie is a part of the shirt."""

from __future__ import annotations

import numpy as np

from .canvas import Pen
from .outlines import Outline, box, ellipse, limb, polygon, rounded, smooth
from .paints import INK, SKIN, WHITE, Colour, Paint, cloth, darker, gradient, lighter, pick

_HAIR: tuple[Colour, ...] = (
    (52, 42, 44),
    (96, 62, 44),
    (160, 104, 58),
    (226, 182, 100),
    (190, 84, 56),
    (180, 180, 186),
)


def draw_person(pen: Pen, rng: np.random.Generator) -> None:
    """A standing person seen from the front."""
    # From back to front: hair that hangs behind, legs, arms, torso, neck, tie, head, hat. Each covers the end of the
    # one before. All random numbers come from `rng` in a fixed order: another order would draw other scenes.
    skin, hair = pick(rng, SKIN), pick(rng, _HAIR)
    build = float(rng.uniform(0.9, 1.15))
    shirt = pen.part("shirt")
    long_sleeves = bool(rng.random() < 0.6)
    long_hair = bool(rng.random() < 0.4)
    fabric = cloth(rng, pick(rng), 0.55)
    if long_hair:
        pen.fill(smooth([(-16, -92), (16, -92), (19, -62), (0, -56), (-19, -62)]), gradient(darker(hair)))
    _legs(pen, rng, build)
    _arms(pen, shirt, rng, build, skin, fabric, long_sleeves)
    _torso(shirt, rng, build, skin, fabric)
    pen.fill(limb((0, -72), (0, -62), 9), gradient(darker(skin, 0.12)))  # the neck
    if rng.random() < 0.6:
        _tie(shirt.part("tie"), shirt, rng)
    _head(pen, rng, skin, hair, long_hair)
    if rng.random() < 0.58:
        _hat(pen.part("hat"), rng)


def _legs(pen: Pen, rng: np.random.Generator, build: float) -> None:
    trousers, shoes = cloth(rng, pick(rng), 0.15), gradient(darker(pick(rng), 0.5))
    stance = float(rng.uniform(5, 9))
    for side in (-1, 1):
        pen.fill(rounded(side * stance - 6.5 + side * 2, -5, side * stance + 6.5 + side * 2, 0.5, 3), shoes)
    if rng.random() < 0.3:  # a skirt, from the waist to below the knees
        flare = float(rng.uniform(17, 22))
        pen.fill(polygon((-13 * build, -40), (13 * build, -40), (flare, -13), (-flare, -13)), trousers)
        return
    for side in (-1, 1):
        pen.fill(limb((side * 6 * build, -36), (side * stance, -7), 13 * build, 9.5), trousers)
    # The hips, which join the two legs.
    pen.fill(box(-12.5 * build, -40, 12.5 * build, -31), trousers)


def _torso(shirt: Pen, rng: np.random.Generator, build: float, skin: Colour, fabric: Paint) -> None:
    # The outline goes from the neck over the right shoulder to the hip, and back on the left side. Then paint is put on
    # the shirt's own pixels: the hem, a shadow on one side, and skin in the neckline.
    w, hip = 19 * build, 14.5 * build
    body = [(-6, -70), (6, -70), (w, -67), (w, -58), (hip, -46), (hip + 1, -33), (-hip - 1, -33), (-hip, -46)]
    shirt.fill(smooth([*body, (-w, -58), (-w, -67)], 2), fabric)
    shirt.detail(box(-hip - 3, -38, hip + 3, -34), Paint(INK, opacity=0.18))
    shirt.detail(polygon((7, -72), (30, -72), (30, -30), (11, -30)), Paint(INK, opacity=0.1), 1.5)
    shirt.detail(ellipse(0, -70, 7.5, 6), gradient(darker(skin, 0.12)))
    if rng.random() < 0.5:
        collar = Paint(lighter(fabric.colour, 0.6))
        for side in (-1, 1):
            shirt.fill(polygon((side * 1, -63), (side * 8, -71), (side * 9.5, -64), (side * 5, -59.5)), collar)


def _arms(
    pen: Pen, shirt: Pen, rng: np.random.Generator, build: float, skin: Colour, fabric: Paint, long_sleeves: bool
) -> None:
    # The bare arm first, then the sleeve over it: to the elbow, or to three quarters of the forearm. Sleeves belong to
    # the shirt, hands and forearms to the person alone.
    for side in (-1, 1):
        shoulder = (side * 15.5 * build, -63.0)
        elbow, hand = _arm(rng, side, build)
        sleeved = hand if long_sleeves else elbow
        pen.fill(limb(elbow, hand, 7, 6), gradient(skin))
        pen.fill(ellipse(hand[0], hand[1], 4.2, 4.2), gradient(skin))
        if long_sleeves:
            sleeved = (elbow[0] + 0.75 * (hand[0] - elbow[0]), elbow[1] + 0.75 * (hand[1] - elbow[1]))
            shirt.fill(limb(elbow, sleeved, 9, 8), fabric)
        shirt.fill(limb(shoulder, elbow, 11, 9.5), fabric)


def _arm(rng: np.random.Generator, side: int, build: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Elbow and hand: hanging, on the hip, or waving."""
    kind = int(rng.integers(4))
    if kind == 0:  # on the hip: the hand is nearer to the body than the elbow
        return (side * 26 * build, -52), (side * 15 * build, -41)
    if kind == 1:  # waving: the hand is above the shoulder
        return (side * 28 * build, -60), (side * 31 * build, -78 - float(rng.uniform(0, 6)))
    swing = float(rng.uniform(0, 5))
    return (side * (19 + swing / 2) * build, -50), (side * (20 + swing) * build, -36)


def _tie(tie: Pen, shirt: Pen, rng: np.random.Generator) -> None:
    w, end = float(rng.uniform(4.4, 5.6)), float(rng.uniform(-34, -31))
    fabric = cloth(rng, pick(rng), 0.5, 4)
    for side in (-1, 1):
        shirt.fill(polygon((0, -63), (side * 8, -71), (side * 10, -63.5), (side * 5, -58)), Paint(WHITE))
    # A bow tie in one case of five: two wings and a knot. Otherwise the blade, and the knot over its upper end.
    if rng.random() < 0.2:
        for side in (-1, 1):
            tie.fill(smooth([(0, -64), (side * 13, -69), (side * 13, -55), (0, -60)], 2), fabric)
        tie.fill(rounded(-3, -65.5, 3, -58.5, 1.5), gradient(darker(fabric.colour)))
        return
    blade = polygon((-2.4, -62), (2.4, -62), (w + 0.6, end - 6), (0, end), (-w - 0.6, end - 6))
    tie.fill(blade, fabric)
    tie.fill(polygon((-4.4, -67), (4.4, -67), (2.8, -60), (-2.8, -60)), gradient(darker(fabric.colour, 0.15)))


def _head(pen: Pen, rng: np.random.Generator, skin: Colour, hair: Colour, long_hair: bool) -> None:
    for side in (-1, 1):
        pen.fill(ellipse(side * 13.2, -82, 3, 3.8), gradient(darker(skin, 0.08)))
    pen.fill(ellipse(0, -83, 13.2, 14.5), gradient(skin, 0.08))
    fringe = float(rng.uniform(-92, -87))
    pen.fill(smooth(_hair_line(fringe, long_hair)), gradient(hair))
    if rng.random() < 0.18 and not long_hair:  # a beard
        pen.fill(smooth([(-12, -80), (-7, -75), (7, -75), (12, -80), (9, -69), (0, -66), (-9, -69)]), gradient(hair))
    _face(pen, rng, skin)


def _hair_line(fringe: float, long_hair: bool) -> list[tuple[float, float]]:
    low = -70.0 if long_hair else -81.0
    outer = [(-15, low), (-16.5, -92), (-9, -101), (9, -101), (16.5, -92), (15, low)]
    return [*outer, (12.5, -86), (7, fringe), (-8, fringe - 1), (-12.5, -85)]


def _face(pen: Pen, rng: np.random.Generator, skin: Colour) -> None:
    # Eyes and cheeks, the nose, the mouth; in one case of five, sunglasses.
    ink = Paint(INK)
    for side in (-1, 1):
        pen.fill(ellipse(side * 5, -82, 1.35, 1.7), ink)
        pen.fill(ellipse(side * 8, -76.5, 2.4, 1.6), Paint(darker((232, 108, 100), 0.1), opacity=0.35))
    pen.fill(limb((0, -80), (0.6, -77.5), 1.2), Paint(darker(skin, 0.25)))
    pen.fill(ellipse(0, -74.5, 4, 2.6, 0.02, 0.48), Paint((176, 62, 66)))
    if rng.random() < 0.2:
        for side in (-1, 1):
            pen.fill(ellipse(side * 5, -82, 4.2, 3.8), Paint(INK, opacity=0.7))
        pen.fill(box(-2, -83, 2, -82), ink)


def _hat(hat: Pen, rng: np.random.Generator) -> None:
    colour = pick(rng)
    fabric = cloth(rng, colour, 0.35, 5)
    band = gradient(darker(pick(rng), 0.25))
    kind = int(rng.integers(4))
    if kind == 0:  # a top hat
        hat.fill(_crown(12, 11.5, -93, -116 - float(rng.uniform(0, 6))), fabric)
        hat.detail(box(-20, -98.5, 20, -93), band)
        hat.fill(ellipse(0, -93, 21, 3.6), fabric)
    elif kind == 1:  # a sun hat
        hat.fill(ellipse(0, -97, 14.5, 14, 0.5, 1.0), fabric)
        hat.detail(box(-20, -99.5, 20, -95), band)
        hat.fill(ellipse(0, -94, 25, 5), fabric)
    elif kind == 2:  # a cap with a peak
        hat.fill(ellipse(0, -91.5, 15.5, 15, 0.5, 1.0), fabric)
        hat.fill(smooth([(-6, -93), (16, -95), (29, -90.5), (24, -88), (-6, -89.5)], 2), gradient(darker(colour, 0.2)))
    else:  # a woollen hat
        hat.fill(ellipse(0, -91, 15.5, 18, 0.5, 1.0), fabric)
        hat.fill(ellipse(0, -109.5, 4.8, 4.8), gradient(lighter(band.colour)))
        hat.fill(rounded(-16.5, -96, 16.5, -89.5, 3), band)


def _crown(width: float, top_width: float, foot: float, top: float) -> Outline:
    return polygon((-width, foot), (-top_width, top), (top_width, top), (width, foot))
