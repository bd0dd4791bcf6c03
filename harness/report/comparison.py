"""Chooses the methods that a table compares: the parts that methods play, a method's main ranking, and paired gains.

A table of the paper compares parts, such as "ours" and "SAM". A run's method plays a part if its plugin is one of the
part's; its label does not matter. So a run with two entries of the plugin `sam` has two lines for that part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.plugins.scale import SHARE, Scale
from harness.report.context import Context
from harness.report.layout import Cell, Row, signed, with_interval
from harness.report.paper.published import published_rows
from harness.report.paper.rows import Published
from harness.report.scores import plugin_of
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain, paired_gains
from harness.statistics.resampling import LEAST_IMAGES
from harness.structures import UserError

PARTS = {"mean": "overall", "seen": "seen", "unseen": "unseen"}
"""A column of `scores` -> its name in the paper."""


RIGHT_WORDS = ("class_name", "given")
"""The text rules that give the right words. Other words are compared with the first of these that a run has."""

BY_TEXT = ("clip", "saliency")
"""Rankings that choose a mask by the text, also if the method makes its masks without it."""

CONCEPT = "concept"
"""SAM 3's ranking by the text and the click; its `confidence` beside it is by the clicks alone."""


@dataclass(frozen=True)
class Part:
    """One side of a table's comparison: some plugins, and the ranking that a table shows of them.

    Attributes:
        plugins: The plugins whose methods play the part.
        rankings: The first of these that a method has is shown; "" is for a method that segmented nothing.
    """

    plugins: tuple[str, ...]
    rankings: tuple[str, ...] = ("single", "confidence", "")


OURS = Part(("text_click",))
CLICK = Part(("click_only",))
CLICK_SYSTEMS = Part(("ritm", "simpleclick", "focalclick"))
SAM = Part(("sam", "sam_hq", "sam2"), ("confidence", "single", ""))


