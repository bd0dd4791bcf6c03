"""The pictures and prompts that the probes of a method use: three pictures, clicks into objects, and their words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np

from harness.clicks.deepest import deepest
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Click, Image, Instance, Mask, Prompt, Sample, UserError

PICTURES = 3
"""The number of pictures. Two would be enough to see one leak into the other; three also show a mixed-up order."""

PROMPTS = 3
"""The most objects of a picture that are clicked on; the largest ones."""

BORROWED = ("car", "house")
"""Words for the objects of a data set that has fewer than two."""

TOP, BOTTOM = 16, 112
"""The rows of a 128 x 128 scene that are kept. A square picture would hide that a method swaps height and width."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Pictures and prompts.

    Attributes:
        images: Pictures, uint8 (h, w, 3), RGB.
        prompts: The prompts on each picture; each has the clicks of a round, of which one is usual, and words.
        words: At least two different words.
    """

    images: tuple[Image, ...]
    prompts: tuple[tuple[Prompt, ...], ...]
    words: tuple[str, ...]

    def __iter__(self) -> Iterator[tuple[Image, tuple[Prompt, ...]]]:
        """Each picture with its prompts."""
        return zip(self.images, self.prompts, strict=True)


def of_scenes(words: Sequence[str] = (), signs: tuple[bool, ...] = (True,)) -> Questions:
    """Questions about scenes of the embedded benchmark, 96 x 128 pixels, which need no download.

    Args:
        words: The prompts' words, used in turn; by default the objects' class names.
        signs: Whether each click of a prompt is positive.
    """
    scenes: Dataset = parameters.build("datasets", "scenes", {"split": "test", "size": 128})
    samples = (_cropped(scenes.load(sample_id)) for sample_id in scenes.sample_ids()[:20])
    return of_samples(samples, scenes.classes, words, signs)


def of_samples(
    samples: Iterable[Sample],
    vocabulary: Sequence[str],
    words: Sequence[str] = (),
    signs: tuple[bool, ...] = (True,),
) -> Questions:
    """Questions about the first samples that show objects, with a click at the deepest point of each object.

    Args:
        samples: The samples.
        vocabulary: The data set's class names.
        words: The prompts' words, used in turn; by default the objects' own.
        signs: Whether each click of a prompt is positive; further ones are spread over the object, and beside it.

    Raises:
        UserError: There is no object, or `words` has no second one.
    """
    # Fewer than three pictures with objects are used again in turn, so that every probe has its second picture.
    asked = [(one.image, found) for one in samples if (found := _objects(one, signs))]
    pictures = list(islice(cycle(asked), PICTURES)) if asked else []
    if not pictures:
        raise UserError(
            "check: found no picture with an object to click on in the data set; wanted one. Choose another data set."
        )
    # The objects' own words come first; a data set of one class, or of none, borrows a second word.
    own = [one.text or one.category for _, found in pictures for one, _ in found]
    known = tuple(filter(None, dict.fromkeys(words or [*own, *vocabulary])))
    if words and len(known) < 2:
        raise UserError("check: found 1 word in --text; wanted two different ones: --text car --text house.")
    known = known if len(known) > 1 else tuple(dict.fromkeys([*known, *BORROWED]))
    said = cycle(words or [name or known[0] for name in own])
    prompts = tuple(
        tuple(Prompt(clicks, next(said), vocabulary=tuple(vocabulary)) for _, clicks in found) for _, found in pictures
    )
    return Questions(tuple(image for image, _ in pictures), prompts, known)


def _objects(sample: Sample, signs: tuple[bool, ...]) -> list[tuple[Instance, tuple[Click, ...]]]:
    """The largest objects of a sample, with a round of clicks, the first positive one deep inside each."""
    known = [one for one in sample.instances if one.cropped is not None and one.cropped.size == sample.size]
    found = [(one, point) for one in known if (point := deepest(one.mask))]
    # "Largest" by depth, the distance of the click from the outline: a long thin object may have more pixels, but a
    # method that is a pixel off would miss it, and the probes are about other faults.
    found.sort(key=lambda pair: -pair[1].squared)
    return [(one, _round(one.mask, Click(point.x, point.y), signs)) for one, point in found[:PROMPTS]]


def _round(mask: Mask, deep: Click, signs: tuple[bool, ...]) -> tuple[Click, ...]:
    """A click for each sign: the first positive one is `deep`, the others are spread over pixels of their kind."""
    clicks: list[Click] = []
    for positive in signs:
        alike = sum(one.positive == positive for one in clicks)
        if positive and not alike:
            clicks.append(deep)
            continue
        ys, xs = np.nonzero(mask == positive)
        place = (alike + 1) * len(ys) // (signs.count(positive) + 1)
        # An object that fills its picture has no pixel beside it.
        clicks.append(Click(int(xs[place]), int(ys[place]), positive) if len(ys) else replace(deep, positive=positive))
    return tuple(clicks)


def _cropped(sample: Sample) -> Sample:
    """The middle rows of a scene."""
    instances = tuple(replace(one, mask=one.mask[TOP:BOTTOM]) for one in sample.instances)
    return Sample(sample.id, sample.image[TOP:BOTTOM].copy(), tuple(one for one in instances if one.mask.any()))
