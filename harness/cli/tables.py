"""What the command line makes of rows that are there: reports, audits, comparisons and leaderboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import console, warn
from harness.structures import UserError

if TYPE_CHECKING:
    import pandas as pd

    from harness.plugins.scale import Scale
    from harness.report.layout import Table
    from harness.results.recorded import Recorded


class Form(StrEnum):
    """What a table is written as."""

    terminal = "terminal"
    md = "md"
    latex = "latex"
    csv = "csv"
    parquet = "parquet"
    html = "html"


Format = Annotated[Form | None, typer.Option("--format", help="What to write; by default as the file is named.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A file, instead of the terminal.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or buckets of runs.")]

_SUFFIXES = {".md": Form.md, ".tex": Form.latex, ".csv": Form.csv, ".parquet": Form.parquet, ".html": Form.html}


def audit(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Folders or buckets of runs.")] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """List what is wrong or doubtful in the paper's tables, and in the tables of runs."""
    from harness.report.tables.audit import published_audit

    emit(_of_runs("audit", runs) if runs else [published_audit()], form, output)


def claims(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Folders or buckets of runs.")] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Test the paper's sentences: on its own printed numbers, or on the rows of runs."""
    from harness.report.tables.claims import published_claims

    emit(_of_runs("claims", runs) if runs else [published_claims()], form, output)


def _of_runs(table: str, runs: Sequence[str]) -> list[Table]:
    """One table of each run."""
    from harness.report.build import build_table
    from harness.results.recorded import recorded_at

    tables = []
    for made in map(recorded_at, runs):
        rows = made.rows()
        tables.append(build_table(table, rows, made.context(rows)))
    return tables


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="RUN, RUN:METHOD, METHOD or METHOD (RANKING).")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    run: Annotated[str | None, typer.Option(help="The run of a method that names none.")] = None,
    metric: Annotated[str, typer.Option(help="A metric of the rows.")] = "iou",
    tie: Annotated[
        float | None,
        typer.Option(min=0, help="The largest difference that is a tie; by default 0.05 of a share, else 0."),
    ] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Compare two methods on identical instances and clicks: difference, win / tie / loss, by slice, latency."""
    from harness.messages import suggest
    from harness.report.asked import asked_lines
    from harness.report.several_runs import named_for_others
    from harness.report.two_methods import tables_of
    from harness.results.recorded import recorded_at
    from harness.statistics.comparisons import compare as compared
    from harness.storage.folder import Folder
    from harness.storage.rows import metrics_in

    sides = [_split(one, run) for one in (a, b)]
    if Folder.at(sides[0][0]) == Folder.at(sides[1][0]):  # The same folder may be written in two ways.
        sides[1] = (sides[0][0], sides[1][1])
    runs = {folder: recorded_at(folder) for folder, _ in sides}
    rows, first, second, lacking = _sides(sides, runs)
    if metric not in rows:
        raise UserError(f"compare: these rows have no metric '{metric}'. {suggest(metric, metrics_in(rows))}")
    limited = min((one.config.limit for one in runs.values() if one.config.limit), default=None)
    scale = _declared(metric, runs)
    table, *others = tables_of(compared(rows, first, second, metric, tie=tie, scale=scale), limited)
    names = named_for_others(list(runs))
    asked = asked_lines({names[folder]: one.asked for folder, one in runs.items()})
    shown = [replace(table, notes=(*lacking, *table.notes, *asked)), *others]
    edited = [note for one in runs.values() for note in one.notes]
    emit([replace(one, notes=(*one.notes, *edited)) for one in shown], form, output)


def leaderboard(
    runs: Runs,
    mix: Annotated[bool, typer.Option("--mix", help="Merge runs that were asked otherwise, and say so.")] = False,
    form: Format = None,
    output: Output = None,
) -> None:
    """Merge runs into one leaderboard; those that were asked otherwise are refused."""
    import pyarrow as pa

    from harness.report.asked import asked_lines
    from harness.report.several_runs import (
        Source,
        board,
        differences,
        entries,
        linked,
        named_for_others,
        scales_of,
        shortfalls,
    )
    from harness.results.recorded import recorded_at
    from harness.storage.shards import parquet

    sources = []
    names = named_for_others(list(dict.fromkeys(run.rstrip("/") for run in runs)))
    for run, name in names.items():
        made = recorded_at(run)
        rows = made.rows()
        sources.append(Source(name, rows, made.context(rows), made.store.manifest()))
    found = entries(sources, mix)
    chosen = _chosen(form, output)
    if chosen is Form.parquet:
        _write(bytes(parquet(pa.Table.from_pandas(found, preserve_index=False))), output)
        _end(shortfalls(found))
        return
    mixed = [f"Not asked alike, and so not to be compared: {said}" for said in differences(sources)] if mix else []
    notes = [*mixed, *asked_lines({source.folder: source.context.asked for source in sources})]
    places = {name: run for run, name in names.items()}
    emit([linked(board(found, notes, scales_of(sources)), found, output, places)], chosen, output)
    _end(shortfalls(found))


def tabulate(run: str, table: str, form: Form | None, output: Path | None, intervals: bool) -> None:
    """Make one of the tables of a run's rows, those of its config, or all that there are: the paper's first."""
    from harness.plugins.registry import names
    from harness.report.build import build_table
    from harness.results.recorded import recorded_at
    from harness.results.reported import table_or_why
    from harness.statistics.final_clicks import FinalClicks

    made = recorded_at(run)
    rows = made.rows()
    context = replace(made.context(rows), intervals=intervals)
    every = sorted(names("tables"), key=lambda name: (not name.startswith("table"), name))
    final = FinalClicks.of(rows, withhold=True)
    if table in ("", "all"):
        several = every if table else made.config.tables
        built = [table_or_why(name, final, context) for name in several]
    else:
        built = [(build_table(f"table{table}" if table.isdigit() else table, final, context), "")]
    emit([one for one, _ in built], form, output)
    _end([*final.withheld.values(), *made.gaps(final, *context.labels), *(broken for _, broken in built if broken)])


def _end(shortfalls: Sequence[str]) -> None:
    """Say what no table shows, for lack of rows or since methods disagree, and end with exit code 1 if there is any."""
    for said in shortfalls:
        warn(said)
    if shortfalls:
        raise typer.Exit(1)


def emit(tables: Sequence[Table], form: Form | None, output: Path | None) -> None:
    """Print tables, or write them to a file."""
    from harness.report.rendering.formats import rendered
    from harness.report.rendering.terminal import to_terminal

    chosen = _chosen(form, output)
    if chosen is Form.terminal and output is None:
        for table in tables:
            console.print(to_terminal(table))
        return
    _write(rendered(tables, chosen), output)


def _write(content: bytes, output: Path | None) -> None:
    from harness.storage.folder import write_bytes

    if output is None:
        typer.echo(content, nl=False)
        return
    write_bytes(output, content)
    typer.echo(output)


def _chosen(form: Form | None, output: Path | None) -> Form:
    """The format asked for, or that of the file's name."""
    if output is None:
        if form is Form.parquet:
            raise UserError("--format parquet: no terminal shows it. Say where it goes: -o tables.parquet.")
        return form or Form.terminal
    if form is None and output.suffix not in _SUFFIXES:
        raise UserError(
            f"-o {output}: nothing is known of '{output.suffix}'. Wanted one of {', '.join(_SUFFIXES)}, or --format."
        )
    return form or _SUFFIXES[output.suffix]


