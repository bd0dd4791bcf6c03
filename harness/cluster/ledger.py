"""Keeps the reports of the workers of a training on Ray, in an actor that outlives them.

The actor's process imports this file. It must not import torch or Ray Train, which would take seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.structures import UserError

if TYPE_CHECKING:
    from harness.training.one_rank import Progress

RESTARTS = 5
"""The deaths of workers that a training survives; at the next one it ends."""


class Ledger:
    """An actor to which the workers of a training report, and which tells new workers if the training was given up."""

    def __init__(self) -> None:
        self.reported: list[Progress] = []
        self.begun = False
        self.reason: Exception | None = None
        self.furthest = 0
        self.deaths: Counter[int] = Counter()
        self.deaths_here: Counter[int] = Counter()

    def report(self, progress: Progress) -> None:
        """Rank 0 has come this far."""
        self.reported.append(progress)
        if progress.step > self.furthest:
            self.furthest = progress.step
            self.deaths_here.clear()

    def loader_died(self, rank: int, reason: str) -> None:
        """Note that a loader of a worker died; give the training up if that does not look like chance.

        It is no chance if the same worker lost one before and the training came no further since, as with an image that
        is too large for the memory; or if it loses them again and again, as with a leak. If the machine is short of
        memory, all workers lose theirs together, so deaths are counted by worker.
        """
        #    rank 0 loses a loader at step 40          1 here, 1 in all: another start
        #    the new start reports step 60             it came further: 0 here, 1 in all
        #    rank 0 loses one again, at step 70        1 here, 2 in all: another start
        #    and again, with no report after 60        2 here: given up, for the same would come again
        self.deaths[rank] += 1
        self.deaths_here[rank] += 1
        if self.deaths_here[rank] > 1 or self.deaths[rank] > RESTARTS:
            self.give_up(UserError(reason))

    def begin(self) -> Exception | None:
        """Note that a worker begins; returns the reason why it should not, or None."""
        self.begun = True
        return self.reason

    def news(self) -> tuple[list[Progress], bool]:
        """The reports since the last call, and whether any worker has begun."""
        reported, self.reported = self.reported, []
        return reported, self.begun

    def give_up(self, reason: Exception) -> None:
        """Note an error that would only come again at another start; the first one is kept."""
        self.reason = self.reason or reason

    def given_up(self) -> Exception | None:
        """The reason why the training was given up; None while it was not."""
        return self.reason
