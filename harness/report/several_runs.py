"""The entries of a leaderboard of several runs: one for each run, data set, method and ranking.

Runs are compared only if their manifests say that they asked the same: the same clicks, words and seed, on the same
samples of each data set. Otherwise they are refused or, on request, merged with a note.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from harness.messages import without_folders
from harness.plugins.scale import SHARE, Scale
from harness.report.context import Context
from harness.report.layout import Cell, percent
from harness.report.scores import about, gaps, scores
from harness.report.tables.leaderboard import other_clicks, place, placed
from harness.statistics.costs import encodings_ms, s_per_1000_masks
from harness.statistics.expected import expected_of
from harness.statistics.final_clicks import ENTRY, INSTANCE, SHOWN, FinalClicks
from harness.statistics.means import MEANS
from harness.statistics.ranks import ranks
from harness.storage.manifest import JobFacts
from harness.structures import UserError

ALIKE = ("clicks", "text", "seed", "dataset")
"""The parts of a job that say what its method was asked to do."""

LINE = ["method", "ranking", "weights", "trained_on"]
"""The columns that identify a line of the leaderboard."""

COUNTS = {"mean": "n", "seen": "n_seen", "unseen": "n_unseen"}
"""A mean -> the column of `scores` that counts its instances."""

COSTS = ("encode_ms", "segment_ms")
SHARES = {"p50": 0.5, "p95": 0.95}
COST_NAMES = (*(f"{cost}_{share}" for cost in COSTS for share in SHARES), "s_per_1000_masks")
PEAKS = {"memory_mib": "memory", "gpu_mib": "GPU"}
"""A key of a job's peaks (of its largest worker) in the manifest's starts -> the column's name."""


@dataclass(frozen=True)
class Source:
    """One run of a leaderboard.

    Attributes:
        folder: The run's folder or bucket, as it was named.
        rows: The run's rows, without masks.
        context: The facts that its config and manifest add.
        manifest: The run's manifest.
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
        """The same run, but its tables expect at least this many instances of each method."""
        known = self.context.expected_instances
        expected = dict(more) | {job: max(count, more.get(job, 0)) for job, count in known.items()}
        return replace(self, context=replace(self.context, expected_instances=expected))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of this run that a leaderboard shows."""
        return tuple(dict.fromkeys([*SHOWN, *self.context.own_metrics]))

    def job(self, method: str, dataset: str) -> Mapping[str, Any]:
        """The manifest's entry of a job; empty if it has none."""
        jobs = self.manifest.get("jobs", {}).values()
        return next((job for job in jobs if (job["method"], job["dataset"]) == (method, dataset)), {})

    def peaks(self, job: Mapping[str, Any]) -> dict[str, float]:
        """The most memory that a worker of this job used at any start, in MiB; NaN if no start recorded it."""
        # Each start of the run notes its own peaks; the largest is the need.
        made_of = JobFacts(**job).made_of if job else ""
        said = [start.get("peaks", {}).get(made_of, {}) for start in self.manifest.get("starts", [])]
        return {f"peak_{name}": max((one[name] for one in said if one.get(name)), default=math.nan) for name in PEAKS}

    def entry(self, method: str) -> Mapping[str, Any]:
        """The config's entry of a method."""
        entries = self.manifest.get("config", {}).get("methods", [])
        return next((one for one in entries if (one.get("label") or one["name"]) == method), {})

    @property
    def commit(self) -> str:
        """The code's commit at the last start."""
        starts = self.manifest.get("starts", [])
        return str(starts[-1].get("commit") or "") if starts else ""


def entries(sources: Sequence[Source], mix: bool = False) -> pd.DataFrame:
    """One line for each run, data set, method and ranking, with everything that the leaderboard shows.

    Args:
        sources: The runs, from `expecting_alike`.
        mix: Whether to accept runs that were asked in different ways; they are not ranked among each other.

    Raises:
        UserError: The runs were asked in different ways.
    """
    differing = list(differences(sources))
    if differing and not mix:
        raise UserError(
            f"leaderboard: found runs with different clicks, words or data. {' '.join(differing)} Wanted the same, "
            "since their numbers cannot be compared otherwise. Leave one out, or add --mix."
        )
    scales = scales_of(sources)
    found = pd.DataFrame([line for source in sources for line in _entries(source, tuple(scales))])
    if found.empty:
        return found
    return _compared(found, sources) if not differing else found


def expecting_alike(sources: Sequence[Source]) -> list[Source]:
    """The runs, each of which now also expects from its methods the instances that only another run has rows for.

    Runs that were not asked alike stay as they are.
    """
    if len(sources) < 2 or next(differences(sources), None):
        return list(sources)
    # Run A stopped early and has rows for 80 instances, run B for 100. By its own rows A looks whole; together with B's
    # it lacks 20, and its mean is left blank.
    together = [pd.concat(source.rows.reindex(columns=INSTANCE).drop_duplicates() for source in sources)]
    return [source.expecting(expected_of(source.rows, together) if len(source.rows) else {}) for source in sources]


def scales_of(sources: Sequence[Source]) -> dict[str, Scale]:
    """Every metric that a leaderboard of these runs shows, with its declared scale.

    Raises:
        UserError: Two runs declare different scales for one metric, so their numbers cannot be compared.
    """
    found: dict[str, tuple[Scale, str]] = {}
    for source in sources:
        for metric in source.metrics:
            scale, folder = found.setdefault(metric, (source.context.scale(metric), source.folder))
            if scale != source.context.scale(metric):
                raise UserError(
                    f"leaderboard: found '{metric}' declared as {scale.written} in {folder} and as "
                    f"{source.context.scale(metric).written} in {source.folder}; wanted the same. Run one of them "
                    "again."
                )
    return {metric: scale for metric, (scale, _) in found.items()}


