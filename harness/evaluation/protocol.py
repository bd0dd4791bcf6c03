"""Builds the prompts that a method gets, and the columns of a record that describe a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from harness.clicks import Situation, click_rng
from harness.clicks.starts import STARTS, Start
from harness.clicks.strategy import ClickRule, ClickRuleError, options_of
from harness.config.click_protocol import Clicks
from harness.config.wording import Text, Wording
from harness.evaluation.pictures import Picture, Target, read_only
from harness.evaluation.scoring import choices
from harness.masks.destinations import Pair, Place
from harness.masks.measure import metric
from harness.masks.metrics import iou
from harness.masks.region import Region
from harness.plugins.failures import contained, described, one_line
from harness.plugins.registry import entry
from harness.structures import Click, Instance, Listed, Mask, Prediction, Prompt, Record

TEXT_ROUND = 0
"""The round whose random generator chooses a text; the rounds of clicks start at 1."""

START_ROUND = -1
"""The round whose random generator moves a box or makes a mask rough."""


@dataclass(frozen=True)
class Protocol:
    """The settings by which a run prompts its methods: seed, clicks, text and metrics.

    Attributes:
        run: The run's name.
        seed: The seed of the random clicks and texts.
        clicks: The strategy, its options and the number of clicks.
        text: The rule for the words of the prompts.
        metrics: Names of metrics.
        images_per_batch: How many images the method encodes at once.
        trained_classes: The classes that the method was trained on, if it names them. On a data set without a split
            they decide what counts as seen.
    """

    run: str
    seed: int
    clicks: Clicks
    text: Text
    metrics: tuple[str, ...]
    images_per_batch: int = 1
    trained_classes: tuple[str, ...] = ()

    @cached_property
    def click_options(self) -> str | None:
        """All options of the click rule as rows keep them: JSON, sorted by name, with "start" if there is one.

        None if prompts have neither clicks nor a start.
        """
        if not self.clicks.max_clicks and not self.clicks.start:
            return None
        own = options_of(self.clicks.strategy, self.clicks.options) if self.clicks.max_clicks else {}
        return json.dumps(own | start_said(self.clicks), sort_keys=True)


def start_said(clicks: Clicks) -> dict[str, Any]:
    """The rule of what prompts begin with, as an option of the click rule: the first click depends on it, too."""
    return {"start": clicks.start.protocol} if clicks.start else {}


@dataclass(frozen=True)
class Names:
    """The names of a job's method and data set in records: labels and plugins."""

    method: str
    method_plugin: str
    dataset: str
    dataset_plugin: str


@dataclass(eq=False)
class Asking:
    """The state of one instance's prompts, which grows by a round of clicks at a time.

    Attributes:
        picture: The image of the instance.
        target: The instance, with its region.
        draw: The number of the draw of its clicks, from 0.
        pair: The instance with the other object that its click must lie in, if the click rule makes pairs.
        text: The words of every prompt; None for no words.
        guess: The class that these words name, if the text rule guessed it.
        started: The box or mask from which the prompts start; None for none.
        start_iou: The IoU of `started` with the ground truth.
        clicks: All clicks so far.
        place: The surroundings of the first positive click; None before it.
        predicted: The mask that the method's first ranking chose in the last round; before the first round the mask
            that the instance starts from, if any.
        memory: The memory that the method returned with that mask; it gets it back with the next click.
        retried: The reason why the method's first try at the last round failed, if a second one succeeded; else "".
    """

    picture: Picture
    target: Target
    draw: int = 0
    pair: Pair | None = None
    text: str | None = None
    guess: str | None = None
    started: Start | None = None
    start_iou: float | None = None
    clicks: tuple[Click, ...] = ()
    place: Place | None = None
    predicted: Mask | None = None
    memory: Any = None
    retried: str = ""

    def click(self, new: tuple[Click, ...]) -> None:
        """Add a round's clicks."""
        self.clicks += new
        self.place = self.place or self.picture.objects.place(self.target.instance, self.clicks)

    def held_by(self, mask: Mask) -> bool | None:
        """Whether a mask holds the first positive click; None if there is none."""
        first = next((click for click in self.clicks if click.positive), None)
        return None if first is None else bool(mask[first.y, first.x])

    def remember(self, prediction: Prediction) -> None:
        """Keep copies of mask and memory for the next round: a method may put its next answer into the same array."""
        self.predicted, self.memory = carried(prediction)

    def forget(self) -> None:
        """Free the arrays of the image's size, after the last round."""
        self.predicted = self.memory = self.started = None
        self.target.truth.forget()


