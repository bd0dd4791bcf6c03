"""One shard in one plain process: sample ids in, records out. Knows no Ray and no disk.

Whatever fails - an image that does not decode, an annotation, a method on one prompt - becomes failed records with the
reason, one an instance, and the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from harness import scoring
from harness.clicks import STRATEGIES, Situation, click_rng
from harness.config import Clicks
from harness.interfaces import Dataset, Method
from harness.metrics import Region
from harness.structures import Click, Instance, Listed, Mask, Prediction, Prompt, Record, Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Protocol:
    """What is asked of every method alike.

    Attributes:
        run: The run's name.
        seed: Of the clicks.
        clicks: Strategy, its options and how many.
        text: "class_name" or "none".
        metrics: Names in `METRICS`.
        images_per_batch: Images given to `encode` at once.
    """

    run: str
    seed: int
    clicks: Clicks
    text: str
    metrics: tuple[str, ...]
    images_per_batch: int = 1


@dataclass(frozen=True)
class Names:
    """How the records name a job's method and data set: labels and plugins."""

    method: str
    method_plugin: str
    dataset: str
    dataset_plugin: str


@dataclass(eq=False)
class Target:
    """An instance with the clicks made on it so far and the method's latest mask."""

    instance: Instance
    truth: Region
    clicks: tuple[Click, ...] = ()
    predicted: Mask | None = None


@dataclass(eq=False)
class Work:
    """One image on its way through a method."""

    sample: Sample
    targets: list[Target]
    state: Any = None
    encode_ms: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


class Evaluation:
    """A method on a data set under a protocol."""

    def __init__(self, method: Method, dataset: Dataset, names: Names, protocol: Protocol) -> None:
        self.method, self.dataset, self.names, self.protocol = method, dataset, names, protocol
        self.device = str(getattr(method, "device", "cpu"))

    def records(self, sample_ids: Sequence[str]) -> Iterator[Record]:
        """Every instance's records, image by image; the next image is decoded while one is worked on."""
        loads = loaded_ahead(self._load, sample_ids, ahead=self.protocol.images_per_batch)
        while batch := list(islice(loads, self.protocol.images_per_batch)):
            works = [load for load in batch if isinstance(load, Work)]
            for load in batch:
                if not isinstance(load, Work):
                    yield from load
            yield from self._evaluated(works)

    def _load(self, sample_id: str) -> Work | list[Record]:
        """The image with its targets, or failed records for all it should hold."""
        try:
            sample = self.dataset.load(sample_id)
        except Exception as error:
            return self._unloadable(sample_id, error)
        targets = [Target(instance, Region(instance.mask, sample.ignore)) for instance in sample.instances]
        return Work(sample, targets, failed=dict(sample.broken))

    def _unloadable(self, sample_id: str, error: Exception) -> list[Record]:
        try:
            listed = self.dataset.list_instances(sample_id)
        except Exception:
            listed = [Listed(f"{sample_id} (not listed)")]
        return [self._failed(sample_id, one, f"load: {described(error)}") for one in listed]

    def _evaluated(self, works: Sequence[Work]) -> Iterator[Record]:
        self._encode(works)
        for work in works:
            yield from self._failures(work)
            work.targets = [target for target in work.targets if target.instance.id not in work.failed]
        for number in range(1, self.protocol.clicks.max_clicks + 1):
            if all(self._clicked_enough(work) for work in works):
                return
            yield from self._round(works, number)

    def _failures(self, work: Work) -> Iterator[Record]:
        """What the listing knows of each instance that cannot be asked for, and why."""
        if work.failed:
            listed = {one.id: one for one in self.dataset.list_instances(work.sample.id)}
            for failed, reason in work.failed.items():
                yield self._failed(work.sample.id, listed.get(failed, Listed(failed)), reason)

    def _clicked_enough(self, work: Work) -> bool:
        return all(len(target.clicks) >= self.protocol.clicks.max_clicks for target in work.targets)

    def _encode(self, works: Sequence[Work]) -> None:
        """Encode all images at once; if that fails, each alone, and give up on those that fail alone."""
        images = [work.sample.image for work in works]
        states, elapsed_ms = timed(lambda: attempted(self.method.encode, images))
        for work, state in zip(works, states, strict=True):
            work.state, work.encode_ms = state, elapsed_ms / len(works)
            if isinstance(state, Exception):
                reason = f"encode: {described(state)}"
                work.failed.update({target.instance.id: reason for target in work.targets})

    def _round(self, works: Sequence[Work], number: int) -> Iterator[Record]:
        """Click, segment and score every target once."""
        works = [work for work in works if work.targets]
        for work in works:
            for target in work.targets:
                target.clicks += self._new_clicks(work.sample, target, number)
        groups = [(work.state, [self._prompt(target) for target in work.targets]) for work in works]
        answers, elapsed_ms = timed(lambda: self._segmented(groups))
        segment_ms = elapsed_ms / max(1, sum(len(work.targets) for work in works))
        for work, predictions in zip(works, answers, strict=True):
            for target, prediction in zip(work.targets, predictions, strict=True):
                yield from self._records(work, target, prediction, segment_ms)
            work.targets = [target for target in work.targets if target.predicted is not None]

    def _new_clicks(self, sample: Sample, target: Target, number: int) -> tuple[Click, ...]:
        names, clicks = self.names, self.protocol.clicks
        rng = click_rng(self.protocol.seed, names.dataset_plugin, sample.id, target.instance.id, number)
        at = Situation(sample, target.instance, target.clicks, target.predicted, rng)
        return STRATEGIES[clicks.strategy](at, **clicks.options)

    def _prompt(self, target: Target) -> Prompt:
        text = target.instance.category if self.protocol.text == "class_name" else None
        return Prompt(target.clicks, text, target.predicted, tuple(self.dataset.classes))

    def _segmented(self, groups: list[Any]) -> list[list[Prediction | Exception]]:
        """All groups at once; if that fails, each image alone, then each prompt alone."""
        answers: list[list[Prediction | Exception]] = []
        for group, answer in zip(groups, attempted(self.method.segment, groups), strict=True):
            if not isinstance(answer, Exception) and len(answer) == len(group[1]):
                answers.append(list(answer))
                continue
            alone = attempted(self.method.segment, [(group[0], [prompt]) for prompt in group[1]])
            answers.append([one if isinstance(one, Exception) else one[0] for one in alone])
        return answers

    def _records(
        self, work: Work, target: Target, prediction: Prediction | Exception, segment_ms: float
    ) -> Iterator[Record]:
        target.predicted = None
        try:
            if isinstance(prediction, Exception):
                raise prediction
            scoring.check(prediction, work.sample.size)
        except Exception as error:
            yield self._failed(work.sample.id, target.instance, f"segment: {described(error)}", target.clicks)
            return
        target.predicted = prediction.masks[next(iter(scoring.choices(prediction).values()))]
        for score in scoring.score(prediction, target.truth, self.protocol.metrics, work.sample.ignore):
            asked = facts(self.names, self.protocol, work.sample.id, target.instance, target.clicks, self.device)
            yield Record(**asked, **vars(score), encode_ms=work.encode_ms, segment_ms=segment_ms)

    def _failed(
        self, sample_id: str, instance: Instance | Listed, reason: str, clicks: tuple[Click, ...] = ()
    ) -> Record:
        return failed(self.names, self.protocol, sample_id, instance, reason, clicks, self.device)


