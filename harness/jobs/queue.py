"""What is left of one method's work: shards that no worker has, and what becomes of those on which one died.

A worker that dies does not say what of. It works on a shard's samples in order, a few at a time, so the one that killed
it, if one did, is among the first. These are tried again in halves, which other workers take:

    a b c d e f g h    a worker dies on this shard; two batches of two are suspect
    a b c d | e f g h  the suspects are cut off; the rest waits as it is
    a b     done       this half was innocent
    c d     dies       so this half is halved again
    c       dies       alone, for the first time: tried once more
    d       done
    c       dies       for the second time: given up; the scheduler writes failed rows

So n suspects cost about log2(n) + 2 workers, and no image but the one that kills. A worker that something else ended
(its node was switched off, Ray freed memory for another process) says nothing of the image: its shard is tried again as
it is. Only where that happens OUTSIDE_DEATHS times to one shard is it taken for a death by the shard's own work, for an
image may be what fills the memory. A shard of several jobs (the variants of a method) is halved by its images first and
then by its jobs: only the variant that kills loses rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from harness.jobs.jobs import Shard
from harness.jobs.worker import Outcome

T = TypeVar("T")

IN_FLIGHT = 2
"""Shards a worker has at once, so that it never waits for the driver."""

MOST_SAMPLES = 4096
"""In one shard, so that its message stays small."""

LEASES_SUSPECTED = 2
"""A worker died among the first samples of its shard: as many as two workers did before they wrote what they had."""

OUTSIDE_DEATHS = 5
"""How often workers at one shard may be ended from outside before the shard is suspect."""

FIRST_SUSPECTED = 8
"""How many samples that is taken to be before any worker has written."""


class Waiting:
    """The shards of one method, in the order in which they are handed out.

    Args:
        size: How many samples a worker gets at most; None divides what is left fairly among the workers.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.shards: deque[Shard] = deque()
        self.done_at_once: dict[str, int] = {}  # job's key -> samples that a worker did before it last wrote

    def __bool__(self) -> bool:
        return bool(self.shards)

    @property
    def pieces(self) -> int:
        """Among how many workers the shards may be divided."""
        # Rounded up. Without a size any sample may be a piece of its own: 5 samples keep up to 5 workers busy.
        return sum(-(-len(shard.sample_ids) // (self.size or 1)) for shard in self.shards)

    def take(self, workers: int) -> Shard:
        """The next shard: a part of a long one, smaller where less is left, so that all workers end together."""
        shard = self.shards.popleft()
        # What is left, cut for all places that workers have: with 2 workers, of 2 shards each, a quarter of it. So
        # parts shrink as the work runs out, and no worker ends with a long shard while the others are idle:
        #
        #    100 left    parts of 25, 19, 14, 11, 8, 6, 5, 3, 3, 2, 1, 1, 1, 1
        fair = -(-len(shard.sample_ids) // (IN_FLIGHT * workers))
        shard, rest = shard.split(min(self.size or fair, MOST_SAMPLES))
        if rest:
            self.shards.appendleft(rest)
        return shard

    def done(self, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        """A worker did a shard, or some of it: what it left is handed out next."""
        self.done_at_once |= {outcome.job: outcome.samples for outcome in outcomes}
        if left := outcomes[0].left:
            self.shards.appendleft(replace(shard, sample_ids=left))

    def died(self, shards: Iterable[Shard], outside: bool = False) -> Shard | None:
        """A worker died on the first of its shards, which is tried again in halves. The others wait as they are.

        Args:
            shards: The shards that it had.
            outside: Whether something else than the work ended it; then the first is tried again as it is.

        Returns:
            What is given up, if anything: one image of one job, on which two workers died.
        """
        suspect, *innocent = shards
        if outside and suspect.outside < OUTSIDE_DEATHS:
            self.shards.extendleft([*innocent, replace(suspect, outside=suspect.outside + 1)])
            return None
        done_at_once = self.done_at_once.get(suspect.jobs[0].facts.key, FIRST_SUSPECTED)
        suspect, rest = suspect.split(LEASES_SUSPECTED * done_at_once)
        # All go to the front, where the next worker finds them: a killer is settled while there is work for the others.
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