def _sides(
    sides: Sequence[tuple[str, str]], runs: Mapping[str, Recorded]
) -> tuple[pd.DataFrame, tuple[str, str], tuple[str, str], list[str]]:
    """The rows of both sides, folder and method each, under labels of their own; and what either run lacks."""
    import pandas as pd

    from harness.report.several_runs import named_for_others

    loaded = {folder: run.rows() for folder, run in runs.items()}
    entries = [_entry(loaded[folder], folder, named) for folder, named in sides]
    frames = [loaded[folder] for folder, _ in sides]
    asked: dict[str, list[str]] = {}
    for (folder, _), (method, _) in zip(sides, entries, strict=True):
        asked.setdefault(folder, []).append(method)
    lacking = [one for folder, methods in asked.items() for one in runs[folder].gaps(loaded[folder], *methods)]
    if sides[0][0] != sides[1][0]:
        clash = entries[0][0] == entries[1][0]
        names = named_for_others(list(runs))
        for at, (folder, _) in enumerate(sides):
            own = frames[at][frames[at]["method"] == entries[at][0]]
            label = f"{entries[at][0]}, {names[folder]}" if clash else entries[at][0]
            frames[at], entries[at] = own.assign(method=label), (label, entries[at][1])
        return pd.concat(frames, ignore_index=True), entries[0], entries[1], lacking
    return frames[0], entries[0], entries[1], lacking


def _declared(metric: str, runs: Mapping[str, Recorded]) -> Scale:
    """What the runs declare of a metric.

    Raises:
        UserError: They do not declare the same.
    """
    from harness.plugins.scale import Scale

    scales = {folder: Scale.read(run.metrics.get(metric, {})) for folder, run in runs.items()}
    first, *others = scales.items()
    for folder, scale in others:
        if scale != first[1]:
            raise UserError(
                f"compare: {first[0]} and {folder} declare '{metric}' otherwise, {first[1].written} and "
                f"{scale.written}; wanted one metric. Compare by another, or run one of them again."
            )
    return first[1]


def _split(named: str, run: str | None) -> tuple[str, str]:
    """The run's folder and the method, "" for its only one: the longest start up to a ":" that is a run, else --run."""
    starts = [
        named,
        *(named[:at] for at in range(len(named) - 1, 0, -1) if named[at] == ":" and named[at - 1 : at + 3] != "s://"),
    ]
    for start in starts:
        if _is_run(start):
            return start, named[len(start) + 1 :]
    if run is None:
        raise UserError(
            f"compare: '{named}' names no run's folder. Wanted RUN:METHOD, such as 'runs/quickstart:Text+Click', "
            "or --run."
        )
    return run, named


def _is_run(place: str) -> bool:
    from harness.storage.folder import Folder

    try:
        return Folder.at(place).exists("manifest.json")
    except UserError:
        return False


def _entry(rows: pd.DataFrame, folder: str, named: str) -> tuple[str, str]:
    """A method's label and ranking, by what tables call it."""
    ok = rows[rows["status"] == "ok"]
    pairs = list(ok[["method", "ranking"]].drop_duplicates().itertuples(index=False, name=None))
    known = {(label if ranking == "single" else f"{label} ({ranking})"): (label, ranking) for label, ranking in pairs}
    by_label = [pair for pair in pairs if pair[0] == named]
    if named in known:
        return known[named]
    if len(by_label) == 1 or (not named and len(pairs) == 1):
        return by_label[0] if by_label else pairs[0]
    found = f"no '{named}'" if named else "several methods"
    if not known:
        raise UserError(f"compare: no method of {folder} segmented anything; wanted a run with masks to compare.")
    raise UserError(f"compare: {folder} has {found}; wanted one of: {', '.join(sorted(known))}.")
