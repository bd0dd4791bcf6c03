"""Colours, gradients and patterns. Colours are RGB, 0 to 255."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

Colour = tuple[float, float, float]

PALETTE: tuple[Colour, ...] = (
    (229, 83, 71),
    (240, 128, 90),
    (244, 176, 66),
    (247, 214, 112),
    (158, 197, 99),
    (82, 160, 104),
    (44, 110, 95),
    (64, 168, 168),
    (98, 186, 220),
    (66, 122, 196),
    (46, 74, 122),
    (116, 92, 168),
    (176, 122, 190),
    (226, 130, 162),
    (166, 70, 90),
    (148, 100, 70),
    (203, 158, 112),
    (240, 228, 206),
    (176, 184, 194),
    (84, 92, 108),
)
"""All classes use these colours, so that a colour does not give a class away."""

SKIN: tuple[Colour, ...] = ((250, 214, 184), (236, 186, 148), (205, 147, 107), (156, 104, 72), (106, 70, 52))
WHITE: Colour = (250, 248, 242)
INK: Colour = (44, 48, 62)
GLASS: tuple[Colour, ...] = ((176, 218, 236), (128, 178, 206), (86, 116, 146), (250, 224, 150), (204, 226, 222))

PATTERNS = ("stripes", "bars", "slant", "checks", "dots", "bricks")


@dataclass(frozen=True)
class Paint:
    """A colour, gradient or pattern, over an outline's bounding box.

    Attributes:
        colour: The colour at the top or, with `across`, at the left.
        toward: The colour at the other end; None: the same colour everywhere.
        across: Whether the gradient runs from left to right.
        pattern: One of PATTERNS, drawn in `ink`; "": none.
        ink: The pattern's colour.
        pitch: The pattern's period, in units of the layout.
        opacity: 0 to 1.
    """

    colour: Colour
    toward: Colour | None = None
    across: bool = False
    pattern: str = ""
    ink: Colour = WHITE
    pitch: float = 6.0
    opacity: float = 1.0

    def colours(self, height: int, width: int, scale: float) -> Float32[np.ndarray, "#h #w 3"]:
        """RGB that broadcasts to (height, width, 3); `scale` is the pixels for one unit of the layout."""
        base = np.array(self.colour, np.float32).reshape(1, 1, 3)
        if self.toward is not None:
            steps = np.linspace(0, 1, width if self.across else height, dtype=np.float32)
            steps = steps[None, :, None] if self.across else steps[:, None, None]
            base = base + steps * (np.array(self.toward, np.float32) - base)
        if not self.pattern:
            return base
        inked = _inked(self.pattern, self.pitch * scale, height, width)[..., None]
        return base + inked * (np.array(self.ink, np.float32) - base)


def _inked(pattern: str, pitch: float, height: int, width: int) -> Float32[np.ndarray, "#h #w"]:
    """1 where a pattern has ink, 0 elsewhere."""
    # x and y count periods, so `x % 1` is the place within a period. A pattern that depends on one axis alone has
    # length 1 along the other, (1, w) or (h, 1), and broadcasts.
    y = (np.arange(height, dtype=np.float32) / np.float32(pitch))[:, None]
    x = (np.arange(width, dtype=np.float32) / np.float32(pitch))[None, :]
    if pattern == "stripes":
        return (x % 1 < 0.4).astype(np.float32)
    if pattern == "bars":
        return (y % 1 < 0.4).astype(np.float32)
    if pattern == "slant":
        return ((x + y) % 1 < 0.4).astype(np.float32)
    if pattern == "checks":
        return np.float32(0.5) * (x % 1 < 0.5) + np.float32(0.5) * (y % 1 < 0.5)
    if pattern == "dots":
        return ((x % 1 - 0.5) ** 2 + (y % 1 - 0.5) ** 2 < 0.07).astype(np.float32)
    # Bricks: two rows a period. Mortar is at the top of each row, and between two bricks of a row; every other row is
    # shifted by half a brick.
    rows = np.floor(2 * y) % 2
    return ((2 * y % 1 < 0.14) | ((x + 0.5 * rows) % 1 < 0.07)).astype(np.float32)


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with a share of `b` in it."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def darker(colour: Colour, share: float = 0.2) -> Colour:
    """The colour, mixed with a share of dark ink."""
    return mixed(colour, INK, share)


def lighter(colour: Colour, share: float = 0.25) -> Colour:
    """The colour, mixed with a share of white."""
    return mixed(colour, WHITE, share)


def jittered(rng: np.random.Generator, colour: Colour, amount: float = 14.0) -> Colour:
    """A random colour near another."""
    r, g, b = np.clip(np.array(colour) + rng.uniform(-amount, amount, 3), 0, 255).tolist()
    return (r, g, b)


def pick(rng: np.random.Generator, colours: tuple[Colour, ...] = PALETTE) -> Colour:
    """One of the colours, jittered."""
    return jittered(rng, colours[int(rng.integers(len(colours)))])


def gradient(colour: Colour, contrast: float = 0.16, across: bool = False) -> Paint:
    """A gradient from a little lighter to a little darker than a colour."""
    return Paint(lighter(colour, contrast), darker(colour, contrast), across)


def cloth(rng: np.random.Generator, colour: Colour, patterned: float = 0.5, pitch: float = 7.0) -> Paint:
    """A gradient, with a pattern in a share of cases."""
    paint = gradient(colour)
    if rng.random() >= patterned:
        return paint
    pattern = PATTERNS[int(rng.integers(5))]
    ink = lighter(colour, 0.55) if rng.random() < 0.6 else darker(colour, 0.4)
    return replace(paint, pattern=pattern, ink=ink, pitch=pitch * float(rng.uniform(0.7, 1.4)))
