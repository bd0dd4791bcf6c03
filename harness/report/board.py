"""The leaderboard of several runs: a line for each method, weights and training data; columns for data sets."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from harness.plugins.scale import SHARE, Scale
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.scores import NO_ROWS
from harness.report.several_runs import COST_NAMES, COSTS, LINE, PEAKS, SHARES, mean_cell
from harness.report.tables.leaderboard import AS_WORST, ORACLE, RANKED, as_worst_cell, means_said
from harness.statistics.final_clicks import SHOWN
from harness.statistics.means import MEANS

KNOWN: Mapping[str, Scale] = dict.fromkeys(SHOWN, SHARE)
"""The metrics that every run's leaderboard shows."""


def board(found: pd.DataFrame, notes: Sequence[str] = (), scales: Mapping[str, Scale] = KNOWN) -> Table:
    """The leaderboard of `entries`, best mean first.

    A method of several runs has one line if their printed means agree, and otherwise a line for each run.

    Args:
        found: The frame that `entries` returned.
        notes: Further notes below the table.
        scales: The scale of each metric, as `scales_of` finds them.
    """
    if found.empty:
        return Table("Leaderboard", (Column("Method"),), (), (*notes, NO_ROWS))
    shown = [
        (dataset, metric)
        for dataset in sorted(found["dataset"].unique())
        for metric in scales
        if metric == "iou" or (found.loc[found["dataset"] == dataset, f"{metric}_n"] > 0).any()
    ]
    lines = sorted(_lines(found, scales), key=lambda own: (_standing(own), tuple(own.iloc[0][LINE])))
    failing = set(found.loc[found["failed"] > 0, "dataset"])
    body = [_row(own, shown, scales, failing) for own in lines]
    columns = _columns(shown, scales, failing)
    means = [index for index, column in enumerate(columns) if column.heading in _BEST]
    limits = sorted(int(n) for n in found["limited_to_samples"].dropna().unique())
    title = "Leaderboard" if not limits else f"LIMITED to {limits[0]} samples: Leaderboard"
    general = [
        f"{means_said(list(scales), scales.__getitem__)}. Latencies in ms per image and per prompt, median and 95th "
        "percentile. s / 1000 masks: seconds of one device for both, with one mask per prompt. Peak: the most memory "
        "of a worker's process, and of torch on its GPU, with the method loaded."
    ]
    general += [RANKED] if found["rank"].ne("").any() else []
    general += [AS_WORST.format("0")] if failing else []
    # Runs that were asked in different ways (`entries(mix=True)`) are not compared, so none of their numbers is a best.
    body = list(best_strong(body, means)) if "apart" in found else body
    return Table(title, columns, tuple(body), (*notes, *general))


