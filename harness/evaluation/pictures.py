"""One image of a data set with the instances that can be prompted: decoded once, encoded once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.evaluation import chance
from harness.evaluation.attempts import attempted
from harness.masks.destinations import Objects
from harness.masks.region import Region
from harness.plugins.failures import contained, described
from harness.plugins.interfaces import Dataset, Method
from harness.structures import NOT_LISTED, Instance, Listed, Sample


@dataclass(frozen=True, eq=False)
class Target:
    """An instance that can be prompted, with its region; all ways of asking share it."""

    instance: Instance
    truth: Region


@dataclass(eq=False)
class Picture:
    """An image, which is decoded once and encoded once for all prompts on it.

    Attributes:
        sample: The sample that the data set loaded; if it did not load, a sample with only an id. Its image is
            read-only: a method that writes on it would change it for later prompts.
        targets: The instances that can be prompted.
        failed: The instances that cannot be prompted, with the reason.
        objects: The targets' objects, by which the objects under a click and the one that a mask hit are found.
        state: The result of the method's `encode` for the image, or the exception that it raised.
        encode_ms: The time of `encode`; None before the image is encoded.
        retried: The reason why the first `encode` failed, if a second one succeeded; else "".
    """

    sample: Sample
    targets: Sequence[Target] = ()
    failed: Sequence[tuple[Instance | Listed, str]] = ()
    objects: Objects = field(default_factory=lambda: Objects(()))
    state: Any = None
    encode_ms: float | None = None
    retried: str = ""

    def __post_init__(self) -> None:
        self._sum = self._summed()

    @cached_property
    def categories(self) -> frozenset[str]:
        """The classes in the image, found once for all its instances."""
        return frozenset(instance.category for instance in self.sample.instances)

    def changed(self) -> bool:
        """Whether the image was changed since it was loaded; possible because torch ignores that an array is read-only.

        The sum of its machine words is compared, which takes 60 us for 640 x 480. A change that only moves whole words
        around is not noticed.
        """
        return self._summed() != self._sum

    def _summed(self) -> int:
        pixels = np.ascontiguousarray(self.sample.image).reshape(-1)
        # Eight bytes are added as one number, modulo 2^64: an eighth of the additions of a sum of bytes. If one byte
        # changes, so does the sum. A hash would miss less, but costs many times as much in every round.
        words = pixels[: pixels.size // 8 * 8].view(np.uint64)
        return int(words.sum()) + int(pixels[words.nbytes :].sum())


def loaded(dataset: Dataset, sample_id: str) -> Picture:
    """A sample's picture; if it does not load, all its listed instances are failed."""
    try:
        picture = prepared(read(dataset, sample_id))
        if picture.sample.broken:
            known = {one.id: one for one in listed(dataset, sample_id)}
            broken = [(known.get(id_, Listed(id_)), reason) for id_, reason in picture.sample.broken.items()]
            picture.failed = [*picture.failed, *broken]
        return picture
    except Exception as error:
        nothing = Sample(sample_id, np.zeros((0, 0, 3), np.uint8), ())
        reason = f"load: {described(error)}"
        return Picture(nothing, failed=[(one, reason) for one in listed(dataset, sample_id)])


def read(dataset: Dataset, sample_id: str) -> Sample:
    """The sample with this id, as the data set loads it.

    Raises:
        ValueError: The data set returned another sample, something else, or one without a list of instances.
    """
    with contained():
        sample = dataset.load(sample_id)
    if not isinstance(sample, Sample):
        raise ValueError(f"load('{sample_id}') returned {type(sample).__name__}; wanted harness.Sample.")
    if sample.id != sample_id:
        raise ValueError(f"load('{sample_id}') returned the sample {sample.id!r}; wanted that of the id asked for.")
    if not isinstance(sample.instances, Sequence):  # A generator would be empty after its first reader.
        found = type(sample.instances).__name__
        raise ValueError(f"load('{sample_id}') returned {found} as `instances`; wanted a tuple of harness.Instance.")
    return sample


def prepared(sample: Sample) -> Picture:
    """A loaded sample with a target for every instance that can be clicked and scored.

    Click rules get its sample, so the arrays of this sample are read-only, too.
    """
    ignore = None if sample.ignore is None else read_only(sample.ignore)
    sample = replace(sample, image=read_only(sample.image), ignore=ignore)
    targets: list[Target] = []
    unusable: list[tuple[Instance | Listed, str]] = []
    for instance in sample.instances:
        try:
            check_initial(instance, sample)
            targets.append(Target(instance, ground_truth(instance, sample)))
        except ValueError as error:
            unusable.append((instance, str(error)))
    return Picture(sample, targets, unusable, Objects((one.instance, one.truth) for one in targets))


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that refuses to be written on; the data set's own array stays writable for the data set."""
    view = array.view()
    view.flags.writeable = False
    return view


def check_initial(instance: Instance, sample: Sample) -> None:
    """Refuse a mask to start from that does not fit the image.

    Raises:
        ValueError: It is no bool array of the image's (h, w).
    """
    start = instance.initial
    if start is None or (isinstance(start, np.ndarray) and start.dtype == bool and start.shape == sample.size):
        return
    found = f"{start.dtype} {start.shape}" if isinstance(start, np.ndarray) else type(start).__name__
    raise ValueError(f"initial mask: {found}; wanted bool {sample.size}, the image's (h, w).")


def ground_truth(instance: Instance, sample: Sample) -> Region:
    """An instance's region.

    Raises:
        ValueError: Its mask does not fit the image, or has no pixel that counts.
    """
    cropped = instance.cropped
    if cropped is None or cropped.size != sample.size:
        mask = instance.mask
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f"ground truth: {found}; wanted bool {sample.size}, the image's (h, w).")
    region = Region(cropped, sample.ignore)
    if not region.area:
        raise ValueError("ground truth: no pixel that counts; wanted one at least.")
    return region


def listed(dataset: Dataset, sample_id: str) -> list[Listed]:
    """A sample's instances by its listing; if that fails, one instance that represents all."""
    try:
        with contained():
            return dataset.list_instances(sample_id)
    except Exception:
        return not_listed(sample_id)


def not_listed(sample_id: str) -> list[Listed]:
    """A stand-in for the instances of a sample that could not be listed."""
    return [Listed(f"{sample_id}{NOT_LISTED}")]


def encode(method: Method, pictures: Sequence[Picture], seed: int) -> None:
    """Encode the pictures that are not encoded yet, all at once; if that fails, each alone, keeping exceptions.

    The random generators are seeded from `seed` and the ids of the pictures that are encoded together.
    """

    def encoded(some: list[Picture]) -> list[Any]:
        chance.seed(seed, "encode", *(picture.sample.id for picture in some))
        return method.encode([picture.sample.image for picture in some])

    # The ways of asking come one after the other, and the first one encodes for all. An exception is kept as the state,
    # too, and `encode_ms` marks it as tried: a broken image is not encoded again for each way.
    fresh = [picture for picture in pictures if picture.encode_ms is None]
    started = time.perf_counter()
    states, failure = attempted(encoded, fresh)
    elapsed_ms = (time.perf_counter() - started) * 1000
    for picture, state in zip(fresh, states, strict=True):
        picture.state, picture.encode_ms = state, elapsed_ms / len(fresh)
        picture.retried = f"encode: {described(failure)}" if failure else ""
