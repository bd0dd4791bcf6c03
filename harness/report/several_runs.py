"""The leaderboard of several runs: a line a method, weights and training data; columns a data set, metric and half.

Runs meet only where they were asked alike: with the same clicks, words and seed, on the same samples of each data set,
by their manifests. Otherwise they are refused, or, on request, merged with a note.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from harness.messages import without_folders
from harness.plugins.scale import SHARE, Scale
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, percent
from harness.report.scores import NO_ROWS, about, gaps, scores
from harness.report.tables.leaderboard import (
    AS_WORST,
    ORACLE,
    RANKED,
    as_worst_cell,
    means_said,
    other_clicks,
    place,
    placed,
)
from harness.statistics.expected import expected_of
from harness.statistics.final_clicks import ENTRY, INSTANCE, SHOWN, FinalClicks
from harness.statistics.ranks import ranks
from harness.storage.manifest import JobFacts
from harness.structures import UserError

ALIKE = ("clicks", "text", "seed", "dataset")
"""The parts of a job that say what was asked."""

LINE = ["method", "ranking", "weights", "trained_on"]
"""What a line of the leaderboard is."""

KNOWN: Mapping[str, Scale] = dict.fromkeys(SHOWN, SHARE)
"""The metrics that every run's leaderboard shows."""

COSTS = ("encode_ms", "segment_ms")
SHARES = {"p50": 0.5, "p95": 0.95}
COST_NAMES = tuple(f"{cost}_{share}" for cost in COSTS for share in SHARES)
PEAKS = {"memory_mib": "memory", "gpu_mib": "GPU"}
"""What the manifest's starts say of a job's largest worker -> its column."""


@dataclass(frozen=True)
class Source:
    """One run of a leaderboard.

    Attributes:
        folder: As it was named.
        rows: The run's rows, without masks.
        context: What its config and manifest add.
        manifest: The store's.
    """

    folder: str
    rows: pd.DataFrame
    context: Context
    manifest: Mapping[str, Any]

    @cached_property
    def final(self) -> FinalClicks:
        """The rows that means are over."""
        return FinalClicks.of(self.rows)

    def expecting(self, more: Mapping[tuple[str, str], int]) -> Source:
        """The same run, whose tables expect at least so many instances of each method."""
        known = self.context.expected_instances
        expected = dict(more) | {job: max(count, more.get(job, 0)) for job, count in known.items()}
        return replace(self, context=replace(self.context, expected_instances=expected))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that a leaderboard shows of it."""
        return tuple(dict.fromkeys([*SHOWN, *self.context.own_metrics]))

    def job(self, method: str, dataset: str) -> Mapping[str, Any]:
        """What the manifest says of a job; nothing where it does not know it."""
        jobs = self.manifest.get("jobs", {}).values()
        return next((job for job in jobs if (job["method"], job["dataset"]) == (method, dataset)), {})

    def peaks(self, job: Mapping[str, Any]) -> dict[str, float]:
        """The most memory that a worker of this job held at any start, in MiB; NaN where none says."""
        key = JobFacts(job["method"], job["dataset"], {}, {}).key if job else ""
        said = [start.get("peaks", {}).get(key, {}) for start in self.manifest.get("starts", [])]
        return {f"peak_{name}": max((one[name] for one in said if one.get(name)), default=math.nan) for name in PEAKS}

    def entry(self, method: str) -> Mapping[str, Any]:
        """What the config says of a method."""
        entries = self.manifest.get("config", {}).get("methods", [])
        return next((one for one in entries if (one.get("label") or one["name"]) == method), {})

    @property
    def commit(self) -> str:
        """The code's commit at the last start."""
        starts = self.manifest.get("starts", [])
        return str(starts[-1].get("commit") or "") if starts else ""


def entries(sources: Sequence[Source], mix: bool = False) -> pd.DataFrame:
    """One line a run, data set, method and ranking: everything that the leaderboard shows, for machines.

    Args:
        sources: The runs, from `expecting_alike`.
        mix: Accept runs that were asked otherwise; they are not ranked among each other.

    Raises:
        UserError: They were asked otherwise.
    """
    differing = list(differences(sources))
    if differing and not mix:
        raise UserError(
            f"leaderboard: these runs were not asked alike. {' '.join(differing)} Wanted one protocol, or the numbers "
            "cannot be compared. Leave one out, or say --mix."
        )
    scales = scales_of(sources)
    found = pd.DataFrame([line for source in sources for line in _entries(source, tuple(scales))])
    if found.empty:
        return found
    return _compared(found, sources) if not differing else found


