"""Draws the instances of a training step, by the seed and the step alone, and keeps their samples in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from harness.config.parts import label
from harness.config.recipe import Recipe
from harness.evaluation.pictures import ground_truth, read
from harness.plugins.failures import described, is_device_lost, lacks_memory
from harness.plugins.interfaces import Dataset
from harness.structures import Instance, Sample, UserError

KEPT_BYTES = 4 * 2**30
"""The most bytes of decoded samples that are kept in memory."""

WORDS = 2**32 - 1
"""The last part of the seed of a draw's words. `Generator.spawn` counts from 0, so it never reaches this number."""


@dataclass(frozen=True)
class Draw:
    """An instance that training may draw: the position of its data set, and its ids."""

    dataset: int
    sample_id: str
    instance_id: str
    category: str


class SampleCache:
    """Decoded samples, kept in memory since a training uses each many times; their masks are kept as bits.

    Args:
        datasets: The data sets of the samples.
        limit: The most bytes; beyond it the samples that came first are dropped.
    """

    def __init__(self, datasets: Sequence[Dataset], limit: int = KEPT_BYTES) -> None:
        self.datasets, self.limit, self.bytes = datasets, limit, 0
        self.kept: dict[tuple[int, str], PackedSample] = {}
        self.lock = threading.Lock()

    def sample(self, dataset: int, sample_id: str) -> Sample:
        """The sample, decoded at its first use.

        Raises:
            UserError: Its files cannot be read, or the data set's own code fails.
        """
        return self._packed(dataset, sample_id).sample()

    def without_masks(self, dataset: int, sample_id: str) -> Sample:
        """The sample with empty masks, which saves the time to unpack them."""
        return self._packed(dataset, sample_id).without_masks

    def held(self, dataset: int, sample_id: str) -> int:
        """The bytes that the sample takes while it is kept."""
        return self._packed(dataset, sample_id).bytes

    def _packed(self, dataset: int, sample_id: str) -> PackedSample:
        key = (dataset, sample_id)
        packed = self.kept.get(key)
        if packed is None:
            # Decoded outside of the lock, so that threads can decode at the same time. If two decode the same sample,
            # `_keep` drops the second.
            packed = PackedSample.packed(self._loaded(dataset, sample_id))
            with self.lock:
                self._keep(key, packed)
        return packed

    def _loaded(self, dataset: int, sample_id: str) -> Sample:
        try:
            return usable(read(self.datasets[dataset], sample_id))
        except UserError:
            raise
        except Exception as error:  # A data set of one's own may raise anything.
            if is_device_lost(error) or lacks_memory(error):
                raise
            told = str(error) if isinstance(error, OSError | ValueError) else f"{described(error)}."
            raise UserError(
                f"training: sample '{sample_id}' cannot be read: {told} Mend it; the same command again goes on."
            ) from error

    def _keep(self, key: tuple[int, str], packed: PackedSample) -> None:
        if key in self.kept:  # Another thread was faster.
            return
        self.kept[key] = packed
        self.bytes += packed.bytes
        # A dictionary keeps the order of insertion: the first key is the one that was kept longest.
        while self.bytes > self.limit and len(self.kept) > 1:
            self.bytes -= self.kept.pop(next(iter(self.kept))).bytes

    def forget(self) -> None:
        """Drop all samples, and from now on keep only the latest one."""
        with self.lock:
            self.kept, self.bytes, self.limit = {}, 0, 0

    def draws(self, seen_only: bool) -> list[Draw]:
        """Every instance that may be trained on."""
        return [
            Draw(position, sample_id, listed.id, listed.category)
            for position, dataset in enumerate(self.datasets)
            for sample_id in dataset.sample_ids()
            for listed in self._listed(position, dataset, sample_id)
            if listed.seen or not seen_only
        ]

    def _listed(self, position: int, dataset: Dataset, sample_id: str) -> Sequence[Any]:
        """A sample's instances as the data set lists them. If listing means loading, the cache loads, and keeps it."""
        if type(dataset).list_instances is Dataset.list_instances:
            return self.sample(position, sample_id).instances
        return dataset.list_instances(sample_id)


def usable(sample: Sample) -> Sample:
    """The sample, its instances without a mask to learn from among the broken ones.

    They are those that an evaluation fails (`evaluation.pictures.ground_truth`): the mask has another size than the
    image, or no pixel that counts.
    """
    instances, broken = [], dict(sample.broken)
    for instance in sample.instances:
        try:
            ground_truth(instance, sample)
            instances.append(instance)
        except ValueError as error:
            broken[instance.id] = str(error)
    return replace(sample, instances=tuple(instances), broken=broken)


