"""Chooses as many images of a run as a given time allows, estimated from the times of its methods so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.jobs.jobs import Job
from harness.jobs.plan import planned
from harness.jobs.requirements import untrained
from harness.jobs.subset import Asked, in_order
from harness.running.one_run import Watcher, run
from harness.statistics.costs import encodings_ms
from harness.statistics.final_clicks import ASKED
from harness.storage.store import Store, store_of

PROBE = 4
"""Images of each data set that a run computes first where it has no rows of a method yet."""


@dataclass(frozen=True)
class Speed:
    """The times of a job, in seconds of one worker.

    Attributes:
        image_s: Seconds for an image, without its instances.
        instance_s: Seconds for an instance, with all its clicks.
        instances: The mean number of instances in an image, for images whose number is not known.
    """

    image_s: float
    instance_s: float
    instances: float

    def seconds(self, instances: int | None) -> float:
        """The time that an image takes, by its number of instances; None takes the mean number."""
        return self.image_s + self.instance_s * (self.instances if instances is None else instances)


@dataclass(frozen=True)
class Affordable:
    """The images that a budget pays for.

    Attributes:
        config: The run's config, limited to the images that are taken unless these are all.
        images: How many of the `of` images are taken.
        seconds: The time of the taken images that had no rows before, those that were measured included.
        workers: How many workers work at once.
    """

    config: RunConfig
    images: int
    of: int
    seconds: float
    workers: int


def within(
    config: RunConfig, budget_s: float, watcher: Watcher, address: str | None = None, runs: str | None = None
) -> Affordable:
    """Take as many images as a budget allows, from the beginning of the stratified order.

    The speeds are measured in the run's rows. If a method has no rows on a data set yet, all methods first compute the
    first images of every data set. This work is not lost: these images are also the first of the part.

    Args:
        config: The config of the whole run.
        budget_s: Seconds of the evaluation, by the clock; images that have all their rows cost nothing. Trainings and
            the loading of methods come on top.
        watcher: As in `run`.
        address: As in `run`.
        runs: As in `run`.

    Raises:
        UserError: As in `run`.
    """
    order, store = in_order(config), store_of(config.run, runs)
    jobs = planned(config, untrained(config))
    done = {job.facts.key: store.done(job.facts) for job in jobs}
    first = [one for entry in config.datasets for one in _of(order, label(entry))[:PROBE]]
    # A job without any row has no speed yet. Its first images are run now, without tables; missing trainings, too.
    if not all(done.values()):
        run(_of_images(config, first).model_copy(update={"tables": ()}), watcher, address, runs)
        jobs = planned(config)
    speeds = {job.facts.key: _speed(store, job) for job in jobs}
    workers = 1 if config.workers.executor == "local" else _workers(config, address)
    total = sum(_cost(one, jobs, speeds, done) for one in first)
    taken = dict.fromkeys(first)
    for one in order:
        if one in taken:
            continue
        total_s = total + _cost(one, jobs, speeds, done)
        # The first image that does not fit ends the part, even if a smaller one further behind would still fit: a part
        # is always a beginning of the order, so that the part of a larger budget contains that of a smaller one.
        if total_s > budget_s * workers:
            break
        total, taken[one] = total_s, None
    part = config if len(taken) == len(order) else _of_images(config, list(taken))
    return Affordable(part, len(taken), len(order), total / workers, workers)


def _workers(config: RunConfig, address: str | None) -> int:
    from harness.cluster.capacity import at_once  # Ray, which a run in one process does without

    return at_once(config, address)


def _of(order: Sequence[Asked], dataset: str) -> list[Asked]:
    return [one for one in order if one.dataset == dataset]


def _of_images(config: RunConfig, images: Sequence[Asked]) -> RunConfig:
    """The config for these images alone; every data set must have at least one of them."""
    only = {name: tuple(one.sample_id for one in _of(images, name)) for name in {one.dataset for one in images}}
    return config.model_copy(update={"only": only})


def _cost(one: Asked, jobs: Sequence[Job], speeds: Mapping[str, Speed], done: Mapping[str, set[str]]) -> float:
    """Seconds of one worker that an image will take: the sum over the jobs that have no rows of it."""
    lacking = [job.facts.key for job in jobs if job.facts.dataset == one.dataset]
    return sum(speeds[key].seconds(one.instances) for key in lacking if one.sample_id not in done.get(key, ()))


def _speed(store: Store, job: Job) -> Speed:
    """The times of a job so far, by those in its rows and by the whole time of its workers."""
    # The rows time the method alone: 1000 images with 0.20 s in `encode_ms` and `segment_ms` for each. The workers'
    # notes in the manifest time everything: 0.30 s an image. So both times are multiplied by 0.30 / 0.20 = 1.5.
    rows = store.rows([job.facts], {job.facts.dataset: store.done(job.facts)})
    once = rows.drop_duplicates([*ASKED, "click_index"])  # Each ranking has a row, and all of them have the same time.
    images, instances = max(1, rows["image_id"].nunique()), len(rows[ASKED[:3]].drop_duplicates())
    encode = float(encodings_ms(rows).sum()) / 1000
    segment = float(np.nansum(once["segment_ms"].astype(float))) / 1000
    starts = [start.get("peaks", {}).get(job.facts.made_of, {}) for start in store.manifest().get("starts", ())]
    spent = sum(own.get("spent_ms", 0) for own in starts) / 1000
    noted = sum(own.get("images", 0) for own in starts)
    alone = (encode + segment) * noted / images
    # The notes may cover fewer images than the rows (an older start left none), so the method's time is scaled to as
    # many images as were noted. Decoding, scoring and writing come on top: 1.5 times as much with the smallest
    # networks.
    factor = spent / alone if alone and spent else 1.0
    return Speed(factor * encode / images, factor * segment / max(1, instances), instances / images)
