"""Makes the clicks of a training example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from harness.clicks import Situation, click_rng, clicks_a_round
from harness.clicks.strategy import ClickRule, asks_for_pairs
from harness.plugins.registry import find
from harness.structures import Instance, Sample, UserError

from ...shared.channels import Channels


@dataclass(frozen=True)
class Clicking:
    """A simulator's clicks, one for each of a network's click channels.

    Attributes:
        channels: The network's channels.
        strategy: The simulator.
        options: The simulator's options.
        fixed: Whether an instance has the same clicks in every epoch; else every draw has new ones.
        sets: How many sets of fixed clicks an instance has; each draw takes one at random.

    Raises:
        UserError: There is no such simulator, or it makes another number of clicks.
    """

    channels: Channels
    strategy: str
    options: Mapping[str, Any]
    fixed: bool
    sets: int

    def __post_init__(self) -> None:
        where = "methods/learners/prompted_deeplab.py"
        wanted = self.channels.positive_clicks + self.channels.negative_clicks
        made = clicks_made(self.strategy, self.options, where)
        if made != wanted:
            raise UserError(
                f"{where}: {self.strategy} with click_options={dict(self.options)} makes {made} clicks; wanted "
                f"{wanted}, one for each channel. Correct `click_options`, `positive_clicks` or `negative_clicks`."
            )

    @cached_property
    def _rule(self) -> ClickRule:
        return ClickRule(self.strategy, self.options)

    def clicks(self, sample: Sample, instance: Instance, rng: np.random.Generator) -> Int[np.ndarray, "c 2"]:
        """x, y in pixels of the image, in the order of the channels."""
        # Fixed clicks come from a generator of their own, made from the ids and the number of the set alone: the same
        # in every epoch, process and start. The seed is 0, whatever the recipe's, so that two seeds compare on equal
        # clicks.
        draw = int(rng.integers(self.sets)) if self.sets > 1 else 0
        if self.fixed:
            rng = click_rng(0, "training", sample.id, instance.id, 1, draw)
        made = self._rule.clicks(Situation(sample, instance, (), None, rng, draw))
        return np.array([(click.x, click.y) for click in self.channels.arranged(made)])


def clicks_made(strategy: str, options: Mapping[str, Any], where: str) -> int:
    """How many clicks a learner's simulator makes in a round.

    Raises:
        UserError: There is no such simulator, it takes no such options, or it clicks into two objects at once.
    """
    find("clicks", strategy, f"{where}, strategy")
    if asks_for_pairs(strategy):
        raise UserError(
            f"{where}, strategy: found {strategy}, which clicks into two objects at once; wanted a simulator for one "
            "object, since a training example has one. The paper's is paper/v1."
        )
    try:
        return clicks_a_round(strategy, options)
    except UserError as error:
        raise UserError(f"{where}, click_options: {error}") from error
