"""Orders a run's images so that the first n, for every n, are a stratified sample that holds all smaller ones.

Each stratum is spread evenly over the order, with a random start of its own (systematic sampling: Cochran, "Sampling
Techniques", 3rd edition, 1977, chapter 8). So the first 40 % of the images have about 40 % of each class, and over all
seeds every image comes early as often as any other.

    stratum    places of its images, from 0 to 1             the first 40 %
    cat (4)    0.10   0.35   0.60   0.85                     two of four
    dog (2)        0.20          0.70                        one of two
    tie (1)                 0.55                             none; with another seed it is there in 40 of 100
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.evaluation.pictures import listed
from harness.jobs.listing import listing_of

Stratum = tuple[str, bool | None]
"""A class, and whether it is seen."""


@dataclass(frozen=True)
class Asked:
    """An image of a run.

    Attributes:
        dataset: The data set's label.
        sample_id: The image's id.
        instances: How many instances it has; None if the image would have to be opened to count them.
    """

    dataset: str
    sample_id: str
    instances: int | None


def in_order(config: RunConfig) -> list[Asked]:
    """Every image of a run, of all data sets, in stratified order.

    An image's stratum is the rarest class in it, seen or unseen. If a data set must open its images to list their
    classes, all of them are one stratum. The order depends on the run's seed, not on the machine.

    Raises:
        UserError: A data set is not there, or its listing must be wrong.
    """
    placed: list[tuple[float, Asked]] = []
    for entry in config.datasets:
        listing = listing_of(entry, config.limit, config.only.get(label(entry), ()))
        classes: dict[str, list[Stratum]] = {one: [] for one in listing.sample_ids}
        for sample_id in listing.weights:
            classes[sample_id] = [(one.category, one.seen) for one in listed(listing.dataset, sample_id)]
        for place, sample_id in spread(classes, config.seed):
            placed.append((place, Asked(label(entry), sample_id, listing.weights.get(sample_id))))
    return [one for _, one in sorted(placed, key=lambda own: own[0])]


def spread(classes: Mapping[str, Sequence[Stratum]], seed: int) -> list[tuple[float, str]]:
    """Each sample with its place, from 0 to 1, sorted by place.

    Args:
        classes: Sample -> the strata of its instances.
        seed: The seed of the order.
    """
    sizes = Counter(one for own in classes.values() for one in own)
    strata: dict[Stratum, list[str]] = {}
    for sample_id, own in classes.items():
        rarest = min(own, key=lambda one: (sizes[one], str(one)), default=("", None))
        strata.setdefault(rarest, []).append(sample_id)
    places = []
    for stratum, members in strata.items():
        # Four members get the places (0 + b) / 4, (1 + b) / 4, (2 + b) / 4 and (3 + b) / 4, in random order, where b is
        # the stratum's own random number from 0 to 1. Without b, the first member of every stratum would come at 0:
        # rare classes would crowd the beginning.
        begins = _chance(seed, "stratum", *stratum)
        for rank, sample_id in enumerate(sorted(members, key=lambda one: _chance(seed, "sample", one))):
            places.append(((rank + begins) / len(members), sample_id))
    return sorted(places)


def _chance(*values: object) -> float:
    """A number from 0 to 1 that equal values always give, on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=7).digest()) / 2**56
