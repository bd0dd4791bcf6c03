"""The embedded benchmark: drawn scenes, made on the fly from a split's name and a number.

A person wears a shirt, a tie on it and a hat; cars and buses have wheels and windows, houses roofs, doors and windows,
trees apples, boats sails, bottles labels. A part's mask lies inside its whole's mask. All masks are modal: a pixel that
a later object hides belongs only to that object. Nothing is read from disk; the same name and number draw the same
scene on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from harness.messages import suggest
from harness.plugins.interfaces import Dataset
from harness.plugins.registry import register_dataset
from harness.structures import Instance, Mask, Sample, UserError

from .drawing.canvas import Canvas
from .drawing.layouts import developed, draw_scene
from .phrases import phrases

RECIPE = "2"
"""The version of the drawing; raise it with every change of a pixel."""

CLASSES = (
    "person",
    "shirt",
    "tie",
    "hat",
    "car",
    "bus",
    "wheel",
    "window",
    "house",
    "roof",
    "door",
    "tree",
    "apple",
    "boat",
    "sail",
    "bottle",
    "label",
    "table",
    "cup",
    "lamp",
)
SEEN = ("person", "shirt", "car", "wheel", "house", "door", "tree", "table", "bottle", "cup")
"""The default seen half. It has wholes and parts, like the other half."""

MIN_AREA = 0.0025
"""The least share of the image that an instance's visible pixels have; nobody would click on less."""

MIN_VISIBLE = 0.25
"""The least share of an instance's own area that is visible."""

_SEEDS = {"train": 1, "val": 2, "test": 3}
_COUNTS = {"train": 2000, "val": 200, "test": 200}


@register_dataset("scenes")
class Scenes(Dataset):
    """Drawn scenes of 20 classes, wholes and parts, RGB, square.

    Args:
        split: The split's name; no scene is in two splits.
        count: The number of scenes, numbered from 0; by default 2000 of train, 200 of val, 200 of test.
        size: The height and width of an image, in pixels.
        seen: The classes that a method may be trained on; by default SEEN.
        text: "phrase" gives each instance words of its own, by its class and its place ("left car"); see phrases.py.
            "class_name" leaves them out, as the paper does.
    """

    classes = CLASSES

    def __init__(
        self,
        split: Literal["train", "val", "test"] = "val",
        count: int | None = None,
        size: int = 192,
        seen: Sequence[str] | None = None,
        text: Literal["class_name", "phrase"] = "class_name",
    ) -> None:
        if split not in _SEEDS:
            raise UserError(
                f"datasets/scenes/scenes.py: found split={split!r}. {suggest(str(split), _SEEDS)} Correct `split`."
            )
        self.split, self.text = split, text
        self.count = _positive("count", _COUNTS[split] if count is None else count)
        self.size = _positive("size", size, least=32)
        self.seen = frozenset(SEEN if seen is None else seen)
        for category in sorted(self.seen.difference(CLASSES)):
            raise UserError(
                f"datasets/scenes/scenes.py: found {category!r} in seen. {suggest(category, CLASSES)} Correct `seen`."
            )

    def sample_ids(self) -> list[str]:
        """`val-00017` is the split's scene number 17."""
        return [f"{self.split}-{index:05d}" for index in range(self.count)]

    def load(self, sample_id: str) -> Sample:
        """Draw the scene; the same pixels for the same id, whatever was drawn before."""
        # A generator for each scene, and none for the split: scene 17 can be drawn alone, by any worker.
        rng = np.random.default_rng([_SEEDS[self.split], self._index(sample_id)])
        canvas = draw_scene(rng, self.size)
        image = developed(canvas, rng)
        found = list(_instances(canvas))
        counts = Counter(category for category, _ in found)
        texts = phrases(found) if self.text == "phrase" else [""] * len(found)
        instances = (
            Instance(f"{sample_id}/{number}", mask, category, category in self.seen, counts[category], text)
            for number, ((category, mask), text) in enumerate(zip(found, texts, strict=True))
        )
        return Sample(sample_id, image, tuple(instances))

    def fingerprint(self) -> Mapping[str, Any]:
        """The parameters, with the version of the drawing code in place of a hash of the pixels."""
        own = {"recipe": RECIPE, "split": self.split, "size": self.size, "seen": sorted(self.seen)}
        worded = {"text": self.text} if self.text != "class_name" else {}
        return {**super().fingerprint(), **own, **worded}

    def _index(self, sample_id: str) -> int:
        split, _, digits = sample_id.partition("-")
        if split != self.split or not digits.isdecimal() or int(digits) >= self.count:
            raise UserError(
                f"datasets/scenes/scenes.py: found sample id {sample_id!r}; wanted {self.split}-00000 "
                f"to {self.split}-{self.count - 1:05d}. Correct the id, `split` or `count`."
            )
        return int(digits)


def _instances(canvas: Canvas) -> Iterator[tuple[str, Mask]]:
    """Class and visible pixels of each region of which enough is visible, in the order of drawing."""
    for number, region in enumerate(canvas.regions, 1):
        mask = canvas.mask(number)
        visible = int(np.count_nonzero(mask))
        # The canvas has four pixels for each of the image's.
        if visible >= MIN_AREA * mask.size and 4 * visible >= MIN_VISIBLE * canvas.whole_area[number]:
            yield region.category, mask


def _positive(name: str, value: int, least: int = 1) -> int:
    if value < least:
        raise UserError(f"datasets/scenes/scenes.py: found {name}={value}; wanted at least {least}. Correct `{name}`.")
    return value
