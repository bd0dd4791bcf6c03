"""Twelve probes of a data set: whether a run and its workers can use its ids, images, masks and classes.

The first eight look at the content: classes, ids, images, masks. The last four compare two readings of the same images,
since a run reads each image again and again: in every worker, for every method, and after a restart.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Any

import numpy as np

from harness.checking.contents import contents, contents_elsewhere
from harness.checking.probes import BrokenError, Outcome, Probe, outcomes
from harness.evaluation.pictures import ground_truth, loaded
from harness.jobs.listing import check_classes, checked_ids
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Instance, Sample, UserError

CLASSES, IDS, LOADS, MASKS, TWICE, FINGERPRINT = (
    "classes",
    "sample ids",
    "every image loads",
    "masks",
    "loading twice",
    "fingerprint",
)


@dataclass(frozen=True, eq=False)
class Looked:
    """A data set and the images of it that the probes look at.

    Attributes:
        name: The plugin's name.
        params: The constructor's arguments, by which workers build it.
        dataset: The data set, built from them.
        limit: The most images that are looked at. They are spread over the whole list.
    """

    name: str
    params: Mapping[str, Any]
    dataset: Dataset
    limit: int

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids of the images that are looked at."""
        # Evenly spaced and with both ends: 4 of 10 are numbers 0, 3, 6 and 9. The first ones alone would often be of
        # one class or one folder.
        ids = checked_ids(self.dataset, "the data set")
        places = np.linspace(0, len(ids) - 1, min(self.limit, len(ids)))
        return tuple(ids[round(float(place))] for place in places)

    @cached_property
    def samples(self) -> list[Sample]:
        """The loaded samples, each checked as a run checks it."""
        return [_loaded(self.dataset, sample_id) for sample_id in self.ids]

    def instances(self) -> Iterator[tuple[Sample, Instance]]:
        """Every instance of the images that are looked at."""
        return ((sample, one) for sample in self.samples for one in sample.instances)


def check_dataset(name: str, params: Mapping[str, Any], limit: int = 20) -> Iterator[Outcome]:
    """Run the twelve probes.

    Args:
        name: The plugin's name, as a config writes it.
        params: The constructor's arguments, as `parameters.resolve` returns them.
        limit: The most images that are looked at.

    Raises:
        UserError: The data set cannot be built.
    """
    return outcomes(PROBES, Looked(name, params, parameters.build("datasets", name, params), limit))


def classes(looked: Looked) -> str:
    """`classes` are the names of its categories, each once."""
    _plainly(check_classes, looked.dataset)
    names = looked.dataset.classes
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise BrokenError(f"`classes` has {', '.join(twice)} twice; wanted every name once.")
    return f"{len(names)}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"


def sample_ids(looked: Looked) -> str:
    """The ids are texts, each occurs once, and every call returns them in the same order.

    A run cuts this list into shards, and a limit takes its beginning. If a second object listed the ids in another
    order, as it does where they come from a set or an unsorted folder, the same config would choose other images.
    """
    first = _plainly(checked_ids, looked.dataset)
    again = parameters.build("datasets", looked.name, looked.params).sample_ids()
    if list(first) != list(looked.dataset.sample_ids()):
        raise BrokenError("sample_ids() returns another list when it is called again.")
    if list(first) != list(again):
        raise BrokenError("sample_ids() returns another list when the data set is built again.")
    return f"{len(first)}, the first {first[0]!r}"


def every_image_loads(looked: Looked) -> str:
    """`load` returns the sample of the given id, with an image uint8 (h, w, 3)."""
    # Loading is what can fail here: the property `samples` raises for the first image that a run would refuse. An
    # instance in `broken` is no failure, since the data set declared it itself; a run writes a failed row for it.
    broken = [f"{sample.id}: {reason}" for sample in looked.samples for reason in sample.broken.values()]
    told = f"; {len(broken)} instances will be failed rows, the first {broken[0]}" if broken else ""
    return f"{len(looked.samples)} looked at{told}"


def masks(looked: Looked) -> str:
    """Masks are bool, at the image's size."""
    for sample, one in looked.instances():
        # `cropped` is None where the mask is no bool array of two axes, so this finds a wrong type as well as a size.
        cropped = one.cropped
        if cropped is None or cropped.size != sample.size:
            found = (
                f"{one.mask.dtype} {one.mask.shape}" if isinstance(one.mask, np.ndarray) else type(one.mask).__name__
            )
            raise BrokenError(
                f"{sample.id}, instance {one.id}: the mask is {found}; wanted bool {sample.size}, the image's."
            )
    return f"{sum(1 for _ in looked.instances())}, bool, at their images' (h, w)"


