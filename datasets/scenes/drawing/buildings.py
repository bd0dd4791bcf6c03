"""Houses, trees with apples, and other things outdoors; the foot is at the origin."""

from __future__ import annotations

import numpy as np

from .canvas import Pen
from .outlines import Outline, blob, box, ellipse, limb, polygon, rounded, smooth
from .paints import GLASS, INK, WHITE, Colour, Paint, darker, gradient, jittered, lighter, mixed, pick

_LEAVES: tuple[Colour, ...] = (
    (82, 150, 92),
    (126, 172, 88),
    (44, 120, 100),
    (232, 160, 72),
    (214, 104, 76),
    (236, 164, 182),
    (96, 150, 150),
)


def draw_house(pen: Pen, rng: np.random.Generator) -> None:
    """A front about 90 wide, with a roof, a door and one to three windows."""
    half, eaves = float(rng.uniform(38, 48)), float(rng.uniform(-66, -50))
    colour = lighter(pick(rng), float(rng.uniform(0.1, 0.6)))
    ridge = eaves - float(rng.uniform(28, 40))
    if rng.random() < 0.6:  # a chimney, which the roof will cover below
        x = float(rng.choice([-1, 1]) * rng.uniform(16, 26))
        pen.fill(box(x - 5, ridge - 4, x + 5, eaves), gradient(darker(colour, 0.3)))
        pen.fill(box(x - 6.5, ridge - 7, x + 6.5, ridge - 3), Paint(darker(colour, 0.5)))
    pen.fill(box(-half, eaves - 1, half, 0), _wall(rng, colour))
    # The roof's shadow on the wall, and the base of the house.
    pen.detail(box(-half, eaves, half, eaves + 5), Paint(INK, opacity=0.22), 1.0)
    pen.detail(box(-half, -4, half, 0), Paint(darker(colour, 0.35)))
    _roof(pen.part("roof"), rng, half, eaves, ridge)
    _front(pen, rng, half, eaves)


def _wall(rng: np.random.Generator, colour: Colour) -> Paint:
    pattern = str(rng.choice(["", "", "bricks", "bars", "stripes"]))
    ink = darker(colour, 0.12) if rng.random() < 0.7 else lighter(colour, 0.4)
    return Paint(lighter(colour, 0.1), darker(colour, 0.1), pattern=pattern, ink=ink, pitch=float(rng.uniform(5, 9)))


def _roof(roof: Pen, rng: np.random.Generator, half: float, eaves: float, ridge: float) -> None:
    colour = pick(rng)
    paint = Paint(lighter(colour, 0.1), darker(colour, 0.15), pattern="bricks", ink=darker(colour, 0.3), pitch=9)
    if rng.random() < 0.4:
        paint = gradient(colour)
    over = half + float(rng.uniform(4, 8))
    # Three kinds of roof, seen from the gable:
    #
    #       0  /\        1  ____        2   /\         0 a gable, 1 a flat top, 2 two slopes on each side
    #         /  \         /    \          /  \
    #        /    \       /      \        |    |
    kind = int(rng.integers(3))
    if kind == 0:
        outline = polygon((-over, eaves + 3), (0, ridge - 4), (over, eaves + 3))
    elif kind == 1:
        flat = float(rng.uniform(0.45, 0.7)) * half
        outline = polygon((-over, eaves + 3), (-flat, ridge + 4), (flat, ridge + 4), (over, eaves + 3))
    else:
        knee = (over * 0.8, eaves + 0.6 * (ridge - eaves))
        outline = polygon((-over, eaves + 3), (-knee[0], knee[1]), (0, ridge - 4), knee, (over, eaves + 3))
    roof.fill(outline, paint)
    roof.detail(box(-over, eaves - 0.5, over, eaves + 4), Paint(darker(colour, 0.4)))


