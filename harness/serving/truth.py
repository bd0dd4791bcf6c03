"""Compares a click and a mask with the ground truth, if a picture has any.

    3 objects lie under this click: tie, shirt, person      the smallest first
    the mask against each of the three                      IoU, and what the mask hit if that object was meant

Nobody says which object a click on the page means. So a mask is compared with each object that holds the click.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.masks.metrics import iou
from harness.masks.region import Region
from harness.serving.gallery import Shown
from harness.serving.views import mask_counts
from harness.structures import Click, Instance, Mask


def under(shown: Shown, clicks: Sequence[Click]) -> list[int]:
    """The positions of the objects that hold the first positive click, the smallest first."""
    # The smallest first, for a part lies in its whole: a click on the tie is also one on the person.
    first = next((click for click in clicks if click.positive), None)
    objects = shown.picture.objects
    return [] if first is None else sorted(objects.holding(first), key=lambda place: int(objects.areas[place]))


def truth(shown: Shown, clicks: Sequence[Click]) -> dict[str, Any]:
    """The objects under the first positive click, as JSON values; "known" is False without ground truth."""
    if not shown.picture.objects.regions:
        return {"known": False, "said": "", "under": []}
    found = list(_objects(shown, under(shown, clicks)))
    return {"known": True, "said": said([one["name"] for one in found]), "under": found}


def said(names: Sequence[str]) -> str:
    """`3 objects lie under this click: tie, shirt, person`."""
    if not names:
        return "No object of the ground truth lies under this click."
    count = "1 object lies" if len(names) == 1 else f"{len(names)} objects lie"
    return f"{count} under this click: {', '.join(names)}"


def _objects(shown: Shown, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    objects = shown.picture.objects
    for place in places:
        instance = objects.instances[place]
        yield {
            "id": instance.id,
            "name": instance.category,
            "words": words(shown, instance),
            "pixels": int(objects.areas[place]),
            "counts": mask_counts(instance.mask),
        }


def words(shown: Shown, instance: Instance) -> str:
    """An object's words, in the config's template: the data set's own words for it, or else its class name."""
    assert shown.wording is not None, "ground truth comes with a data set"
    own = instance.text or shown.wording.words.said(instance.category)
    return shown.wording.asked.template.replace("{}", own)


def against(shown: Shown, places: Sequence[int], mask: Mask) -> dict[str, dict[str, Any]]:
    """Object's id -> the mask's IoU with it, and the kind of hit if that object was meant."""
    if not places:
        return {}
    objects = shown.picture.objects
    predicted = Region(mask, shown.picture.sample.ignore)
    return {
        objects.instances[place].id: {
            "iou": iou(objects.regions[place], predicted),
            "hit": objects.hit(objects.instances[place], predicted),
        }
        for place in places
    }
