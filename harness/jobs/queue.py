"""The remaining work of one method: shards that no worker has, and shards on which a worker died, to be tried again.

A worker that dies gives no reason. It works on a shard's samples in order, a few at a time. So if a sample killed it,
that sample is among the first, and these are tried again in halves by other workers:

    a b c d e f g h    a worker dies on this shard; two batches of two are suspect
    a b c d | e f g h  the suspects are cut off; the rest waits as it is
    a b     done       this half was innocent
    c d     dies       so this half is halved again
    c       dies       alone, for the first time: tried once more
    d       done
    c       dies       for the second time: given up; the scheduler writes failed rows

So n suspects cost about log2(n) + 2 workers, and only the image that kills is lost. If something else ended the worker
(its node was switched off, or Ray freed memory for another process), the images are not suspect, and the shard is tried
again unchanged. After OUTSIDE_DEATHS such deaths at one shard it is treated as suspect, since one of its images may
fill the memory. A shard of several jobs (the variants of a method) is halved by its images first and then by its jobs:
only the variant that kills loses rows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from harness.jobs.jobs import Shard
from harness.jobs.worker import Outcome

T = TypeVar("T")

IN_FLIGHT = 2
"""How many shards a worker has at once, so that it never waits for the driver."""

MOST_SAMPLES = 4096
"""The most samples in one shard, so that its message stays small."""

LEASES_SUSPECTED = 2
"""How many samples of a dead worker's shard are suspect, in units of the work between two writes.

A worker writes after each unit, so the sample that killed it should be in the first one. The second allows for units of
different length.
"""

OUTSIDE_DEATHS = 5
"""The number of times that workers may be ended from outside at one shard before the shard is suspect."""

FIRST_SUSPECTED = 8
"""The size of a unit in samples, before any worker has written one."""


class Waiting:
    """The shards of one method, in the order in which they are handed out.

    Args:
        size: How many samples a worker gets at most; None divides the remaining samples fairly among the workers.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.shards: deque[Shard] = deque()
        self.done_at_once: dict[str, int] = {}  # job's key -> samples that a worker did before it last wrote
        self.samples, self.spent_s = 0, 0.0  # What workers did so far, and how long they took, added up.

    def __bool__(self) -> bool:
        return bool(self.shards)

    @property
    def pieces(self) -> int:
        """How many workers could share the waiting shards, each with a piece."""
        # Rounded up. Without a size any sample may be a piece of its own: 5 samples keep up to 5 workers busy.
        return sum(-(-len(shard.sample_ids) // (self.size or 1)) for shard in self.shards)

    @property
    def left_s(self) -> float:
        """How long one worker would take for the waiting shards, by the samples that are done; inf if none are."""
        pace_s = self.spent_s / self.samples if self.samples else math.inf
        return pace_s * sum(len(shard.sample_ids) for shard in self.shards)

    def take(self, workers: int) -> Shard:
        """The next shard. A long one is cut, into smaller parts as work runs out, so that all workers end together."""
        shard = self.shards.popleft()
        # Each part is the remaining work divided by all places of the workers: with 2 workers that have 2 shards each,
        # a quarter. So parts shrink as the work runs out, and no worker ends with a long shard while others are idle:
        #
        #    100 left    parts of 25, 19, 14, 11, 8, 6, 5, 3, 3, 2, 1, 1, 1, 1
        fair = -(-len(shard.sample_ids) // (IN_FLIGHT * workers))
        shard, rest = shard.split(min(self.size or fair, MOST_SAMPLES))
        if rest:
            self.shards.appendleft(rest)
        return shard

    def done(self, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        """Note that a worker did a shard, or some of it; the rest of it is handed out next."""
        self.done_at_once |= {outcome.job: outcome.samples for outcome in outcomes}
        self.samples += outcomes[0].samples
        self.spent_s += outcomes[0].seconds
        if left := outcomes[0].left:
            self.shards.appendleft(replace(shard, sample_ids=left))

    def died(self, shards: Iterable[Shard], outside: bool = False) -> Shard | None:
        """Note that a worker died on the first of its shards: that one is tried again in halves, the others unchanged.

        Args:
            shards: The shards that it had.
            outside: Whether something other than the work ended it; then the first is tried again unchanged.

        Returns:
            One image of one job on which two workers died, which is given up; None if nothing is.
        """
        suspect, *innocent = shards
        if outside and suspect.outside < OUTSIDE_DEATHS:
            self.shards.extendleft([*innocent, replace(suspect, outside=suspect.outside + 1)])
            return None
        done_at_once = self.done_at_once.get(suspect.jobs[0].facts.key, FIRST_SUSPECTED)
        suspect, rest = suspect.split(LEASES_SUSPECTED * done_at_once)
        # All go to the front of the queue. So the killer is found early, while other workers still have other work.
        self.shards.extendleft([*innocent, *([rest] if rest else [])])
        if len(suspect.sample_ids) > 1 or len(suspect.jobs) > 1:
            self.shards.extendleft(halves(suspect))
        elif suspect.deaths == 0:
            self.shards.appendleft(replace(suspect, deaths=1))
        else:
            return suspect
        return None


def halves(shard: Shard) -> list[Shard]:
    """A shard as two: of half the images each or, if it has one image, of half the jobs each."""
    if len(shard.sample_ids) > 1:
        return [replace(shard, sample_ids=part, deaths=0) for part in _in_two(shard.sample_ids)]
    return [replace(shard, jobs=part, deaths=0) for part in _in_two(shard.jobs)]


def _in_two(parts: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    middle = len(parts) // 2
    return parts[:middle], parts[middle:]