def linked(
    table: Table, found: pd.DataFrame, out: Path | None, places: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The leaderboard with every run's folder linked to its manifest, which describes how the rows were made.

    Args:
        table: The table that `board` made.
        found: The `entries` that it shows.
        out: The file that the table is written to. Local links are relative to its folder; None: to the current one.
        places: Run's name -> its folder or bucket, if that differs from the name.
    """
    home = Path() if out is None else out.parent
    names = {_link(entry): str(entry["run"]) for entry in found.to_dict("records")}
    targets = {link: _manifest(places.get(name, name), home) for link, name in names.items()}
    body = []
    for row in table.body:
        *cells, run = row.cells
        links = tuple((text, target) for text, target in targets.items() if target and text in run.text.split(", "))
        body.append(replace(row, cells=(*cells, replace(run, links=links))))
    return replace(table, body=tuple(body))


def named_for_others(runs: Sequence[str]) -> dict[str, str]:
    """Run -> its name on a leaderboard, which others may read: as it was given, but no absolute path.

    An absolute path is shortened to its last parts, as many as tell it from the other runs: `/home/ada/runs/x` becomes
    `x`, but `/home/a/x` and `/home/b/x` become `a/x` and `b/x`.
    """
    found = {}
    for run in runs:
        parts = Path(run).parts if Path(run).is_absolute() else (run,)
        tails = ("/".join(parts[-count:]) for count in range(1, len(parts)))
        # The slash before both makes whole parts match: "x" is no end of "/runs/max".
        others = [f"/{other}" for other in runs if other != run]
        found[run] = next((tail for tail in tails if not any(one.endswith(f"/{tail}") for one in others)), parts[-1])
    return found


def _manifest(run: str, home: Path) -> str:
    """The path of a run's manifest relative to a folder; a bucket's address stays as it is.

    "" if run and folder have only the root in common: the relative path would then contain the absolute one, which
    is of no use to others.
    """
    if "://" in run:
        return f"{run}/manifest.json"
    if os.path.commonpath([Path(run).absolute(), home.absolute()]) == os.sep:
        return ""
    return Path(os.path.relpath(f"{run}/manifest.json", home)).as_posix()


def _lines(found: pd.DataFrame, scales: Mapping[str, Scale]) -> Iterator[pd.DataFrame]:
    """The entries of each line of the table, one for each data set."""
    for _, same in found.groupby(LINE, sort=True):
        results = [_one_result(own, scales) for _, own in same.groupby("dataset", sort=False)]
        whole = [own for own in results if own is not None]
        if len(whole) == len(results):
            yield pd.concat(whole).assign(run=", ".join(dict.fromkeys(map(_link, same.to_dict("records")))))
        else:
            yield from (own.assign(run=_link(own.iloc[0])) for _, own in same.groupby("run"))


def _one_result(own: pd.DataFrame, scales: Mapping[str, Scale]) -> pd.DataFrame | None:
    """The entry that stands for those of several runs on one data set; None if they print different numbers."""
    # Two runs of one method rarely agree to the last bit, as on another GPU: what is printed alike is one result. A run
    # may have measured fewer metrics than another one, whose entry then has all that is known.
    printed = [
        {"n": entry["iou_n"]}
        | {
            f"{name}_{mean}": one.shown(entry[f"{name}_{mean}"])
            for name, one in scales.items()
            for mean in MEANS
            if entry[f"{name}_n"] or name == "iou"
        }
        for entry in own.to_dict("records")
    ]
    fullest = max(range(len(printed)), key=lambda at: len(printed[at]))
    alike = all(one.items() <= printed[fullest].items() for one in printed)
    return own.iloc[[fullest]] if alike else None


def _link(entry: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """The run's folder, and the commit that made it."""
    return f"{entry['run']} @ {str(entry['commit'])[:8]}" if entry["commit"] else str(entry["run"])


def _standing(own: pd.DataFrame) -> tuple[Any, ...]:
    """The key that sorts a line: methods on more data sets first, those that were clicked in another way last.

    Among methods on the same data sets the best comes first, by the mean over all of their instances with failures
    counted as 0.
    """
    # The names of the data sets stand in the key before the mean, so that means over other data sets never meet.
    known = own[own["iou_mean"].notna()]
    mean = known["iou_failed_as_0"].mean()
    apart = bool(own["apart"].any()) if "apart" in own else False
    return (apart, -len(known), tuple(sorted(known["dataset"])), 1.0 if math.isnan(mean) else -float(mean))


_BEST = ("Overall", "Seen", "Unseen", "Failed as 0")
"""The columns whose best is bold."""


def _columns(
    shown: Sequence[tuple[str, str]], scales: Mapping[str, Scale], failing: Collection[str]
) -> tuple[Column, ...]:
    columns = [Column("Method"), Column("Weights"), Column("Trained on")]
    for dataset, metric in shown:
        called = {"iou": "", "boundary_iou": ", boundary"}.get(metric, f", {metric}")
        group = f"{dataset}{called}{scales[metric].said}"
        columns += [Column("Rank", group, "right")] if metric == "iou" else []
        columns += [Column(name, group, "right") for name in ("Overall", "Seen", "Unseen")]
        counts = ["n", "Failed", *(["Failed as 0"] if dataset in failing else [])]
        columns += [Column(name, group, "right") for name in counts] if metric == "iou" else []
    costs = [Column(name, f"{cost.removesuffix('_ms')} ms", "right") for cost in COSTS for name in SHARES]
    costs.append(Column("s / 1000 masks", align="right"))
    peaks = [Column(name, "peak MiB", "right") for name in PEAKS.values()]
    return (*columns, *costs, *peaks, Column("Run"))


def _row(
    own: pd.DataFrame, shown: Sequence[tuple[str, str]], scales: Mapping[str, Scale], failing: Collection[str]
) -> Row:
    first = own.iloc[0]
    by_dataset = {line["dataset"]: line for line in own.to_dict("records")}
    ranking = first["ranking"]
    name = first["method"] + ("" if ranking in ("single", "") else f" ({ranking})")
    cells = [Cell(name, (ORACLE,) if ranking == "oracle" else ()), Cell(first["weights"] or "–")]
    cells.append(Cell(first["trained_on"] or "–"))
    for dataset, metric in shown:
        cells += _cells(by_dataset.get(dataset), metric, scales[metric], dataset in failing)
    # A line may have several data sets: times are averaged over them, and of memory the peak counts.
    means = own[list(COST_NAMES)].mean()
    cells += [Cell("–" if math.isnan(value) else f"{value:.1f}") for value in means]
    cells += [Cell("–" if math.isnan(value) else f"{value:.0f}") for value in own[[f"peak_{n}" for n in PEAKS]].max()]
    return Row((*cells, Cell(first["run"])), bound=ranking == "oracle")


def _cells(entry: dict[Any, Any] | None, metric: str, scale: Scale, failing: bool) -> list[Cell]:
    if entry is None:
        return [Cell()] * (6 + failing if metric == "iou" else 3)
    found = [mean_cell(entry, metric, name, scale) for name in MEANS]
    marked = replace(found[0], notes=tuple(entry["notes" if metric == "iou" else f"{metric}_notes"]))
    if metric != "iou":
        return [marked, *found[1:]]
    counts = [Cell(str(entry["iou_n"])), Cell(str(entry["failed"]))]
    counts += [as_worst_cell(entry["iou_failed_as_0"], entry | {"scale": SHARE})] if failing else []
    return [Cell(entry["rank"]), marked, *found[1:], *counts]
