"""One shard in one plain process: sample ids in, records out. Knows no Ray and no disk.

Whatever fails - an image that does not decode, an annotation, a method on one prompt - becomes failed records with the
reason, one an instance, and the rest goes on. An instance that fails is asked no further clicks. So does one on which
the strategy's click cannot be made. What fails otherwise in a metric or a click strategy is a bug: it keeps its
traceback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

from harness import scoring
from harness.ambiguity import Objects, Place
from harness.clicks import STRATEGIES, NoClickError, Situation, click_rng
from harness.config import Clicks, Text, words_of
from harness.interfaces import Dataset, Group, Method
from harness.metrics import Region
from harness.structures import Click, Image, Instance, Listed, Mask, Prediction, Prompt, Record, Sample
from harness.texts import RULES, Asked

T = TypeVar("T")

TEXT_ROUND = 0
"""The round whose generator chooses a text; those of the clicks start at 1."""


class DeviceLost(BaseException):
    """The GPU failed under this process, which has to end: no `except Exception` may make failed rows of it."""


@dataclass(frozen=True)
class Protocol:
    """What is asked of every method alike.

    Attributes:
        run: The run's name.
        seed: Of the clicks.
        clicks: Strategy, its options and how many.
        text: What the words are.
        trained_classes: The method's, where it names them: what is seen on a data set without a split.
        metrics: Names in `METRICS`.
        images_per_batch: Images given to `encode` at once.
    """

    run: str
    seed: int
    clicks: Clicks
    text: Text
    metrics: tuple[str, ...]
    images_per_batch: int = 1
    trained_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """How the records name a job's method and data set: labels and plugins."""

    method: str
    method_plugin: str
    dataset: str
    dataset_plugin: str


@dataclass(eq=False)
class Target:
    """An instance with its words, the clicks made on it so far, where they began, and the method's latest mask."""

    instance: Instance
    truth: Region
    text: str | None = None
    clicks: tuple[Click, ...] = ()
    place: Place | None = None
    predicted: Mask | None = None
    memory: Any = None


@dataclass(eq=False)
class Work:
    """One image on its way through a method.

    Attributes:
        sample: As its data set loaded it.
        image: The sample's, read-only: a method that writes on it would change it for the prompts that follow.
        targets: The instances still to be clicked.
        failed: Those that cannot be asked for, with the reason.
        objects: All that could be asked for, whatever became of them.
        state: What the method's `encode` made of the image.
        encode_ms: Of this image.
    """

    sample: Sample
    image: Image
    targets: list[Target] = field(default_factory=list)
    failed: list[tuple[Instance | Listed, str]] = field(default_factory=list)
    objects: Objects = field(default_factory=lambda: Objects(()))
    state: Any = None
    encode_ms: float = 0.0


