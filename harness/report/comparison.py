"""What the paper's comparisons share: who plays which part, means by seen and unseen, and paired gains.

A method's part follows from its plugin, never from its label: two entries of one plugin both play it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, signed
from harness.report.paper.published import published_rows
from harness.report.scores import about, clicks_note, counted, iou_heading, mean_cell, plugin_of, printed_cell, scores
from harness.statistics.means import Gain, clicks_made, paired_gains
from harness.statistics.resampling import RESAMPLES
from harness.structures import UserError

PARTS = {"mean": "overall", "seen": "seen", "unseen": "unseen"}
"""A column of `scores` -> its name in the paper."""

HALVES = "Seen and unseen are the halves of the data set's split, whatever a method was trained on."


@dataclass(frozen=True)
class Part:
    """What a table shows of a method: the first of these rankings that it has.

    Attributes:
        plugins: Those whose methods play the part.
        rankings: The best one first; "" is a method that segmented nothing.
    """

    plugins: tuple[str, ...]
    rankings: tuple[str, ...] = ("single", "confidence", "")


Shown = tuple[Part, "pd.Series[Any]"]
"""A line of `scores` and the part that its method plays."""

OURS = Part(("text_click",))
CLICK = Part(("click_only",))
RITM = Part(("ritm",))
SAM = Part(("sam", "sam_hq", "sam2"), ("confidence", "single", ""))


def players(part: Part, lines: pd.DataFrame, rows: pd.DataFrame, context: Context) -> list[str]:
    """The labels of the methods that play a part, in the config's order."""
    known = {}
    if "method_plugin" in rows:
        known = rows.dropna(subset="method_plugin").groupby("method")["method_plugin"].min().to_dict()
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


def named(line: pd.Series[Any]) -> str:
    """`SAM ViT-H (confidence)`; the label alone where the method has one answer."""
    return str(line["method"]) + (f" ({line['ranking']})" if line["ranking"] not in ("single", "") else "")


def gains(
    rows: pd.DataFrame, dataset: str, a: tuple[str, str], b: tuple[str, str], metric: str = "iou"
) -> tuple[dict[str, Gain], list[str]]:
    """What a gains over b on the instances of a data set that both segmented, by part, and the note that says so.

    Args:
        rows: The store's.
        dataset: Its label.
        a: A method's label and ranking.
        b: Likewise.
        metric: A metric of the rows, by its column.
    """
    both = rows[(rows["dataset"] == dataset) & rows["method"].isin([a[0], b[0]])]
    try:
        found = {PARTS[name]: gain for name, gain in paired_gains(both, a, b, metric).items()}
    except UserError as error:
        return {}, [f"{dataset}, {a[0]}: no gains. {error}"]
    found = {name: gain for name, gain in found.items() if gain.n}
    other = b[0] if b[1] == "single" else f"{b[0]} ({b[1]})"
    if not found:
        return {}, [f"{dataset}, {a[0]} against {other}: no gains, for none was asked of both with as many clicks."]
    said = ", ".join(f"{name} {interval(gain)} (n = {gain.n})" for name, gain in found.items())
    return found, [f"{dataset}, {a[0]} against {other}: {said}."]


def interval(gain: Gain) -> str:
    """`+4.52 [+3.10, +5.90]`, in points; without an interval where one image cannot give it."""
    spread = "from one image" if math.isnan(gain.low) else f"[{signed(gain.low)}, {signed(gain.high)}]"
    return f"{signed(gain.difference)} {spread}"


def absent(parts: Sequence[Part], lines: pd.DataFrame, rows: pd.DataFrame, context: Context) -> list[str]:
    """A note a part that nobody plays."""
    unplayed = [part for part in parts if not players(part, lines, rows, context)]
    return [f"No method of this run is {' or '.join(part.plugins)}." for part in unplayed]


def quoted_note(number: int, body: Sequence[Row]) -> list[str]:
    """What printed rows are, where there are any."""
    said = f"published: as the paper's Table {number} prints it, for one click; not measured here."
    return [said] if any(row.quoted for row in body) else []


