"""Cars, buses and boats, 100 long, with the ground (or the water line) at y = 0 and the bow toward x = 50."""

from __future__ import annotations

import numpy as np

from .canvas import Pen
from .outlines import Outline, box, ellipse, limb, polygon, rounded, smooth
from .paints import GLASS, INK, WHITE, Colour, Paint, cloth, darker, gradient, lighter, mixed, pick


def draw_car(pen: Pen, rng: np.random.Generator) -> None:
    """Saloon, hatchback, van or pick-up, with two wheels and one or two windows."""
    colour = pick(rng)
    paint = gradient(colour)
    radius = float(rng.uniform(10.5, 12.5))
    kind = int(rng.integers(4))
    roof = float(rng.uniform(-43, -38))
    cabin, panes = _cabin(kind, roof)
    pen.fill(cabin, paint)
    pen.fill(_car_body(kind), paint)
    pen.detail(box(-60, -13, 60, -9), Paint(lighter(colour, 0.3)))
    pen.detail(box(-60, -9, 60, 0), Paint(darker(colour, 0.35)))
    # Wheel arches, a head light and a tail light; then windows, the door's handle and, in front of all, wheels.
    for x in (-29, 29):
        pen.fill(ellipse(x, -radius + 1, radius + 2.4, radius + 2.4, 0.48, 1.02), Paint(darker(colour, 0.6)))
    pen.fill(rounded(43, -23, 49.5, -17, 2.5), Paint((255, 240, 180)))
    pen.fill(rounded(-49.5, -23.5, -45, -16.5, 2), Paint((214, 66, 60)))
    glass = pick(rng, GLASS)
    for pane in panes:
        _pane(pen.part("window"), pane, glass)
    pen.fill(rounded(-6, -23, 1, -21, 1), Paint(darker(colour, 0.4)))
    for x in (-29, 29):
        _wheel(pen.part("wheel").at(x, -radius), rng, radius)


def _car_body(kind: int) -> Outline:
    bonnet = (-25.0, -27.0, -25.5, -26.0)[kind]
    rear = (-26.0, -28.0, -27.0, -24.0)[kind]
    return smooth([(-50, -7), (-50, rear), (-36, rear - 2), (30, bonnet - 2), (49, bonnet + 2), (51, -7)], 2)


def _cabin(kind: int, roof: float) -> tuple[Outline, list[Outline]]:
    """The upper half's outline, and its panes."""
    top, low = roof + 4, -26.5
    if kind == 0:
        cabin = smooth([(-38, -24), (-26, roof), (14, roof), (33, -24)], 2)
        panes = [
            polygon((-29, low), (-21.5, top), (-4, top), (-4, low)),
            polygon((0, low), (0, top), (10.5, top), (23, low)),
        ]
    elif kind == 1:
        cabin = smooth([(-51, -24), (-47, roof - 3), (10, roof - 3), (32, -24)], 2)
        panes = [
            polygon((-42, low), (-39, top), (-12, top), (-12, low)),
            polygon((-8, low), (-8, top), (7, top), (21, low)),
        ]
    elif kind == 2:
        cabin = smooth([(-50, -22), (-50, roof - 6), (22, roof - 6), (40, -22)], 2)
        panes = [rounded(-42, top - 4, -8, low, 3), polygon((-3, low), (-3, top - 4), (18, top - 4), (29, low))]
    else:
        cabin = smooth([(-12, -20), (-10, roof - 2), (16, roof - 2), (34, -20)], 2)
        panes = [polygon((-5, low), (-4, top), (12.5, top), (24, low))]
    return cabin, panes


def draw_bus(pen: Pen, rng: np.random.Generator) -> None:
    """A high box with a row of three or four windows; some have two decks."""
    colour = pick(rng)
    roof = float(rng.uniform(-58, -50))
    radius = float(rng.uniform(8.5, 10.5))
    pen.fill(rounded(-50, roof, 50, -5, float(rng.uniform(4, 9))), gradient(colour))
    stripe = pick(rng)
    pen.detail(box(-60, -25, 60, -25 + float(rng.uniform(3, 8))), Paint(stripe))
    pen.detail(box(-60, roof, 60, roof + 3), Paint(lighter(colour, 0.4)))
    pen.detail(box(-60, -9, 60, -4), Paint(darker(colour, 0.45)))
    pen.fill(rounded(46, -16, 50, -11, 1.5), Paint((255, 240, 180)))
    pen.fill(rounded(-50, -17, -47, -11, 1), Paint((214, 66, 60)))
    _bus_windows(pen, rng, roof)
    for x in (-30, 30):
        pen.fill(ellipse(x, -radius + 1, radius + 2, radius + 2, 0.48, 1.02), Paint(darker(colour, 0.6)))
        _wheel(pen.part("wheel").at(x, -radius), rng, radius)


