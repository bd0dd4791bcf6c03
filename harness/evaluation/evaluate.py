"""One shard in one plain process: sample ids in, records out. Knows no Ray and no disk.

An image is decoded and encoded once, in however many ways it is asked (`together`). Whatever fails - an image that does
not decode, an annotation, a method on one prompt - becomes failed records with the reason, one an instance, and the
rest goes on. So does an instance on which the strategy's click cannot be made, or of whose mask a metric has no number.
An instance that fails is asked no further clicks. What fails otherwise in a click strategy is a bug: it keeps its
traceback.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

from harness.clicks import STRATEGIES, NoClickError, Situation, click_rng
from harness.config.run_config import words_of
from harness.config.texts import RULES, Asked
from harness.evaluation import scoring
from harness.evaluation.attempts import segmented, timed
from harness.evaluation.pictures import Picture, encode, loaded
from harness.evaluation.protocol import Asking, Names, Protocol, facts, failed
from harness.plugins.failures import described
from harness.plugins.interfaces import Dataset, Method
from harness.structures import Click, Instance, Listed, Prediction, Prompt, Record, Sample

S = TypeVar("S")
T = TypeVar("T")

Answered = tuple[Sequence[str], list[list[Record]]]
"""Samples that are done, with the records of each evaluation."""

CHANGED = "the method changed its image; wanted it left as it was (work on a copy)."
"""Why a method is given no mask on an image any more, in this way of asking and in those that follow."""

TEXT_ROUND = 0
"""The round whose generator chooses a text; those of the clicks start at 1."""


@dataclass(eq=False)
class Work:
    """One picture under one protocol.

    Attributes:
        picture: Shared with the other protocols.
        asked: For what is still to be clicked.
        failed: What cannot be asked for, with the reason.
    """

    picture: Picture
    asked: list[Asking]
    failed: list[tuple[Instance | Listed, str]]


class Evaluation:
    """A method on a data set under a protocol."""

    def __init__(self, method: Method, dataset: Dataset, names: Names, protocol: Protocol) -> None:
        self.method, self.dataset, self.names, self.protocol = method, dataset, names, protocol
        said = getattr(method, "device", None)
        self.device = str(said or "cpu")
        # One core cannot decode while it computes: a second thread there only costs, half as much again in all.
        self.loads_ahead = not str(said).startswith("cpu")
        self.overlaps = said is not None and self.loads_ahead
        self.turn: AbstractContextManager[Any] = nullcontext()
        self.words = words_of(protocol.text)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The data set's classes in the words of the prompts."""
        template, said = self.protocol.text.template, self.words.said
        return tuple(template.replace("{}", said(name)) for name in self.dataset.classes)

    def records(self, sample_ids: Sequence[str]) -> Iterator[Record]:
        """Every instance's records, image by image."""
        for _, (records,) in together([self], sample_ids):
            yield from records

    def of(self, pictures: Sequence[Picture]) -> Iterator[Record]:
        """The records of one batch."""
        works = [self._work(picture) for picture in pictures]
        self._encode([work for work in works if work.asked])
        for work in works:
            for instance, reason in work.failed:
                yield self._failed(work.picture.sample.id, instance, reason)
        for number in range(1, self.protocol.clicks.max_clicks + 1):
            yield from self._round([work for work in works if work.asked], number)

    def _work(self, picture: Picture) -> Work:
        """Every target with its words; one for which the rule has none fails."""
        work = Work(picture, [], list(picture.failed))
        present = frozenset(instance.category for instance in picture.sample.instances)
        for target in picture.targets:
            try:
                work.asked.append(Asking(target, self._text(picture.sample.id, target.instance, present)))
            except ValueError as error:
                work.failed.append((target.instance, f"text: {error}"))
        return work

    def _text(self, sample_id: str, instance: Instance, present: frozenset[str]) -> str | None:
        asked, seed = self.protocol.text, self.protocol.seed
        rng = partial(click_rng, seed, self.names.dataset_plugin, sample_id, instance.object_id, TEXT_ROUND)
        at = Asked(instance, present, tuple(self.dataset.classes), self.words, rng)
        text = RULES[asked.rule](at)
        return None if text is None else asked.template.replace("{}", text)

    def _encode(self, works: Sequence[Work]) -> None:
        """Encode the pictures that no other protocol has asked of yet, and give up on those that cannot be."""
        with self.turn:
            encode(self.method, [work.picture for work in works])
        for work in works:
            if isinstance(work.picture.state, Exception):
                reason = f"encode: {described(work.picture.state)}"
                work.failed += [(asking.target.instance, reason) for asking in work.asked]
                work.asked = []

    def _round(self, works: Sequence[Work], number: int) -> Iterator[Record]:
        """Click, segment and score every target once; those without a mask, or with all their clicks, are done."""
        for work in works:
            yield from self._click(work, number)
        groups = [(work.picture.state, [self._prompt(asking) for asking in work.asked]) for work in works]
        with self.turn:
            answers, elapsed_ms = timed(lambda: segmented(self.method, groups))
        segment_ms = elapsed_ms / max(1, sum(len(work.asked) for work in works))
        for work, predictions in zip(works, answers, strict=True):
            if work.picture.changed():
                predictions = [ValueError(CHANGED)] * len(predictions)
            for asking, prediction in zip(work.asked, predictions, strict=True):
                yield from self._records(work.picture, asking, prediction, segment_ms)
            work.asked = [asking for asking in work.asked if asking.predicted is not None]

    def _click(self, work: Work, number: int) -> Iterator[Record]:
        """Make the round's clicks on every target; one on which they cannot be made fails."""
        sample, objects = work.picture.sample, work.picture.objects
        for asking in list(work.asked):
            instance = asking.target.instance
            try:
                asking.clicks += self._new_clicks(sample, asking, number)
            except NoClickError as error:
                work.asked.remove(asking)
                yield self._failed(sample.id, instance, f"clicks: {error}", asking)
            asking.place = asking.place or objects.place(instance, asking.clicks)

    def _new_clicks(self, sample: Sample, asking: Asking, number: int) -> tuple[Click, ...]:
        names, clicks, target = self.names, self.protocol.clicks, asking.target
        rng = click_rng(self.protocol.seed, names.dataset_plugin, sample.id, target.instance.object_id, number)
        at = Situation(sample, target.instance, asking.clicks, asking.predicted, rng, known=target.truth)
        return STRATEGIES[clicks.strategy](at, **clicks.options)

    def _prompt(self, asking: Asking) -> Prompt:
        return Prompt(asking.clicks, asking.text, asking.memory, self.vocabulary)

    def _records(
        self, picture: Picture, asking: Asking, prediction: Prediction | Exception, segment_ms: float
    ) -> Iterator[Record]:
        """A record a ranking, or a failed one; the first ranking's mask is `asking.predicted` if a round follows."""
        sample, target = picture.sample, asking.target
        asking.predicted = None
        try:
            if isinstance(prediction, Exception):
                raise prediction
            scoring.check(prediction, sample.size)
        except Exception as error:
            yield self._failed(sample.id, target.instance, f"segment: {described(error)}", asking)
            return
        if len(asking.clicks) < self.protocol.clicks.max_clicks:
            # A copy: the method may fill the same array with its next answer.
            taken = next(iter(scoring.choices(prediction).values()))
            asking.predicted = prediction.masks[taken].copy()
            asking.memory = prediction.memory[taken] if len(prediction.memory) else asking.predicted
        asked = facts(self.names, self.protocol, sample.id, target.instance, asking, self.device)
        hit = partial(picture.objects.hit, target.instance)
        try:
            scores = list(scoring.score(prediction, target.truth, self.protocol.metrics, sample.ignore, hit))
        except scoring.MetricError as error:
            asking.predicted = None
            yield self._failed(sample.id, target.instance, f"metrics: {error}", asking)
            return
        for score in scores:
            yield Record(**asked, **vars(score), encode_ms=picture.encode_ms, segment_ms=segment_ms)

    def _failed(self, sample_id: str, instance: Instance | Listed, reason: str, asking: Asking | None = None) -> Record:
        return failed(self.names, self.protocol, sample_id, instance, reason, asking, self.device)


