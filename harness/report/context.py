"""The facts about a run that a table needs besides the rows.

The context is made from the run's config and manifest once, before any table. So tables read no file and import no
plugin, and work on a run whose methods are no longer installed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.messages import number_of
from harness.plugins.scale import Scale
from harness.statistics.final_clicks import SHOWN


@dataclass(frozen=True)
class MethodFacts:
    """Facts about a method that are in a run's config and manifest, and not in its rows.

    Attributes:
        uses_text: Whether the method declares that it uses the text.
        trained_on: The data sets that the weights were trained on, for tables; None if unknown.
        trained_data: The plugins of those data sets, as far as the checkpoint or the config names them.
        weights: The origin of the weights, for a footnote.
        plugin: The plugin's name, for a method without rows.
        variant_of: The entry that it is a variant of, asked in another way; "" if it is no variant.
        trained_classes: How many classes the weights were trained on; None if the config does not say.
        training: "all" or "seen", the classes that the recipe trains on; "" if the config names no recipe.
        seed_of: The label that it shares with the same recipe's networks of other seeds; "" if it stands alone.
        seed: The seed of the training, for one of several.
        first_ranking: The ranking whose masks the next clicks correct; "" for a method that takes no `rankings`.
        vocabulary: The names that the text is contrasted with, as in the config: "dataset", ... or a file; "" for a
            method without such a choice.
        published_in: The place where the authors print numbers for these weights; "" if there is none.
        reads_text: Whether the masks change with the words although the method does not declare `uses_text`.
    """

    uses_text: bool = False
    trained_on: str | None = None
    trained_data: tuple[str, ...] = ()
    weights: str = ""
    plugin: str = ""
    variant_of: str = ""
    trained_classes: int | None = None
    training: str = ""
    seed_of: str = ""
    seed: int | None = None
    first_ranking: str = ""
    published_in: str = ""
    reads_text: bool = False
    vocabulary: str = ""


@dataclass(frozen=True)
class Asked:
    """The clicks, words, split and seed with which a method was asked on a data set.

    Attributes:
        clicks: The click rule.
        options: All options of the rule.
        max_clicks: Clicks for each instance.
        text: The text rule, with its template if that is more than the words.
        split: The data set's split; "" if it has none.
        seed: The run's seed.
        draws: The number of times that each instance was asked for, with clicks drawn anew.
    """

    clicks: str
    options: Mapping[str, Any]
    max_clicks: int
    text: str
    split: str = ""
    seed: int = 0
    draws: int = 1


@dataclass(frozen=True)
class Context:
    """The facts about a run that a table needs besides the rows.

    Attributes:
        run: The run's name.
        limits: Data set's label -> how many samples were taken of it; without an entry for one that was taken whole.
        labels: Method's label -> facts, in the config's order, which the tables keep.
        expected_instances: (method's label, data set's label) -> how many instances the run set out to segment,
            in the config's order.
        training_images_asked: (method's label, data set's label) -> how many of the images that the method is asked
            about were also among its training images.
        seen_otherwise: (method's label, data set's label) -> a sentence on how the classes that the method has seen
            differ from the data set's split.
        uncounted: (method's label, data set's label) -> the number of images without a row whose instances nobody has
            counted; each of these images counts as one instance in `expected_instances`.
        metrics: Metric's name -> its entry in the run's manifest: "higher_is_better", "bounds", "unit", "description".
        published: (method's label, data set's label) -> "NoC@90" -> the number that the method's authors print.
        notes: Sentences that stand under every table of the run.
        job_notes: (method's label, data set's label) -> sentences on the two, for tables that show the method.
        doubts: Sentences on what is odd about the run's rows; they stand there, too.
        asked: (method's label, data set's label) -> how the run asked, in the config's order.
        baseline: The labels of the methods that play click-only, if the config names them.
        click_s: Seconds that a click costs, by the config's `effort`.
        word_s: Seconds that a word costs.
        other_lists: Data set's label -> how its instances differ from those that the paper's numbers are over; without
            an entry for a data set that is the same list, and for one that the paper does not use.
        intervals: Whether every mean is shown with its 95 % interval and the number of its instances.
    """

    run: str
    limits: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, MethodFacts] = field(default_factory=dict)
    expected_instances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    training_images_asked: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seen_otherwise: Mapping[tuple[str, str], str] = field(default_factory=dict)
    intervals: bool = False
    uncounted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    job_notes: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    asked: Mapping[tuple[str, str], Asked] = field(default_factory=dict)
    baseline: tuple[str, ...] = ()
    click_s: float = 2.0
    word_s: float = 1.0
    other_lists: Mapping[str, str] = field(default_factory=dict)

    @property
    def limited(self) -> str:
        """`50 samples`, if the run was cut short, as `limited_said`."""
        return limited_said(self.limits, {dataset for _, dataset in self.asked})

    def scale(self, metric: str) -> Scale:
        """The scale of a metric as the run declares it; by default a share from 0 to 1, where more is better."""
        return Scale.read(self.metrics.get(metric, {}))

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """The metrics that this run measured beyond those that every table knows, in the config's order."""
        return tuple(name for name in self.metrics if name not in SHOWN)

    @property
    def leading_metric(self) -> str:
        """The metric that ranks methods: IoU or, in a run that did not measure it, the first of its metrics."""
        return "iou" if "iou" in self.metrics else next(iter(self.metrics), "iou")

    def facts(self, method: str) -> MethodFacts:
        """The facts about a method; the defaults if the config does not name it."""
        return self.labels.get(method, MethodFacts())


def limited_said(limits: Mapping[str, int], datasets: Collection[str]) -> str:
    """`50 samples`, the most that were taken of a data set that was not taken whole; "" if all of them were.

    Args:
        limits: Data set's label -> how many samples were taken of it, for those not taken whole.
        datasets: All data sets of the run. If some were taken whole, the text names the others: `50 samples of coco`.
    """
    if not limits:
        return ""
    most = number_of(max(limits.values()), "sample")
    return most if limits.keys() >= {*datasets} else f"{most} of {' and '.join(sorted(limits))}"
