"""The scenery behind the objects: sky, hills, a street, the sea, a room. It belongs to no instance."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from .buildings import draw_bush, draw_fence
from .canvas import BACKGROUND, UNITS, Canvas, Pen
from .outlines import Outline, blob, box, ellipse, polygon, rounded
from .paints import INK, PATTERNS, WHITE, Colour, Paint, darker, gradient, jittered, lighter, mixed, pick

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((126, 190, 228), (226, 240, 240)),
    ((86, 148, 208), (190, 222, 236)),
    ((244, 176, 120), (252, 226, 186)),
    ((150, 140, 196), (248, 200, 186)),
    ((176, 196, 208), (224, 228, 228)),
    ((60, 84, 136), (168, 150, 178)),
)
_GROUNDS: tuple[Colour, ...] = ((138, 184, 106), (108, 164, 110), (178, 190, 104), (214, 190, 136), (226, 232, 234))
_WALLS: tuple[Colour, ...] = (
    (236, 222, 198),
    (198, 216, 214),
    (232, 204, 192),
    (206, 208, 226),
    (120, 150, 152),
    (232, 208, 140),
    (178, 128, 118),
    (92, 104, 134),
)
_FLOORS: tuple[Colour, ...] = ((198, 152, 108), (164, 118, 84), (222, 196, 160), (150, 152, 158), (116, 92, 84))


def street(canvas: Canvas, rng: np.random.Generator) -> float:
    """Sky, a skyline or hills, grass and a road; returns the horizon's y."""
    horizon = float(rng.uniform(92, 112))
    _sky(canvas, rng, horizon)
    if rng.random() < 0.6:
        _skyline(canvas, rng, horizon)
    else:
        _hills(canvas, rng, horizon)
    grass = jittered(rng, _GROUNDS[int(rng.integers(len(_GROUNDS)))])
    _scenery(canvas, box(0, horizon, UNITS, UNITS), gradient(grass))
    road = mixed((112, 116, 128), pick(rng), 0.2)
    kerb = horizon + float(rng.uniform(22, 34))
    _scenery(canvas, box(0, kerb - 5, UNITS, kerb), gradient(lighter(road, 0.5)))
    _scenery(canvas, box(0, kerb, UNITS, UNITS), gradient(road, 0.1))
    for x in np.arange(float(rng.uniform(-30, 0)), UNITS, 44):
        _scenery(
            canvas,
            polygon((x, kerb + 30), (x + 22, kerb + 30), (x + 20, kerb + 35), (x - 3, kerb + 35)),
            Paint(lighter(road, 0.7)),
        )
    return horizon


def park(canvas: Canvas, rng: np.random.Generator) -> float:
    """Sky, hills and a meadow, perhaps with a path, a fence and bushes; returns the horizon's y."""
    horizon = float(rng.uniform(96, 122))
    _sky(canvas, rng, horizon)
    _hills(canvas, rng, horizon)
    grass = jittered(rng, _GROUNDS[int(rng.integers(len(_GROUNDS)))])
    _scenery(canvas, box(0, horizon, UNITS, UNITS), gradient(grass, 0.2))
    if rng.random() < 0.5:
        x, foot = float(rng.uniform(50, 140)), float(rng.uniform(0, 140))
        path = mixed((226, 204, 164), grass, 0.2)
        _scenery(canvas, polygon((x - 3, horizon), (x + 5, horizon), (foot + 62, UNITS), (foot, UNITS)), gradient(path))
    if rng.random() < 0.35:
        draw_fence(Pen(canvas, BACKGROUND, -4, horizon + 9, 2.0), rng)
    for _ in range(int(rng.integers(0, 4))):
        draw_bush(Pen(canvas, BACKGROUND, float(rng.uniform(0, UNITS)), horizon + float(rng.uniform(4, 14))), rng)
    _tufts(canvas, rng, horizon, grass)
    return horizon


def shore(canvas: Canvas, rng: np.random.Generator) -> float:
    """Sky, the sea with waves and, mostly, a beach in front; returns the horizon's y."""
    horizon = float(rng.uniform(66, 92))
    _sky(canvas, rng, horizon)
    if rng.random() < 0.6:
        _hills(canvas, rng, horizon)
    sea = jittered(rng, ((72, 150, 190), (64, 168, 168), (58, 104, 160), (120, 160, 190))[int(rng.integers(4))])
    _scenery(canvas, box(0, horizon, UNITS, UNITS), Paint(lighter(sea, 0.35), darker(sea, 0.1)))
    for y in np.arange(horizon + 5, UNITS, 9):
        for x in rng.uniform(-20, UNITS, 3):
            _scenery(
                canvas,
                rounded(x, y, x + float(rng.uniform(10, 34)), y + 1.4, 0.7),
                Paint(lighter(sea, 0.5), opacity=0.6),
            )
    if rng.random() < 0.7:
        edge = float(rng.uniform(152, 166))
        x = np.linspace(0, UNITS, 40)
        line = edge + 4 * np.sin(x / float(rng.uniform(12, 24)) + float(rng.uniform(0, 6)))
        for lift, paint in ((3.0, Paint(WHITE, opacity=0.8)), (0.0, gradient(jittered(rng, (234, 208, 156))))):
            shape = np.concatenate([np.stack([x, line - lift], 1), polygon((UNITS, UNITS), (0, UNITS))])
            _scenery(canvas, shape, paint)
    return horizon