def differences(sources: Sequence[Source]) -> Iterator[str]:
    """Sentences on how the runs' questions differ on each data set, apart from a method's own words or clicks."""
    for dataset in sorted(
        {str(name) for source in sources for name in source.rows.get("dataset", pd.Series()).unique()}
    ):
        for part in ALIKE:
            # Each distinct question -> the runs that asked it. With one key all runs agree in this part.
            found: dict[str, list[str]] = {}
            for source in sources:
                for state in sorted(_states(source, dataset, part)):
                    found.setdefault(state, []).append(source.folder)
            if len(found) > 1:
                named = "; ".join(f"{state} in {' and '.join(folders)}" for state, folders in found.items())
                yield f"{dataset}, {part}: {named}."


def _states(source: Source, dataset: str, part: str) -> set[str]:
    """The distinct ways in which a run asked its methods, except those for which the config sets this part itself."""
    rows = source.rows[source.rows["dataset"] == dataset]
    alike = [method for method in rows["method"].unique() if source.entry(method).get(part) is None]
    limit = source.context.limits.get(dataset) if part == "dataset" else None
    said = f", {limit} samples at most" if limit else ""
    jobs = [source.job(method, dataset) for method in alike]
    return {str(job.get("parts", {}).get(part, "unknown")) + said for job in jobs}


def _entries(source: Source, metrics: Sequence[str]) -> Iterator[dict[str, Any]]:
    # `scores` gives every metric's lines in the same order, so that line `at` of each is of the same entry.
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
            **{f"{metric}_{name}": one[name] for metric, one in each for name in MEANS},
            **{f"{metric}_{n}": int(one[n]) for metric, one in each for n in COUNTS.values()},
            **{
                f"{metric}_{name}_instances": f"{key:016x}"
                for metric, one in each
                for name, (key, _) in zip(MEANS, one["alike"], strict=True)
            },
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
            "limited_to_samples": source.context.limits.get(dataset),
            "notes": [
                without_folders(note)
                for note in (
                    *about(line, source.final, source.context),
                    *_own_way(source, method, job),
                    *gaps(line),
                    *source.context.job_notes.get((method, dataset), ()),
                    *source.context.notes,
                    *source.context.doubts,
                )
            ],
            **{f"{metric}_notes": list(gaps(one)) for metric, one in each if metric != "iou"},
        }


def weights_said(about_job: Mapping[str, Any]) -> str:
    """`checkpoint e546d3f8`: each file with the first digits of its hash."""
    return ", ".join(f"{name} {sha[:8]}" for name, sha in about_job.get("weights_sha256", {}).items())


def _own_way(source: Source, method: str, job: Mapping[str, Any]) -> Iterator[str]:
    """A note on a method whose own config entry sets its text; differing clicks get their note in `_compared`."""
    asked = source.context.asked.get((method, str(job.get("dataset", ""))))
    if source.entry(method).get("text") is not None:
        said = asked.text if asked else job.get("parts", {}).get("text", "unknown")
        yield f"This method had a text rule of its own: {said}."


def _costs(rows: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, float]]:
    """Data set, method and ranking -> the times: for an image's encoding, a prompt's answer, and 1000 masks.

    The first two are medians and 95th percentiles in ms; the last is in seconds.
    """
    ok = rows[rows["status"] == "ok"].reindex(columns=[*ENTRY, "image_id", "status", *COSTS]) if len(rows) else rows
    found = {}
    for (dataset, method, ranking), own in ok.groupby(ENTRY) if len(ok) else ():
        spent = (encodings_ms(own), own["segment_ms"])
        values = [float(one.astype(float).quantile(share)) for one in spent for share in SHARES.values()]
        named = zip(COST_NAMES, (*values, s_per_1000_masks(own)), strict=True)
        found[str(dataset), str(method), str(ranking)] = dict(named)
    return found


def _compared(found: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """The entries with ranks among those over the same instances and clicks, and with footnotes on the others."""
    cells = [mean_cell(entry, "iou", "mean", SHARE) for entry in found.to_dict("records")]
    found = placed(found.assign(cell=pd.Series(cells, index=found.index, dtype=object)))
    # Data set by data set, the most instances that any shown mean is over; `transform` gives it to each of the lines.
    most = found.where(found["iou_mean"].notna()).groupby(found["dataset"])["iou_n"].transform("max")
    notes = []
    for of, entry in zip(most, found.to_dict("records"), strict=True):
        own = [*other_clicks(entry), *entry["notes"]]
        if entry["iou_n"] < of and not math.isnan(entry["iou_mean"]) and not any("others over" in one for one in own):
            own.append(
                f"Over {entry['iou_n']} instances, others over {of:.0f}: it has no rank and is never marked as the "
                "best."
            )
        notes.append(own)
    return _ranked(found.assign(notes=pd.Series(notes, index=found.index, dtype=object)), sources)


def _ranked(found: pd.DataFrame, sources: Sequence[Source]) -> pd.DataFrame:
    """The entries with their ranks on each data set. A method with the same printed mean in two runs counts once."""
    whole = found[found["ranked"]]
    once = whole.assign(printed=whole["iou_mean"].map(percent)).drop_duplicates([*LINE, "dataset", "iou_n", "printed"])
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


def mean_cell(entry: Mapping[Any, Any], metric: str, name: str, scale: Scale) -> Cell:
    """The cell of an entry's mean: over all instances ("mean"), or over the "seen" or "unseen" ones."""
    value, alike = float(entry[f"{metric}_{name}"]), (entry[f"{metric}_{name}_instances"], entry["clicks"])
    return Cell(scale.shown(value), value=value, n=entry[f"{metric}_{COUNTS[name]}"], scale=scale, alike=alike)