def _front(pen: Pen, rng: np.random.Generator, half: float, eaves: float) -> None:
    """A door and windows, in two or three columns."""
    columns = [-0.5 * half, 0.5 * half] if half < 42 and rng.random() < 0.5 else [-0.64 * half, 0.0, 0.64 * half]
    entrance = int(rng.integers(len(columns)))
    size = (float(rng.uniform(19, 23)), float(rng.uniform(19, 24)))
    glass, frame = pick(rng, GLASS), lighter(pick(rng), 0.7)
    middle = eaves * 0.52
    for number, x in enumerate(columns):
        if number == entrance:
            draw_door(pen.part("door").at(x, 0), rng, 20, min(-eaves - 9, float(rng.uniform(38, 44))))
        elif len(columns) == 2 or rng.random() < 0.8:
            draw_window(pen.part("window").at(x, middle), rng, size, glass, frame)


def draw_door(door: Pen, rng: np.random.Generator, width: float, height: float) -> None:
    """A door leaf in its frame, foot at the origin, with a knob and panels or a small light."""
    colour = pick(rng)
    w = width / 2
    arch = rng.random() < 0.3
    outer = rounded(-w, -height, w, w, w) if arch else box(-w, -height, w, 0)
    outer = np.stack([outer[:, 0], np.minimum(outer[:, 1], 0)], 1)
    door.fill(outer, Paint(darker(colour, 0.5)))
    door.detail(outer * (0.82, 0.94), gradient(colour, across=True))
    trim = Paint(darker(colour, 0.28))
    if arch:
        door.detail(ellipse(0, -height + w, w * 0.5, w * 0.5, 0.5, 1.0), Paint(pick(rng, GLASS)))
        door.detail(rounded(-w * 0.5, -height * 0.5, w * 0.5, -height * 0.1, 1), trim)
    else:
        for top, low in ((-0.86, -0.52), (-0.44, -0.1)):
            for side in (-1, 1):
                x0, x1 = sorted((side * w * 0.1, side * w * 0.58))
                door.detail(rounded(x0, top * height, x1, low * height, 1), trim)
    door.detail(ellipse(w * 0.62, -height * 0.46, w * 0.12, w * 0.12), Paint((250, 214, 120)))


def draw_window(window: Pen, rng: np.random.Generator, size: tuple[float, float], glass: Colour, frame: Colour) -> None:
    """A framed window around the origin, with bars."""
    w, h = size[0] / 2, size[1] / 2
    arch = rng.random() < 0.2
    outer: Outline = rounded(-w, -h, w, h + w, w) if arch else box(-w, -h, w, h)
    outer = np.stack([outer[:, 0], np.minimum(outer[:, 1], h)], 1)
    window.fill(outer, Paint(frame))
    window.detail(outer * 0.84, gradient(glass, 0.25))
    window.detail(polygon((-0.1 * w, -h), (0.5 * w, -h), (-0.3 * w, h), (-0.9 * w, h)), Paint(WHITE, opacity=0.25))
    bar = 0.07 * (w + h)
    window.detail(box(-bar / 2, -h, bar / 2, h), Paint(frame))
    window.detail(box(-w, -bar / 2, w, bar / 2), Paint(frame))
    if not arch:
        window.fill(box(-w - 1.5, h - 1, w + 1.5, h + 1.8), Paint(darker(frame, 0.25)))


def draw_tree(pen: Pen, rng: np.random.Generator) -> None:
    """About 100 high: a trunk and a round, an oval or a pointed crown; round ones may bear apples."""
    leaf = pick(rng, _LEAVES)
    bark = jittered(rng, (128, 90, 68), 20)
    kind = int(rng.choice([0, 0, 0, 1, 2]))
    width = float(rng.uniform(34, 42))
    pen.fill(polygon((-5, -50), (5, -50), (7.5, 0), (-7.5, 0)), gradient(bark, across=True))
    if kind == 2:
        _fir(pen, leaf, width)
        return
    pen.fill(limb((0, -34), (13, -48), 4, 3), Paint(darker(bark)))
    tall, wide = (34.0, width) if kind == 0 else (40.0, width * 0.72)
    crown = blob(rng, 0, -66, wide, tall, int(rng.integers(7, 11)), 0.14)
    pen.fill(crown, gradient(leaf, 0.2))
    for _ in range(7):
        x, y = rng.uniform(-0.7, 0.7) * wide, -66 + rng.uniform(-0.7, 0.7) * tall
        tone = lighter(leaf, 0.22) if y < -66 else darker(leaf, 0.16)
        pen.detail(ellipse(x, y, wide * 0.24, tall * 0.17), Paint(tone, opacity=0.55))
    if rng.random() < 0.75:
        _apples(pen, rng, wide, tall)


