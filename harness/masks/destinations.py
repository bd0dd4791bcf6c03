"""Finds the objects under a click, which show how ambiguous a prompt is, and the object that a mask hit.

    +--------------------------+
    | person                   |      the prompt means the tie; the click x lies on the tie and on the person:
    |      +-----+             |
    |      | tie |             |        under_click              2
    |      |  x  |             |        under_click_area_ratio   the tie's area / the person's area
    |      +-----+             |        click_depth_px           from x to the nearest pixel outside the tie
    +--------------------------+
                                      a mask of the whole person is then a "whole", one of the tie's knot a "part"

Both are found by comparing with the cropped regions of all objects in an image. Only instances whose ground truth
could be read take part. Instances that are one object under several texts (`Instance.object_id`) count once; two
annotations of the same pixels count twice. Ignored pixels are in no area and no intersection.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from harness.masks.metrics import iou
from harness.masks.region import Region
from harness.structures import Click, Instance

Hit = Literal["right", "part", "whole", "same_class", "other_class", "background", "nothing"]

HITS: tuple[Hit, ...] = ("right", "part", "whole", "same_class", "other_class", "background", "nothing")
"""Every destination of a mask, in the order in which tables show them."""

Numbers = Int64[np.ndarray, " near"]
"""Places of some objects among all of the image, or a number for each of these objects."""

RIGHT = 0.5
"""The least IoU of a mask that is right."""

INSIDE = 0.8
"""The share of an object's pixels that must lie in another for it to be a part of that one."""


@dataclass(frozen=True)
class Place:
    """The surroundings of an instance's first positive click.

    Attributes:
        under_click: How many objects hold the pixel, the asked one included; at least 1.
        area_ratio: The asked object's area divided by that of the largest object under the click; 1 if it is the
            largest or the only one.
        depth: Pixels from the click to the nearest pixel outside the asked object, as `depth` counts them.
    """

    under_click: int
    area_ratio: float
    depth: float


@dataclass(frozen=True, eq=False)
class Pair:
    """Two objects of one image that share pixels; a prompt asks for one of them.

    Attributes:
        asked: The object that is asked for.
        other: An object of another class.
        region: The other object's region.
        shared_px: How many counted pixels lie in both.
    """

    asked: Instance
    other: Instance
    region: Region
    shared_px: int