def expecting_alike(sources: Sequence[Source]) -> list[Source]:
    """The runs, each expecting of its methods also the instances that only another run has rows of.

    Runs that were asked otherwise stay as they are.
    """
    if len(sources) < 2 or next(differences(sources), None):
        return list(sources)
    together = [pd.concat(source.rows.reindex(columns=INSTANCE).drop_duplicates() for source in sources)]
    return [source.expecting(expected_of(source.rows, together) if len(source.rows) else {}) for source in sources]


def scales_of(sources: Sequence[Source]) -> dict[str, Scale]:
    """Every metric that a leaderboard of these runs shows, as the runs declare it.

    Raises:
        UserError: Two runs declare one metric otherwise, so that their numbers are of different things.
    """
    found: dict[str, tuple[Scale, str]] = {}
    for source in sources:
        for metric in source.metrics:
            scale, folder = found.setdefault(metric, (source.context.scale(metric), source.folder))
            if scale != source.context.scale(metric):
                raise UserError(
                    f"leaderboard: {folder} and {source.folder} declare '{metric}' otherwise, {scale.written} and "
                    f"{source.context.scale(metric).written}; wanted one metric. Run one of them again."
                )
    return {metric: scale for metric, (scale, _) in found.items()}


def board(found: pd.DataFrame, notes: Sequence[str] = (), scales: Mapping[str, Scale] = KNOWN) -> Table:
    """The leaderboard of `entries`, best mean first.

    Args:
        found: The `entries`.
        notes: Further ones.
        scales: Those of the runs, as `scales_of` finds them.

    A method of several runs has one line where they agree in print, and a line a run where they do not.
    """
    if found.empty:
        return Table("Leaderboard", (Column("Method"),), (), (*notes, NO_ROWS))
    shown = [
        (dataset, metric)
        for dataset in sorted(found["dataset"].unique())
        for metric in scales
        if metric == "iou" or (found.loc[found["dataset"] == dataset, f"n_{metric}"] > 0).any()
    ]
    lines = sorted(_lines(found), key=lambda own: (_standing(own), tuple(own.iloc[0][LINE])))
    failing = set(found.loc[found["failed"] > 0, "dataset"])
    body = [_row(own, shown, scales, failing) for own in lines]
    columns = _columns(shown, scales, failing)
    means = [index for index, column in enumerate(columns) if column.heading in _BEST]
    limits = sorted(int(n) for n in found["limited_to_samples"].dropna().unique())
    title = "Leaderboard" if not limits else f"LIMITED to {limits[0]} samples: Leaderboard"
    general = [
        f"{means_said(list(scales), scales.__getitem__)}. Latencies in ms, median and "
        "95th percentile: an image, a prompt. Peak: the most memory of a worker's process, and of torch on its GPU, "
        "with the method loaded."
    ]
    general += [RANKED] if found["rank"].ne("").any() else []
    general += [AS_WORST.format("0")] if failing else []
    return Table(title, columns, best_strong(body, means), (*notes, *general))


def named_for_others(runs: Sequence[str]) -> dict[str, str]:
    """Run -> its name on a leaderboard, which others may read: as it was given, but no absolute path.

    Of such a path as many of the last parts stay as tell it from the other runs: `x` of `/home/ada/runs/x`, but `a/x`
    and `b/x` of `/home/a/x` and `/home/b/x`.
    """
    found = {}
    for run in runs:
        parts = Path(run).parts if Path(run).is_absolute() else (run,)
        tails = ("/".join(parts[-count:]) for count in range(1, len(parts)))
        others = [f"/{other}" for other in runs if other != run]
        found[run] = next((tail for tail in tails if not any(one.endswith(f"/{tail}") for one in others)), parts[-1])
    return found