def failed(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    reason: str,
    clicks: tuple[Click, ...] = (),
    device: str = "",
) -> Record:
    """The record of an instance for which there is no mask."""
    return Record(**facts(names, protocol, sample_id, instance, clicks, device), status="failed", error=reason)


def facts(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    clicks: tuple[Click, ...],
    device: str,
) -> dict[str, Any]:
    """What a record says of the prompt, whatever came of it."""
    whole = instance if isinstance(instance, Instance) else None
    return {
        **vars(names),
        "run": protocol.run,
        "image_id": sample_id,
        "instance_id": instance.id,
        "category": instance.category,
        "seen": instance.seen,
        "text": instance.category if protocol.text == "class_name" else None,
        "clicks": clicks,
        "click_index": len(clicks) or protocol.clicks.max_clicks,
        "click_strategy": protocol.clicks.strategy,
        "same_class_count": whole.same_class_count if whole else None,
        "height": whole.mask.shape[0] if whole else None,
        "width": whole.mask.shape[1] if whole else None,
        "device": device,
    }


def loaded_ahead(load: Callable[[str], T], ids: Sequence[str], ahead: int) -> Iterator[T]:
    """`load` of each id, in order, in a thread that stays `ahead` of the consumer."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming: list[Future[T]] = [pool.submit(load, one) for one in ids[:ahead]]
        for position in range(len(ids)):
            if position + ahead < len(ids):
                coming.append(pool.submit(load, ids[position + ahead]))
            yield coming.pop(0).result()


def attempted(function: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
    """What the function returns for the items together; if that fails, for each alone, exceptions in place."""
    try:
        results = function(items)
        if len(results) == len(items):
            return list(results)
        failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        failure = error
    if len(items) == 1:
        return [failure]
    return [result for item in items for result in attempted(function, [item])]


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """What the function returns, and the milliseconds it took."""
    start = time.perf_counter()
    result = function()
    return result, (time.perf_counter() - start) * 1000


def described(error: Exception) -> str:
    """`ValueError: reason`, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