class Evaluation:
    """A method on a data set under a protocol."""

    def __init__(self, method: Method, dataset: Dataset, names: Names, protocol: Protocol) -> None:
        self.method, self.dataset, self.names, self.protocol = method, dataset, names, protocol
        said = getattr(method, "device", None)
        self.device = str(said or "cpu")
        # One core cannot decode while it computes: a second thread there only costs, half as much again in all.
        self.loads_ahead = not str(said).startswith("cpu")
        self.words = words_of(protocol.text)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The data set's classes in the words of the prompts."""
        template, said = self.protocol.text.template, self.words.said
        return tuple(template.replace("{}", said(name)) for name in self.dataset.classes)

    def records(self, sample_ids: Sequence[str]) -> Iterator[Record]:
        """Every instance's records, image by image."""
        for _, records in self.batches(sample_ids):
            yield from records

    def batches(self, sample_ids: Sequence[str]) -> Generator[tuple[Sequence[str], list[Record]]]:
        """Samples that are done, with their records; the next image is decoded while a GPU works on one."""
        size = self.protocol.images_per_batch
        loads = loaded_ahead(self._load, sample_ids, size) if self.loads_ahead else map(self._load, sample_ids)
        for start in range(0, len(sample_ids), size):
            batch = list(islice(loads, size))
            records = [record for load in batch if not isinstance(load, Work) for record in load]
            records += self._evaluated([load for load in batch if isinstance(load, Work)])
            yield sample_ids[start : start + size], records

    def _load(self, sample_id: str) -> Work | list[Record]:
        """The image with its targets, or failed records for all it should hold."""
        try:
            work = prepared(self.dataset.load(sample_id))
            if work.sample.broken:
                known = {one.id: one for one in listed(self.dataset, sample_id)}
                work.failed += [(known.get(id_, Listed(id_)), reason) for id_, reason in work.sample.broken.items()]
        except Exception as error:
            reason = f"load: {described(error)}"
            return [self._failed(sample_id, one, reason) for one in listed(self.dataset, sample_id)]
        self._word(work)
        return work

    def _word(self, work: Work) -> None:
        """Give every target its words; one for which the rule has none fails."""
        present = frozenset(instance.category for instance in work.sample.instances)
        for target in list(work.targets):
            try:
                target.text = self._text(work.sample.id, target.instance, present)
            except ValueError as error:
                work.targets.remove(target)
                work.failed.append((target.instance, f"text: {error}"))

    def _text(self, sample_id: str, instance: Instance, present: frozenset[str]) -> str | None:
        asked, seed = self.protocol.text, self.protocol.seed
        rng = partial(click_rng, seed, self.names.dataset_plugin, sample_id, instance.object_id, TEXT_ROUND)
        at = Asked(instance, present, tuple(self.dataset.classes), self.words, rng)
        text = RULES[asked.rule](at)
        return None if text is None else asked.template.replace("{}", text)

    def _evaluated(self, works: Sequence[Work]) -> Iterator[Record]:
        self._encode([work for work in works if work.targets])
        for work in works:
            for instance, reason in work.failed:
                yield self._failed(work.sample.id, instance, reason)
        for number in range(1, self.protocol.clicks.max_clicks + 1):
            yield from self._round([work for work in works if work.targets], number)

    def _encode(self, works: Sequence[Work]) -> None:
        """Encode all images at once; if that fails, each alone, and give up on those that fail alone."""
        states, elapsed_ms = timed(lambda: attempted(self.method.encode, [work.image for work in works]))
        for work, state in zip(works, states, strict=True):
            work.state, work.encode_ms = state, elapsed_ms / len(works)
            if isinstance(state, Exception):
                work.failed += [(target.instance, f"encode: {described(state)}") for target in work.targets]
                work.targets = []

    def _round(self, works: Sequence[Work], number: int) -> Iterator[Record]:
        """Click, segment and score every target once; those without a mask, or with all their clicks, are done."""
        for work in works:
            yield from self._click(work, number)
        groups = [(work.state, [self._prompt(target) for target in work.targets]) for work in works]
        answers, elapsed_ms = timed(lambda: segmented(self.method, groups))
        segment_ms = elapsed_ms / max(1, sum(len(work.targets) for work in works))
        for work, predictions in zip(works, answers, strict=True):
            for target, prediction in zip(work.targets, predictions, strict=True):
                yield from self._records(work, target, prediction, segment_ms)
            work.targets = [target for target in work.targets if target.predicted is not None]

    def _click(self, work: Work, number: int) -> Iterator[Record]:
        """Make the round's clicks on every target; one on which they cannot be made fails."""
        for target in list(work.targets):
            try:
                target.clicks += self._new_clicks(work.sample, target, number)
            except NoClickError as error:
                work.targets.remove(target)
                yield self._failed(work.sample.id, target.instance, f"clicks: {error}", target)
            target.place = target.place or work.objects.place(target.instance, target.clicks)

    def _new_clicks(self, sample: Sample, target: Target, number: int) -> tuple[Click, ...]:
        names, clicks = self.names, self.protocol.clicks
        rng = click_rng(self.protocol.seed, names.dataset_plugin, sample.id, target.instance.object_id, number)
        at = Situation(sample, target.instance, target.clicks, target.predicted, rng, known=target.truth)
        return STRATEGIES[clicks.strategy](at, **clicks.options)

    def _prompt(self, target: Target) -> Prompt:
        return Prompt(target.clicks, target.text, target.memory, self.vocabulary)

    def _records(
        self, work: Work, target: Target, prediction: Prediction | Exception, segment_ms: float
    ) -> Iterator[Record]:
        """A record a ranking, or a failed one; the first ranking's mask is `target.predicted` if a round follows."""
        target.predicted = None
        try:
            if isinstance(prediction, Exception):
                raise prediction
            scoring.check(prediction, work.sample.size)
        except Exception as error:
            yield self._failed(work.sample.id, target.instance, f"segment: {described(error)}", target)
            return
        if len(target.clicks) < self.protocol.clicks.max_clicks:
            # A copy: the method may fill the same array with its next answer.
            taken = next(iter(scoring.choices(prediction).values()))
            target.predicted = prediction.masks[taken].copy()
            target.memory = prediction.memory[taken] if len(prediction.memory) else target.predicted
        asked = facts(self.names, self.protocol, work.sample.id, target.instance, target, self.device)
        hit = partial(work.objects.hit, target.instance)
        for score in scoring.score(prediction, target.truth, self.protocol.metrics, work.sample.ignore, hit):
            yield Record(**asked, **vars(score), encode_ms=work.encode_ms, segment_ms=segment_ms)

    def _failed(self, sample_id: str, instance: Instance | Listed, reason: str, target: Target | None = None) -> Record:
        return failed(self.names, self.protocol, sample_id, instance, reason, target, self.device)