def linked(
    table: Table, found: pd.DataFrame, out: Path | None, places: Mapping[str, str] = MappingProxyType({})
) -> Table:
    """The leaderboard with every run's folder linked to the manifest that says what made its rows.

    Args:
        table: The table that `board` made.
        found: The `entries` that it shows.
        out: The file that it is written to, from whose folder local links count; None: from here.
        places: Run's name -> its folder or bucket, where that is another than the name.
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


def _manifest(run: str, home: Path) -> str:
    """Where a run's manifest lies, as seen from a folder; a bucket's as it is.

    "" where the way leads up to the root: it would say the absolute path, and be of no use to others.
    """
    if "://" in run:
        return f"{run}/manifest.json"
    if os.path.commonpath([Path(run).absolute(), home.absolute()]) == os.sep:
        return ""
    return Path(os.path.relpath(f"{run}/manifest.json", home)).as_posix()


def differences(sources: Sequence[Source]) -> Iterator[str]:
    """What the runs asked otherwise on one data set; a method's own words or clicks are its own affair."""
    for dataset in sorted(
        {str(name) for source in sources for name in source.rows.get("dataset", pd.Series()).unique()}
    ):
        for part in ALIKE:
            found: dict[str, list[str]] = {}
            for source in sources:
                for state in sorted(_states(source, dataset, part)):
                    found.setdefault(state, []).append(source.folder)
            if len(found) > 1:
                named = "; ".join(f"{state} in {' and '.join(folders)}" for state, folders in found.items())
                yield f"{dataset}, {part}: {named}."


def _states(source: Source, dataset: str, part: str) -> set[str]:
    """How a run asked all methods that were not asked in a way of their own."""
    rows = source.rows[source.rows["dataset"] == dataset]
    alike = [method for method in rows["method"].unique() if source.entry(method).get(part) is None]
    limit = source.context.limited if part == "dataset" else None
    said = f", {limit} samples at most" if limit else ""
    jobs = [source.job(method, dataset) for method in alike]
    return {str(job.get("parts", {}).get(part, "unknown")) + said for job in jobs}


def _entries(source: Source, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    means = {metric: scores(source.final, source.context, metric) for metric in metrics}
    costs = _costs(source.rows)
    for at, (_, line) in enumerate(means["iou"].iterrows()):
        method, dataset, ranking = line["method"], line["dataset"], line["ranking"]
        job, facts = source.job(method, dataset), source.context.facts(method)
        about_job, each = job.get("about", {}), [(metric, own.iloc[at]) for metric, own in means.items()]
        yield {
            "dataset": dataset,
            "method": method,
            "ranking": ranking,
            "trained_on": facts.trained_on or "",
            "weights": weights_said(about_job),
            **{f"{metric}_{name}": one[name] for metric, one in each for name in ("mean", "seen", "unseen")},
            **{f"n_{metric}": int(one["n"]) for metric, one in each},
            **{f"{metric}_instances": f"{one['alike'][0][0]:016x}" for metric, one in each},
            **{name: int(line[name]) for name in ("failed", "missing")},
            "iou_failed_as_0": line["as_worst"] if line["missing"] == 0 else math.nan,
            "w": line["w"],
            "rank": "",
            **costs.get((dataset, method, ranking), dict.fromkeys(COST_NAMES, math.nan)),
            **source.peaks(job),
            "training_images_asked": about_job.get("training_images_asked"),
            **{part: job.get("parts", {}).get(part, "") for part in ALIKE[:3]},
            "asked_by": line["asked_by"] or job.get("parts", {}).get("clicks", "unknown"),
            "run": source.folder,
            "commit": source.commit,
            "limited_to_samples": source.context.limited,
            "notes": [
                without_folders(note)
                for note in (
                    *about(line, source.final, source.context),
                    *_own_way(source, method, job),
                    *gaps(line),
                    *source.context.notes,
                    *source.context.doubts,
                )
            ],
            **{f"notes_{metric}": list(gaps(one)) for metric, one in each if metric != "iou"},
        }


def weights_said(about_job: Mapping[str, Any]) -> str:
    """`checkpoint e546d3f8`, a file each."""
    return ", ".join(f"{name} {sha[:8]}" for name, sha in about_job.get("weights_sha256", {}).items())


def _own_way(source: Source, method: str, job: Mapping[str, Any]) -> Iterator[str]:
    """How a method was asked by its own entry of the config; its clicks are `_compared` with those of the others."""
    asked = source.context.asked.get((method, str(job.get("dataset", ""))))
    if source.entry(method).get("text") is not None:
        said = asked.text if asked else job.get("parts", {}).get("text", "unknown")
        yield f"Asked in a way of its own, text: {said}."


def _costs(rows: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, float]]:
    """Data set, method and ranking -> medians and 95th percentiles of an image's encoding and of a prompt's answer."""
    ok = rows[rows["status"] == "ok"].reindex(columns=[*ENTRY, "image_id", *COSTS]) if len(rows) else rows
    found = {}
    for (dataset, method, ranking), own in ok.groupby(ENTRY) if len(ok) else ():
        spent = (own.drop_duplicates("image_id")["encode_ms"], own["segment_ms"])
        values = [float(one.astype(float).quantile(share)) for one in spent for share in SHARES.values()]
        found[str(dataset), str(method), str(ranking)] = dict(zip(COST_NAMES, values, strict=True))
    return found


