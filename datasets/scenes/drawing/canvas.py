"""The canvas that scenes are painted on; it keeps for every pixel the region that was painted there last.

Scenes are laid out on a square of UNITS x UNITS, x right and y down, whatever the image's size. The canvas has two
pixels for each of the image's, along each axis. An object that is painted later hides the objects below it, in the
picture and in the masks:

    owner after the car (1) with its window (2)      after a tree (3) in front of it
    . 1 1 1 1 .                                      . 1 1 3 1 .
    1 1 2 2 1 1                                      1 1 2 3 1 1       mask of the car: owners 1 and 2, its part
    1 1 1 1 1 1                                      1 1 1 3 1 1       mask of the window: owner 2
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from harness.structures import Mask

from .paints import Paint

UNITS = 192.0
"""Side of the square in which scenes are laid out."""

BACKGROUND = 0
"""Owner of the scenery."""

_SUBPIXEL_BITS = 4
_WEIGHTS = (34, 25, 23, 18)
"""The weights of a pixel's four quarters, in per cent. They differ, so that no two quarters together are just half."""

Outline = Float64[np.ndarray, "n 2"]
"""A closed polygon of (x, y)."""

Window = tuple[slice, slice]
Alpha = UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Region:
    """An object or a part of one: its class, and the number of the region that it is a part of (BACKGROUND: none)."""

    category: str
    parent: int


