"""Turns drawn instances into the batches of one worker, in this process; `harness.training.loaders` does so ahead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from harness.clicks import NoClickError
from harness.config.parts import Plugin
from harness.config.recipe import Recipe
from harness.config.wording import Text, Wording
from harness.plugins import parameters
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Dataset, Learner
from harness.structures import Image, Instance, Said, Sample, UserError
from harness.training.mistakes import defined, named
from harness.training.samples import KEPT_BYTES, Draw, Draws, SampleCache, words_rng

T = TypeVar("T")

_log = logging.getLogger(__name__)

Example = Mapping[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Drawn = list[tuple[Draw, np.random.Generator]]
Made = tuple[Draw, Example]
"""An example, with the draw that it was made from."""


@runtime_checkable
class Preparing(Protocol):
    """A learner that computes something for a step's images and texts together, before their examples are made."""

    def prepare(self, images: Sequence[Image], texts: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> None:
        """Compute and keep results that are faster for several images at once; each text comes with its vocabulary."""


@dataclass(frozen=True, eq=False)
class Batches:
    """The examples that one worker of several trains on at each step.

    A step's draws are cut into equal shares, one for each worker, and each share into `parts` of one forward pass each,
    in order. With 8 draws, 2 workers and 2 parts:

        draws      0 1 2 3 4 5 6 7
        worker 0  [0 1][2 3]
        worker 1          [4 5][6 7]

    Every worker draws the whole step, which is cheap, and takes its share: so workers need not exchange their draws.

    Attributes:
        rank: The worker's number.
        world: How many workers there are.
        parts: How many batches the worker's share is cut into.
        threads: How many threads make a step's examples.
        text: The rule for the words of the instances.
    """

    learner: Learner
    samples: SampleCache
    draws: Draws
    rank: int = 0
    world: int = 1
    parts: int = 1
    threads: int = 1
    text: Text = field(default_factory=Text)

    @cached_property
    def wordings(self) -> list[Wording]:
        """The wording of each data set, which puts its instances into words."""
        return [Wording(self.text, dataset.classes) for dataset in self.samples.datasets]

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`, on the CPU."""
        return map(self.at, range(first, end))

    def at(self, step: int) -> list[Batch]:
        """The batches of a step, on the CPU; the same however many threads make them.

        Raises:
            UserError: A sample cannot be read, or the learner makes no batch of them.
        """
        share = self._share(step)
        if isinstance(self.learner, Preparing):
            self._prepare(self.learner, share)
        made = self._each(self._example, share)
        # The parts of a training step are equally large, since the recipe's batch must be divisible. Of validation's
        # examples the last part holds what is left: 10 in 3 parts are 3, 3, 3 and 1.
        size = len(made) // self.parts
        return [self._stacked(made[start : start + size]) for start in range(0, len(made), size)]

    def _share(self, step: int) -> Drawn:
        size = self.draws.size // self.world
        return list(self.draws.at(step))[self.rank * size : (self.rank + 1) * size]

    def _prepare(self, learner: Preparing, share: Drawn) -> None:
        # Draws without an image or words are left out here in silence. `_example` meets them again, warns of them and
        # draws others; those few are then computed one by one.
        found = [one for one in self._each(self._shown, share) if one is not None]
        images, said = [image for image, _ in found], [said for _, said in found]
        with blamed(f"{named(self.learner)}: a step of {_called(share[0][0])} and others cannot be prepared"):
            learner.prepare(images, [one.text or "" for one in said], [one.vocabulary for one in said])

    def _shown(self, draw: Draw, rng: np.random.Generator) -> tuple[Image, Said] | None:
        """A draw's image and words; None if it has no words or is not there, which `_example` reports."""
        sample = self.samples.without_masks(draw.dataset, draw.sample_id)
        for instance in (one for one in sample.instances if one.id == draw.instance_id):
            try:
                said = self._said(draw, sample, instance, rng)
            except ValueError:
                return None
            return (sample.image, said) if said.text else None
        return None

    def _said(self, draw: Draw, sample: Sample, instance: Instance, rng: np.random.Generator) -> Said:
        """The words for an instance, by the same rule as in an evaluation (`evaluation.protocol.Way`).

        Raises:
            ValueError: The text rule has no words for it.
        """
        present = frozenset(one.category for one in sample.instances)
        return self.wordings[draw.dataset].said(instance, present, partial(words_rng, rng))

    def _each(self, make: Callable[[Draw, np.random.Generator], T], share: Drawn) -> list[T]:
        """`make` of every draw, in order."""
        if self.threads == 1:
            return [make(*drawn) for drawn in share]
        with ThreadPoolExecutor(self.threads, "example") as pool:
            return list(pool.map(lambda drawn: make(*drawn), share))

    def _example(self, drawn: Draw, rng: np.random.Generator) -> Made:
        """The learner's example of a draw; a draw that cannot be used is replaced by another one.

        A draw cannot be used if its files cannot be read, it cannot be clicked, or it has no words. The other one is
        drawn with the same generator, so that it is the same in every start of the training.

        Raises:
            UserError: None of the instances can be used, or the learner fails.
        """
        for draw in self._tries(drawn, rng):
            sample = self.samples.sample(draw.dataset, draw.sample_id)
            reason = sample.broken.get(draw.instance_id, "listed, but not in its sample")
            for instance in (one for one in sample.instances if one.id == draw.instance_id):
                try:
                    said = self._said(draw, sample, instance, rng)
                except ValueError as error:
                    reason = f"text: {error}"
                    continue
                with blamed(f"{named(self.learner)}: no example of {_called(draw)}"):
                    try:
                        return draw, self.learner.example(sample, instance, said, rng)
                    except NoClickError as error:
                        reason = str(error)
            _log.warning("training: instance %s is left out: %s", draw.instance_id, reason)
        raise UserError(f"training: found no readable instance ({draw.instance_id}: {reason}). Repair the data set.")

    def _tries(self, draw: Draw, rng: np.random.Generator) -> Iterator[Draw]:
        """A draw, and those to take in its place, one after the other, until one can be used."""
        # Some broken files must not end a training of days, and a data set of which nothing can be read must not keep
        # it trying for ever. So others are drawn as often as there are instances. If chance finds only broken ones, as
        # it does often where one of two is broken, each instance is tried in turn.
        yield draw
        yield from (self.draws.another(rng) for _ in self.draws.draws[1:])
        yield from self.draws.draws

    def _stacked(self, made: Sequence[Made]) -> Batch:
        try:
            return stacked([one for _, one in made])
        except MemoryError:
            raise
        except Exception as error:  # A learner may return anything in place of arrays.
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{named(self.learner)}: its examples do not stack to a batch. {told}. Found "
                f"{_unlike(made)}; wanted mappings to arrays of numbers, of the same names and shapes"
                f"{defined(type(self.learner).example)}."
            ) from error


def stacked(examples: Sequence[Example]) -> Batch:
    """Examples as one batch."""
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])) for key in examples[0]}


def _unlike(made: Sequence[Made]) -> str:
    """The first example, and the first that differs from it, if there is one."""
    forms = [(_called(draw), _form(one)) for draw, one in made]
    shown = [forms[0], *(one for one in forms if one[1] != forms[0][1])][:2]
    return " and ".join(f"{form} for {called}" for called, form in shown)


def _form(example: Example) -> str:
    if not isinstance(example, Mapping):
        return f"a {type(example).__name__}"
    arrays = {
        key: f"{getattr(one, 'dtype', type(one).__name__)} {getattr(one, 'shape', '')}" for key, one in example.items()
    }
    return "{" + ", ".join(f"{key}: {form.strip()}" for key, form in arrays.items()) + "}"


def _called(draw: Draw) -> str:
    return f"instance {draw.instance_id} of sample {draw.sample_id}"


def batches_of(
    recipe: Recipe, rank: int, world: int, device: torch.device, processes: int = 1, threads: int = 1
) -> Batches:
    """The batches of one worker, with a learner whose network is on the CPU.

    Args:
        recipe: The recipe of the whole training.
        rank: The worker's number.
        world: How many workers there are.
        device: The device on which the worker trains; its learner's other tensors on a GPU go to the same one.
        processes: Processes that share the memory for decoded images.
        threads: Threads that make a step's examples together.

    Raises:
        UserError: The data sets hold nothing to train on, or the learner learns from more than `classes: seen` allows.
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    learner: Learner = parameters.build("learners", recipe.learner.name, recipe.learner.params)
    if learner.learns_all and recipe.classes == "seen":
        raise UserError(
            f"training: found classes: seen; wanted `classes: all` for {named(learner)}, as it is set: it learns from "
            "all instances of an image, those of unseen classes, too."
        )
    samples = SampleCache(built(recipe.datasets), KEPT_BYTES // processes)
    draws = Draws(samples.draws(recipe.classes == "seen"), recipe)
    return Batches(learner, samples, draws, rank, world, recipe.accumulate, threads, recipe.text)


def built(entries: Sequence[Plugin]) -> list[Dataset]:
    """The data sets of a recipe."""
    return [parameters.build("datasets", entry.name, entry.params) for entry in entries]
