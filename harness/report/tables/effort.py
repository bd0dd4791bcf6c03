"""Mean IoU by the seconds that prompts cost, and how many clicks one click with text saves.

A prompt costs `click_s` for each click and `word_s` for each word, as the config's `effort:` says; nobody was timed.
Words are counted in the rows, separated by blanks. With 2 s and 1.5 s, a click and "white cup" cost 2 + 2 x 1.5 = 5 s.

    click alone        clicks   1      2      3       with text, 1 click
    mean IoU                    0.40   0.50   0.60    0.55                 equals 3 clicks: the fewest that are as good
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from harness.plugins.registry import register_table
from harness.report.comparison import CONCEPT, answers, reads_text
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, number, share
from harness.report.scores import NO_ROWS, about, failures, gaps, named, numbers, of_line, scores, with_intervals
from harness.report.tables.noc import sequences_of
from harness.report.tables.slices import SIZES
from harness.statistics.clicks_needed import Sequences
from harness.statistics.final_clicks import INSTANCE, FinalClicks

SHOWN = (0, 1, 2, 3, 5, 10, 20)
"""Clicks after which the table shows the mean IoU, as far as a method was asked."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A method on a data set, with its answers and the length of its prompts.

    Attributes:
        line: The method's line of `scores`.
        own: The method's IoUs click by click.
        words: The number of words in the prompt of each instance of `own`; 0 if it got none, or does not read them.
    """

    line: pd.Series[Any]
    own: Sequences
    words: Float64[np.ndarray, " n"]

    @property
    def clicked(self) -> bool:
        """Whether its prompts were clicks alone."""
        # Of a method whose rows are missing nothing is known: it may be one whose words are not counted yet.
        return len(self.words) > 0 and not self.words.any() and bool(self.own.clicks.any())


@register_table("effort")
def effort(final: FinalClicks, context: Context) -> Table:
    """Mean IoU by the seconds of its prompts, and how many clicks without text equal one click with text."""
    every = scores(final, context)
    # SAM 3's own answer is by the clicks alone; the worth of its text shows in another ranking.
    lines = every[every.index.isin(answers(every, context).index) | (every["ranking"] == CONCEPT)]
    asked = [_asked(line, final, context) for _, line in lines.iterrows()]
    known = final.segmented.drop_duplicates(INSTANCE).set_index(INSTANCE) if len(lines) else pd.DataFrame()
    clicked = list(dict.fromkeys(named(one.line) for one in asked if one.clicked))
    body = tuple(row for one in asked for row in _rows(one, asked, clicked, known, final, context))
    heads = [Column(name) for name in ("Dataset", "Method", "Instances")]
    others = [Column(name, align="right") for name in ("Words", "Clicks", "Seconds", "mIoU", "n")]
    equal = [Column(name, "Clicks of", "right") for name in clicked]
    notes = (
        f"A click costs {context.click_s:g} s and a word {context.word_s:g} s, by the config's `effort`: assumptions, "
        "nobody was timed. Words: the mean number in a prompt.",
        "Clicks of a method without text: the fewest after which its mean IoU, over the same instances, is at least "
        "that of one click with text. Small, medium, large: COCO's bounds.",
    )
    return Table("Effort", (*heads, *others, *equal), body, notes if body else (NO_ROWS,))


def _asked(line: pd.Series[Any], final: FinalClicks, context: Context) -> Asked:
    own = sequences_of(line, final)
    words = np.zeros(len(own.instances))
    if reads_text(line, final, context) and "text" in final.rows:
        # A prompt without words counts with 0: an instance may have no class and no words of its own.
        texts = of_line(final.segmented, line).set_index(INSTANCE)["text"].reindex(own.instances)
        words += [0 if pd.isna(text) else len(str(text).split()) for text in texts]
    return Asked(line, own, words)


def _rows(
    one: Asked,
    asked: Sequence[Asked],
    clicked: Sequence[str],
    known: pd.DataFrame,
    final: FinalClicks,
    context: Context,
) -> Iterator[Row]:
    """A method's rows: all instances after some clicks, then sizes and classes after one click with text."""
    beside = [other for other in asked if other.line["dataset"] == one.line["dataset"]]
    others = {named(other.line): other.own for other in beside if other.clicked}
    starts = beside[0] is one
    said = about(one.line, final, context) + failures(one.line, final)
    every = np.ones(len(one.own.instances), bool)
    # Clicks saved are compared with one click and text, the paper's setting; the other lines leave these columns empty.
    for index, clicks in enumerate(made := [k for k in SHOWN if k in one.own.clicks]):
        saved = _saved(one, others, clicked, every) if clicks == 1 else [""] * len(clicked)
        yield _row(one, "all", every, clicks, saved, said, context, starts and not index)
    if one.words.any() and 1 in made and others:
        for name, within in _parts(known.reindex(one.own.instances)).items():
            yield _row(one, name, within, 1, _saved(one, others, clicked, within), said, context)


