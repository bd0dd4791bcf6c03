"""What the tables about clicks and words share: who was asked how, one answer a method, and the rows behind a mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.report.comparison import CLICK, players
from harness.report.context import Context
from harness.report.layout import Cell, percent, with_interval
from harness.statistics.means import by_image, final_clicks
from harness.statistics.resampling import intervals_of_means

NO_ROWS = "No rows."


def base(method: str, context: Context) -> str:
    """The entry that a method is a variant of, by the config; itself otherwise."""
    return context.facts(method).variant_of or method


def with_text(method: str, rows: pd.DataFrame, context: Context) -> bool:
    """Whether a method uses the text, and was given any."""
    if not context.facts(method).uses_text or "text_rule" not in rows:
        return context.facts(method).uses_text
    rules = rows.loc[rows["method"] == method, "text_rule"].dropna().unique()
    return list(rules) != ["none"]


def answers(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    """Of the lines of `scores` one a data set and method: the ranking whose masks a later click looks at.

    The method's first, by the config. Where that says nothing, or no row has it: a lone mask's, or the method's own
    confidence's; without either, its first ranking by name but the oracle's.
    """
    known = {"single": 1, "confidence": 2, "": 3, "oracle": 5}
    pairs = zip(lines["method"], lines["ranking"], strict=True)
    order = [
        0 if ranking and ranking == context.facts(method).first_ranking else known.get(ranking, 4)
        for method, ranking in pairs
    ]
    first = lines.assign(order=order).sort_values(["order", "ranking"], kind="stable")
    kept = first.drop_duplicates(["dataset", "method"]).index
    return lines[lines.index.isin(kept)]


def scored(rows: pd.DataFrame, columns: Sequence[str] = (), metric: str = "iou") -> pd.DataFrame:
    """The rows with a score at the last click, with these columns of the store's."""
    final = final_clicks(rows, columns)
    return final[(final["status"] == "ok") & final[metric].notna()]


def of_line(found: pd.DataFrame, line: pd.Series[Any]) -> pd.DataFrame:
    """The rows of a line's data set, method and ranking."""
    key = ["dataset", "method", "ranking"]
    return found[(found[key] == line[key]).all(axis=1)]


def numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """A column as floats, NaN for null, whatever the reader of the rows made of it."""
    return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)


def without_text(lines: pd.DataFrame, rows: pd.DataFrame, context: Context) -> str | None:
    """Against whom gains are: the run's first click-only method, or else its first that was given no text."""
    silent = [name for name in dict.fromkeys(lines["method"]) if not with_text(name, rows, context)]
    played = [name for name in players(CLICK, lines, rows, context) if name in silent]
    return next(iter([*played, *silent]), None)


def failures(line: pd.Series[Any], rows: pd.DataFrame) -> tuple[str, ...]:
    """Why nothing was segmented, as a footnote; none where something was."""
    if line["n"] or not line["failed"]:
        return ()
    own = rows[(rows["dataset"] == line["dataset"]) & (rows["method"] == line["method"]) & (rows["status"] != "ok")]
    reasons = own["error"].dropna() if "error" in own else own["status"].iloc[:0]
    said = f", most often: {reasons.value_counts().index[0]}" if len(reasons) else ""
    return (f"All {line['failed']} failed{said}",)


def number(value: float, digits: int = 2) -> str:
    """`4.25`; a dash where there is no number."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def share(value: float, notes: tuple[str, ...] = (), more: str = "", n: int | None = None) -> Cell:
    """A share in percent, with what stands behind it; a dash where there is no number."""
    return Cell(percent(value) + more, notes, None if np.isnan(value) else value, n=n)


def with_intervals(means: Sequence[Cell], values: pd.DataFrame, rows: pd.DataFrame, context: Context) -> Sequence[Cell]:
    """The cells of means, each with its 95 % interval and n where the context asks for them.

    Args:
        means: As many as `values` has columns; one without a value stays as it is.
        values: What the means are of, a line an instance; NaN where an instance is not in a mean.
        rows: As many, with `dataset` and `image_id`: images are drawn anew.
        context: Of the table.
    """
    if not context.intervals:
        return means
    return [with_interval(cell, *ends) for cell, ends in zip(means, bounds(values, rows), strict=True)]


def bounds(values: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[float, float]]:
    """95 % intervals of the means of the columns, images being drawn anew; the arguments are `with_intervals`'s."""
    low, high = intervals_of_means(*by_image(rows, values))
    return list(zip(low.tolist(), high.tolist(), strict=True))


def cells(texts: Sequence[str], notes: tuple[str, ...] = ()) -> list[Cell]:
    """Cells that share their footnotes."""
    return [Cell(text, notes) for text in texts]