def room(canvas: Canvas, rng: np.random.Generator) -> float:
    """A wall, perhaps papered, and a floor; returns the y of their meeting."""
    foot = float(rng.uniform(132, 156))
    colour = jittered(rng, _WALLS[int(rng.integers(len(_WALLS)))])
    pattern = str(rng.choice(["", "", *PATTERNS[:5]]))
    ink = mixed(colour, WHITE if rng.random() < 0.5 else INK, float(rng.uniform(0.08, 0.2)))
    wall = replace(gradient(colour, 0.08), pattern=pattern, ink=ink, pitch=float(rng.uniform(9, 18)))
    _scenery(canvas, box(0, 0, UNITS, foot), wall)
    if rng.random() < 0.3:
        _scenery(canvas, box(0, foot - 46, UNITS, foot), gradient(mixed(colour, pick(rng), 0.4), 0.08))
        _scenery(canvas, box(0, foot - 48, UNITS, foot - 45), Paint(lighter(colour, 0.5)))
    floor = jittered(rng, _FLOORS[int(rng.integers(len(_FLOORS)))])
    boards = replace(
        gradient(floor), pattern=str(rng.choice(["", "bricks", "bars", "checks"])), ink=darker(floor, 0.16), pitch=16
    )
    _scenery(canvas, box(0, foot, UNITS, UNITS), boards)
    _scenery(canvas, box(0, foot - 5, UNITS, foot), Paint(lighter(colour, 0.6), lighter(colour, 0.3)))
    if rng.random() < 0.4:
        x, y = float(rng.uniform(60, 130)), foot + float(rng.uniform(18, 30))
        rug = pick(rng)
        _scenery(canvas, ellipse(x, y, 66, 14), Paint(lighter(rug, 0.5)))
        _scenery(canvas, ellipse(x, y, 60, 12), gradient(rug))
    return foot


def picture(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    """A framed picture on the wall, centred at a point."""
    w, h = rng.uniform(13, 20, 2).tolist()
    _scenery(canvas, box(x - w - 3, y - h - 3, x + w + 3, y + h + 3), gradient(darker(pick(rng), 0.35)))
    _scenery(canvas, box(x - w, y - h, x + w, y + h), gradient(lighter(pick(rng), 0.6)))
    _scenery(canvas, polygon((x - w, y + h), (x - 0.2 * w, y - 0.3 * h), (x + 0.6 * w, y + h)), Paint(pick(rng)))
    _scenery(canvas, ellipse(x + 0.4 * w, y - 0.4 * h, 0.25 * h, 0.25 * h), Paint(pick(rng)))


def grain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Uneven brightness, as of paper: coarse noise, a few per cent."""
    n = canvas.pixels.shape[0]
    coarse = rng.normal(1.0, 0.03, (24, 24)).astype(np.float32)
    canvas.pixels *= cv2.resize(coarse, (n, n), interpolation=cv2.INTER_LINEAR)[..., None]


def _scenery(canvas: Canvas, outline: Outline, paint: Paint) -> None:
    canvas.fill(outline, paint, BACKGROUND)


def _sky(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    top, low = _SKIES[int(rng.integers(len(_SKIES)))]
    _scenery(canvas, box(0, 0, UNITS, horizon + 2), Paint(jittered(rng, top), jittered(rng, low)))
    if rng.random() < 0.5:
        x, y, r = float(rng.uniform(15, 177)), float(rng.uniform(16, 46)), float(rng.uniform(8, 14))
        canvas.tint(ellipse(x, y, r * 1.7, r * 1.7), Paint((255, 246, 214), opacity=0.4), blur=3)
        _scenery(canvas, ellipse(x, y, r, r), Paint((255, 240, 196)))
    for _ in range(int(rng.integers(0, 4))):
        _cloud(canvas, rng, float(rng.uniform(0, UNITS)), float(rng.uniform(12, horizon * 0.6)))


def _cloud(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    w = float(rng.uniform(16, 30))
    paint = Paint(WHITE, opacity=float(rng.uniform(0.55, 0.9)))
    cloud = blob(rng, x, y, w, w * 0.36, 7, 0.25)
    cloud[:, 1] = np.minimum(cloud[:, 1], y + w * 0.16)
    _scenery(canvas, cloud, paint)


def _hills(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    colour = mixed(_GROUNDS[int(rng.integers(3))], pick(rng), 0.35)
    x = np.linspace(0, UNITS, 48)
    for rise, haze in ((24.0, 0.6), (12.0, 0.35)):
        waves = np.sin(x / float(rng.uniform(16, 40)) + float(rng.uniform(0, 6)))
        y = horizon - rise * float(rng.uniform(0.5, 1)) * (0.65 + 0.35 * waves)
        hill = np.concatenate([np.stack([x, y], 1), polygon((UNITS, horizon + 1), (0, horizon + 1))])
        _scenery(canvas, hill, gradient(mixed(colour, (214, 226, 234), haze), 0.1))


def _skyline(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    tone = mixed(pick(rng), (190, 204, 220), 0.65)
    x = -10.0
    while x < UNITS:
        width, height = float(rng.uniform(12, 26)), float(rng.uniform(14, 54))
        paint = gradient(jittered(rng, tone, 8), 0.1)
        _scenery(canvas, box(x, horizon - height, x + width, horizon + 1), paint)
        x += width + float(rng.uniform(-2, 4))


def _tufts(canvas: Canvas, rng: np.random.Generator, horizon: float, grass: Colour) -> None:
    flower = Paint(lighter(pick(rng)))
    for x, y in zip(rng.uniform(0, UNITS, 14), rng.uniform(horizon + 10, UNITS, 14), strict=True):
        _scenery(
            canvas,
            polygon((x - 3, y - 4), (x - 1, y), (x, y - 6), (x + 1, y), (x + 3, y - 4), (x, y + 1)),
            Paint(darker(grass)),
        )
        if rng.random() < 0.4:
            _scenery(canvas, ellipse(x + 5, y - 2, 1.6, 1.6), flower)
