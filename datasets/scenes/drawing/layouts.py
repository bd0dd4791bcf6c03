"""Chooses the objects of a scene and their places."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from harness.structures import Image

from . import backdrops, buildings, furniture, people, vehicles
from .canvas import BACKGROUND, UNITS, Canvas, Pen
from .outlines import ellipse
from .paints import GLASS, INK, WHITE, Paint, lighter, mixed, pick

INDOOR_SHARE = 0.4
REPEAT_SHARE = 0.4
"""The share of scenes that get a second object of a kind they already have, which only a click can tell apart."""

Draw = Callable[[Pen, np.random.Generator], None]

# kind -> how it is drawn, its scale outdoors, how far below the horizon its foot is, how wide its shadow is
_OUTDOORS: dict[str, tuple[Draw, tuple[float, float], tuple[float, float], float]] = {
    "house": (buildings.draw_house, (1.05, 1.4), (22, 34), 46),
    "tree": (buildings.draw_tree, (1.05, 1.4), (24, 50), 22),
    "bus": (vehicles.draw_bus, (1.2, 1.55), (52, 74), 52),
    "car": (vehicles.draw_car, (1.15, 1.55), (56, 80), 52),
    "person": (people.draw_person, (1.25, 1.7), (74, 100), 18),
}


def draw_scene(rng: np.random.Generator, size: int) -> Canvas:
    """A whole scene on a new canvas."""
    canvas = Canvas(size)
    indoors = rng.random() < INDOOR_SHARE
    kinds: tuple[Callable[[Canvas, np.random.Generator, bool], None], ...]
    kinds = (_room, _still_life) if indoors else (_outdoors, _outdoors, _shore)
    kinds[int(rng.integers(len(kinds)))](canvas, rng, bool(rng.random() < REPEAT_SHARE))
    backdrops.grain(canvas, rng)
    return canvas


def developed(canvas: Canvas, rng: np.random.Generator) -> Image:
    """The canvas at the image's size, under uneven light, with a colour cast and noise."""
    image = cv2.resize(canvas.pixels, (canvas.size, canvas.size), interpolation=cv2.INTER_AREA)
    image = image * (_light(rng, canvas.size)[..., None] * rng.uniform(0.94, 1.06, 3).astype(np.float32))
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1.0, 5.0))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _light(rng: np.random.Generator, size: int) -> Float32[np.ndarray, "h w"]:
    """A plane of brightness around 1, tilted any way."""
    slope = rng.uniform(-0.2, 0.2, 2).astype(np.float32)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    return np.float32(rng.uniform(0.9, 1.06)) + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]


def _place(canvas: Canvas, rng: np.random.Generator, kind: str, x: float, y: float, scale: float, draw: Draw) -> None:
    """Draw one object in front of all others so far."""
    mirrored = bool(rng.random() < 0.5)
    tilt = float(rng.normal(0, 0.015))
    draw(Pen(canvas, canvas.add(kind), x, y, scale, mirrored, tilt), rng)
    canvas.finish_object()


def _shadow(canvas: Canvas, x: float, y: float, half: float) -> None:
    canvas.tint(ellipse(x, y, half, max(2.5, half * 0.1)), Paint(INK, opacity=0.38), blur=2.0)


def _outdoors(canvas: Canvas, rng: np.random.Generator, repeat: bool) -> None:
    """Two or three objects in a street or a park, the taller ones behind."""
    horizon = (backdrops.street if rng.random() < 0.55 else backdrops.park)(canvas, rng)
    kinds = rng.choice(list(_OUTDOORS), 2, replace=False, p=[0.22, 0.24, 0.18, 0.16, 0.2]).tolist()
    if repeat:
        kinds.append(kinds[int(rng.integers(2))])
    # Sorted in the table's order, tall and far kinds first, since kinds that are painted later are in front.
    kinds.sort(key=list(_OUTDOORS).index)
    crowded = 0.86 if len(kinds) > 2 else 1.0
    for kind, x in zip(kinds, _columns(rng, len(kinds)), strict=True):
        draw, scales, feet, half = _OUTDOORS[kind]
        scale, y = crowded * float(rng.uniform(*scales)), horizon + float(rng.uniform(*feet))
        _shadow(canvas, x, y, half * scale)
        _place(canvas, rng, kind, x, y, scale, draw)
    if rng.random() < 0.12:
        _place(
            canvas, rng, "apple", float(rng.uniform(20, 172)), 186, 1, lambda pen, r: buildings.draw_apple(pen, r, 26)
        )