def no_empty_instance(looked: Looked) -> str:
    """Every instance has a pixel that counts, and there is at least one instance.

    A pixel counts if the mask holds it and the sample's `ignore` does not. Without one there is no place to click on
    and nothing to score.
    """
    empty = []
    for sample, one in looked.instances():
        try:
            ground_truth(one, sample)
        except ValueError:
            empty.append(f"{sample.id}, instance {one.id}")
    if empty:
        raise BrokenError(f"{len(empty)} instances have no pixel that counts, the first: {empty[0]}.")
    if not any(looked.instances()):
        raise BrokenError(f"none of the {len(looked.samples)} images looked at has an instance.")
    return "each has a pixel that counts"


def instance_ids(looked: Looked) -> str:
    """Instance ids are unique in the data set, not only in their image.

    Rows of two methods are paired by the instance's id. If every image counted from 0, the pairs would mix images.
    """
    owner: dict[str, str] = {}
    for sample, one in looked.instances():
        if one.id in owner:
            raise BrokenError(f"the id '{one.id}' is in image {owner[one.id]} and in {sample.id}.")
        owner[one.id] = sample.id
    return f"{len(owner)}, each once"


def categories(looked: Looked) -> str:
    """Every instance's category is one of `classes`."""
    known = set(looked.dataset.classes)
    for sample, one in looked.instances():
        if one.category not in known:
            raise BrokenError(f"{sample.id}, instance {one.id}: category {one.category!r} is none of `classes`.")
    return f"{len({one.category for _, one in looked.instances()})} of {len(known)} classes looked at"


def listing(looked: Looked) -> str:
    """`list_instances` and `load` agree on ids, seen and texts, and on categories if the listing has them.

    By the listing a run chooses images, counts the planned instances, and writes the failed rows of an image that does
    not load. An instance that only one of the two has would be counted wrongly, or be lost without a failed row.
    """
    for sample in looked.samples:
        listed = {one.id: one for one in looked.dataset.list_instances(sample.id)}
        # A broken instance is listed as well: its failed row must be expected.
        given = {one.id for one in sample.instances} | set(sample.broken)
        if set(listed) != given:
            other = sorted(set(listed) ^ given)
            raise BrokenError(f"{sample.id}: {', '.join(other)} is listed and not loaded, or loaded and not listed.")
        for one in sample.instances:
            told, own = listed[one.id], (one.category, one.seen, one.text)
            if (told.category or one.category, told.seen, told.text) != own:
                raise BrokenError(f"{sample.id}, instance {one.id}: listed as {told}; loaded with {own}.")
    return "agrees with load"


def loading_twice(looked: Looked) -> str:
    """The same id gives the same pixels, instances and masks, from this object and from a second one."""
    first = contents(looked.dataset, looked.ids)
    _same(first, contents(looked.dataset, looked.ids), "is another one when it is loaded again")
    # The second object loads the images in the opposite order. A data set that draws from one generator for all images,
    # or that keeps something of the image before, gives the same sequence twice in the same order; reversed it shows.
    another = parameters.build("datasets", looked.name, looked.params)
    _same(first, contents(another, looked.ids[::-1]), "is another one from a data set that is built again")
    return "equal"


def fingerprint(looked: Looked) -> str:
    """The fingerprint is JSON, and stays equal as long as the data stay equal.

    A run stores it and refuses to resume on data with another one. A fingerprint with a time of now, or with `id()`,
    would make every resume fail.
    """
    found = dict(looked.dataset.fingerprint())
    try:
        json.dumps(found)
    except TypeError as error:
        raise BrokenError(f"fingerprint() returned what JSON cannot hold: {error}.") from None
    again = parameters.build("datasets", looked.name, looked.params)
    for other in (looked.dataset.fingerprint(), again.fingerprint()):
        if different := sorted(key for key in {*found, *other} if found.get(key) != other.get(key)):
            raise BrokenError(f"fingerprint() returns another value of {', '.join(different)} when it is called again.")
    return ", ".join(found)


