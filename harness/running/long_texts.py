"""Finds the texts of a run that are longer than its methods read, or missing: some will fail, others will be cut.

No weights are loaded and no image is opened: the words come from a data set's listing, by the run's text rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from harness.clicks import click_rng
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig
from harness.config.wording import Wording
from harness.evaluation.protocol import TEXT_ROUND
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Dataset, TextLimit
from harness.structures import Listed

SHOWN = 120
"""Characters of the example."""


def texts_of(
    config: RunConfig, method: MethodEntry, entry: Plugin, dataset: Dataset, listed: Mapping[str, Sequence[Listed]]
) -> list[str]:
    """The texts that a method gets for a data set's instances, each once, in the order of the listing.

    Args:
        config: The run's config.
        method: One of its methods.
        entry: The data set's entry in the config.
        dataset: The data set, built from the entry.
        listed: Its samples with their instances.
    """
    wording = Wording(config.text_of(method), dataset.classes)
    if wording.looks:  # It may choose any of them, depending on the pictures.
        return list(dict.fromkeys(wording.vocabulary))
    said = (text for text, _ in _said(config, wording, entry, listed))
    return [text for text in dict.fromkeys(said) if text is not None]


def without_words(
    config: RunConfig, method: MethodEntry, entry: Plugin, dataset: Dataset, listed: Mapping[str, Sequence[Listed]]
) -> tuple[int, list[str]]:
    """Count the instances of a data set for which there are no words. The arguments are those of `texts_of`.

    With the rule `none` nobody expects any, and a rule that looks at the pictures finds its words there: both give 0.

    Returns:
        How many instances a method is asked for without words; and for those that it is not asked for, since the rule
        fails on them, the reason of each.
    """
    wording = Wording(config.text_of(method), dataset.classes)
    if wording.looks or config.text_of(method).rule == "none":
        return 0, []
    without = [reason for text, reason in _said(config, wording, entry, listed) if text is None]
    reasons = [reason for reason in without if reason]
    return len(without) - len(reasons), reasons


def _said(
    config: RunConfig, wording: Wording, entry: Plugin, listed: Mapping[str, Sequence[Listed]]
) -> Iterator[tuple[str | None, str]]:
    """The text of each instance, None for one without; and the reason if the rule has no words for it, else ""."""
    for sample_id, instances in listed.items():
        present = frozenset(one.category for one in instances)
        for one in instances:
            # The same generator as in the evaluation, so that a rule that draws gives the same words as in the run.
            rng = partial(click_rng, config.seed, entry.name, sample_id, one.id.partition("~")[0], TEXT_ROUND, 0)
            try:
                yield wording.said(one, present, rng).text, ""
            except ValueError as error:
                yield None, str(error)


def too_long(texts: Sequence[str], limit: TextLimit) -> str:
    """A sentence on the texts that are longer than a reader's limit, with the longest one; "" if there are none."""
    over = {text: count for text in texts if (count := limit.beyond(text))}
    if not over:
        return ""
    longest = max(over, key=over.__getitem__)
    shown = longest if len(longest) <= SHOWN else f"{longest[:SHOWN]}..."
    then = "longer texts are cut, as by its authors" if limit.cut else "longer texts will be failed rows"
    return (
        f"{len(over)} of {len(texts)} texts have more than the {limit.most} {limit.units} that {limit.reader} reads; "
        f"{then}. The longest has {over[longest]}: '{shown}'"
    )


def limits_of(kind: str, name: str, params: Mapping[str, Any]) -> Iterator[TextLimit]:
    """The limits of a plugin's texts, and those of each saliency among its parameters."""
    # A saliency reads the text, too, and may read fewer words than the method: its limits are found in the same way.
    cls = registry.find(kind, name)
    taken = parameters.parameters_of(cls)
    given = parameters.with_defaults(cls, params)
    for key, (annotation, _) in taken.items():
        nested = parameters.plugin_kind(annotation)
        if nested == "saliency" and given[key]:
            yield from limits_of(nested, given[key]["name"], given[key]["params"])
    yield from cls.text_limits(given)