def carried(prediction: Prediction) -> tuple[Mask, Any]:
    """The mask that the first ranking chose, and the method's memory of it; one round passes both to the next."""
    taken = next(iter(choices(prediction).values()))
    mask = prediction.masks[taken].copy()
    return mask, prediction.memory[taken] if len(prediction.memory) else mask


class Way:
    """One way of prompting a method on a data set; each variant of a method is a way of its own.

    Args:
        names: The names for the records.
        protocol: The settings of the prompts.
        classes: The data set's classes.
        present_only: Whether the method gets only the names of the classes in the image as its vocabulary.
        told_instances: Whether its prompts have the instance's id and draw, as for masks that are read from a file.
    """

    def __init__(
        self,
        names: Names,
        protocol: Protocol,
        classes: Sequence[str],
        present_only: bool = False,
        told_instances: bool = False,
    ) -> None:
        self.names, self.protocol = names, protocol
        self.present_only, self.told_instances = present_only, told_instances
        self.metrics = [metric(name) for name in protocol.metrics]
        self.click_rule = ClickRule(protocol.clicks.strategy, protocol.clicks.options)
        self.pairs = entry("clicks", protocol.clicks.strategy).options.get("pairs")
        self.wording = Wording(protocol.text, classes)

    def askings(self, picture: Picture) -> Iterator[Asking]:
        """The prompts on an image: one for each instance and draw, or one for each instance and partner.

        Raises:
            ClickRuleError: The rule's function for pairs failed.
        """
        if not self.pairs:
            draws = range(self.protocol.clicks.draws)
            yield from (Asking(picture, target, draw) for target in picture.targets for draw in draws)
            return
        own: dict[str, list[Pair]] = {target.instance.id: [] for target in picture.targets}
        try:
            with contained():
                for pair in self.pairs(picture.objects, **self.protocol.clicks.options):
                    own[pair.asked.id].append(pair)
        except Exception as error:
            raise ClickRuleError(
                f"{self.protocol.clicks.strategy}: its pairs failed with {described(error)}"
            ) from error
        for target in picture.targets:
            yield from (Asking(picture, target, draw, pair) for draw, pair in enumerate(own[target.instance.id]))

    def begin(self, asking: Asking) -> None:
        """Set the start of an instance's prompts: by the config's rule, or else the data set's own mask.

        Raises:
            ValueError: The rule has no start for this instance.
        """
        sample, instance = asking.picture.sample, asking.target.instance
        if start := self.protocol.clicks.start:
            rng = self._rng(sample.id, instance, START_ROUND, asking.draw)
            at = Situation(sample, instance, (), None, rng, asking.draw, known=asking.target.truth)
            asking.started = STARTS[start.rule].start(at, start.options)
        elif instance.initial is not None:
            asking.started = Start("given", mask=instance.initial)
        if asking.started:
            if asking.started.mask is not None:
                # A method that wrote on it would change the start of later prompts.
                asking.started = replace(asking.started, mask=read_only(asking.started.mask))
            asking.predicted = asking.started.mask
            asking.start_iou = iou(asking.target.truth, Region(asking.started.filled(sample.size), sample.ignore))

    def word(self, asking: Asking, fits: Sequence[float] = ()) -> None:
        """Choose the words of all prompts of an instance.

        Args:
            asking: The instance.
            fits: A score of each class around the click, for a text rule that looks at the picture.

        Raises:
            ValueError: The rule has no words for it, or fails.
        """
        picture, instance = asking.picture, asking.target.instance
        # The draw is left out of the seed: an instance's draws have other clicks, but the same words.
        rng = partial(self._rng, picture.sample.id, instance, TEXT_ROUND)
        asking.text = self.wording.said(instance, picture.categories, rng, fits).text
        asking.guess = self.wording.guessed(asking.text)

    def new_clicks(self, asking: Asking, number: int) -> tuple[Click, ...]:
        """The clicks of an instance's next round, counted from 1; none if prompts have text alone.

        Raises:
            NoClickError: The strategy finds no pixel for one of them.
            ClickRuleError: The strategy fails, or does not return clicks on the image.
        """
        if not self.protocol.clicks.max_clicks:
            return ()
        sample, target = asking.picture.sample, asking.target
        rng = self._rng(sample.id, target.instance, number, asking.draw)
        partner = asking.pair.other if asking.pair else None
        at = Situation(
            sample, target.instance, asking.clicks, asking.predicted, rng, asking.draw, partner, known=target.truth
        )
        return self.click_rule.clicks(at)

    def _rng(self, sample_id: str, instance: Instance, number: int, draw: int = 0) -> Any:
        """The random generator of a round: it depends on nothing but seed, data set, object, round and draw."""
        # The method is left out on purpose: every method gets the same clicks, whether it is evaluated first or last,
        # on one worker or on many. The object's id is used, not the instance's: an object under three texts is clicked
        # at one place.
        return click_rng(self.protocol.seed, self.names.dataset_plugin, sample_id, instance.object_id, number, draw)

    def prompt(self, asking: Asking) -> Prompt:
        """The prompt of the next call."""
        start, words = asking.started or Start("nothing"), self._vocabulary(asking.picture)
        who = (asking.target.instance.id, asking.draw) if self.told_instances else ()
        return Prompt(asking.clicks, asking.text, asking.memory, words, start.mask, start.boxes, *who)

    def _vocabulary(self, picture: Picture) -> tuple[str, ...]:
        return self.wording.present(picture.categories) if self.present_only else self.wording.vocabulary