def _compared(found: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """With a rank among those over the same instances and clicks, and footnotes at the others."""
    cells = [_mean(entry, "iou", "mean", SHARE) for entry in found.to_dict("records")]
    found = placed(found.assign(cell=pd.Series(cells, index=found.index, dtype=object)))
    most = found.where(found["iou_mean"].notna()).groupby(found["dataset"])["n_iou"].transform("max")
    notes = []
    for of, entry in zip(most, found.to_dict("records"), strict=True):
        own = [*other_clicks(entry), *entry["notes"]]
        if entry["n_iou"] < of and not math.isnan(entry["iou_mean"]) and not any("others over" in one for one in own):
            own.append(f"Over {entry['n_iou']} instances, others over {of:.0f}: no rank and never the best.")
        notes.append(own)
    return _ranked(found.assign(notes=pd.Series(notes, index=found.index, dtype=object)), sources)


def _ranked(found: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """With the ranks of each data set by itself; what two runs print alike counts once."""
    whole = found[found["ranked"]]
    once = whole.assign(printed=whole["iou_mean"].map(percent)).drop_duplicates([*LINE, "dataset", "n_iou", "printed"])
    parts = []
    for source in sources:
        # Two runs may call different weights by one name, and one weight by two. So each entry goes into the test under
        # the number of its line, as if all were methods of one run.
        own = once[once["run"] == source.folder]
        final = dict(list(source.final.rows.groupby(ENTRY))) if len(own) else {}
        for index, line in own.iterrows():
            parts.append(final[tuple(line[ENTRY])].assign(method=str(index), run="", ranking="single"))
    ranked = ranks(pd.concat(parts, ignore_index=True)).to_dict("records") if parts else []
    places = {int(one["method"]): place(one) for one in ranked}
    return found.assign(rank=[places.get(index, "") for index in found.index]).drop(columns=["cell", "usual"])


def _lines(found: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The entries of each line: one a data set."""
    for _, same in found.groupby(LINE, sort=True):
        # Two runs of one method rarely agree to the last bit, as on another GPU. What is printed alike is one result,
        # and gets one line that names both runs.
        printed = same.assign(printed=same["iou_mean"].map(percent))
        cells = printed.drop_duplicates(["dataset", "n_iou", "printed"])
        if cells["dataset"].is_unique:
            yield cells.assign(run=", ".join(dict.fromkeys(map(_link, same.to_dict("records")))))
        else:
            yield from (own.assign(run=_link(own.iloc[0])) for _, own in printed.groupby("run"))


def _link(entry: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """The run's folder, and the commit that made it."""
    return f"{entry['run']} @ {str(entry['commit'])[:8]}" if entry["commit"] else str(entry["run"])


def _standing(own: pd.DataFrame) -> tuple[Any, ...]:
    """What sorts a line: methods of more data sets first, those that were clicked in another way last, the best first.

    Means are compared over the same data sets, and over all of their instances with failures counted as 0.
    """
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
    means = own[list(COST_NAMES)].mean()
    cells += [Cell("–" if math.isnan(value) else f"{value:.1f}") for value in means]
    cells += [Cell("–" if math.isnan(value) else f"{value:.0f}") for value in own[[f"peak_{n}" for n in PEAKS]].max()]
    return Row((*cells, Cell(first["run"])), bound=ranking == "oracle")


def _mean(entry: Mapping[Any, Any], metric: str, name: str, scale: Scale) -> Cell:
    value, alike = float(entry[f"{metric}_{name}"]), (entry[f"{metric}_instances"], entry["clicks"])
    return Cell(scale.shown(value), value=value, n=entry[f"n_{metric}"], scale=scale, alike=alike)


def _cells(entry: dict[Any, Any] | None, metric: str, scale: Scale, failing: bool) -> list[Cell]:
    if entry is None:
        return [Cell()] * (6 + failing if metric == "iou" else 3)
    found = [_mean(entry, metric, name, scale) for name in ("mean", "seen", "unseen")]
    marked = replace(found[0], notes=tuple(entry["notes" if metric == "iou" else f"notes_{metric}"]))
    if metric != "iou":
        return [marked, *found[1:]]
    counts = [Cell(str(entry["n_iou"])), Cell(str(entry["failed"]))]
    counts += [as_worst_cell(entry["iou_failed_as_0"], entry | {"scale": SHARE})] if failing else []
    return [Cell(entry["rank"]), marked, *found[1:], *counts]