def _bus_windows(pen: Pen, rng: np.random.Generator, roof: float) -> None:
    count = int(rng.integers(3, 5))
    glass = pick(rng, GLASS)
    pitch = 94 / count
    for number in range(count):
        left = -47 + number * pitch
        _pane(pen.part("window"), rounded(left + 1.8, roof + 6, left + pitch - 1.8, -28, 2.5), glass)


def _pane(window: Pen, outline: Outline, glass: Colour) -> None:
    window.fill(outline, gradient(glass, 0.2))
    (x0, y0), (x1, y1) = outline.min(0), outline.max(0)
    w = x1 - x0
    window.detail(
        polygon((x0 + 0.45 * w, y0), (x0 + 0.7 * w, y0), (x0 + 0.35 * w, y1), (x0 + 0.1 * w, y1)),
        Paint(WHITE, opacity=0.35),
    )


def _wheel(wheel: Pen, rng: np.random.Generator, radius: float) -> None:
    rim = lighter(pick(rng), 0.45)
    wheel.fill(ellipse(0, 0, radius, radius), gradient(mixed(INK, (70, 70, 80), float(rng.random()))))
    wheel.fill(ellipse(0, 0, radius * 0.6, radius * 0.6), gradient(rim))
    spokes = int(rng.integers(4, 7))
    turn = float(rng.uniform(0, np.pi))
    for angle in turn + np.arange(spokes) * 2 * np.pi / spokes:
        tip = (0.52 * radius * float(np.cos(angle)), 0.52 * radius * float(np.sin(angle)))
        wheel.fill(limb((0, 0), tip, radius * 0.12), Paint(darker(rim, 0.5)))
    wheel.fill(ellipse(0, 0, radius * 0.18, radius * 0.18), Paint(darker(rim, 0.2)))


def draw_boat(pen: Pen, rng: np.random.Generator) -> None:
    """A hull with a mast and one or two sails."""
    hull = pick(rng)
    mast, top = float(rng.uniform(-8, 4)), float(rng.uniform(-108, -82))
    pen.fill(limb((mast, -10), (mast, top), 2.4, 1.6), gradient((150, 106, 76), across=True))
    fabric = cloth(rng, lighter(pick(rng), float(rng.uniform(0, 0.6))), 0.4, 9)
    _main_sail(pen.part("sail"), rng, mast, top, fabric)
    if rng.random() < 0.55:
        jib = pen.part("sail")
        jib.fill(_bulging((mast + 3, top + 12), (44, -23), (mast + 3, -25)), cloth(rng, fabric.colour, 0.2, 9))
    pen.fill(polygon((mast, top), (mast - 13, top + 4), (mast, top + 8)), Paint(pick(rng)))
    _hull(pen, rng, hull)


def _main_sail(sail: Pen, rng: np.random.Generator, mast: float, top: float, fabric: Paint) -> None:
    boom = float(rng.uniform(-46, -38))
    if rng.random() < 0.25:
        sail.fill(smooth([(mast - 32, -26), (mast - 24, top + 10), (mast - 1, top + 6), (mast - 1, -22)], 1), fabric)
    else:
        sail.fill(_bulging((mast - 2, top + 4), (boom, -22), (mast - 2, -22)), fabric)
    sail.detail(box(mast - 8, top, mast, -20), Paint(INK, opacity=0.12), 1.5)


def _bulging(top: tuple[float, float], corner: tuple[float, float], foot: tuple[float, float]) -> Outline:
    """A triangle whose long side swells outward."""
    share = np.linspace(0, 1, 16)[:, None]
    a, b = np.array(top), np.array(corner)
    swell = 0.12 * (b - a)[::-1] * np.array([1.0, -1.0]) * np.sign((b - a)[0]) * -1
    edge = a + share * (b - a) + np.sin(share * np.pi) * swell * np.array([1.0, 0.6])
    return np.concatenate([edge, np.array([foot])])


def _hull(pen: Pen, rng: np.random.Generator, colour: Colour) -> None:
    depth = float(rng.uniform(-19, -15))
    deck = [(-48.0, depth), (50.0, depth - 3)]
    keel = [(40.0, 1.0), (30.0, 4.0), (-34.0, 4.0), (-42.0, 0.0)]
    pen.fill(polygon(*deck, *keel), gradient(colour))
    pen.detail(box(-60, depth - 4, 60, depth + 4), Paint(lighter(colour, 0.5)))
    pen.detail(box(-60, -3, 60, 6), Paint(darker(pick(rng), 0.4)))
    if rng.random() < 0.5:
        for x in (-24, -6, 12):
            pen.fill(ellipse(x, -7.5, 2.6, 2.6), Paint(darker(colour, 0.6)))
