"""What a table needs to know of a run besides its rows.

It is made from the run's config and manifest once, before any table. So tables read no file and import no plugin, and
work on a run whose methods are no longer installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.plugins.scale import Scale
from harness.statistics.final_clicks import SHOWN


@dataclass(frozen=True)
class MethodFacts:
    """What a run's config and manifest know of a method, and its rows do not.

    Attributes:
        uses_text: Whether the method declares that it uses the text.
        trained_on: The data set whose training half the weights saw, by the plugin's name; None if unknown.
        weights: Where the weights came from, for a footnote.
        plugin: The plugin's name, for a method without rows.
        variant_of: The entry that it is a variant of, asked in another way; "" if it is no variant.
        trained_classes: How many classes the weights were trained on; None if the config does not say.
        training: "all" or "seen", the classes that the recipe trains on; "" if the config names no recipe.
        seed_of: The label that it shares with the same recipe's networks of other seeds; "" if it stands alone.
        seed: The seed of the training, for one of several.
        first_ranking: The ranking whose masks the next clicks correct; "" for a method that takes no `rankings`.
        vocabulary: What the text is contrasted with, as the config says: "dataset", ... or a file; "" for a method
            without such a choice.
        published_in: Where the authors print numbers for these weights; "" if nowhere.
        reads_text: Whether the masks change with the words although the method does not declare `uses_text`.
    """

    uses_text: bool = False
    trained_on: str | None = None
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
    """How a method was asked on a data set.

    Attributes:
        clicks: The click rule.
        options: All options of the rule.
        max_clicks: Clicks for each instance.
        text: The text rule, with its template if that is more than the words.
        split: The data set's split; "" if it has none.
        seed: The run's seed.
        draws: How often each instance was asked for, with clicks drawn anew.
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
    """What a table needs to know besides the rows.

    Attributes:
        run: The run's name.
        limited: The N of `--limit N`; None for the whole data set.
        labels: Method's label -> facts, in the config's order, which the tables keep.
        expected_instances: (method's label, data set's label) -> how many instances the run set out to segment,
            in the config's order.
        training_images_asked: (method's label, data set's label) -> how many of the images that it is asked on it was
            trained on.
        seen_otherwise: (method's label, data set's label) -> how what it has seen differs from the data set's split.
        uncounted: (method's label, data set's label) -> in how many images without a row nobody has counted the
            instances; each of these images counts as one in `expected_instances`.
        metrics: Metric's name -> what the run's manifest says of it: "higher_is_better", "bounds", "unit",
            "description".
        published: (method's label, data set's label) -> "NoC@90" -> the number that the method's authors print.
        notes: What stands under every table of the run.
        doubts: What is odd about the run's rows; it stands there, too.
        asked: (method's label, data set's label) -> how the run asked, in the config's order.
        baseline: The labels of those who play click-only, where the config names them.
        click_s: Seconds that a click costs, by the config's `effort`.
        word_s: Seconds that a word costs.
        other_lists: Data set's label -> how its instances differ from those that the paper's numbers are over; nothing
            of a data set that is the paper's list, or of which the paper has none.
        intervals: Whether every mean says its 95 % interval and over how many instances it is.
    """

    run: str
    limited: int | None = None
    labels: Mapping[str, MethodFacts] = field(default_factory=dict)
    expected_instances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    training_images_asked: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seen_otherwise: Mapping[tuple[str, str], str] = field(default_factory=dict)
    intervals: bool = False
    uncounted: Mapping[tuple[str, str], int] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    asked: Mapping[tuple[str, str], Asked] = field(default_factory=dict)
    baseline: tuple[str, ...] = ()
    click_s: float = 2.0
    word_s: float = 1.0
    other_lists: Mapping[str, str] = field(default_factory=dict)

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
        """What is known of a method; the defaults if the config does not name it."""
        return self.labels.get(method, MethodFacts())
