"""Phrases that name one of several objects of a class by its place: "left car", "second door from the left".

People describe an object by its class and, if that is not enough, by its place. The place is given along the axis on
which the objects of the class are furthest apart:

    one car                      "car"
    two cars side by side        "left car", "right car"
    three apples in a column     "top apple", "middle apple", "bottom apple"
    four windows in a row        "first window from the left", ... "fourth window from the left"

Two objects at the same place along that axis keep the order in which they were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.structures import Mask

ENDS = (("left", "right"), ("top", "bottom"))
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
WORDS = ("left", "right", "top", "bottom", "middle", *ORDINALS, "from", "the")
"""All words of a phrase but the class name."""


def phrases(found: Sequence[tuple[str, Mask]]) -> list[str]:
    """A phrase for each instance, no two of an image alike up to ten of a class.

    Args:
        found: The class and the mask, bool (h, w), of each instance of an image.
    """
    centres = np.array([_centre(mask) for _, mask in found]).reshape(-1, 2)
    said = [""] * len(found)
    for category in {name for name, _ in found}:
        members = [number for number, (name, _) in enumerate(found) if name == category]
        axis = int(np.argmax(np.ptp(centres[members], axis=0)))
        ordered = sorted(members, key=lambda number: centres[number, axis])
        for place, number in enumerate(ordered):
            said[number] = _phrase(category, place, len(ordered), *ENDS[axis])
    return said


def _centre(mask: Mask) -> tuple[float, float]:
    """The mean x and the mean y of a mask's pixels."""
    ys, xs = np.nonzero(mask)
    return float(xs.mean()), float(ys.mean())


def _phrase(category: str, place: int, count: int, start: str, end: str) -> str:
    """The words for the object that is number `place` (from 0) of `count`, counted from `start`."""
    if count == 1:
        return category
    if count > 3:
        return f"{ORDINALS[min(place, len(ORDINALS) - 1)]} {category} from the {start}"
    return f"{(start, 'middle', end)[place] if count == 3 else (start, end)[place]} {category}"
