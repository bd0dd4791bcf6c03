"""Writes the pictures of a report page: a sample of the images, made smaller, with their ground truth."""

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
"""Most pixels of the longer side, of the picture under the masks and of the one in the list."""

Tell = Callable[[str, int, int], None]
"""Called with the name of the step, how many of its items are done, and how many there are; 0, 0 if unknown."""


def silent(_what: str, _done: int, _of: int) -> None:
    """Reports nothing."""


def write_pictures(
    source: Source, images: Sequence[tuple[str, str]], folder: Path, tell: Tell = silent
) -> dict[tuple[str, str], Picture]:
    """Write `<n>.jpg` and `<n>s.jpg` of every image that can be read.

    Args:
        source: The run, which loads the images by its data sets.
        images: Pairs of a data set's label and an image id.
        folder: The folder for the pictures.
        tell: Called after each picture.

    Returns:
        (data set's label, image id) -> the picture; without those that could not be read.
    """
    # Files are named by number: an image id may hold slashes, or letters that a file system or an address cannot.
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
