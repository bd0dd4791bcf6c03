"""A method on a data set in one plain process: sample ids in, records out. It uses neither Ray nor a disk.

                    once an image                   for each variant of the method, round after round of clicks
    sample id -> decode -> encode  ->  open prompts -> [ click -> segment -> score and record ] -> records

An image is decoded and encoded once for all variants of the method (`Way`). The prompts on a large image go through
their rounds piece by piece (`pieces.py`). Anything may fail: the decoding of an image, an annotation, the method on one
prompt, a click rule or a text rule on one instance, a metric on one mask. Then each instance concerned gets one failed
record with the reason and no further click, and the rest goes on.

If the method works on a GPU, two threads take turns with it (`Evaluation.turn`), so that the GPU need not wait for
scoring on the CPU:

    thread 1   segments image 1   scores image 1     segments image 3   scores image 3
    thread 2   waits              segments image 2   scores image 2     segments image 4
    loader     decodes 2 and 3    decodes 4          decodes 5          decodes 6
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby, islice
from typing import TypeVar

from harness.clicks import NoClickError
from harness.clicks.strategy import ClickRuleError
from harness.evaluation import scoring
from harness.evaluation.attempts import segmented, text_fits
from harness.evaluation.pictures import Picture, encode, loaded
from harness.evaluation.pieces import Piece, pieces
from harness.evaluation.probe import Probe
from harness.evaluation.protocol import Asking, Names, Protocol, Way, facts, failed
from harness.masks.measure import SalientPixels
from harness.plugins.failures import contained, described
from harness.plugins.interfaces import Dataset, Method
from harness.structures import Instance, Listed, Prediction, Record

S = TypeVar("S")
T = TypeVar("T")

Batch = tuple[Sequence[str], list[Picture]]
"""Samples that are processed together: their ids and their pictures."""

Answered = tuple[Sequence[str], list[list[Record]]]
"""The ids of a batch that is done, and a list of records for each way of asking."""

CHANGED = "the method changed its image; wanted it left as it was (work on a copy)."
"""The reason in the rows of all further masks on an image, in this way of asking and in those that follow."""


class Evaluation:
    """A method on a data set, prompted in one or more ways.

    Args:
        method: The method; it is called by one thread at a time.
        dataset: The data set, which loads the images.
        ways: For each way, the names of method and data set in records, and the protocol. The first one sets the size
            of a batch.
        probe: Whether to prompt the method with other words as well, if it does not declare `uses_text`.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        ways: Sequence[tuple[Names, Protocol]],
        probe: Probe | None = None,
    ) -> None:
        self.method, self.dataset, self.probe = method, dataset, probe
        told = method.present_only, method.told_instances
        self.ways = [Way(names, protocol, dataset.classes, *told) for names, protocol in ways]
        said = getattr(method, "device", None)
        self.device = str(said or "cpu")
        # On a GPU a thread decodes the next images meanwhile. On a CPU the method itself needs the core: a second
        # thread there made everything take half as long again.
        self.loads_ahead = not str(said).startswith("cpu")
        self.overlaps = said is not None and self.loads_ahead
        self.turn = threading.Lock()

    def records(self, sample_ids: Sequence[str]) -> Iterator[Record]:
        """Every record, image by image, and way by way within a batch."""
        for _, found in self.batches(sample_ids):
            for records in found:
                yield from records

    def batches(self, sample_ids: Sequence[str], until: float = math.inf) -> Iterator[Answered]:
        """Samples that are done, in this order, with the records of every way of asking.

        Args:
            sample_ids: At least one.
            until: No further batch is begun after this time of the monotonic clock; the first one always is.
        """
        size = self.ways[0].protocol.images_per_batch
        load = partial(loaded, self.dataset)
        pictures = ahead(load, sample_ids, size) if self.loads_ahead else map(load, sample_ids)
        # Three stages, each of which pulls from the one before: decode pictures, put them into batches, segment them.
        waiting = batched(sample_ids, pictures, size, until)
        yield from ahead(self._answered, waiting, 1, threads=2) if self.overlaps else map(self._answered, waiting)

    def _answered(self, batch: Batch) -> Answered:
        sample_ids, pictures = batch
        return sample_ids, [self._asked(way, pictures) for way in self.ways]

    def _asked(self, way: Way, pictures: Sequence[Picture]) -> list[Record]:
        """The records of a batch in one way of asking: all of the first click, then all of the second, and so on."""
        opened, records = self._opened(way, pictures)
        # A piece goes through all its rounds before the next piece begins. Its records are sorted into a list for each
        # round, so the order of the rows does not depend on how the pictures were cut into pieces:
        #
        #    computed    piece 0: round 1, round 2      piece 1: round 1, round 2
        #    returned    round 1: pieces 0, 1           round 2: pieces 0, 1
        #
        # A protocol by text alone has one round, without a click.
        rounds: list[list[Record]] = [[] for _ in range(way.protocol.clicks.max_clicks or 1)]
        for piece in pieces(opened, self.method.prompts_per_batch):
            self._through(way, piece, rounds)
        if self.probe:
            with self.turn:
                self.probe.ask(self.method, way, opened)
        return [*records, *chain.from_iterable(rounds)]

    def _through(self, way: Way, piece: Piece, rounds: Sequence[list[Record]]) -> None:
        """Segment and score a piece, round after round of clicks, and add the records to those of each round.

        An instance stays pending until it fails or has all its clicks.
        """
        pending = piece.askings
        for number, records in enumerate(rounds, start=1):
            pending = self._round(way, Piece(piece.number, pending), number, records)
        for asking in piece.askings:
            asking.forget()

    def _round(self, way: Way, piece: Piece, number: int, records: list[Record]) -> list[Asking]:
        """One round: click, segment and score, and add the records. Returns the prompts that are still pending."""
        clicked = []
        for asking in piece.askings:
            instance = asking.target.instance
            try:
                if number == 1:
                    way.begin(asking)
            except ValueError as error:
                records.append(self._failed(way, asking.picture, instance, f"start: {error}", asking))
                continue
            try:
                asking.click(way.new_clicks(asking, number))
                clicked.append(asking)
            except (NoClickError, ClickRuleError) as error:
                records.append(self._failed(way, asking.picture, instance, f"clicks: {error}", asking))
        if number == 1 and way.wording.looks:
            clicked = self._worded(way, clicked, records)
        answers, segment_ms = self._answers(way, Piece(piece.number, clicked), number)
        pending = []
        for asking, answer in zip(clicked, answers, strict=True):
            made = self._scored(way, asking, answer, segment_ms)
            records += made
            more = len(asking.clicks) < way.protocol.clicks.max_clicks
            # After a failure there is no next round: its click would correct a mask that does not exist.
            if isinstance(answer, Prediction) and made[0].status == "ok" and more:
                asking.remember(answer)
                pending.append(asking)
        return pending

    def _opened(self, way: Way, pictures: Sequence[Picture]) -> tuple[list[Asking], list[Record]]:
        """Encode a batch. Returns the prompts that are ready, with their words, and a failed record of all others."""
        asked: list[Asking] = []
        records: list[Record] = []
        for picture in pictures:
            records += [self._failed(way, picture, instance, reason) for instance, reason in picture.failed]
            try:
                askings = list(way.askings(picture))
            except ClickRuleError as error:
                reason = f"clicks: {error}"
                records += [self._failed(way, picture, target.instance, reason) for target in picture.targets]
                continue
            for asking in askings:
                try:
                    if not way.wording.looks:
                        way.word(asking)
                    asked.append(asking)
                except ValueError as error:
                    records.append(self._failed(way, picture, asking.target.instance, f"text: {error}", asking))
        with self.turn:
            # The askings name a picture once for each instance; `dict.fromkeys` keeps each once, in order.
            encode(self.method, list(dict.fromkeys(asking.picture for asking in asked)), way.protocol.seed)
        opened = [asking for asking in asked if not isinstance(asking.picture.state, Exception)]
        for asking in asked:
            if isinstance(asking.picture.state, Exception):
                reason = f"encode: {described(asking.picture.state)}"
                records.append(self._failed(way, asking.picture, asking.target.instance, reason, asking))
        return opened, records

    def _worded(self, way: Way, clicked: Sequence[Asking], records: list[Record]) -> list[Asking]:
        """Choose words by the picture, after the first click; returns the prompts that got some.

        A text rule that guesses the class scores each name around the click, which takes the encoded picture.
        """
        worded = []
        for picture, some in groupby(clicked, key=lambda one: one.picture):
            own = list(some)
            with self.turn:
                fits = text_fits(self.method, picture.state, [one.clicks for one in own], way.wording.vocabulary)
            for asking, found in zip(own, fits, strict=True):
                try:
                    if isinstance(found, Exception):
                        raise ValueError(described(found))
                    way.word(asking, found)
                    worded.append(asking)
                except ValueError as error:
                    records.append(self._failed(way, picture, asking.target.instance, f"text: {error}", asking))
        return worded

    def _answers(self, way: Way, asked: Piece, click: int) -> tuple[list[Prediction | Exception], float]:
        """A prediction or an exception for every prompt, and the mean time of one prompt in ms."""
        # `groupby` groups neighbours only. Prompts of one picture are neighbours here, as they were opened so.
        by_picture = [(picture, list(own)) for picture, own in groupby(asked.askings, key=lambda one: one.picture)]
        groups = [(picture.state, [way.prompt(asking) for asking in own]) for picture, own in by_picture]
        ids = [picture.sample.id for picture, _ in by_picture]
        # The lock is held for the method's call only. Clicks and scores are computed without it, so one thread scores
        # on the CPU while the other one segments on the GPU.
        with self.turn:
            started = time.perf_counter()
            answers = segmented(self.method, groups, ids, way.protocol.seed, click, asked.number)
            elapsed_ms = (time.perf_counter() - started) * 1000
        found: list[Prediction | Exception] = []
        for (picture, own), (predictions, retried) in zip(by_picture, answers, strict=True):
            found += [ValueError(CHANGED)] * len(own) if picture.changed() else predictions
            for asking in own:
                asking.retried = f"segment: {retried}" if retried else picture.retried
        return found, elapsed_ms / max(1, len(asked.askings))

    def _scored(self, way: Way, asking: Asking, answer: Prediction | Exception, segment_ms: float) -> list[Record]:
        """A record a ranking of the answer, or a failed one."""
        picture, target = asking.picture, asking.target
        try:
            if isinstance(answer, Exception):
                raise answer
            with contained():
                scoring.check(answer, picture.sample.size)
        except Exception as error:
            return [self._failed(way, picture, target.instance, f"segment: {described(error)}", asking)]
        hit = partial(picture.objects.hit, target.instance)
        partner = asking.pair.region if asking.pair else None
        try:
            seen = self._seen(way, asking)
            scores = list(scoring.score(answer, target.truth, way.metrics, picture.sample.ignore, hit, partner, seen))
        except scoring.MetricError as error:
            return [self._failed(way, picture, target.instance, f"metrics: {error}", asking)]
        said = facts(way.names, way.protocol, picture.sample.id, target.instance, asking, self.device)
        said |= {"encode_ms": picture.encode_ms, "segment_ms": segment_ms, "retried": asking.retried or None}
        return [Record(**said, **vars(one), holds_click=asking.held_by(answer.masks[one.candidate])) for one in scores]

    def _seen(self, way: Way, asking: Asking) -> SalientPixels | None:
        """The method's saliency map of the words, if a metric measures it and the method has one.

        Raises:
            MetricError: The method fails on it, or returns no map.
        """
        if not any(one.takes_map for one in way.metrics):
            return None
        try:
            with self.turn, contained():
                found = self.method.saliency_map(asking.picture.state, way.prompt(asking))
            if found is None:
                return None
            scoring.check_map(found, asking.picture.sample.size)
        except Exception as error:
            raise scoring.MetricError(f"saliency_map failed: {described(error)}") from error
        return SalientPixels(found, asking.picture.sample.ignore)

    def _failed(
        self, way: Way, picture: Picture, instance: Instance | Listed, reason: str, asking: Asking | None = None
    ) -> Record:
        return failed(way.names, way.protocol, picture.sample.id, instance, reason, asking, self.device)


def batched(sample_ids: Sequence[str], pictures: Iterator[Picture], size: int, until: float) -> Iterator[Batch]:
    """Ids and their pictures in batches of `size`, until the time `until`; the first batch comes even after it."""
    for start in range(0, len(sample_ids), size):
        if start and time.monotonic() >= until:
            return
        yield sample_ids[start : start + size], list(islice(pictures, size))


def ahead(function: Callable[[S], T], items: Iterable[S], count: int, threads: int = 1) -> Generator[T]:
    """`function` of each item, in order, computed in threads, up to `count` items ahead of the consumer."""
    pool = ThreadPoolExecutor(threads)
    coming: deque[Future[T]] = deque()
    try:
        # One more item is submitted before a result is waited for. With `count` 1 and two threads:
        #
        #    submit 0
        #    submit 1    -> wait for 0, hand it on       1 is computed meanwhile
        #    submit 2    -> wait for 1, hand it on       2 is computed meanwhile
        #
        # At most count + 1 results wait or are being made, however slow the consumer is; `Executor.map` would submit
        # all items at once, and decoded pictures would pile up. Items are drawn here, in the consumer's thread, so an
        # iterator that stops at a time (`batched`) stops when the consumer would have asked for more.
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > count:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