def failed(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    reason: str,
    target: Target | None = None,
    device: str = "",
) -> Record:
    """The record of an instance for which there is no mask."""
    return Record(**facts(names, protocol, sample_id, instance, target, device), status="failed", error=reason)


def facts(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    target: Target | None,
    device: str,
) -> dict[str, Any]:
    """What a record says of the prompt, whatever came of it; there is no target where there was no prompt."""
    whole = instance if isinstance(instance, Instance) else None
    clicks, place = (target.clicks, target.place) if target else ((), None)
    return {
        **vars(names),
        "run": protocol.run,
        "image_id": sample_id,
        "instance_id": instance.id,
        "category": instance.category,
        "seen": seen(protocol, instance),
        "text": target.text if target else None,
        "text_rule": protocol.text.rule,
        "clicks": clicks,
        "click_index": len(clicks) or protocol.clicks.max_clicks,
        "click_strategy": protocol.clicks.strategy,
        "under_click": place.under_click if place else None,
        "under_click_area_ratio": place.area_ratio if place else None,
        "click_depth_px": place.depth if place else None,
        "same_class_count": whole.same_class_count if whole else None,
        "height": whole.mask.shape[0] if whole else None,
        "width": whole.mask.shape[1] if whole else None,
        "device": device,
    }


def seen(protocol: Protocol, instance: Instance | Listed) -> bool | None:
    """By the data set's split; without one, by the classes that the method was trained on, if it names them."""
    if instance.seen is not None or not protocol.trained_classes or not instance.category:
        return instance.seen
    return instance.category in protocol.trained_classes


def prepared(sample: Sample) -> Work:
    """A loaded sample with a target for every instance that can be clicked and scored."""
    image = sample.image.view()
    image.flags.writeable = False
    work = Work(sample, image)
    for instance in sample.instances:
        try:
            work.targets.append(Target(instance, ground_truth(instance, sample)))
        except ValueError as error:
            work.failed.append((instance, str(error)))
    work.objects = Objects((target.instance, target.truth) for target in work.targets)
    return work


def ground_truth(instance: Instance, sample: Sample) -> Region:
    """An instance's region.

    Raises:
        ValueError: Its mask does not fit the image, or has no pixel that counts.
    """
    mask = instance.mask
    if mask.dtype != bool or mask.shape != sample.size:
        raise ValueError(f"ground truth: {mask.dtype} {mask.shape}; wanted bool {sample.size}, the image's (h, w).")
    region = Region(mask, sample.ignore)
    if not region.area:
        raise ValueError("ground truth: no pixel that counts; wanted one at least.")
    return region


def listed(dataset: Dataset, sample_id: str) -> list[Listed]:
    """A sample's instances by its listing; where that fails, one that stands for them all."""
    try:
        return dataset.list_instances(sample_id)
    except Exception:
        return not_listed(sample_id)


def not_listed(sample_id: str) -> list[Listed]:
    """What stands for the instances of a sample of which nothing can be known."""
    return [Listed(f"{sample_id} (not listed)")]


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
    if not items:
        return []
    try:
        results = function(items)
        if len(results) == len(items):
            return list(results)
        failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(described(error)) from error
        failure = error
    if len(items) == 1:
        return [failure]
    return [result for item in items for result in attempted(function, [item])]


def segmented(method: Method, groups: Sequence[Group]) -> list[list[Prediction | Exception]]:
    """One answer or exception a prompt: all groups at once; if that fails, each image alone, then each prompt alone."""
    answers: list[list[Prediction | Exception]] = []
    for (state, prompts), answer in zip(groups, attempted(method.segment, list(groups)), strict=True):
        if isinstance(answer, Sequence) and len(answer) == len(prompts):
            answers.append(list(answer))
            continue
        alone = attempted(method.segment, [(state, [prompt]) for prompt in prompts])
        answers.append([_only(one) for one in alone])
    return answers


def is_device_lost(error: Exception) -> bool:
    """Whether a GPU can do nothing more in this process: every CUDA error is final but for a lack of memory."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _only(answer: Any) -> Prediction | Exception:
    """The one prediction that answers one prompt."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, Sequence) and len(answer) == 1:
        return answer[0]
    found = f"{len(answer)} predictions" if isinstance(answer, Sequence) else type(answer).__name__
    return ValueError(f"segment answered one prompt with {found}; wanted one prediction.")


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """What the function returns, and the milliseconds it took."""
    start = time.perf_counter()
    result = function()
    return result, (time.perf_counter() - start) * 1000


def described(error: Exception) -> str:
    """`ValueError: reason`, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
