"""What the workers of a training on Ray report, kept by an actor that outlives them.

The actor's process imports this file, and would wait seconds for torch and Ray Train if it imported them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.structures import UserError

if TYPE_CHECKING:
    from harness.training.one_rank import Progress

RESTARTS = 5
"""The deaths of workers that a training survives."""


class Ledger:
    """An actor through which the workers of a training report, and learn that another start would be of no use."""

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
        """A loader of a worker died; the training is given up where that does not look like chance.

        It does not if the same worker lost one before and the training came no further since, as with an image that no
        memory suffices for, or if it loses them again and again, as with a leak. Workers lose theirs together when
        the machine is short of memory, so deaths are counted by worker.
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
        """A worker begins; returns why it should not."""
        self.begun = True
        return self.reason

    def news(self) -> tuple[list[Progress], bool]:
        """What was reported since the last call, and whether any worker has begun."""
        reported, self.reported = self.reported, []
        return reported, self.begun

    def give_up(self, reason: Exception) -> None:
        """Something happened that another start would only meet again."""
        self.reason = self.reason or reason

    def given_up(self) -> Exception | None:
        """Why further starts are of no use, if they are not."""
        return self.reason