@dataclass(frozen=True, eq=False)
class PackedSample:
    """A sample whose masks are bits, an eighth of the memory."""

    without_masks: Sample
    bits: tuple[UInt8[np.ndarray, " n"], ...]

    @classmethod
    def packed(cls, sample: Sample) -> PackedSample:
        """The sample, its masks packed."""
        nothing = np.zeros((0, 0), bool)
        # A mask of 480 x 640 takes 307 kB as bool and 38 kB as bits. The image itself takes 922 kB, so that seven
        # objects take 0.3 times as much as the pixels in place of 2.3 times.
        bits = tuple(np.packbits(instance.mask) for instance in sample.instances)
        bare = tuple(replace(instance, mask=nothing) for instance in sample.instances)
        return cls(replace(sample, instances=bare), bits)

    @property
    def bytes(self) -> int:
        """The memory of the image, the masks and the other arrays of the image's size, in bytes."""
        whole = (self.without_masks.ignore, *(instance.initial for instance in self.without_masks.instances))
        arrays = (self.without_masks.image, *self.bits, *(one for one in whole if one is not None))
        return sum(one.nbytes for one in arrays)

    def sample(self) -> Sample:
        """The sample, its masks unpacked."""
        instances = [
            self._whole(instance, bits) for instance, bits in zip(self.without_masks.instances, self.bits, strict=True)
        ]
        return replace(self.without_masks, instances=tuple(instances))

    def _whole(self, instance: Instance, bits: UInt8[np.ndarray, " n"]) -> Instance:
        # `packbits` fills the last byte with zeros; `count` leaves them out again.
        height, width = self.without_masks.size
        mask = np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)
        return replace(instance, mask=mask)


class Draws:
    """Draws the instances of a step: every category equally often, or every instance.

    A step's instances are drawn with replacement from all of them, by a generator made from (seed, step) alone. There
    is no epoch and no shuffled order, so a resumed training need not find its place in the data, and any process can
    draw step 5000 without the 4999 before it.

    Without `balance` every instance is as likely as any other. With it an instance's probability is proportional to one
    over the number of instances of its category. So all categories are equally likely, and so are the instances of one
    category:

        3 dogs, 1 cat     balance: false   dog, dog, dog, cat 1/4 each: dogs are 3/4 of the draws
                          balance: true    dog, dog, dog 1/6 each, cat 1/2: dogs and cats are half each
    """

    def __init__(self, draws: Sequence[Draw], recipe: Recipe) -> None:
        # A data set without a split has no seen category. Beside one with a split it would not be missed.
        held = {draw.dataset for draw in draws}
        empty = [label(entry) for position, entry in enumerate(recipe.datasets) if position not in held]
        if empty:
            which = "the data sets hold" if not draws else f"data set '{empty[0]}' holds"
            raise UserError(
                f"training: {which} no instance to train on"
                + (" of a seen category; set `classes: all` or choose a split." if recipe.classes == "seen" else ".")
            )
        self.draws, self.seed, self.size = draws, recipe.seed, recipe.batch
        counts = Counter(draw.category for draw in draws)
        weights = np.array([1 / counts[draw.category] if recipe.balance else 1.0 for draw in draws])
        self.shares = weights / weights.sum()

    def at(self, step: int) -> Iterator[tuple[Draw, np.random.Generator]]:
        """The step's draws, each with a generator of its own for clicks and augmentation.

        Each draw's generator is spawned from the step's. So an example is the same whichever process or thread makes
        it, and however many random numbers the other examples of the step use.
        """
        rng = np.random.default_rng((self.seed, step))
        picks = rng.choice(len(self.draws), size=self.size, p=self.shares)
        return zip((self.draws[pick] for pick in picks), rng.spawn(self.size), strict=True)

    def another(self, rng: np.random.Generator) -> Draw:
        """A draw in place of one that turned out to be unreadable."""
        return self.draws[rng.choice(len(self.draws), p=self.shares)]

    @property
    def categories(self) -> list[str]:
        """The categories that may be drawn, as far as the listings name them."""
        return sorted({draw.category for draw in self.draws} - {""})


def words_rng(rng: np.random.Generator) -> np.random.Generator:
    """The generator of a draw's words: the same at every call, without advancing the draw's own generator.

    So clicks and augmentation stay the same whether or not the text rule draws random numbers.
    """
    seeds: Any = rng.bit_generator.seed_seq
    return np.random.default_rng(np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, WORDS)))