def _fir(pen: Pen, leaf: Colour, width: float) -> None:
    for step in range(3):
        top, low, w = -104 + 22 * step, -58 + 22 * step, width * (0.58 + 0.21 * step)
        pen.fill(polygon((0, top), (w, low), (-w, low)), gradient(darker(leaf, 0.06 * step)))
        pen.detail(polygon((0, top), (w, low), (w * 0.2, low)), Paint(INK, opacity=0.1))


def _apples(pen: Pen, rng: np.random.Generator, wide: float, tall: float) -> None:
    spots = [(-0.46, -0.32), (0.42, -0.38), (-0.05, 0.06), (-0.55, 0.36), (0.52, 0.32)]
    rng.shuffle(spots)
    for x, y in spots[: int(rng.integers(1, 4))]:
        apple = pen.part("apple").at(x * wide + rng.uniform(-3, 3), -66 + y * tall + rng.uniform(-3, 3))
        draw_apple(apple.at(0, 9), rng, 18)


def draw_apple(apple: Pen, rng: np.random.Generator, width: float) -> None:
    """An apple with a stalk and a leaf, foot at the origin."""
    colour = pick(rng)
    r = width / 2
    body = [(0, -1.62), (0.62, -1.98), (1.14, -1.3), (0.9, -0.4), (0.35, 0.06), (0, -0.06)]
    outline = [(x * r, y * r) for x, y in body] + [(-x * r, y * r) for x, y in body[:0:-1] if x]
    apple.fill(limb((0, -1.6 * r), (0.12 * r, -2.25 * r), 0.2 * r), Paint((110, 74, 54)))
    apple.fill(
        smooth([(0.1 * r, -1.85 * r), (0.5 * r, -2.4 * r), (1.1 * r, -2.2 * r), (0.6 * r, -1.8 * r)], 2),
        Paint((104, 168, 92)),
    )
    apple.fill(smooth(outline), gradient(colour, 0.2))
    apple.detail(ellipse(0.5 * r, -0.8 * r, 0.9 * r, r), Paint(darker(colour, 0.2), opacity=0.3), 0.15 * r)
    apple.detail(ellipse(-0.42 * r, -1.3 * r, 0.22 * r, 0.34 * r), Paint(WHITE, opacity=0.7))


def draw_fence(pen: Pen, rng: np.random.Generator) -> None:
    """Palings along y = 0, from x = 0 to 100: scenery that may hide what stands behind."""
    colour = Paint(mixed(WHITE, pick(rng), 0.15))
    for y in (-11, -5):
        pen.fill(box(0, y - 1.2, 100, y + 1.2), colour)
    for x in range(3, 100, 8):
        pen.fill(polygon((x - 2, 0), (x - 2, -15), (x, -18), (x + 2, -15), (x + 2, 0)), colour)


def draw_bush(pen: Pen, rng: np.random.Generator) -> None:
    """A low bush about 40 wide: scenery."""
    leaf = jittered(rng, _LEAVES[int(rng.integers(3))])
    pen.fill(blob(rng, 0, -7, 20, 11, 7, 0.2), gradient(leaf, 0.2))
    pen.detail(ellipse(-5, -11, 6, 3), Paint(lighter(leaf), opacity=0.5))
