"""Which methods a table compares: the parts that methods play, the ranking that stands for a method, and paired gains.

A method's part follows from its plugin, never from its label: two entries of one plugin both play it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.plugins.scale import SHARE, Scale
from harness.report.context import Context
from harness.report.layout import Cell, Row, signed, spread
from harness.report.paper.published import published_rows
from harness.report.paper.rows import Published
from harness.report.scores import plugin_of
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain, paired_gains
from harness.structures import UserError

PARTS = {"mean": "overall", "seen": "seen", "unseen": "unseen"}
"""A column of `scores` -> its name in the paper."""


RIGHT_WORDS = ("class_name", "given")
"""The rules of the right words; other words are held against those of the first that a run has."""

BY_TEXT = ("clip", "saliency")
"""Rankings that the text decides, whatever the method makes of it otherwise."""

CONCEPT = "concept"
"""SAM 3's ranking by the text and the click; its `confidence` beside it is by the clicks alone."""


@dataclass(frozen=True)
class Part:
    """What a table shows of a method: the first of these rankings that it has.

    Attributes:
        plugins: The plugins whose methods play the part.
        rankings: The best one first; "" is a method that segmented nothing.
    """

    plugins: tuple[str, ...]
    rankings: tuple[str, ...] = ("single", "confidence", "")


OURS = Part(("text_click",))
CLICK = Part(("click_only",))
CLICK_SYSTEMS = Part(("ritm", "simpleclick", "focalclick"))
SAM = Part(("sam", "sam_hq", "sam2"), ("confidence", "single", ""))


def players(part: Part, lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[str]:
    """The labels of the methods that play a part, in the config's order."""
    known = {}
    if "method_plugin" in final.rows:
        known = final.rows.dropna(subset="method_plugin").groupby("method")["method_plugin"].min().to_dict()
    labels = dict.fromkeys([*context.labels, *lines["method"]])
    present = set(lines["method"])
    return [
        label for label in labels if label in present and known.get(label, context.facts(label).plugin) in part.plugins
    ]


def line_of(lines: pd.DataFrame, dataset: str, method: str, rankings: Sequence[str]) -> pd.Series[Any] | None:
    """A method's line of `scores`, of the first of these rankings that it has there."""
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
    """How much better a is than b on the instances of a data set that both segmented, by part, and a note with it.

    Seen and unseen are left out where they are blank for b, because b was trained on other classes than the split's.

    Args:
        final: The run's.
        dataset: Its label.
        a: A method's label and ranking.
        b: Likewise.
        metric: A metric of the rows, by its column.
        scale: What the metric declares.
    """
    both = final.where((final.rows["dataset"] == dataset) & final.rows["method"].isin([a[0], b[0]]))
    try:
        found = {PARTS[name]: gain for name, gain in paired_gains(both, a, b, metric, scale=scale).items()}
    except UserError as error:
        return {}, [f"{dataset}, {a[0]}: no gains. {error}"]
    halves = both.rows.loc[both.rows["method"] == b[0], "seen"].notna().any()
    found = {name: gain for name, gain in found.items() if gain.n and (halves or name == "overall")}
    other = b[0] if b[1] == "single" else f"{b[0]} ({b[1]})"
    if not found:
        return {}, [f"{dataset}, {a[0]} against {other}: no gains, for none was asked of both with as many clicks."]
    said = ", ".join(f"{name} {interval(gain, scale)} (n = {gain.n})" for name, gain in found.items())
    return found, [f"{dataset}, {a[0]} against {other}: {said}."]


def interval(gain: Gain, scale: Scale = SHARE) -> str:
    """`+4.52 [+3.10, +5.90]`, in points of a share; without an interval where one image cannot give it."""
    ends = "from one image" if math.isnan(gain.low) else f"[{scale.signed(gain.low)}, {scale.signed(gain.high)}]"
    return f"{scale.signed(gain.difference)} {ends}"


def gain_cell(gain: Gain | None, context: Context, doubts: tuple[str, ...] = ()) -> Cell:
    """A difference in points, with its interval and n where they are asked for; empty where there is none."""
    if gain is None:
        return Cell("", doubts)
    behind = spread(signed(gain.low), signed(gain.high), gain.n) if context.intervals else ""
    return Cell(signed(gain.difference), doubts, n=gain.n, spread=behind)


def absent(parts: Sequence[Part], lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[str]:
    """A note for each part that no method plays."""
    unplayed = [part for part in parts if not players(part, lines, final, context)]
    return [f"No method of this run is {' or '.join(part.plugins)}." for part in unplayed]


def printed_beside(number: int, dataset: str, final: FinalClicks, context: Context) -> list[Published]:
    """What the paper's table prints of a data set's plugin; nothing beside another list of instances than the paper's.

    Args:
        number: The table's.
        dataset: The data set's label.
        final: The run's rows.
        context: The run's.
    """
    return [] if dataset in context.other_lists else published_rows(number, plugin_of(final, dataset))


def quoted_note(
    number: int, body: Sequence[Row], final: FinalClicks, context: Context, how: str = "for one click"
) -> list[str]:
    """What printed rows are, where there are any, and why there are none of a data set that the paper has."""
    said = f"published: as the paper's Table {number} prints it, {how}; not measured here."
    return [*([said] if any(row.quoted for row in body) else []), *left_out(number, final, context)]


def left_out(number: int, final: FinalClicks, context: Context) -> list[str]:
    """A note for each data set whose printed numbers the paper's table has, and ours leaves out."""
    return [
        f"{dataset}: the paper's numbers are left out, for they are over other instances. {differs}."
        for dataset, differs in context.other_lists.items()
        if published_rows(number, plugin_of(final, dataset))
    ]


def printed_cell(row: Published, column: str, more: str = "") -> Cell:
    """A printed mean with the doubts about it; empty where the paper prints none."""
    value = getattr(row, column)
    if value is None:
        return Cell("–")
    return Cell(f"{value:.2f}{more}", row.doubts.get(column, ()), value / 100)


def base(method: str, context: Context) -> str:
    """The entry that a method is a variant of, by the config; itself otherwise."""
    return context.facts(method).variant_of or method


def with_text(method: str, final: FinalClicks, context: Context) -> bool:
    """Whether a method uses the text, and was given any."""
    if not context.facts(method).uses_text or "text_rule" not in final.rows:
        return context.facts(method).uses_text
    rules = final.rows.loc[final.rows["method"] == method, "text_rule"].dropna().unique()
    return list(rules) != ["none"]


def reads_text(line: pd.Series[Any], final: FinalClicks, context: Context) -> bool:
    """Whether the text takes part in the masks of a line of `scores`."""
    own = final.rows[final.rows["method"] == line["method"]]
    if line["ranking"] == "confidence" and (own["ranking"] == CONCEPT).any():
        return False
    return line["ranking"] in BY_TEXT or with_text(line["method"], final, context)


def text_rules(rows: pd.DataFrame) -> dict[str, str]:
    """Method's label -> the rule of its texts, by a run's rows."""
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