class Objects:
    """The objects of one image.

    Args:
        found: The instances that can be asked for, each with its region.
    """

    def __init__(self, found: Iterable[tuple[Instance, Region]]) -> None:
        # If several instances are one object, the first of them represents it. Going backwards writes the first one
        # last, so it is the one that stays in the dict.
        once = {instance.object_id: (instance, region) for instance, region in reversed(list(found))}
        ids = list(reversed(once))
        self.positions = {one: position for position, one in enumerate(ids)}
        self.instances = [once[one][0] for one in ids]
        self.categories = [instance.category for instance in self.instances]
        self.regions = [once[one][1] for one in ids]
        # Four contiguous rows, x0, y0, x1 and y1: every search compares all objects by one of these at a time.
        self.boxes = np.ascontiguousarray(np.array([one.box for one in self.regions], np.int64).reshape(-1, 4).T)
        self.areas = np.array([region.area for region in self.regions])

    def place(self, asked: Instance, clicks: Sequence[Click]) -> Place | None:
        """The surroundings of the first positive click; None without one. Later clicks are corrections, not used."""
        click = next((click for click in clicks if click.positive), None)
        if click is None:
            return None
        own = self.positions[asked.object_id]
        under = {own, *self.holding(click)}
        largest = max(self.regions[index].area for index in under)
        return Place(len(under), self.regions[own].area / largest, depth(self.regions[own], click))

    def pairs(self, least_px: int) -> list[Pair]:
        """Pairs of objects of different classes that share at least `least_px` pixels; each pair comes both ways round.

        If several instances are one object, the first of them takes part. Pairs are ordered by the asked object, then
        by the other.
        """
        # Two filters before any pixel is compared: the boxes must meet, and the pixels that the boxes share, which are
        # at least as many as the masks share, must be enough.
        found = []
        for own, box in enumerate(self.boxes.T.tolist()):
            near = self._near(box)
            for other in near[self._common(near, box) >= least_px].tolist():
                if self.categories[own] != self.categories[other]:
                    shared = self.regions[own].intersection(self.regions[other])
                    if shared >= least_px:
                        found.append(Pair(self.instances[own], self.instances[other], self.regions[other], shared))
        return found

    def holding(self, click: Click) -> Iterator[int]:
        """Positions of the objects that hold a click's pixel."""
        for index in self._near((click.x, click.y, click.x + 1, click.y + 1)).tolist():
            left, top, *_ = self.regions[index].box
            if self.regions[index].crop[click.y - top, click.x - left]:
                yield index

    def hit(self, asked: Instance, predicted: Region) -> Hit:
        """Names what a mask hit, by the first of these rules that holds.

        - nothing: the mask has no counted pixel.
        - right: its IoU with the asked object is at least 0.5, and with no other object larger.
        - part: no other object has a larger IoU, and at least half of the mask lies in the asked one: a piece of it,
          annotated or not.
        - background: more than half of the mask lies on no object.
        - otherwise it hit the other object with the largest IoU, the first of equals. That object is the "whole" if
          at least 0.8 of the asked one lies in it and it is no smaller, a "part" if at least 0.8 of it lies in the
          asked one, else a neighbour of the "same_class" or of an "other_class".
        """
        if not predicted.area:
            return "nothing"
        own = self.positions[asked.object_id]
        # The rules go from right to wrong, and each handles the masks that the earlier ones left. A mask with IoU 0.6
        # with the tie and 0.3 with the person is right; with 0.1 and 0.9 it hit the person.
        own_iou = iou(self.regions[own], predicted)
        better = self._best_other(own, predicted, own_iou)
        if better is None and own_iou >= RIGHT:
            return "right"
        if better is None and 2 * self.regions[own].intersection(predicted) >= predicted.area:
            return "part"
        if 2 * predicted.intersection(self._all) < predicted.area:
            return "background"
        other = self._best_other(own, predicted, 0.0) if better is None else better
        return "background" if other is None else self._relation(own, other)

    def _best_other(self, own: int, predicted: Region, above: float) -> int | None:
        """The other object with the largest IoU, the first of equals; None if no IoU is above a value.

        Most objects of an image are not near the mask. For each one that is, box and area alone give an upper bound of
        the IoU, and pixels are compared only if this bound is above the best IoU so far.
        """
        near, best = self._near(predicted.box), None
        for index, bound in zip(near.tolist(), self._bounds(near, predicted).tolist(), strict=True):
            if index == own or bound <= above:
                continue
            found = iou(self.regions[index], predicted)
            if found > above:
                above, best = found, index
        return best

    def _bounds(self, near: Numbers, predicted: Region) -> Float64[np.ndarray, " near"]:
        """Upper bounds of the IoU of some objects with a mask, by their boxes and areas alone.

        The intersection fits in both boxes, in the object and in the mask, and the IoU grows with the intersection.
        """
        # An object of 100 pixels, a mask of 80, and 30 pixels that their boxes share: at most 30 pixels lie in both,
        # and the IoU is at most 30 / (100 + 80 - 30) = 0.2. Once another object has 0.2 or more, this one is skipped.
        areas = self.areas[near]
        shared = np.minimum(np.minimum(self._common(near, predicted.box), areas), predicted.area)
        return np.asarray(shared / (areas + predicted.area - shared))

    def _near(self, box: Sequence[int]) -> Numbers:
        """The places of the objects whose boxes have pixels in common with another box.

        This is the only search over all objects for every prompt. It is four comparisons of arrays, so an image may
        have thousands of objects.
        """
        x0, y0, x1, y1 = self.boxes
        left, top, right, bottom = box
        return np.flatnonzero((x0 < right) & (left < x1) & (y0 < bottom) & (top < y1))

    def _common(self, near: Numbers, box: Sequence[int]) -> Numbers:
        """How many pixels the boxes of some objects have in common with a box that is near each of them."""
        x0, y0, x1, y1 = self.boxes[:, near]
        left, top, right, bottom = box
        width = np.minimum(x1, right) - np.maximum(x0, left)
        height = np.minimum(y1, bottom) - np.maximum(y0, top)
        return np.asarray(width * height)

    def _relation(self, own: int, other: int) -> Hit:
        """The relation of the object that was hit to the asked one."""
        asked, found = self.regions[own], self.regions[other]
        shared = asked.intersection(found)
        if shared >= INSIDE * asked.area and found.area >= asked.area:
            return "whole"
        if shared >= INSIDE * found.area:
            return "part"
        return "same_class" if self.categories[own] == self.categories[other] else "other_class"

    @cached_property
    def _all(self) -> Region:
        """The pixels of all objects."""
        covered = np.zeros(self.regions[0].size, np.uint8)
        for region in self.regions:
            x0, y0, x1, y1 = region.box
            covered[y0:y1, x0:x1] |= region.crop
        return Region(covered.view(np.bool_))


def depth(region: Region, click: Click) -> float:
    """Pixels from a click to the nearest pixel outside the whole mask, or beyond the image; 0 for a click off it.

    Only a window around the click is searched. The nearest outside pixel straight up, down, left or right is `reach`
    away. So the nearest of all is at most `reach` away, and lies in a window of `reach` pixels to each side.
    """
    x, y = click.x - region.box[0], click.y - region.box[1]
    crop = region.crop
    if not (0 <= y < crop.shape[0] and 0 <= x < crop.shape[1]):
        return 0.0
    #        . . . . .         right of x the outside begins after 2 pixels, left 2, up 2, down 3: reach 2
    #        . # # # .         only a window of 2 pixels to each side is searched; it also has the pixels on a slant,
    #        . # x # .         which may be nearer than all four
    #        . # # # .
    #        . # # # .
    reach = min(_run(line) for line in (crop[y, x:], crop[y, x::-1], crop[y:, x], crop[y::-1, x]))
    top, left = max(0, y - reach), max(0, x - reach)
    window = crop[top : y + reach + 1, left : x + reach + 1]
    outside = np.flatnonzero(window == 0)
    # From positions in the flat window to offsets from the click, whose own place in the window is (x - left, y -
    # top).
    dy = outside // window.shape[1]
    dx = outside - dy * window.shape[1] + (left - x)
    dy += top - y
    return math.sqrt((dy * dy + dx * dx).min(initial=reach**2))


def _run(line: UInt8[np.ndarray, " n"]) -> int:
    """How many pixels of the mask come before the first one outside; beyond the box's end all is outside."""
    found = line.tobytes().find(0)
    return len(line) if found < 0 else found