class Canvas:
    """Pixels, and the number of the region that owns each of them.

    Attributes:
        pixels: float32 (2 size, 2 size, 3), RGB, 0 to 255.
        owner: uint8 (2 size, 2 size): BACKGROUND, or the number of the region painted there last.
        regions: The region with number n is at n - 1.
        whole_area: Region number -> its pixels on the canvas, parts included, before later objects hid any.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = 2 * size / UNITS
        self.pixels: Float32[np.ndarray, "h w 3"] = np.zeros((2 * size, 2 * size, 3), np.float32)
        self.owner: UInt8[np.ndarray, "h w"] = np.zeros((2 * size, 2 * size), np.uint8)
        self.regions: list[Region] = []
        self.whole_area: dict[int, int] = {}

    def add(self, category: str, parent: int = BACKGROUND) -> int:
        """A new region's number."""
        self.regions.append(Region(category, parent))
        return len(self.regions)

    def fill(self, outline: Outline, paint: Paint, region: int) -> None:
        """Paint a polygon, which then belongs to the region."""
        window, alpha = self._rasterised(outline)
        self._blend(window, alpha, paint)
        self.owner[window][alpha > 127] = region

    def tint(self, outline: Outline, paint: Paint, within: int | None = None, blur: float = 0.0) -> None:
        """Paint a polygon without changing the regions, on one region's own pixels or on all.

        Args:
            outline: The polygon, in the units of the layout.
            paint: The paint; its opacity decides how much of the colours below shows through.
            within: The region to stay inside of, parts excluded; None: anywhere.
            blur: The softness of the edge, in the units of the layout.
        """
        window, alpha = self._rasterised(outline, blur)
        if within is not None:
            alpha[self.owner[window] != within] = 0
        self._blend(window, alpha, paint)

    def finish_object(self) -> None:
        """Note the sizes of the regions that were added since the last call, before anything hides them."""
        # One pixel of every four is counted, and the count is multiplied by four. That is exact enough for the shares
        # that are computed from it, and takes a quarter of the time.
        counts = np.bincount(self.owner[::2, ::2].ravel(), minlength=len(self.regions) + 1)
        for region in range(len(self.whole_area) + 1, len(self.regions) + 1):
            self.whole_area[region] = 4 * int(sum(counts[number] for number in self.family(region)))

    def family(self, region: int) -> list[int]:
        """A region, its parts, their parts, and so on."""
        family = [region]
        # A part is always added after its whole, so one pass in the order of the numbers finds parts of parts as well.
        for number in range(region + 1, len(self.regions) + 1):
            if self.regions[number - 1].parent in family:
                family.append(number)
        return family

    def mask(self, region: int) -> Mask:
        """The pixels more than half of which the region and its parts cover, bool (size, size)."""
        inside = np.zeros(256, np.uint8)
        inside[self.family(region)] = 1
        # A pixel of the image is four of the canvas. If its upper two quarters are on the region, 34 + 25 = 59 per cent
        # are covered, and it is in the mask; with the lower two it is 41 per cent, and it is not:
        #
        #    34 25      # #  59: in      . .  41: out
        #    23 18      . .              # #
        quarters = [self.owner[y::2, x::2] for y in (0, 1) for x in (0, 1)]
        covers = [cv2.LUT(quarter, inside * weight) for quarter, weight in zip(quarters, _WEIGHTS, strict=True)]
        coverage: UInt8[np.ndarray, "h w"] = covers[0] + covers[1] + covers[2] + covers[3]
        return coverage > sum(_WEIGHTS) // 2

    def _rasterised(self, outline: Outline, blur: float = 0.0) -> tuple[Window, Alpha]:
        """The part of the canvas around a polygon, and how much of each pixel there it covers, 0 to 255."""
        # Whole numbers are centres of pixels in OpenCV's coordinates, and edges between pixels in the layout's. Hence
        # the half.
        points = outline * self.scale - 0.5
        margin = 2 + 2 * int(np.ceil(blur * self.scale))
        x0, y0 = np.clip(np.floor(points.min(0)).astype(int) - margin, 0, 2 * self.size)
        x1, y1 = np.clip(np.ceil(points.max(0)).astype(int) + margin, 0, 2 * self.size)
        window = (slice(int(y0), int(y1)), slice(int(x0), int(x1)))
        alpha = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), np.uint8)
        if alpha.size:
            corners = np.round((points - (x0, y0)) * 2**_SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(alpha, [corners], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
            # OpenCV's soft edge reaches a third of a pixel too far, in the picture and in the mask alike. Two box blurs
            # one after the other look like a soft shadow and are much faster than a Gaussian.
            if blur:
                width = 2 * int(blur * self.scale) + 1
                alpha = cv2.blur(cv2.blur(alpha, (width, width)), (width, width))
        return window, alpha

    def _blend(self, window: Window, alpha: Alpha, paint: Paint) -> None:
        # pixel = pixel + (paint - pixel) * share, where share is how much of the pixel the polygon covers, times the
        # paint's opacity. `patch` is a view, so this writes on the canvas.
        if alpha.size:
            patch = self.pixels[window]
            share = alpha.astype(np.float32)[..., None] * np.float32(paint.opacity / 255)
            patch += (paint.colours(alpha.shape[0], alpha.shape[1], self.scale) - patch) * share


@dataclass(frozen=True)
class Pen:
    """Paints in an object's own coordinates, for one region.

    Attributes:
        canvas: The canvas that it paints on.
        region: The number of the region that it paints.
        x, y: The place of the object's origin in the layout; mostly the middle of the object's foot.
        scale: How many of the layout's units one of the object's units has.
        mirrored: Whether the object's x axis points left.
        tilt: The rotation, clockwise, in radians.
    """

    canvas: Canvas
    region: int
    x: float
    y: float
    scale: float = 1.0
    mirrored: bool = False
    tilt: float = 0.0

    def part(self, category: str) -> Pen:
        """A pen for a new part of this pen's region."""
        return replace(self, region=self.canvas.add(category, self.region))

    def at(self, x: float, y: float, scale: float = 1.0) -> Pen:
        """The same pen with its origin at a point of the object's coordinates."""
        (moved,) = self.placed(np.array([[x, y]], np.float64))
        return replace(self, x=float(moved[0]), y=float(moved[1]), scale=self.scale * scale)

    def fill(self, outline: Outline, paint: Paint) -> None:
        """Paint a polygon, which then belongs to the region."""
        self.canvas.fill(self.placed(outline), paint, self.region)

    def detail(self, outline: Outline, paint: Paint, blur: float = 0.0) -> None:
        """Paint on the region's own pixels only: shading, patterns, buttons."""
        self.canvas.tint(self.placed(outline), paint, self.region, blur * self.scale)

    def placed(self, outline: Outline) -> Outline:
        """An outline in the layout's coordinates."""
        # Mirror, turn, scale, move, in this order: an object is drawn about its own origin.
        x = -outline[:, 0] if self.mirrored else outline[:, 0]
        y = outline[:, 1]
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], 1)
        return turned * self.scale + (self.x, self.y)
