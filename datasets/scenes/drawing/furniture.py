"""Tables, cups, bottles and lamps; the foot is at the origin."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .canvas import Pen
from .outlines import box, ellipse, limb, polygon, rounded, smooth
from .paints import INK, WHITE, Colour, Paint, cloth, darker, gradient, jittered, lighter, pick

_WOOD: tuple[Colour, ...] = ((176, 120, 78), (206, 158, 108), (130, 86, 62), (228, 190, 142), (96, 70, 60))


def draw_table(pen: Pen, rng: np.random.Generator, width: float, height: float, depth: float) -> None:
    """Draw a top seen a little from above, with its middle at the origin, and its legs or foot.

    Args:
        pen: The pen, whose origin is the middle of the top.
        rng: A generator for the kind and the colours.
        width: The top's width.
        height: The height from the top to the floor.
        depth: The top's height in the picture.
    """
    colour = pick(rng, _WOOD) if rng.random() < 0.6 else pick(rng)
    w, d = width / 2, depth / 2
    if rng.random() < 0.3:  # a round table on one foot
        pen.fill(limb((0, 0), (0, height), 10, 14), gradient(darker(colour, 0.25), across=True))
        pen.fill(ellipse(0, height, w * 0.45, 5), gradient(darker(colour, 0.25)))
        pen.fill(ellipse(0, 5, w, d), Paint(darker(colour, 0.35)))
        pen.fill(ellipse(0, 0, w, d), _top(rng, colour))
        return
    # Four legs; the far ones, which begin at y = 0, are darker and shorter. Then the edge of the top, and the top.
    for x, y in ((-0.84 * w, d), (0.84 * w, d), (-0.7 * w, 0), (0.7 * w, 0)):
        far = y == 0
        tone = darker(colour, 0.4 if far else 0.2)
        pen.fill(
            polygon((x - 4.5, y), (x + 4.5, y), (x + 3, height - 8 * far), (x - 3, height - 8 * far)), gradient(tone)
        )
    pen.fill(box(-w, d - 1, w, d + 7), gradient(darker(colour, 0.28)))
    inset = float(rng.uniform(0.1, 0.2)) * w
    pen.fill(polygon((-w + inset, -d), (w - inset, -d), (w, d), (-w, d)), _top(rng, colour))


def _top(rng: np.random.Generator, colour: Colour) -> Paint:
    return cloth(rng, colour, 0.4, 9)


def draw_cup(cup: Pen, rng: np.random.Generator, height: float) -> None:
    """A mug or a tea cup with a handle to the right and an opening seen from above."""
    colour = pick(rng)
    paint = cloth(rng, colour, 0.45, 6)
    h = height
    foot, rim = (0.36, 0.4) if rng.random() < 0.5 else (0.24, 0.52)
    _handle(cup, h, rim, colour)
    body = [(-rim * h, -h), (rim * h, -h), ((rim + foot) / 2 * h + 0.05 * h, -0.4 * h), (foot * h, 0), (-foot * h, 0)]
    cup.fill(smooth([*body, (-(rim + foot) / 2 * h - 0.05 * h, -0.4 * h)], 1), paint)
    cup.detail(box(0.15 * h, -h, h, 0), Paint(INK, opacity=0.12), 0.08 * h)
    cup.fill(ellipse(0, -0.97 * h, rim * 0.98 * h, 0.13 * h), Paint(lighter(colour, 0.55)))
    cup.fill(ellipse(0, -0.955 * h, rim * 0.86 * h, 0.09 * h), Paint(jittered(rng, (112, 72, 50), 24)))


def _handle(cup: Pen, h: float, rim: float, colour: Colour) -> None:
    """Draw the handle as a bent bar, so that things behind show through its opening."""
    angles = np.linspace(-0.26, 0.25, 9) * 2 * np.pi
    centre, radius = (0.82 * rim * h, -0.56 * h), 0.29 * h
    points = [(centre[0] + radius * float(np.cos(a)), centre[1] + radius * float(np.sin(a))) for a in angles]
    for start, end in pairwise(points):
        cup.fill(limb(start, end, 0.12 * h), Paint(darker(colour, 0.15)))


def draw_bottle(pen: Pen, rng: np.random.Generator, height: float) -> None:
    """A bottle with a neck, a cap and, mostly, a label."""
    h = height
    w = float(rng.uniform(0.15, 0.2)) * h
    neck = w * float(rng.uniform(0.34, 0.45))
    shoulder, throat = -h * float(rng.uniform(0.56, 0.64)), -h * float(rng.uniform(0.72, 0.78))
    colour = pick(rng)
    half = [(neck, -0.95 * h), (neck, throat), (w, shoulder), (w, -0.01 * h), (w * 0.86, 0)]
    body = [(neck, -0.95 * h), (neck, throat), (w * 0.96, shoulder - 0.03 * h), *half[2:]]
    pen.fill(polygon(*body, *[(-x, y) for x, y in body[::-1]]), gradient(colour, 0.2, across=True))
    pen.detail(box(-0.72 * w, throat, -0.5 * w, -0.04 * h), Paint(WHITE, opacity=0.4), 0.6)
    pen.detail(box(-w, -0.05 * h, w, 0), Paint(INK, opacity=0.25), 0.8)
    cap = pick(rng)
    pen.fill(rounded(-neck * 1.25, -h, neck * 1.25, -0.9 * h, 2), gradient(cap, across=True))
    if rng.random() < 0.9:
        _label(pen.part("label"), rng, w, h, shoulder)


def _label(label: Pen, rng: np.random.Generator, w: float, h: float, shoulder: float) -> None:
    colour = lighter(pick(rng), float(rng.uniform(0, 0.75)))
    top, low = shoulder + h * float(rng.uniform(0.05, 0.1)), -h * float(rng.uniform(0.08, 0.16))
    wide = w * (1.0 if rng.random() < 0.5 else 0.84)
    outline = box(-wide, top, wide, low) if rng.random() < 0.7 else ellipse(0, (top + low) / 2, wide, (low - top) / 2)
    label.fill(outline, Paint(colour, darker(colour, 0.15), across=True))
    ink, middle = pick(rng), (top + low) / 2
    label.detail(box(-wide, top, wide, top + 0.03 * h), Paint(ink))
    label.detail(box(-wide, low - 0.03 * h, wide, low), Paint(ink))
    label.detail(ellipse(0, middle - 0.04 * h, 0.42 * wide, 0.42 * wide), Paint(ink))
    for step in (0.06, 0.1):
        label.detail(
            box(-0.6 * wide, middle + step * h, 0.6 * wide, middle + (step + 0.018) * h), Paint(darker(colour, 0.5))
        )


def draw_lamp(lamp: Pen, rng: np.random.Generator, height: float) -> None:
    """A shade on a stem: the shade is as high whatever the lamp's height, so it may be a table or a floor lamp."""
    stem, shade = pick(rng), pick(rng)
    s = float(rng.uniform(0.9, 1.15)) * min(height * 0.42, 36)
    wide, narrow = s * 0.66, s * float(rng.uniform(0.25, 0.45))
    lamp.fill(ellipse(0, -2, s * 0.42, 4), gradient(darker(stem)))
    lamp.fill(box(-1.8, -height + 0.8 * s, 1.8, -2), gradient(stem, across=True))
    if rng.random() < 0.5 and height < 90:
        belly = (height - s) * 0.36
        lamp.fill(ellipse(0, -belly - 3, s * 0.3, belly), cloth(rng, stem, 0.3, 6))
    _shade(lamp.at(0, -height), rng, shade, s, wide, narrow)


def draw_pendant(lamp: Pen, rng: np.random.Generator, length: float) -> None:
    """A shade that hangs from the origin."""
    s = float(rng.uniform(24, 32))
    lamp.fill(box(-0.9, 0, 0.9, length), Paint(INK))
    lamp.fill(ellipse(0, length + s * 0.95, s * 0.2, s * 0.2), Paint((255, 238, 170)))
    _shade(lamp.at(0, length), rng, pick(rng), s, s * float(rng.uniform(0.7, 0.95)), s * float(rng.uniform(0.15, 0.3)))


def _shade(lamp: Pen, rng: np.random.Generator, colour: Colour, s: float, wide: float, narrow: float) -> None:
    outline = polygon((-narrow, 0), (narrow, 0), (wide, s), (-wide, s))
    lamp.fill(outline, cloth(rng, colour, 0.35, 6))
    lamp.detail(ellipse(0, s * 1.1, wide, s * 0.75), Paint((255, 240, 180), opacity=0.5), s * 0.1)
    lamp.detail(box(-wide, s * 0.9, wide, s), Paint(darker(colour, 0.3)))
