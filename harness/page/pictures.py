"""The pictures that a report page holds: a sample of the images, small, with their ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import PIL.Image

from harness import atomic
from harness.figures.source import Source
from harness.masks import rle
from harness.page.explorer import Picture
from harness.structures import Sample

SIDE, THUMB_SIDE = 800, 96
"""Pixels of the longer side: of the picture under the masks, and of the one in the list."""

Tell = Callable[[str, int, int], None]
"""Called with what is being made, how many of it are done, and of how many: 0 of 0 where that is unknown."""


def silent(_what: str, _done: int, _of: int) -> None:
    """Reports nothing."""


def write_pictures(
    source: Source, images: Sequence[tuple[str, str]], folder: Path, tell: Tell = silent
) -> dict[tuple[str, str], Picture]:
    """Write `<n>.jpg` and `<n>s.jpg` of every image that can be read.

    Args:
        source: Knows the data sets.
        images: (data set's label, image id).
        folder: Where the pictures go.
        tell: Told of each picture.

    Returns:
        (data set's label, image id) -> what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, (dataset, image_id) in enumerate(images):
        sample = source.sample(dataset, image_id)
        if sample is not None:
            _write(sample, folder, str(number))
            truths = {instance.id: rle.encode(instance.mask) for instance in sample.instances}
            written[dataset, image_id] = Picture(str(number), truths)
        tell("pictures", number + 1, len(images))
    return written


def _write(sample: Sample, folder: Path, name: str) -> None:
    picture = PIL.Image.fromarray(sample.image)
    for side, ending, quality in ((SIDE, "", 86), (THUMB_SIDE, "s", 80)):
        small = picture.copy()
        small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
        with atomic.replacing(folder / f"{name}{ending}.jpg") as file:
            small.save(file, "JPEG", quality=quality)
