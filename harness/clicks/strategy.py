"""The input and output of a click rule, and the random generator that it draws from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from harness.masks.region import Region
from harness.plugins.failures import DeviceLost, blamed, contained, described, is_device_lost
from harness.plugins.parameters import arguments, with_defaults
from harness.plugins.registry import entry, find
from harness.structures import Click, Instance, Mask, Sample, UserError


class NoClickError(ValueError):
    """A strategy finds no pixel for its click, such as one off an object that fills the image."""


class ClickRuleError(Exception):
    """A strategy failed on an instance, or did not return clicks on its image; the text names the strategy."""


@dataclass(frozen=True, eq=False)
class Situation:
    """The facts that a click rule may use to choose the clicks of one round.

    Attributes:
        sample: The image's instances and ignored pixels.
        instance: The instance that is meant; its mask holds at least one pixel.
        clicks: The clicks of earlier rounds, in order.
        predicted: The method's mask after them, bool (h, w); before the first round the instance's `initial`, if any.
        rng: A random generator, seeded for this instance, this draw and this round.
        draw: The number of this prompt among several of the same instance, from 0.
        partner: The other object that the click must lie in, for a rule that is registered with `pairs`; else None.
        known: The region of the instance's mask, if the caller has it. It saves a search of the whole image for the
            mask's box.
    """

    sample: Sample
    instance: Instance
    clicks: tuple[Click, ...]
    predicted: Mask | None
    rng: np.random.Generator
    draw: int = 0
    partner: Instance | None = None
    known: Region | None = None

    @cached_property
    def truth(self) -> Region:
        """The instance's region."""
        return self.known or Region(self.instance.cropped or self.instance.mask)

    def counted(self, pixels: Mask) -> Mask:
        """The pixels that no metric ignores."""
        ignored = self.sample.ignore
        return pixels if ignored is None else pixels & ~ignored


Strategy = Callable[..., tuple[Click, ...]]
"""(situation, **the strategy's own options from the config) -> the clicks to add, equally many in every round.

Raises `NoClickError` where there is no pixel for one of them, `UserError` where options do not fit each other.
"""


def click_rng(
    seed: int, dataset: str, sample_id: str, instance_id: str, number: int, draw: int = 0
) -> np.random.Generator:
    """The generator of one instance's round: the same in every process, on every machine, in any order."""
    # Python's own `hash` differs from process to process, and with one generator for all instances the clicks would
    # depend on the order of the work. So each round has a generator of its own, seeded by a hash of its names. The
    # separator keeps ("a", "1b") and ("a1", "b") apart. Draw 0 adds nothing to the key, so its clicks are the same as
    # in runs without draws.
    parts = [str(seed), dataset, sample_id, instance_id, str(number)]
    key = "\x1f".join(parts + [str(draw)] * (draw > 0))
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


@dataclass(frozen=True, eq=False)
class ClickRule:
    """A strategy with its options, which is called for one instance after another.

    It is looked up once, and its clicks a round are counted once: a look-up takes 0.6 ms, longer than most strategies.

    Attributes:
        name: The strategy's name.
        options: The strategy's options.
    """

    name: str
    options: Mapping[str, Any]

    @cached_property
    def function(self) -> Strategy:
        """The strategy itself."""
        return find("clicks", self.name)

    @cached_property
    def a_round(self) -> int:
        """How many clicks it adds each round; raises what `clicks_a_round` raises."""
        return clicks_a_round(self.name, self.options)

    def clicks(self, at: Situation) -> tuple[Click, ...]:
        """The clicks of an instance's next round, as Python's own numbers.

        Raises:
            NoClickError: The strategy finds no pixel for one of the clicks.
            ClickRuleError: It fails, or returns anything but a tuple of `a_round` clicks at whole pixels of the image.
        """
        try:
            wanted = self.a_round
        except UserError as error:
            raise ClickRuleError(str(error)) from error
        made = self._made(at)
        if not isinstance(made, tuple) or len(made) != wanted:
            found = f"{len(made)} clicks" if isinstance(made, tuple) else type(made).__name__
            raise ClickRuleError(f"{self.name} returned {found}; wanted a tuple of {wanted}.")
        return tuple(_on_image(self.name, click, at.sample.size) for click in made)

    def _made(self, at: Situation) -> Any:
        """The strategy's return value, not checked yet."""
        try:
            with contained():
                return self.function(at, **self.options)
        except NoClickError:
            raise
        except Exception as error:
            if is_device_lost(error):
                raise DeviceLost(described(error)) from error
            raise ClickRuleError(f"{self.name} failed with {described(error)}") from error