def _columns(rng: np.random.Generator, count: int) -> list[float]:
    """The middles of `count` columns, in random order, a little shifted."""
    width = UNITS / count
    return [(int(column) + 0.5) * width + float(rng.uniform(-0.16, 0.16)) * width for column in rng.permutation(count)]


def _shore(canvas: Canvas, rng: np.random.Generator, repeat: bool) -> None:
    """One boat or two on the sea; often a person, a tree or a car on the beach."""
    horizon = backdrops.shore(canvas, rng)
    boats = 2 if repeat else 1
    columns = _columns(rng, boats)
    for number in range(boats):
        scale = float(rng.uniform(0.72, 0.92) if boats > 1 else rng.uniform(0.95, 1.3))
        y = horizon + float(rng.uniform(22, 36)) + 14 * number
        _boat(canvas, rng, columns[number], y, scale)
    ashore = str(rng.choice(["person", "tree", "car", "", "bus"], p=[0.42, 0.16, 0.14, 0.2, 0.08]))
    if ashore:
        draw, _, _, half = _OUTDOORS[ashore]
        x, scale = float(rng.choice([rng.uniform(28, 60), rng.uniform(132, 164)])), float(rng.uniform(1.05, 1.35))
        y = float(rng.uniform(176, 196))
        _shadow(canvas, x, y, half * scale)
        _place(canvas, rng, ashore, x, y, scale, draw)


def _boat(canvas: Canvas, rng: np.random.Generator, x: float, y: float, scale: float) -> None:
    canvas.tint(ellipse(x, y + 4 * scale, 50 * scale, 5), Paint(INK, opacity=0.25), blur=2.5)
    _place(canvas, rng, "boat", x, y, scale, vehicles.draw_boat)
    # Waves in front of the hull. They belong to the background, and so take pixels from the boat's mask.
    for step in rng.uniform(-46, 40, 7):
        wave = ellipse(x + step * scale, y + 5 * scale, 9 * scale, 2.2 * scale)
        canvas.fill(wave, Paint(lighter((120, 180, 206), 0.4), opacity=0.75), BACKGROUND)


def _room(canvas: Canvas, rng: np.random.Generator, repeat: bool) -> None:
    """A table with a few things on it, and a person, a door or a window behind."""
    # From far to near: what hangs on the wall, then a person or a lamp on one side, then the table on the other side,
    # then the things on it.
    foot = backdrops.room(canvas, rng)
    left = bool(rng.random() < 0.5)
    near, far = (48.0, 144.0) if left else (144.0, 48.0)
    _on_the_wall(canvas, rng, far, foot)
    x, y = near + float(rng.uniform(-8, 8)), float(rng.uniform(124, 138))
    if rng.random() < 0.55:
        beside = far + float(rng.uniform(-8, 8))
        scale = float(rng.uniform(1.3, 1.6))
        _shadow(canvas, beside, 186, 20 * scale)
        _place(canvas, rng, "person", beside, 188, scale, people.draw_person)
    elif rng.random() < 0.6:
        _shadow(canvas, far, foot + 22, 18)
        _place(
            canvas,
            rng,
            "lamp",
            far,
            foot + 22,
            1,
            lambda pen, r: furniture.draw_lamp(pen, r, float(r.uniform(96, 128))),
        )
    width = float(rng.uniform(92, 124))
    _shadow(canvas, x, 183, width * 0.5)
    _place(canvas, rng, "table", x, y, 1, lambda pen, r: furniture.draw_table(pen, r, width, 182 - y, 16))
    _things(canvas, rng, _chosen(rng, 2, repeat), (x - width * 0.34, x + width * 0.34), y + 2, 0.72)


