"""Builds a run's tables from its rows, counts what is missing or failed, and writes the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from harness.jobs.listing import listed_twice, no_instance
from harness.plugins.registry import check_at_hand
from harness.report.build import TableError, build_table
from harness.report.context import Context
from harness.report.failures import failures_table
from harness.report.layout import Column, Table, for_others
from harness.report.rendering.markdown import to_markdown
from harness.report.shortfalls import shortfalls
from harness.results.recorded import ASKED, Recorded
from harness.statistics.expected import lacking
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.reasons import Reason, reasons
from harness.storage.parts import incomplete, said_of_parts
from harness.storage.results_file import results_hold, write_results
from harness.storage.rows import give_back, repeats
from harness.storage.store import REPORT
from harness.structures import UserError

_JOB = ["method", "dataset"]


@dataclass(frozen=True)
class Finished:
    """The result of a run.

    Attributes:
        tables: The tables that the config names.
        instances: Pairs of an instance and a method in the tables' rows; `failed` of them have no mask.
        over_budget: Whether a method failed on more of a data set's instances than `max_failures` allows.
        missing: Pairs of an instance and a method without a row.
        uncounted: Pairs of an image and a method without a row whose instances nobody counted; each counts as one.
        too_many: The methods over the budget, as `SAM on coco: 35 of 46`.
        shortfalls: Sentences on what the tables do not show: rows are missing, methods were not asked for the same
            instances, or a table's own code failed.
        reasons: The reasons why instances failed, the most frequent one first.
        doubts: Sentences on odd rows: masks that miss their clicks, answers at a second try.
    """

    tables: tuple[Table, ...]
    instances: int
    failed: int
    over_budget: bool
    missing: int
    uncounted: int = 0
    too_many: tuple[str, ...] = ()
    shortfalls: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    doubts: tuple[str, ...] = ()


def report(run: Recorded, stopped: bool = False, write: bool = True) -> Finished:
    """Build the tables of all rows that exist, and write them to the run's folder. The caller prints them.

    Args:
        run: The run to report.
        stopped: Whether it was stopped because too much failed.
        write: Whether to write report.md, and results.parquet if that is older than the shards.

    Raises:
        UserError: Two images have an instance of the same id.
    """
    if write and not results_hold(run.store, run.jobs, run.samples):
        write_results(run.store, run.jobs, run.samples)
    rows = run.rows(coded=True)
    context = run.context(rows)
    asked = rows.loc[~repeats(rows, ASKED), ASKED].drop_duplicates()
    _check_ids(asked)
    failed = rows.loc[rows["status"] != "ok", ASKED].drop_duplicates()
    final = FinalClicks.of(rows, withhold=True)
    why, bare = tuple(reasons(rows)), tuple(_without_instance(run, rows))
    del rows  # Millions of rows take a gigabyte, and `final` has its own copy of those that it needs.
    made = [table_or_why(name, final, context) for name in run.config.tables]
    tables = (*(table for table, _ in made), *([failures_table(why, run.config.run)] if why else []))
    give_back()
    if write:
        run.store.folder.write(REPORT, "\n\n".join(to_markdown(for_others(table)) for table in tables).encode())
    too_many = tuple(_too_many(asked, failed, run.config.max_failures))
    over = stopped or bool(too_many)
    missing = sum(lacking(final, context.expected_instances).values())
    uncounted, broken = sum(context.uncounted.values()), (error for _, error in made if error)
    lacks = incomplete(run.store, run.jobs, run.samples)
    parts = [said_of_parts(run.store.folder, lacks)] if lacks else []
    short = (*shortfalls(str(run.store.folder), final, context), *parts, *bare, *broken)
    return Finished(tables, len(asked), len(failed), over, missing, uncounted, too_many, short, why, context.doubts)


def _check_ids(asked: pd.DataFrame) -> None:
    """Refuse instances of several images with the same id, which means would count as one instance.

    A worker notices this (`jobs.worker`), but only if it had both images.
    """
    twice = asked[asked.duplicated(["dataset", "method", "instance_id"])]
    if len(twice):
        name = f"data set '{twice['dataset'].iloc[0]}'"
        raise UserError(listed_twice(name, str(twice["instance_id"].iloc[0]), "load() gives"))


def _without_instance(run: Recorded, rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each data set whose images are all done without a single row: they have no instance."""
    asked = {job.dataset for job in run.jobs} - {*rows["dataset"].unique()}
    for name in sorted(asked):
        jobs = [job for job in run.jobs if job.dataset == name]
        images = run.samples.get(name, {})
        if images and all(run.store.done(job) >= images.keys() for job in jobs):
            yield no_instance(f"data set '{name}'", len(images))


def _too_many(asked: pd.DataFrame, failed: pd.DataFrame, share: float) -> Iterator[str]:
    """The methods and data sets on which more than this share failed; each method counts by itself."""
    # A job without failures has no line in `failed`, hence the fill with 0.
    counts = pd.DataFrame({"of": asked.groupby(_JOB).size(), "failed": failed.groupby(_JOB).size()}).fillna(0)
    for method, dataset, of, failures in counts.astype(int).reset_index().itertuples(index=False, name=None):
        if failures > share * of:
            yield f"{method} on {dataset}: {failures} of {of}"


def table_or_why(name: str, final: FinalClicks, context: Context) -> tuple[Table, str]:
    """Build a table of a run's config; if that fails, as without its plugin, return a table with the reason.

    The config may come with a stranger's folder, so no code is imported that is not installed here.

    Returns:
        The table; and the error of its own code, if that failed, else "".
    """
    try:
        check_at_hand(name)
        return build_table(name, final, context), ""
    except UserError as error:
        broken = str(error) if isinstance(error, TableError) else ""
        return Table(f"{name} (run {context.run})", (Column("Not built"),), (), (str(error),)), broken
