"""`python -m harness report`: the tables of the rows that are there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Limit, Runs, Set, loaded
from harness.cli.tables import Format, Output, tabulate
from harness.cli.terminal import console, end, warn
from harness.interrupts import in_order
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.results.recorded import Recorded


def report(
    target: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder or bucket, such as runs/quickstart, or its config.")
    ],
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    runs: Runs = None,
    table: Annotated[
        str | None, typer.Option(help="Only this table: its number in the paper, its name, or all.")
    ] = None,
    form: Format = None,
    output: Output = None,
    intervals: Annotated[bool, typer.Option(help="Show every mean with its n and 95 % interval.")] = False,
) -> None:
    """Print and write the tables of the rows that are there; nothing is computed again.

    A folder is reported as it was run, without a look at data or weights; a config as it would be run now, and nothing
    is written if it asks for other rows. With --table, --format, --output or --intervals nothing but these tables is
    written.
    """
    is_config = Path(target).suffix in (".yaml", ".yml")
    if table or form or output or intervals:
        if is_config or set_ or limit:
            raise UserError(
                f"{target}: found --table, --format, -o or --intervals with a config, --set or --limit; wanted them "
                "with a run's folder alone, such as runs/quickstart."
            )
        tabulate(target, table or "", form, output, intervals)
        return
    from harness.report.failures import in_a_line
    from harness.report.rendering.terminal import to_terminal
    from harness.results.recorded import recorded
    from harness.results.reported import report as build
    from harness.storage.lock import Lock, holder
    from harness.storage.store import found_at

    if not is_config and (set_ or limit):
        raise UserError(f"{target}: --set and --limit belong to a config; a run's folder reports what was run.")
    run = _as_configured(Path(target), set_, limit, runs) if is_config else recorded(found_at(target))
    folder = run.store.folder
    writer = holder(folder)
    # The report is only printed if the run is still going on, its folder cannot be written, or the config asks for
    # other rows than the run has.
    as_run = not is_config or _rows_asked(run) == _rows_asked(recorded(run.store))
    writes = writer is None and as_run and folder.writable()
    with in_order(), Lock(folder) if writes else nullcontext():
        finished = build(run, write=writes)
    for made in finished.tables:
        console.print(to_terminal(made))
    if writer:
        warn(f"{folder} is being written by {writer}: results.parquet and report.md are not written by this command.")
    elif not as_run:
        warn(
            f"{target} asks for other images, methods or data sets than {folder} was run with: results.parquet and "
            "report.md there stay as they are."
        )
    elif not writes:
        warn(f"{folder} cannot be written: results.parquet and report.md stay as they are.")
    if finished.failed:
        warn(f"{finished.failed} of {finished.instances} instances failed. {in_a_line(finished.reasons)}".rstrip())
    for odd in finished.doubts:
        warn(odd)
    end(finished.shortfalls, "give the run's command again" if finished.missing else "")


def _as_configured(path: Path, set_: list[str], limit: int | None, runs: str | None) -> Recorded:
    """The run of a config. Its rows must have been made with the config's present settings."""
    from harness.jobs.plan import planned, samples_of
    from harness.results.recorded import Recorded
    from harness.storage.labels import renamed
    from harness.storage.store import store_of

    config = loaded(path, set_, limit)
    store = store_of(config.run, runs)
    if not store.manifest():
        raise UserError(f"{store.folder}: no such run. Start it: python -m harness run {path}.")
    jobs = planned(config)
    run = Recorded(store, config, [job.facts for job in jobs], samples_of(jobs))
    store.check(run.jobs)
    for same in renamed(store, run.jobs):
        warn(f"{same} `run {path}` gives them the new label.")
    return run


def _rows_asked(run: Recorded) -> set[tuple[str, str, str]]:
    """The method, the data set and the image of all rows of a run."""
    return {(job.method, job.dataset, one) for job in run.jobs for one in run.samples[job.dataset]}
