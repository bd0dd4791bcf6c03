"""A data set whose names are said otherwise than it prints them, and a saliency that keeps what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from harness.plugins.interfaces import Dataset, Saliency
from harness.structures import Instance, Sample

MASKS = np.zeros((2, 32, 48), bool)
MASKS[0, 4:20, 2:18] = MASKS[1, 18:30, 22:46] = True


class Screens(Dataset):
    """VOC's "tvmonitor" beside a cat, which has words of its own in the second image."""

    name = "screens"
    classes = ("cat", "pottedplant", "tvmonitor")

    def sample_ids(self) -> list[str]:
        return ["a", "b", *"cdefgh"]

    def load(self, sample_id: str) -> Sample:
        own = "the left one" if sample_id == "b" else ""
        instances = (
            Instance(f"{sample_id}/0", MASKS[0], "tvmonitor", True),
            Instance(f"{sample_id}/1", MASKS[1], "cat", True, text=own),
        )
        return Sample(sample_id, np.full((32, 48, 3), ord(sample_id), np.uint8), instances)


class Heard(Saliency):
    """A ramp for every text.

    Attributes:
        asked: Each text with the names that it was contrasted with, by all that was built in this process.
    """

    asked: ClassVar[set[tuple[str, tuple[str, ...]]]] = set()

    def features(self, images: Sequence[np.ndarray]) -> list[Any]:
        return [image.shape[:2] for image in images]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
        self.asked.update((text, tuple(vocabulary)) for text in texts)
        ramp = np.linspace(0, 1, features[1], dtype=np.float32)
        return np.broadcast_to(ramp, (len(texts), *features)).copy()