def together(
    evaluations: Sequence[Evaluation], sample_ids: Sequence[str], until: float = math.inf
) -> Iterator[Answered]:
    """Samples that are done, with the records of every evaluation of one method on one data set.

    Each image is decoded and encoded once for all of them. While a GPU works on one, the next is decoded and the one
    before it clicked and scored; the method is never called by two threads at once.

    Args:
        evaluations: Of one method on one data set.
        sample_ids: Done in this order.
        until: When no further batch is begun, on the monotonic clock; one is in any case.
    """
    first, *_ = evaluations
    load, size = partial(loaded, first.dataset), first.protocol.images_per_batch
    pictures = ahead(load, sample_ids, size) if first.loads_ahead else map(load, sample_ids)
    batches = batched(sample_ids, pictures, size, until)
    if not first.overlaps:
        return map(partial(answered, evaluations), batches)
    turn = threading.Lock()
    for one in evaluations:
        one.turn = turn
    return ahead(partial(answered, evaluations), batches, 1, threads=2)


def batched(
    sample_ids: Sequence[str], pictures: Iterator[Picture], size: int, until: float
) -> Iterator[tuple[Sequence[str], list[Picture]]]:
    """Ids with their pictures, so many at a time, the first of them whatever the time is."""
    for start in range(0, len(sample_ids), size):
        if start and time.monotonic() >= until:
            return
        yield sample_ids[start : start + size], list(islice(pictures, size))


def answered(evaluations: Sequence[Evaluation], batch: tuple[Sequence[str], list[Picture]]) -> Answered:
    """A batch's ids, and the records of each evaluation."""
    sample_ids, pictures = batch
    return sample_ids, [list(one.of(pictures)) for one in evaluations]


def ahead(function: Callable[[S], T], items: Iterable[S], count: int, threads: int = 1) -> Generator[T]:
    """`function` of each item, in order, in threads that stay `count` ahead of the consumer."""
    pool = ThreadPoolExecutor(threads)
    coming: deque[Future[T]] = deque()
    try:
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > count:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