@dataclass(frozen=True)
class Versus:
    """A table of ours against others: a line a data set and method, with the overall, seen and unseen means.

    Attributes:
        number: The paper's table.
        title: Without the run's name.
        parts: Who is compared, in the order of the lines.
        metric: A metric of the rows, by its column.
        mean: How the column heading calls its mean.
        trained: Whether a column says what the weights were trained on.
    """

    number: int
    title: str
    parts: tuple[Part, ...]
    metric: str = "iou"
    mean: str = "mIoU"
    trained: bool = False

    def build(self, rows: pd.DataFrame, context: Context) -> Table:
        """The table; a part that nobody plays is a note."""
        lines = scores(rows, context, self.metric)
        made = clicks_made(rows)
        body: list[Row] = []
        notes: list[str] = []
        for dataset in lines["dataset"].unique():
            shown = self._shown(dataset, lines, rows, context)
            body += self._section(dataset, [line for _, line in shown], rows, context)
            notes += [f"{dataset}, {named(line)}: {counted(line)}." for _, line in shown]
            notes += self._gains(dataset, shown, rows)
        missing = absent(self.parts, lines, rows, context) if len(lines) else ["No rows."]
        notes += [*clicks_note(made), *(self._general(body) if body else []), *missing]
        columns = self._columns(iou_heading(made, self.mean))
        first = len(columns) - len(PARTS)
        return Table(self.title, columns, best_strong(body, range(first, len(columns))), tuple(notes))

    def _shown(self, dataset: str, lines: pd.DataFrame, rows: pd.DataFrame, context: Context) -> list[Shown]:
        found = [
            (part, line_of(lines, dataset, method, part.rankings))
            for part in self.parts
            for method in players(part, lines, rows, context)
        ]
        return [(part, line) for part, line in found if line is not None]

    def _columns(self, heading: str) -> tuple[Column, ...]:
        names = ("Model", "Train data", "Eval data") if self.trained else ("Dataset", "Model")
        means = [Column(name.capitalize(), heading, "right") for name in PARTS.values()]
        return (*[Column(name) for name in names], *means)

    def _section(
        self, dataset: str, shown: Sequence[pd.Series[Any]], rows: pd.DataFrame, context: Context
    ) -> Iterator[Row]:
        """One data set's lines, and the paper's beneath them."""
        for index, line in enumerate(shown):
            model = Cell(named(line), about(line, rows, context))
            means = [mean_cell(line, column) for column in PARTS]
            names = self._names(dataset, model, context.facts(line["method"]).trained_on or "–")
            yield Row((*names, *means), starts_section=index == 0)
        for row in published_rows(self.number, plugin_of(rows, dataset)) if shown else []:
            names = self._names(dataset, Cell(row.label, row.whole), f"{row.train_data} ({row.train_classes})")
            yield Row((*names, *[printed_cell(row, name) for name in PARTS.values()]), quoted=True)

    def _names(self, dataset: str, model: Cell, train: str) -> tuple[Cell, ...]:
        return (model, Cell(train), Cell(dataset)) if self.trained else (Cell(dataset), model)

    def _gains(self, dataset: str, shown: Sequence[Shown], rows: pd.DataFrame) -> Iterator[str]:
        """A note for each of ours against each other; none where a mean is blank."""
        whole = [(part, line) for part, line in shown if not math.isnan(line["mean"])]
        for ours, a in whole:
            for other, b in whole:
                if ours == OURS and other != OURS:
                    pair = (a["method"], a["ranking"]), (b["method"], b["ranking"])
                    yield from gains(rows, dataset, *pair, self.metric)[1]

    def _general(self, body: Sequence[Row]) -> list[str]:
        means = (
            "Means over instances, in percent; w is the share of seen instances. Against: the gain over the same "
            f"instances from the same clicks, in points, with its 95 % interval ({RESAMPLES} resamples of the images)."
        )
        return [means, HALVES, *quoted_note(self.number, body)]