def _on_image(name: str, click: Any, size: tuple[int, int]) -> Click:
    """A click on an image of (h, w), with NumPy's numbers turned into Python's: indices of arrays are NumPy's.

    Raises:
        ClickRuleError: It is no click on the image.
    """
    if not isinstance(click, Click):
        raise ClickRuleError(f"{name} returned {type(click).__name__} in place of a click; wanted harness.Click.")
    (height, width), (x, y) = size, (click.x, click.y)
    whole = all(isinstance(value, Integral) and not isinstance(value, bool) for value in (x, y))
    if not (whole and 0 <= x < width and 0 <= y < height and isinstance(click.positive, bool | np.bool_)):
        at = f"({x!r}, {y!r})" if isinstance(click.positive, bool | np.bool_) else repr(click)
        raise ClickRuleError(
            f"{name} clicked at {at}; wanted whole numbers, x from 0 to {width - 1} and y from 0 to {height - 1}, and "
            "positive True or False."
        )
    return Click(int(x), int(y), bool(click.positive))


def asks_for_pairs(name: str) -> bool:
    """Whether a strategy clicks where two objects overlap; an instance then has one prompt for each such object."""
    return entry("clicks", name).options.get("pairs") is not None


def options_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy's options as JSON values: those that are given, and the defaults of all others."""
    return dict(json.loads(json.dumps(with_defaults(find("clicks", name), given), default=str)))


def clicks_a_round(name: str, options: Mapping[str, Any]) -> int:
    """How many clicks a strategy adds each round; raises what `signs_of_a_round` raises."""
    return len(signs_of_a_round(name, options))


def signs_of_a_round(name: str, options: Mapping[str, Any]) -> tuple[bool, ...]:
    """Whether each click of a strategy's first round is positive, found by calling it on a made-up image.

    Raises:
        UserError: It does not take these options, they contradict each other, or they need more pixels than the image
            has; or the strategy raises, or returns no clicks.
    """
    if _replays(name):
        return (True,)
    made = _tried(name, options)
    if not (isinstance(made, tuple) and made and all(isinstance(click, Click) for click in made)):
        raise UserError(f"{name}: returned {made!r}; wanted a tuple of at least one Click.")
    return tuple(bool(click.positive) for click in made)


def draws_differ(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a strategy makes other clicks for another draw; raises what `clicks_a_round` raises."""
    # Four draws on one image: a rule that draws at random repeats itself four times with next to no probability.
    return bool(_replays(name)) or len({_tried(name, options, draw) for draw in range(4)}) > 1


def completed(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy's options with all that rows depend on: a strategy that replays a file adds the file's hash.

    Raises:
        UserError: There is no such file, or it has no clicks.
    """
    replays = _replays(name)
    return dict(replays(**options) if replays else options)


def _replays(name: str) -> Callable[..., Mapping[str, Any]] | None:
    """The function that checks and hashes the file of a strategy that replays clicks; None for other strategies."""
    found: Callable[..., Mapping[str, Any]] | None = entry("clicks", name).options.get("replays")
    return found


def _tried(name: str, options: Mapping[str, Any], draw: int = 0) -> tuple[Click, ...]:
    """The clicks of a strategy on a made-up image of two objects."""
    rule = find("clicks", name)
    arguments(rule, name, options, "click options")
    left, right = np.zeros((2, 48, 64), bool)
    left[8:40, 4:28] = right[8:40, 36:60] = True
    instances = (Instance("left", left, "object"), Instance("right", right, "object"))
    sample = Sample("made up", np.zeros((48, 64, 3), np.uint8), instances)
    # A partner that overlaps the object, for the rules that click into two at once.
    whole = Instance("whole", left | right, "pair")
    at = Situation(sample, instances[0], (), None, np.random.default_rng(draw), draw, whole)
    with blamed(f"{name} cannot be tried"):
        try:
            made: tuple[Click, ...] = rule(at, **options)
        except NoClickError as error:
            raise UserError(
                f"{error} It was tried on an image of 48 x 64 pixels with two objects; ask for less."
            ) from error
    return made