def players(part: Part, lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[str]:
    """The labels of the methods that play a part, in the config's order."""
    # The rows know the plugin that made them. The config's facts stand in for a method without rows.
    known = {}
    if "method_plugin" in final.rows:
        known = final.rows.dropna(subset="method_plugin").groupby("method")["method_plugin"].min().to_dict()
    labels = dict.fromkeys([*context.labels, *lines["method"]])
    present = set(lines["method"])
    return [
        label for label in labels if label in present and known.get(label, context.facts(label).plugin) in part.plugins
    ]


def line_of(lines: pd.DataFrame, dataset: str, method: str, rankings: Sequence[str]) -> pd.Series[Any] | None:
    """A method's line of `scores` for the first of these rankings that it has on the data set; None without any."""
    own = lines[(lines["dataset"] == dataset) & (lines["method"] == method)]
    for ranking in rankings:
        found = own[own["ranking"] == ranking]
        if len(found):
            return found.iloc[0]
    return None


def gains(
    final: FinalClicks,
    dataset: str,
    a: tuple[str, str],
    b: tuple[str, str],
    metric: str = "iou",
    scale: Scale = SHARE,
) -> tuple[dict[str, Gain], list[str]]:
    """The paired gains of a over b on the instances that both segmented: overall, seen and unseen, with a note.

    Seen and unseen are left out if b has no such halves, because b was trained on other classes than the split's.

    Args:
        final: The run's rows.
        dataset: The data set's label.
        a: A method's label and ranking.
        b: Another method's label and ranking.
        metric: The column of the rows with the metric.
        scale: The scale that the metric declares.
    """
    both = final.where((final.rows["dataset"] == dataset) & final.rows["method"].isin([a[0], b[0]]))
    try:
        found = {PARTS[name]: gain for name, gain in paired_gains(both, a, b, metric, scale=scale).items()}
    except UserError as error:
        return {}, [f"{dataset}, {a[0]}: no gains. {error}"]
    # A method that was trained on all classes has neither seen nor unseen rows (`Recorded`). A gain over it on "unseen"
    # classes would be over classes that it did see.
    halves = both.rows.loc[both.rows["method"] == b[0], "seen"].notna().any()
    found = {name: gain for name, gain in found.items() if gain.n and (halves or name == "overall")}
    other = b[0] if b[1] == "single" else f"{b[0]} ({b[1]})"
    if not found:
        return {}, [
            f"{dataset}, {a[0]} against {other}: no gains, since no instance has rows of both after the same number "
            "of clicks."
        ]
    said = ", ".join(f"{name} {interval(gain, scale)} (n = {gain.n})" for name, gain in found.items())
    return found, [f"{dataset}, {a[0]} against {other}: {said}."]


def interval(gain: Gain, scale: Scale = SHARE) -> str:
    """`+4.52 [+3.10, +5.90]`, in points of a share; without an interval if the instances are of few images."""
    return f"{scale.signed(gain.difference)} {ends(gain.low, gain.high, scale.signed)}"


def ends(low: float, high: float, shown: Callable[[float], str]) -> str:
    """`[3.10, 5.90]`; in place of an interval that is NaN it says that the instances are of few images."""
    return f"from fewer than {LEAST_IMAGES} images" if math.isnan(low) else f"[{shown(low)}, {shown(high)}]"


def gain_cell(gain: Gain | None, context: Context, doubts: tuple[str, ...] = ()) -> Cell:
    """A cell with a difference in points, and its interval and n if the context wants them; empty for no gain."""
    if gain is None:
        return Cell("", doubts)
    cell = Cell(signed(gain.difference), doubts, gain.difference, n=gain.n)
    return with_interval(cell, gain.low, gain.high, signed) if context.intervals else cell


def interval_cell(gain: Gain, nothing: str, doubts: tuple[str, ...] = ()) -> Cell:
    """A cell with a difference in points and, always, its interval; `nothing` for a gain over no instance."""
    if not gain.n:
        return Cell(nothing, doubts)
    return Cell(interval(gain), doubts, gain.difference, gain.low, gain.high, gain.n)


def absent(parts: Sequence[Part], lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[str]:
    """A note for each part that no method plays."""
    unplayed = [part for part in parts if not players(part, lines, final, context)]
    return [f"No method of this run is {' or '.join(part.plugins)}." for part in unplayed]


def printed_beside(number: int, dataset: str, final: FinalClicks, context: Context) -> list[Published]:
    """The rows that a table of the paper prints for a data set; none if our instances are not the paper's.

    Args:
        number: The table's number.
        dataset: The data set's label.
        final: The run's rows.
        context: The run's context.
    """
    return [] if dataset in context.other_lists else published_rows(number, plugin_of(final, dataset))


def quoted_note(
    number: int, body: Sequence[Row], final: FinalClicks, context: Context, how: str = "for one click"
) -> list[str]:
    """Notes that explain the printed rows, if there are any, and why they are left out for a data set."""
    said = f"published: as the paper's Table {number} prints it, {how}; not measured here."
    return [*([said] if any(row.quoted for row in body) else []), *left_out(number, final, context)]


def left_out(number: int, final: FinalClicks, context: Context) -> list[str]:
    """A note for each data set whose printed numbers are left out because they are over other instances."""
    return [
        f"{dataset}: the paper's numbers are left out, since they are over other instances. {differs}."
        for dataset, differs in context.other_lists.items()
        if published_rows(number, plugin_of(final, dataset))
    ]


def printed_cell(row: Published, column: str, more: str = "") -> Cell:
    """A cell with a printed mean and the doubts about it as footnotes; a dash if the paper prints none."""
    value = getattr(row, column)
    if value is None:
        return Cell("–")
    return Cell(f"{value:.2f}{more}", row.doubts.get(column, ()), value / 100)


def base(method: str, context: Context) -> str:
    """The label of the entry that a method is a variant of, by the config; else its own label."""
    return context.facts(method).variant_of or method


def with_text(method: str, final: FinalClicks, context: Context) -> bool:
    """Whether a method uses the text and was given some."""
    if not context.facts(method).uses_text or "text_rule" not in final.rows:
        return context.facts(method).uses_text
    rules = final.rows.loc[final.rows["method"] == method, "text_rule"].dropna().unique()
    return list(rules) != ["none"]


def reads_text(line: pd.Series[Any], final: FinalClicks, context: Context) -> bool:
    """Whether the text takes part in the masks of a line of `scores`."""
    # SAM 3 makes its masks from the clicks, and `concept` chooses among them by the words. Its line by `confidence`
    # therefore is an answer to the clicks alone, though the method as a whole uses the text.
    own = final.rows[final.rows["method"] == line["method"]]
    if line["ranking"] == "confidence" and (own["ranking"] == CONCEPT).any():
        return False
    return line["ranking"] in BY_TEXT or with_text(line["method"], final, context)


def text_rules(rows: pd.DataFrame) -> dict[str, str]:
    """Method's label -> the text rule in the run's rows."""
    known = rows.reindex(columns=["method", "text_rule"]).dropna()
    return {str(method): str(rule) for method, rule in known.groupby("method")["text_rule"].min().items()}


def answers(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    """One line of `scores` for each data set and method: the ranking whose masks the next clicks correct.

    This is the method's first ranking by the config. If the config names none, or no row has it, it is "single" (a lone
    mask) or else "confidence" (the method's own); without either, the first other ranking by name, the oracle last.
    """
    # The smallest number is taken; 0 is the config's own first ranking, and 4 any that is not named here: among several
    # of these the name decides. The oracle looks at the ground truth, so that it is no answer of the method's.
    known = {"single": 1, "confidence": 2, "": 3, "oracle": 5}
    pairs = zip(lines["method"], lines["ranking"], strict=True)
    order = [
        0 if ranking and ranking == context.facts(method).first_ranking else known.get(ranking, 4)
        for method, ranking in pairs
    ]
    first = lines.assign(order=order).sort_values(["order", "ranking"], kind="stable")
    kept = first.drop_duplicates(["dataset", "method"]).index
    return lines[lines.index.isin(kept)]