def _parts(instances: pd.DataFrame) -> Mapping[str, Bool[np.ndarray, " n"]]:
    """Sizes and classes -> which instances belong to them; without those that have none."""
    sizes = numbers(instances["gt_area_px"]) if "gt_area_px" in instances else pd.Series(np.nan, instances.index)
    found = {name: ((sizes >= least) & (sizes < below)).to_numpy() for name, (least, below) in SIZES.ranges.items()}
    classes = instances["category"] if "category" in instances else pd.Series("", instances.index)
    found |= {str(name): (classes == name).to_numpy() for name in sorted(classes.dropna().unique()) if name}
    return {name: within for name, within in found.items() if within.any()}


def _row(
    one: Asked,
    name: str,
    within: Bool[np.ndarray, " n"],
    clicks: int,
    saved: Sequence[str],
    said: tuple[str, ...],
    context: Context,
    starts: bool = False,
) -> Row:
    """The mean over some of a method's instances after some clicks."""
    # `ious` is (instances, rounds). A round need not be one click, so its column is found by the number of clicks.
    ious = pd.DataFrame({"iou": one.own.ious[within, list(one.own.clicks).index(clicks)]})
    instances = one.own.instances[within].to_frame(index=False)
    words = float(one.words[within].mean()) if within.any() else math.nan
    seconds = clicks * context.click_s + words * context.word_s
    (mean,) = with_intervals([share(float(ious["iou"].mean()), gaps(one.line), n=len(ious))], ious, instances, context)
    names = (Cell(one.line["dataset"]), Cell(named(one.line), said), Cell(name))
    counts = (Cell(number(words, 1)), Cell(str(clicks)), Cell(number(seconds, 1)))
    return Row((*names, *counts, mean, Cell(str(len(ious))), *map(Cell, saved)), starts_section=starts)


def _saved(
    one: Asked, others: Mapping[str, Sequences], clicked: Sequence[str], within: Bool[np.ndarray, " n"]
) -> list[str]:
    """For each method without text the clicks that equal one click with text; "" if nothing can be compared."""
    known = others if one.words.any() else {}
    return [fewest(one.own, known[name], within) if name in known else "" for name in clicked]


def fewest(texted: Sequences, clicked: Sequences, within: Bool[np.ndarray, " n"]) -> str:
    """The fewest clicks without text whose mean IoU is at least that of one click with text, on the same instances.

    Args:
        texted: The IoUs with text, among them those after one click.
        clicked: The IoUs without text.
        within: Whether each instance of `texted` counts.

    Returns:
        `3`; `> 20` if the last click is not enough; "" if there is no common instance.
    """
    # `get_indexer` gives the place of each instance of `texted` in `clicked`, or -1 where that one failed. Both means
    # are over the instances that both segmented, or hard ones that only one of them lacks would decide.
    places = clicked.instances.get_indexer(texted.instances)
    both = within & (places >= 0)
    if not both.any():
        return ""
    wanted = texted.ious[both, list(texted.clicks).index(1)].mean()
    means = clicked.ious[places[both]].mean(axis=0)
    # The first number that is enough, even if a later click makes the mean fall below again.
    enough = clicked.clicks[means >= wanted]
    return str(enough[0]) if len(enough) else f"> {clicked.clicks[-1]}"