def failed(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    reason: str,
    asking: Asking | None = None,
    device: str = "",
) -> Record:
    """The record of an instance for which there is no mask; a long reason is cut."""
    return Record(
        **facts(names, protocol, sample_id, instance, asking, device), status="failed", error=one_line(reason)
    )


def facts(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    asking: Asking | None,
    device: str,
) -> dict[str, Any]:
    """The columns of a record that describe the prompt; most are None if there was no prompt."""
    whole = instance if isinstance(instance, Instance) else None
    size = whole.cropped.size if whole and whole.cropped else (None, None)
    clicks, place = (asking.clicks, asking.place) if asking else ((), None)
    pair = asking.pair if asking else None
    return {
        **vars(names),
        "run": protocol.run,
        "image_id": sample_id,
        "instance_id": instance.id,
        "category": instance.category,
        "seen": seen(protocol, instance),
        "text": asking.text if asking else None,
        "text_rule": protocol.text.rule,
        "guess": asking.guess if asking else None,
        "clicks": clicks,
        "draw": asking.draw if asking else 0,
        "partner": pair.other.id if pair else None,
        "shared_px": pair.shared_px if pair else None,
        "click_index": len(clicks) or protocol.clicks.max_clicks,
        "click_strategy": protocol.clicks.strategy if protocol.clicks.max_clicks else None,
        "click_options": protocol.click_options,
        "start": asking.started.kind if asking and asking.started else None,
        "boxes": (asking.started.boxes or None) if asking and asking.started else None,
        "start_iou": asking.start_iou if asking else None,
        "under_click": place.under_click if place else None,
        "under_click_area_ratio": place.area_ratio if place else None,
        "click_depth_px": place.depth if place else None,
        "same_class_count": whole.same_class_count if whole else None,
        "height": size[0],
        "width": size[1],
        "device": device,
    }


def seen(protocol: Protocol, instance: Instance | Listed) -> bool | None:
    """Whether an instance's class is seen: by the data set's split or, without a split, by the training's classes."""
    if instance.seen is not None or not protocol.trained_classes or not instance.category:
        return instance.seen
    return instance.category in protocol.trained_classes
