"""Chooses the baseline of the text's gain: the method that plays click-only, by one rule for all tables.

On each data set, the first of these groups that has a member there plays click-only:

1. the methods that the config names, `baseline: LABEL`;
2. the methods of the plugin `click_only`;
3. the methods that are given no text, whose masks do not change with the words, and that answer with one mask.

If the group has several members, a method is compared with those that are most like it: clicked in the same way, then
trained on the same number of classes, then trained with the same seed. If more than one is left, or if no group has a
member, there are no gains, and a note says how to name a baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.comparison import CLICK, players, with_text
from harness.report.context import Context
from harness.statistics.final_clicks import FinalClicks

NAME_ONE = "Name one in the config, as `baseline: LABEL`."


@dataclass(frozen=True, eq=False)
class Baselines:
    """The methods that play click-only.

    Attributes:
        playing: Data set's label -> the labels of the methods that play it there.
        texts: Data set's label -> the labels of the methods that get text there.
        clicks: (data set's label, method's label) -> how the method was clicked there.
        context: The run's context.
    """

    playing: Mapping[str, Sequence[str]]
    texts: Mapping[str, Sequence[str]]
    clicks: Mapping[tuple[str, str], Any]
    context: Context

    def of(self, dataset: str, method: str) -> str | None:
        """The baseline of a method on a data set; None if there is none, or more than one."""
        alike = self._alike(dataset, method)
        return alike[0] if len(alike) == 1 else None

    @property
    def said(self) -> str:
        """The baselines' labels, for a title; "click alone" if there is none."""
        found = [self.of(dataset, method) for dataset, methods in self.texts.items() for method in methods]
        # If no method is given text, nobody is compared with a baseline, but the methods that would play it are there.
        named = [one for one in found if one] or [own[0] for own in self.playing.values() if len(own) == 1]
        return ", ".join(dict.fromkeys(named)) or "click alone"

    @property
    def notes(self) -> list[str]:
        """Sentences on why methods with text have no gains, and what to do about it."""
        return list(self._notes())

    def _notes(self) -> Iterator[str]:
        for dataset, methods in self.texts.items():
            if methods and not self.playing[dataset]:
                yield (
                    f"{dataset}: no gains over click alone, since no method of this run is click-only there. {NAME_ONE}"
                )
            for method in methods:
                alike = self._alike(dataset, method)
                if len(alike) > 1:
                    several = " and ".join(alike)
                    yield (
                        f"{dataset}, {method}: no gains over click alone, since there are several such methods: "
                        f"{several}. {NAME_ONE}"
                    )

    def _alike(self, dataset: str, method: str) -> Sequence[str]:
        """The baselines on this data set that are most like the method."""
        facts = self.context.facts
        tests: tuple[Callable[[str], Any], ...] = (
            lambda name: self.clicks[dataset, name],
            lambda name: facts(name).trained_classes,
            lambda name: facts(name).seed,
        )
        alike = [name for name in self.playing.get(dataset, ()) if name != method]
        # Each test keeps those that agree with the method. If nobody agrees the test says nothing, and all stay (`or`):
        # a baseline with another seed is better than none.
        for test in tests:
            alike = [name for name in alike if test(name) == test(method)] or alike
        return alike


def baselines(lines: pd.DataFrame, final: FinalClicks, context: Context) -> Baselines:
    """Find the methods that play click-only and those that get text, by the rule above.

    Args:
        lines: The lines of `scores` of the methods that may play it.
        final: The run's rows.
        context: The run's context.
    """
    playing, texts = {}, {}
    for dataset in lines["dataset"].unique():
        here = lines[lines["dataset"] == dataset]
        methods = list(dict.fromkeys(here["method"]))
        texts[dataset] = [name for name in methods if with_text(name, final, context)]
        silent = [name for name in methods if name not in texts[dataset]]
        named = [name for name in methods if name in context.baseline]
        played = [name for name in players(CLICK, here, final, context) if name in silent]
        # The three groups of the rule at the top of this file, in its order: the first that has a member.
        playing[dataset] = named or played or [name for name in silent if _one_mask(here, name, context)]
    clicks = {(line["dataset"], line["method"]): _clicks(line, context) for _, line in lines.iterrows()}
    return Baselines(playing, texts, clicks, context)


def _one_mask(lines: pd.DataFrame, method: str, context: Context) -> bool:
    """Whether a method answers with one mask, which the words do not change as far as the run could tell."""
    rankings = set(lines.loc[lines["method"] == method, "ranking"])
    return rankings <= {"single", ""} and not context.facts(method).reads_text


def _clicks(line: pd.Series[Any], context: Context) -> Any:
    """The click rule, its options and the number of clicks, by the run's manifest; without one, the number alone."""
    asked = context.asked.get((line["method"], line["dataset"]))
    return (asked.clicks, asked.options, asked.max_clicks) if asked else line["clicks"]
