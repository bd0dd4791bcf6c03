"""Random changes and crops of training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

NO_LABEL = 255
"""The label of a pixel that the loss does not count."""

_LONGEST = 4
_RETRIES = 10
_MOST = 0.75


def jittered(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator, strength: float = 0.3
) -> UInt8[np.ndarray, "h w 3"]:
    """Contrast, brightness and each colour's gain changed at random, by at most `strength`."""
    contrast, brightness = 1 + strength * rng.uniform(-1, 1, 2)
    gains: Float32[np.ndarray, " 3"] = (1 + strength / 2 * rng.uniform(-1, 1, 3)).astype(np.float32)
    pixels = image.astype(np.float32)
    # Contrast turns about the middle grey: a dark image stays dark and a bright one bright. Brightness is a factor of
    # all three channels, and each channel has one of its own, half as strong.
    pixels = (pixels - 128) * np.float32(contrast) + 128
    return np.clip(pixels * (gains * np.float32(brightness)), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Window:
    """A square of a resized image; beyond the image's right and lower edges it is padding.

    Attributes:
        size: (h, w) of the image before it is resized.
        scaled: (h, w) after.
        top: The window's top row, in pixels of the resized image; never negative.
        left: The window's left column, likewise.
        side: The window's side.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    top: int
    left: int
    side: int

    @property
    def inside(self) -> tuple[int, int]:
        """(h, w) of the part of the window that shows the image."""
        return min(self.side, self.scaled[0] - self.top), min(self.side, self.scaled[1] - self.left)

    def place(self, points_xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points of the image in the window's pixels; centres of pixels are whole numbers in both."""
        # A pixel's centre is a whole number, its edges are half-way: at twice the size, the centre 0 of the first pixel
        # is the middle of pixels 0 and 1, so (0 + 0.5) * 2 - 0.5 = 0.5.
        ratio = np.array(self.scaled[::-1]) / self.size[::-1]
        return (points_xy + 0.5) * ratio - 0.5 - [self.left, self.top]

    def cut(self, resized: Shaped[np.ndarray, "h w ..."], padding: Any) -> Shaped[np.ndarray, "s s ..."]:
        """The window's part of a resized array, with padding."""
        rows, columns = self.inside
        found = np.full((self.side, self.side, *resized.shape[2:]), padding, resized.dtype)
        found[:rows, :columns] = resized[self.top : self.top + rows, self.left : self.left + columns]
        return found


def rescaled(size: tuple[int, int], short_side: float) -> tuple[int, int]:
    """(h, w) with a short side of this length, or less if the long side would be over four times that length.

    This is MMSegmentation's `Resize`.
    """
    scale = min(short_side / min(size), _LONGEST * short_side / max(size))
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resized_to(values: Shaped[np.ndarray, "h w ..."], size: tuple[int, int]) -> Shaped[np.ndarray, "sh sw ..."]:
    """Pixels or saliency at (h, w): averaged where it shrinks, bilinear where it grows."""
    rule = cv2.INTER_AREA if size[0] < values.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(values), size[::-1], interpolation=rule)


def labels_at(labels: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "sh sw"]:
    """Labels resized to (h, w), each from the nearest pixel: a mean of labels would be another label."""
    return cv2.resize(np.ascontiguousarray(labels), size[::-1], interpolation=cv2.INTER_NEAREST)


def published_window(
    labels: UInt8[np.ndarray, "sh sw"], size: tuple[int, int], side: int, rng: np.random.Generator
) -> Window:
    """A random window; up to ten times another one, as long as one label covers 75 % of it or more.

    Source: MMSegmentation 0.x, `RandomCrop(cat_max_ratio=0.75)`. As there, the last try is taken whatever it shows, so
    small objects are often cropped away.
    """
    window = _anywhere(labels, size, side, rng)
    for _ in range(_RETRIES):
        shown = labels[window.top : window.top + side, window.left : window.left + side]
        on, off = (cv2.countNonZero(cv2.inRange(shown, label, label)) for label in (1, 0))
        if min(on, off) > 0 and max(on, off) < _MOST * (on + off):
            break
        window = _anywhere(labels, size, side, rng)
    return window


def _anywhere(labels: UInt8[np.ndarray, "sh sw"], size: tuple[int, int], side: int, rng: np.random.Generator) -> Window:
    top, left = (int(rng.integers(max(0, length - side) + 1)) for length in labels.shape)
    return Window(size, (labels.shape[0], labels.shape[1]), top, left, side)


def window_with(
    click_xy: Float[np.ndarray, " 2"],
    scaled: tuple[int, int],
    size: tuple[int, int],
    side: int,
    rng: np.random.Generator,
) -> Window:
    """A random window among those that show a click, which is given in pixels of the image."""
    whole = Window(size, scaled, 0, 0, side)
    x, y = np.clip(np.rint(whole.place(click_xy[None])[0]), 0, [scaled[1] - 1, scaled[0] - 1]).astype(int)
    top, left = (
        # In an image of length 10, a window of 4 has a click at 8 in it if it starts at 5 or 6: at 5 or later to reach
        # the click, at 6 or earlier to end within the image.
        int(rng.integers(max(0, at - side + 1), min(at, max(0, length - side)) + 1))
        for at, length in zip((y, x), scaled, strict=True)
    )
    return Window(size, scaled, top, left, side)
