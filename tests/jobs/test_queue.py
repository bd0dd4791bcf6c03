"""What is left when workers die, without any worker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.wording import Text
from harness.evaluation.protocol import Protocol
from harness.jobs.jobs import Job, Shard
from harness.jobs.queue import (
    FIRST_SUSPECTED,
    IN_FLIGHT,
    LEASES_SUSPECTED,
    MOST_SAMPLES,
    OUTSIDE_DEATHS,
    Waiting,
    halves,
)
from harness.jobs.worker import Outcome
from harness.storage.manifest import JobFacts

IDS = tuple("abcdefghijkl")


def job(label: str) -> Job:
    facts = JobFacts(label, "toys", {}, {})
    protocol = Protocol("r", 0, Clicks(), Text(), ("iou",))
    return Job(facts, MethodEntry(name="m", label=label, variant_of="m"), Plugin(name="toys"), (), protocol)


JOBS = tuple(map(job, ("one", "two", "three")))


def outcomes(shard: Shard, done: int) -> list[Outcome]:
    left = shard.sample_ids[done:]
    return [Outcome(job.facts.key, done, 2 * done, 0, "", 0.1, left=left) for job in shard.jobs]


def test_what_is_left_takes_as_long_as_what_is_done() -> None:
    waiting = Waiting(4)
    waiting.shards.append(Shard(JOBS, IDS))
    assert waiting.left_s == math.inf, "nothing is done yet"
    shard = waiting.take(1)
    waiting.done(shard, outcomes(shard, 2))  # 2 images of three jobs in 0.1 s, all jobs together
    assert waiting.left_s == pytest.approx(10 * 0.05), "the two that were not done wait again"


def worked(
    waiting: Waiting, kills: Callable[[str, str], bool], lease: int = 3, workers: int = 2
) -> tuple[Counter[tuple[str, str]], list[tuple[str, str]], int]:
    """How often each image of each job was done, which of them were given up, and how many workers died.

    Workers take turns; each has two shards at once, does `lease` images of the first, or dies of it.
    """
    done, given_up, deaths = Counter[tuple[str, str]](), list[tuple[str, str]](), 0
    while waiting:
        held = [waiting.take(workers) for _ in range(IN_FLIGHT) if waiting]
        first, *others = held
        now = first.sample_ids[:lease]
        if any(kills(one.facts.method, image) for one in first.jobs for image in now):
            deaths += 1
            if lost := waiting.died(held):
                given_up += [(one.facts.method, image) for one in lost.jobs for image in lost.sample_ids]
            continue
        waiting.shards.extendleft(others)
        done.update((one.facts.method, image) for one in first.jobs for image in now)
        waiting.done(first, outcomes(first, len(now)))
    return done, given_up, deaths


def waiting_for(jobs: Sequence[Job], ids: Sequence[str] = IDS, size: int | None = None) -> Waiting:
    made = Waiting(size)
    made.shards.append(Shard(tuple(jobs), tuple(ids)))
    return made


def everything(*but: tuple[str, str]) -> Counter[tuple[str, str]]:
    return Counter((one.facts.method, image) for one in JOBS for image in IDS if (one.facts.method, image) not in but)


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("lease", [1, 3, 12])
def test_without_deaths_all_is_done_once(size: int | None, lease: int) -> None:
    assert worked(waiting_for(JOBS, size=size), lambda *_: False, lease) == (everything(), [], 0)


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("lease", [1, 3, 12])
@pytest.mark.parametrize("image", ["a", "f", "l"])
@pytest.mark.parametrize("own", ["one", "two", "three"])
def test_a_variant_that_kills_on_an_image_loses_that_alone(size: int | None, lease: int, image: str, own: str) -> None:
    done, given_up, deaths = worked(waiting_for(JOBS, size=size), lambda *at: at == (own, image), lease)
    assert (done, given_up) == (everything((own, image)), [(own, image)])
    assert deaths <= 9


def test_an_image_that_kills_whoever_asks_is_lost_to_all() -> None:
    done, given_up, deaths = worked(waiting_for(JOBS), lambda _, image: image == "e")
    lost = [(one.facts.method, "e") for one in JOBS]
    assert (done, sorted(given_up)) == (everything(*lost), sorted(lost))
    assert deaths <= 12


def test_what_kills_once_is_done_after_all() -> None:
    killed: list[str] = []

    def once(_: str, image: str) -> bool:
        return image == "e" and not killed and not killed.append(image)  # type: ignore[func-returns-value]

    assert worked(waiting_for(JOBS), once) == (everything(), [], 1)


def test_one_image_of_one_job_is_given_up_at_the_second_death() -> None:
    waiting = waiting_for(JOBS[:1], "a")
    assert waiting.died([waiting.take(1)]) is None
    again = waiting.take(1)
    assert again == Shard(JOBS[:1], ("a",), deaths=1)
    assert (waiting.died([again]), bool(waiting)) == (again, False)


def test_an_end_from_outside_says_nothing_of_the_shard_until_it_is_the_rule() -> None:
    waiting = waiting_for(JOBS[:1], "ab")
    other = Shard(JOBS[1:], ("z",))
    for number in range(OUTSIDE_DEATHS):
        held = waiting.take(1)
        assert waiting.died([held, other], outside=True) is None
        assert list(waiting.shards)[:2] == [Shard(JOBS[:1], held.sample_ids, outside=number + 1), other]
        waiting.shards.remove(other)
    assert waiting.died([replace(waiting.take(1), sample_ids=("a",))], outside=True) is None
    assert waiting.take(1) == Shard(JOBS[:1], ("a",), deaths=1, outside=OUTSIDE_DEATHS)


def test_halves_are_all_of_a_shard_by_images_and_of_one_image_by_jobs() -> None:
    whole = halves(Shard(JOBS, ("a", "b", "c"), deaths=1))
    assert [(half.jobs, half.sample_ids, half.deaths) for half in whole] == [(JOBS, ("a",), 0), (JOBS, ("b", "c"), 0)]
    alone = halves(Shard(JOBS, ("a",), deaths=1))
    assert [(half.jobs, half.sample_ids, half.deaths) for half in alone] == [
        (JOBS[:1], ("a",), 0),
        (JOBS[1:], ("a",), 0),
    ]


def test_a_death_is_looked_for_where_the_worker_was() -> None:
    waiting = waiting_for(JOBS, [str(number) for number in range(1000)], size=1000)
    half = LEASES_SUSPECTED * FIRST_SUSPECTED // 2
    assert waiting.died([waiting.take(1)]) is None
    assert [len(shard.sample_ids) for shard in waiting.shards] == [half, half, 1000 - 2 * half]
    taken = waiting.take(1)
    waiting.done(taken, outcomes(taken, 3))
    assert waiting.shards[0].sample_ids == taken.sample_ids[3:]
    assert waiting.died([Shard(JOBS, IDS)]) is None
    assert [len(shard.sample_ids) for shard in waiting.shards][:3] == [3, 3, 6]


def test_a_worker_gets_its_share_and_never_too_much() -> None:
    ids = [str(number) for number in range(100_000)]
    assert len(waiting_for(JOBS, ids).take(2).sample_ids) == MOST_SAMPLES
    assert len(waiting_for(JOBS, ids[:100]).take(5).sample_ids) == 10
    assert len(waiting_for(JOBS, ids[:100], 7).take(5).sample_ids) == 7
    assert (waiting_for(JOBS, ids[:100], 7).pieces, waiting_for(JOBS, ids[:100]).pieces) == (15, 100)
