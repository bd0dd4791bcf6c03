"""Finds the rows behind a cell of a table: the instances that a mean is over, and the worst of them.

The rows are selected from the same `FinalClicks` as the tables', so the mean printed with them is the table's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from harness.messages import suggest
from harness.report.layout import Cell, Column, Row, Table, limited_to
from harness.results.recorded import Recorded
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import summarise
from harness.statistics.scales import scale_of
from harness.storage.clicks import click_lists
from harness.storage.rows import as_text
from harness.structures import UserError


@dataclass(frozen=True)
class Wanted:
    """A selection of rows; a field that is not given excludes nothing.

    Attributes:
        method: A method's label.
        dataset: A data set's label.
        ranking: One of the method's rankings, or "oracle".
        category: A class.
        seen: Whether the class is seen (True) or unseen (False).
        failed: Only the instances without a mask.
        metric: The metric of the means, by which `worst` and `best` sort.
        worst: The number of rows with the worst scores, the worst first.
        best: The number of rows with the best scores, the best first.
    """

    method: str = ""
    dataset: str = ""
    ranking: str = ""
    category: str = ""
    seen: bool | None = None
    failed: bool = False
    metric: str = "iou"
    worst: int | None = None
    best: int | None = None


@dataclass(frozen=True, eq=False)
class Behind:
    """Rows, and the means that tables print of them.

    Attributes:
        rows: All columns but the masks, with a row for each instance, method and ranking, after the last click.
        means: A sentence for each data set, method and ranking: "58.38 over 1552 instances, 0 failed". They are over
            all rows that were asked for, also where `rows` are only the worst of these.
    """

    rows: pd.DataFrame
    means: tuple[str, ...]


def rows_behind(run: Recorded, wanted: Wanted) -> Behind:
    """The rows that a table's means are over: each instance's row after the last click, with means over its draws.

    Raises:
        UserError: The run has no such label, ranking, class or metric.
    """
    rows = as_text(FinalClicks.of(run.rows(coded=True)).rows)
    if wanted.metric not in run.metrics:
        raise UserError(f"{run.store.folder}: no metric '{wanted.metric}'. {suggest(wanted.metric, run.metrics)}")
    for column in ("method", "dataset", "ranking", "category"):
        if name := getattr(wanted, column):
            rows = _where(rows, column, name)
    if wanted.seen is not None:
        rows = rows[rows["seen"].eq(wanted.seen)]
    means = tuple(_means(rows, wanted.metric)) if len(rows) else ()
    if wanted.failed:
        rows = rows[rows["status"] != "ok"]
    elif most := wanted.worst or wanted.best:
        # Ascending puts small values first. These are the worst if more is better, and the best if less is better:
        #
        #    wanted    more is better (IoU)    less is better (missed_px)
        #    worst     ascending               descending
        #    best      descending              ascending
        better_last = scale_of(rows, wanted.metric).higher_is_better == (wanted.worst is not None)
        scored = rows[rows[wanted.metric].notna()]
        rows = scored.sort_values(wanted.metric, ascending=better_last, kind="stable").head(most)
    return Behind(rows, means)


def _where(rows: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    own = rows[rows[column].eq(name)]
    if own.empty:
        raise UserError(f"no {column} '{name}' in these rows. {suggest(name, _known(rows[column]))}")
    return own


def _known(values: Iterable[object]) -> set[str]:
    return {str(one) for one in values if isinstance(one, str) and one}


def _means(rows: pd.DataFrame, metric: str) -> Iterable[str]:
    """A sentence for each mean, with the number as the tables print it."""
    scale = scale_of(rows, metric)
    for line in summarise(rows, metric=metric).to_dict("records"):
        of = f"{line['method']} on {line['dataset']}{f', {name}' if (name := line['ranking']) else ''}"
        yield f"{of}: mean {metric} {scale.shown(line['mean'])} over {line['n']} instances, {line['failed']} failed"


def as_table(behind: Behind, run: Recorded) -> Table:
    """The rows as a table for people: instance, method, clicks, words, scores, and what the mask hit."""
    metrics = [name for name in run.metrics if name in behind.rows]
    scales = {name: scale_of(behind.rows, name) for name in metrics}
    texts = ("instance_id", "image_id", "method", "ranking", "category", "seen", "text")
    columns = (*map(Column, texts), Column("clicks"), *(Column(name, align="right") for name in metrics), Column("hit"))
    clicks = click_lists(behind.rows["clicks"])
    body = []
    for row, made in zip(behind.rows.to_dict("records"), clicks, strict=True):
        said = " ".join(f"{'' if one['positive'] else '-'}{one['x']},{one['y']}" for one in made)
        scores = [scales[name].shown(math.nan if pd.isna(row[name]) else row[name]) for name in metrics]
        came = row["hit"] if row["status"] == "ok" else row["error"]
        body.append(Row(tuple(map(Cell, [*(_text(row[name]) for name in texts), said, *scores, _text(came)]))))
    table = Table(f"Rows of {run.config.run}", columns, tuple(body), behind.means)
    return limited_to(run.limited, table) if run.limited else table


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or value is pd.NA or value != value else str(value)
