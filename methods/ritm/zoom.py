"""Chooses the part of the image that RITM's network sees after the first click (ZoomIn), and maps between both.

Paper: Sofiiuk et al., "f-BRS", CVPR 2020, https://arxiv.org/abs/2001.10331, section 3.4. Rules and values follow
SamsungLabs/ritm_interactive_segmentation at b9b4460 (`isegm/inference/transforms/zoom_in.py`).

The network sees about 400 pixels whatever the image's size, so a small object in a large image would be a few pixels.
ZoomIn shows the network the surroundings of the object instead. After the first click it takes the box around the mask
so far and all positive clicks, makes it 1.4 times larger, and keeps that window in the next rounds, under conditions:

    +--------------------------------+      kept until a positive click falls outside, or until the
    |         +-------------+        |      wanted window differs much (overlap below 0.5)
    |         |   ######    |        |
    |         |  ####x##    |        |      #  mask of the round before, x  click
    |         |    ###      |        |
    |         +-------------+        |
    +--------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import pydantic
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor

from harness.structures import Click, Mask

from .hrnet_ocr import resized

Pixels = Annotated[int, Field(ge=1)]


class Window(NamedTuple):
    """A part of an image, by its first and last row and column, the last ones included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.bottom - self.top + 1, self.right - self.left + 1

    @classmethod
    def whole(cls, size: tuple[int, int]) -> Window:
        """All of an image of (h, w)."""
        return cls(0, size[0] - 1, 0, size[1] - 1)

    def cut(self, maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c sh sw"]:
        """Cut the window out of maps of the image, and resize it."""
        return resized(self.part(maps), size)

    def part(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c wh ww"]:
        """The window's part of maps of the image, without a copy."""
        return maps[:, :, self.top : self.bottom + 1, self.left : self.right + 1]

    def pasted(self, maps: Float[Tensor, "n 1 sh sw"], size: tuple[int, int]) -> Float[Tensor, "n 1 h w"]:
        """Paste maps of the window into an image of (h, w) that is zero elsewhere."""
        image = maps.new_zeros((len(maps), 1, *size))
        image[:, :, self.top : self.bottom + 1, self.left : self.right + 1] = resized(maps, self.size)
        return image

    def place(self, click: Click, size: tuple[int, int]) -> tuple[float, float]:
        """Row and column of a click in the window resized to (h, w), by RITM's rule, which is slightly off."""
        # Window rows 10 to 29 resized to 40 rows: row 15 becomes 40 * (15 - 10) / 20 = 10. As `resized` keeps corners
        # in place, its pixels go to 39 * 5 / 19 = 10.26. The published weights were evaluated with the former.
        height, width = self.size
        return size[0] * (click.y - self.top) / height, size[1] * (click.x - self.left) / width

    def overlap(self, other: Window) -> float:
        """The IoU of the two windows' rows times the IoU of their columns."""
        return _shared(self[:2], other[:2]) * _shared(self[2:], other[2:])

    def holds(self, clicks: Sequence[Click]) -> bool:
        """Whether all positive clicks lie in it, and not in its last row or column."""
        return all(
            self.top <= click.y < self.bottom and self.left <= click.x < self.right
            for click in clicks
            if click.positive
        )


def _shared(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """IoU of two ranges of pixels."""
    # Rows 10 to 19 and 15 to 24 share 5 of 15 rows: 1/3. The last row belongs to a range, hence "+ 1".
    intersection = max(0, min(first[1], second[1]) - max(first[0], second[0]) + 1)
    return intersection / (max(first[1], second[1]) - min(first[0], second[0]) + 1)


class View(NamedTuple):
    """The window that the network sees, and the one where its answer is pasted; None is the whole image.

    The two differ in one case: if the mask of the round before is empty, the official code shows the whole image and
    pastes the answer into the window of an earlier round. That is kept, although it squeezes the answer.
    """

    shown: Window | None
    kept: Window | None


@dataclass(frozen=True)
class ZoomIn:
    """The rules of the official evaluation, with its values as defaults.

    Attributes:
        target_size: The longest side of the network's input ("cvpr" mode; 600 for DAVIS), or its (h, w) ("fixed" mode,
            with skip_clicks -1).
        skip_clicks: The number of clicks after which zooming starts. With 0, the first click is answered a second time,
            zoomed, if its mask is small. With -1, the first click sees the whole image at target_size.
        expansion_ratio: The size of a window over that of the mask's box.
        min_crop_size: The least side of a window, in pixels, unless the image is smaller.
        recompute_thresh_iou: A window is kept as long as its overlap with the newly computed one is at least this.
        prob_thresh: A pixel with a larger probability belongs to the mask of the round before.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    target_size: Pixels | tuple[Pixels, Pixels] = 400
    skip_clicks: Annotated[int, Field(ge=-1)] = 1
    expansion_ratio: Annotated[float, Field(gt=0)] = 1.4
    min_crop_size: Pixels = 200
    recompute_thresh_iou: Annotated[float, Field(ge=0, le=1)] = 0.5
    prob_thresh: Annotated[float, Field(ge=0, le=1)] = 0.5

    def view(self, probabilities: Float32[np.ndarray, "h w"], kept: Window | None, clicks: Sequence[Click]) -> View:
        """The window of the next round.

        Args:
            probabilities: Probabilities of the round before; zeros in the first round.
            kept: The window of the round before, if there was one.
            clicks: All clicks so far.
        """
        if len(clicks) <= self.skip_clicks:
            return View(None, kept)
        # The window of the round before is kept, so that the network sees the same picture in several rounds. It is
        # replaced if a positive click lies outside, or if the newly computed window overlaps it too little.
        wanted = self.around(probabilities > self.prob_thresh, clicks)
        if wanted is None:
            if self.skip_clicks >= 0:
                return View(None, kept)
            wanted = Window.whole(probabilities.shape)
        if kept is None or not kept.holds(clicks) or wanted.overlap(kept) < self.recompute_thresh_iou:
            kept = wanted
        return View(kept, kept)

    def again(self, probabilities: Float32[np.ndarray, "h w"], kept: Window | None) -> bool:
        """Whether the network should answer once more, zoomed to the mask that it found in the whole image."""
        if kept is not None or self.skip_clicks > 0:
            return False
        wanted = self.around(probabilities > self.prob_thresh, ())
        return wanted is not None and wanted.overlap(Window.whole(probabilities.shape)) < 0.5

    def around(self, mask: Mask, clicks: Sequence[Click]) -> Window | None:
        """The box around a mask and the positive clicks, enlarged, cut at the image's edges; None for an empty mask."""
        if not mask.any():
            return None
        ys = [click.y for click in clicks if click.positive]
        xs = [click.x for click in clicks if click.positive]
        top, bottom = self._range(np.flatnonzero(mask.any(axis=1)), ys, mask.shape[0])
        left, right = self._range(np.flatnonzero(mask.any(axis=0)), xs, mask.shape[1])
        return Window(top, bottom, left, right)

    def _range(self, used: np.ndarray, clicked: Sequence[int], length: int) -> tuple[int, int]:
        """The first and the last row, or column, of a window."""
        first, last = min([int(used[0]), *clicked]), max([int(used[-1]), *clicked])
        # Around the middle of the box, `expansion_ratio` times as long as the box, and `min_crop_size` at least; then
        # cut at the image's edges, so a window at an edge is shorter.
        centre, half = (first + last) / 2, max(self.expansion_ratio * (last - first + 1), self.min_crop_size) / 2
        return max(0, round(centre - half)), min(length - 1, round(centre + half))

    def size(self, window: Window) -> tuple[int, int]:
        """(h, w) to which a window is resized for the network."""
        if isinstance(self.target_size, tuple):
            return self.target_size
        height, width = window.size
        scale = self.target_size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))