def _on_the_wall(canvas: Canvas, rng: np.random.Generator, x: float, foot: float) -> None:
    kind = str(rng.choice(["window", "door", "pendant", "picture"], p=[0.3, 0.35, 0.15, 0.2]))
    if kind == "window":
        _window(canvas, rng, x, float(rng.uniform(42, 60)))
    elif kind == "door":
        _place(canvas, rng, "door", x, foot, 1, _room_door)
    elif kind == "pendant":
        _place(canvas, rng, "lamp", x, 0, 1, lambda pen, r: furniture.draw_pendant(pen, r, float(r.uniform(14, 34))))
    else:
        backdrops.picture(canvas, rng, x, float(rng.uniform(40, 60)))


def _room_door(pen: Pen, rng: np.random.Generator) -> None:
    """A room's door."""
    buildings.draw_door(pen, rng, float(rng.uniform(46, 56)), float(rng.uniform(98, 116)))


def _window(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    size = (float(rng.uniform(48, 66)), float(rng.uniform(48, 62)))
    glass, frame = pick(rng, GLASS), mixed(WHITE, pick(rng), 0.25)
    _place(canvas, rng, "window", x, y, 1, lambda pen, r: buildings.draw_window(pen, r, size, glass, frame))


def _still_life(canvas: Canvas, rng: np.random.Generator, repeat: bool) -> None:
    """A table seen close, with three or four things on it, and perhaps someone behind it."""
    backdrops.room(canvas, rng)
    place = float(rng.choice([52, 140]))
    behind = float(rng.random())
    if behind < 0.5:
        _place(
            canvas,
            rng,
            "person",
            place,
            float(rng.uniform(196, 212)),
            float(rng.uniform(1.6, 1.85)),
            people.draw_person,
        )
    elif behind < 0.75:
        _window(canvas, rng, place, float(rng.uniform(40, 56)))
    else:
        backdrops.picture(canvas, rng, place, 44)
    y, width = float(rng.uniform(146, 156)), float(rng.uniform(160, 230))
    _place(canvas, rng, "table", 96, y, 1, lambda pen, r: furniture.draw_table(pen, r, width, 70, 26))
    # If a person sits behind the table, the things stand on the other side, so that they do not hide the person.
    span = (24.0, 168.0) if behind >= 0.5 else ((84.0, 170.0) if place < 96 else (22.0, 108.0))
    _things(canvas, rng, _chosen(rng, 3 if behind >= 0.5 else 2, repeat), span, y + 4, 1.0)


def _chosen(rng: np.random.Generator, count: int, repeat: bool) -> list[str]:
    """Things for a table, all different; with `repeat`, one more of a kind that is there."""
    things = rng.choice(["bottle", "cup", "lamp", "apple"], count, replace=False, p=[0.32, 0.24, 0.22, 0.22]).tolist()
    return [*things, things[int(rng.integers(count))]] if repeat else things


def _things(
    canvas: Canvas, rng: np.random.Generator, kinds: list[str], span: tuple[float, float], y: float, scale: float
) -> None:
    """Stand things side by side on a table."""
    width = (span[1] - span[0]) / len(kinds)
    for kind, column in zip(kinds, rng.permutation(len(kinds)), strict=True):
        x = span[0] + (int(column) + 0.5) * width + float(rng.uniform(-0.12, 0.12)) * width
        foot = y + float(rng.uniform(-3, 5))
        _shadow(canvas, x + 3, foot - 1, 13 * scale)
        _place(canvas, rng, kind, x, foot, scale, _thing(rng, kind))


def _thing(rng: np.random.Generator, kind: str) -> Draw:
    if kind == "bottle":
        height = float(rng.uniform(88, 116))
        return lambda pen, r: furniture.draw_bottle(pen, r, height)
    if kind == "cup":
        height = float(rng.uniform(36, 46))
        return lambda pen, r: furniture.draw_cup(pen, r, height)
    if kind == "lamp":
        height = float(rng.uniform(76, 104))
        return lambda pen, r: furniture.draw_lamp(pen, r, height)
    width = float(rng.uniform(26, 36))
    return lambda pen, r: buildings.draw_apple(pen, r, width)
