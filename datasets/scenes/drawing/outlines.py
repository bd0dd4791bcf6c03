"""Closed polygons of (x, y), y down, from which objects are built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

Outline = Float64[np.ndarray, "n 2"]
Point = tuple[float, float]


def polygon(*points: Point) -> Outline:
    """Straight edges between the points."""
    return np.array(points, np.float64)


def box(x0: float, y0: float, x1: float, y1: float) -> Outline:
    """A rectangle between two corners."""
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0.0, end: float = 1.0) -> Outline:
    """An ellipse, or its segment from one share of a turn to another (0: right, 0.25: below)."""
    angles = np.linspace(start, end, 32) * 2 * np.pi
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> Outline:
    """A rectangle with round corners."""
    # Four quarter circles, clockwise from the lower right; the polygon's edges join them:
    #
    #    3 .----. 4       each has its centre a radius inside of its corner, and begins at `turn` of a full turn:
    #      |    |         1 lower right from 0 (right) to 0.25 (down), 2 lower left, 3 upper left, 4 upper right
    #    2 '----' 1
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    centres = [(x1 - r, y1 - r, 0.0), (x0 + r, y1 - r, 0.25), (x0 + r, y0 + r, 0.5), (x1 - r, y0 + r, 0.75)]
    angles = np.linspace(0, 0.25, 7)[:, None] * 2 * np.pi
    arcs = [
        np.hstack([x + r * np.cos(angles + turn * 2 * np.pi), y + r * np.sin(angles + turn * 2 * np.pi)])
        for x, y, turn in centres
    ]
    return np.concatenate(arcs)


def smooth(points: Sequence[Point], rounds: int = 3) -> Outline:
    """A closed curve near the points (Chaikin's corner cutting)."""
    curve = np.array(points, np.float64)
    for _ in range(rounds):
        following = np.roll(curve, -1, 0)
        # Every edge is replaced by its two quarter points, which cuts each corner off; three rounds look round:
        #
        #    a---------b        edge a b gives a point at a quarter and one at three quarters of its length;
        #              |        together with the points of edge b c, corner b becomes a short slanted edge
        #              c
        curve = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], 1).reshape(-1, 2)
    return curve


def limb(start: Point, end: Point, width: float, end_width: float | None = None) -> Outline:
    """A bar with round ends between two points."""
    # Two half circles, each facing away from the other end; the polygon's edges join them to a bar.
    a, b = np.array(start), np.array(end)
    along = np.arctan2(b[1] - a[1], b[0] - a[0])
    half = np.linspace(-0.5, 0.5, 9) * np.pi
    caps = [(b, along, width if end_width is None else end_width), (a, along + np.pi, width)]
    return np.concatenate([c + 0.5 * w * np.stack([np.cos(half + t), np.sin(half + t)], 1) for c, t, w in caps])


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, lobes: int, depth: float) -> Outline:
    """A cloud-like curve: an ellipse with lobes, each `depth` of the radius deep."""
    # |sin(lobes * angle / 2)| rises and falls `lobes` times around the curve, with sharp notches where it is 0. A
    # slower wave is added, so that the lobes are not all alike.
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    bumps = np.abs(np.sin(angles * lobes / 2 + rng.uniform(0, np.pi)))
    wobble = 0.5 * depth * np.sin(angles * 2 + rng.uniform(0, 2 * np.pi))
    radius = 1 - depth + depth * bumps + wobble
    return np.stack([x + rx * radius * np.cos(angles), y + ry * radius * np.sin(angles)], 1)
