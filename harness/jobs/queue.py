"""What is left of one method's work: shards that no worker has, and what becomes of those on which one died."""

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
FIRST_SUSPECTED = 8
"""Where a worker died: among the first samples of its shard, as many as it does at once, or so."""


class Waiting:
    """The shards of one method, in the order in which they are handed out.

    Args:
        size: Samples in what a worker gets, at most; None divides what is left fairly.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.shards: deque[Shard] = deque()
        self.done_at_once: dict[str, int] = {}  # job's key -> samples in its last shard: where a death may lie

    def __bool__(self) -> bool:
        return bool(self.shards)

    @property
    def pieces(self) -> int:
        """Among how many workers it may be divided."""
        return sum(-(-len(shard.sample_ids) // (self.size or 1)) for shard in self.shards)

    def take(self, workers: int) -> Shard:
        """The next shard: a part of a long one, smaller where less is left, so that all workers end together."""
        shard = self.shards.popleft()
        fair = -(-len(shard.sample_ids) // (IN_FLIGHT * workers))
        shard, rest = shard.split(min(self.size or fair, MOST_SAMPLES))
        if rest:
            self.shards.appendleft(rest)
        return shard

    def done(self, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        """A worker did a shard, or some of it: the rest comes next."""
        self.done_at_once |= {outcome.job: outcome.samples for outcome in outcomes}
        if left := outcomes[0].left:
            self.shards.appendleft(replace(shard, sample_ids=left))

    def died(self, shards: Iterable[Shard]) -> Shard | None:
        """A worker died on the first of its shards: it is tried again in halves, the others as they are.

        Returns:
            What is given up: one image of one job on which two workers died.
        """
        suspect, *innocent = shards
        done_at_once = self.done_at_once.get(suspect.jobs[0].facts.key, FIRST_SUSPECTED)
        suspect, rest = suspect.split(LEASES_SUSPECTED * done_at_once)
        self.shards.extendleft([*innocent, *([rest] if rest else [])])
        if len(suspect.sample_ids) > 1 or len(suspect.jobs) > 1:
            self.shards.extendleft(halves(suspect))
        elif suspect.deaths == 0:
            self.shards.appendleft(replace(suspect, deaths=1))
        else:
            return suspect
        return None


def halves(shard: Shard) -> list[Shard]:
    """A shard as two, to find out which image kills and, once it is alone, in whose hands."""
    if len(shard.sample_ids) > 1:
        return [replace(shard, sample_ids=part, deaths=0) for part in _in_two(shard.sample_ids)]
    return [replace(shard, jobs=part, deaths=0) for part in _in_two(shard.jobs)]


def _in_two(parts: tuple[T, ...]) -> tuple[tuple[T, ...], tuple[T, ...]]:
    middle = len(parts) // 2
    return parts[:middle], parts[middle:]