def pickles(looked: Looked) -> str:
    """A pickled copy loads the same images. The loaders of a training get the data set in this way."""
    # Three images suffice: if pickling loses something, such as an open file or a table, it is lost for every image.
    pickled = pickle.dumps(looked.dataset)
    _same(contents(looked.dataset, looked.ids[:3]), contents(pickle.loads(pickled), looked.ids[:3]), "is another one")
    return f"{len(pickled):,} bytes"


def another_process(looked: Looked) -> str:
    """Another process builds the data set by its name, as a worker does, and finds the same data."""
    # A spawned process starts Python anew, unlike a forked one. So it has another random hash of texts, which changes
    # the order of sets, and no variable that a script set in this process. Workers are in the same situation.
    own = contents(looked.dataset, looked.ids[:3])
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        there = process.submit(contents_elsewhere, looked.name, dict(looked.params), looked.ids[:3]).result()
    _same(own, there, "is another one in another process")
    return "the same ids, fingerprint and images"


PROBES = (
    Probe(
        CLASSES, classes, "Give the class `classes = ('cup', 'plate')`, or set it in the constructor: texts, each once."
    ),
    Probe(
        IDS,
        sample_ids,
        "Return a list of texts in a fixed order: use sorted(...) on what comes from a folder, a set or a dictionary.",
    ),
    Probe(
        LOADS,
        every_image_loads,
        "Return Sample(sample_id, image, instances), the image uint8 (h, w, 3) in RGB and `instances` a tuple. What "
        "cannot be read of one instance goes into `broken`: its id -> why.",
        (IDS,),
    ),
    Probe(
        MASKS,
        masks,
        "Return bool masks of the loaded image's (h, w): `mask > 0`. If you resize or turn the image, do the same to "
        "its masks.",
        (LOADS,),
    ),
    Probe(
        "no empty instance",
        no_empty_instance,
        "Leave out an instance without pixels, or put it into `broken` with the reason: nobody can click on it.",
        (LOADS, MASKS),
    ),
    Probe(
        "instance ids",
        instance_ids,
        "Put the sample's id before the instance's: f'{sample_id}/{number}'. Rows and clicks are found by this id.",
        (LOADS,),
    ),
    Probe("categories", categories, "Name the category in `classes`, as it is written there.", (CLASSES, LOADS)),
    Probe(
        "listing",
        listing,
        "Let `list_instances` and `load` read the same annotations; if the class has no `list_instances` of its own, "
        "the listing is made from `load`.",
        (LOADS,),
    ),
    Probe(
        FINGERPRINT,
        fingerprint,
        "Return counts, versions, and sizes or times of files; not the current time, an id() or a path on this "
        "machine.",
        (IDS,),
    ),
    Probe(
        TWICE,
        loading_twice,
        "Draw nothing in `load`, or draw from np.random.default_rng of the sample's id; give a new array each time.",
        (LOADS, FINGERPRINT),
    ),
    Probe(
        "pickle",
        pickles,
        "Keep no open file, lock, lambda or connection on `self`: open it in `load`, or leave it out in __getstate__.",
        (LOADS, TWICE),
    ),
    Probe(
        "another process",
        another_process,
        "Nothing may depend on the process: hash(), the order of a set, the current folder, or a global variable "
        "that a script sets. The module must be importable: put its folder on PYTHONPATH.",
        (LOADS, TWICE),
    ),
)
"""The probes in the order in which they run. A later one may name earlier ones that it depends on."""


def _plainly(check: Any, dataset: Dataset) -> Any:
    """Call one of the run's own checks; turn its refusal into the failure of a probe."""
    try:
        return check(dataset, "the data set")
    except UserError as error:
        raise BrokenError(str(error)) from None


def _loaded(dataset: Dataset, sample_id: str) -> Sample:
    # A run never stops for an image: `loaded` returns an empty one, with the reason on each instance, where `load`
    # failed. Here that is the finding.
    picture = loaded(dataset, sample_id)
    if picture.sample.image.size == 0:
        raise BrokenError(f"{sample_id}: {picture.failed[0][1]}" if picture.failed else f"{sample_id}: an empty image.")
    return picture.sample


def _same(one: Mapping[str, str], other: Mapping[str, str], said: str) -> None:
    for what, value in one.items():
        if other.get(what) != value:
            raise BrokenError(f"{what} {said}.")
