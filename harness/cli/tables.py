"""Commands that print tables of existing rows: reports, audits, comparisons and leaderboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import console, end
from harness.structures import UserError

if TYPE_CHECKING:
    import pandas as pd

    from harness.plugins.scale import Scale
    from harness.report.layout import Table
    from harness.results.recorded import Recorded


class Form(StrEnum):
    """The format in which a table is written."""

    terminal = "terminal"
    md = "md"
    latex = "latex"
    csv = "csv"
    parquet = "parquet"
    html = "html"


Format = Annotated[Form | None, typer.Option("--format", help="The format; by default that of the file's suffix.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the terminal.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or buckets of runs.")]

_SUFFIXES = {".md": Form.md, ".tex": Form.latex, ".csv": Form.csv, ".parquet": Form.parquet, ".html": Form.html}


def audit(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Folders or buckets of runs.")] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """List what is wrong or doubtful in the paper's tables, and in the tables of runs."""
    from harness.report.tables.audit import published_audit

    tables, short = _of_runs("audit", runs or ())
    emit(tables or [published_audit()], form, output)
    end(short)


def claims(
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Folders or buckets of runs.")] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Test the paper's sentences: on its own printed numbers, or on the rows of runs."""
    from harness.report.tables.claims import published_claims

    tables, short = _of_runs("claims", runs or ())
    emit(tables or [published_claims()], form, output)
    end(short)


def _of_runs(table: str, runs: Sequence[str]) -> tuple[list[Table], list[str]]:
    """One table of each run, and sentences on what the tables lack."""
    from harness.report.build import build_table
    from harness.report.shortfalls import shortfalls
    from harness.results.recorded import recorded_at
    from harness.statistics.final_clicks import FinalClicks

    tables: list[Table] = []
    short: list[str] = []
    for run, made in zip(runs, map(recorded_at, runs), strict=True):
        rows = made.rows(coded=True)
        context, final = made.context(rows), FinalClicks.of(rows, withhold=True)
        tables.append(build_table(table, final, context))
        short += shortfalls(run, final, context)
    return tables, short


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="RUN:METHOD",
            help="A method of a run. RUN alone if it has one method; METHOD or METHOD (RANKING) with --run.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="RUN:METHOD", help="Likewise.")],
    run: Annotated[str | None, typer.Option(help="The run of the methods that are given without one.")] = None,
    metric: Annotated[str, typer.Option(help="The metric to compare by, one of the rows'.")] = "iou",
    tie: Annotated[
        float | None,
        typer.Option(min=0, help="The largest difference that is a tie; by default 0.05 of a share, else 0."),
    ] = None,
    form: Format = None,
    output: Output = None,
) -> None:
    """Compare two methods on identical instances and clicks: difference, win / tie / loss, by slice, latency."""
    from harness.report.asked import asked_lines
    from harness.report.board import named_for_others
    from harness.report.two_methods import tables_of
    from harness.results.recorded import recorded_at
    from harness.statistics.comparisons import compare as compared
    from harness.storage.store import found_at

    sides = [_split(one, run) for one in (a, b)]
    if found_at(sides[0][0]).folder == found_at(sides[1][0]).folder:  # The same folder may be written in two ways.
        sides[1] = (sides[0][0], sides[1][1])
    runs = {folder: recorded_at(folder) for folder, _ in sides}
    named = named_for_others(list(runs))
    loaded = {folder: one.rows() for folder, one in runs.items()}
    chosen = [_entry(loaded[folder], folder, method) for folder, method in sides]
    rows, first, second, short = _sides(sides, chosen, loaded, runs, named)
    _, limited = min(((max(one.limits.values()), one.limited) for one in runs.values() if one.limits), default=(0, ""))
    scale = _declared(metric, runs)
    table, *others = tables_of(compared(rows, first, second, metric, tie=tie, scale=scale), limited)
    asked = asked_lines({named[folder]: one.asked for folder, one in runs.items()})
    shown = [replace(table, notes=(*short, *table.notes, *asked)), *others]
    # A run's notes, but those on a single method only if it is one of the two.
    said = [note for (folder, _), (method, _) in zip(sides, chosen, strict=True) for note in runs[folder].said(method)]
    said += [note for one in runs.values() for note in one.notes]
    emit([replace(one, notes=(*one.notes, *dict.fromkeys(said))) for one in shown], form, output)
    end(short)


def leaderboard(
    runs: Runs,
    mix: Annotated[
        bool, typer.Option("--mix", help="Also merge runs with other clicks, words or data; a note says so.")
    ] = False,
    form: Format = None,
    output: Output = None,
) -> None:
    """Merge runs into one leaderboard; runs with different clicks, words or data are refused."""
    import pyarrow as pa

    from harness.report.asked import asked_lines
    from harness.report.board import board, linked, named_for_others
    from harness.report.several_runs import Source, differences, entries, expecting_alike, scales_of
    from harness.report.shortfalls import shortfalls
    from harness.results.recorded import recorded_at
    from harness.storage.shards import parquet

    sources = []
    names = named_for_others(list(dict.fromkeys(run.rstrip("/") for run in runs)))
    for run, name in names.items():
        made = recorded_at(run)
        rows = made.rows(coded=True)
        sources.append(Source(name, rows, made.context(rows), made.store.manifest()))
    sources = expecting_alike(sources)
    found = entries(sources, mix)
    short = [said for source in sources for said in shortfalls(source.folder, source.final, source.context)]
    chosen = _chosen(form, output)
    if chosen is Form.parquet:
        _write(bytes(parquet(pa.Table.from_pandas(found, preserve_index=False))), output)
        end(short)
        return
    mixed = (
        [
            f"These runs differ in clicks, words or data, and must not be compared: {said}"
            for said in differences(sources)
        ]
        if mix
        else []
    )
    notes = [*mixed, *asked_lines({source.folder: source.context.asked for source in sources})]
    places = {name: run for run, name in names.items()}
    emit([linked(board(found, notes, scales_of(sources)), found, output, places)], chosen, output)
    end(short)


def tabulate(run: str, table: str, form: Form | None, output: Path | None, intervals: bool) -> None:
    """Make one table of a run's rows, those that its config names, or all that exist, the paper's first."""
    from harness.plugins.registry import names
    from harness.report.build import build_table
    from harness.report.shortfalls import shortfalls
    from harness.results.recorded import recorded_at
    from harness.results.reported import table_or_why
    from harness.statistics.final_clicks import FinalClicks

    made = recorded_at(run)
    rows = made.rows(coded=True)
    context = replace(made.context(rows), intervals=intervals)
    # The paper's tables come first ("table1", ...), then ours by name.
    every = sorted(names("tables"), key=lambda name: (not name.startswith("table"), name))
    final = FinalClicks.of(rows, withhold=True)
    if table in ("", "all"):
        several = every if table else made.config.tables
        built = [table_or_why(name, final, context) for name in several]
    else:
        built = [(build_table(f"table{table}" if table.isdigit() else table, final, context), "")]
    emit([one for one, _ in built], form, output)
    end([*shortfalls(run, final, context), *(broken for _, broken in built if broken)])


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
    """The given format, or the one of the file's ending."""
    if output is None:
        if form is Form.parquet:
            raise UserError(
                "--format parquet: found no file to write to; wanted one, since a terminal cannot show it. Name it: "
                "-o tables.parquet."
            )
        return form or Form.terminal
    if form is None and output.suffix not in _SUFFIXES:
        raise UserError(
            f"-o {output}: found the suffix '{output.suffix}'; wanted one of {', '.join(_SUFFIXES)}, or --format."
        )
    return form or _SUFFIXES[output.suffix]


def _sides(
    sides: Sequence[tuple[str, str]],
    chosen: Sequence[tuple[str, str]],
    loaded: Mapping[str, pd.DataFrame],
    runs: Mapping[str, Recorded],
    named: Mapping[str, str],
) -> tuple[pd.DataFrame, tuple[str, str], tuple[str, str], list[str]]:
    """The rows of both sides with the label and ranking of each, and sentences on what either side lacks.

    Two runs may hold a method of one label, such as the same method before and after a change. The labels then get the
    run's name ("SAM, runs/a" and "SAM, runs/b"), since a comparison tells methods apart by their labels.
    """
    import pandas as pd

    from harness.report.several_runs import Source, expecting_alike
    from harness.report.shortfalls import shortfalls

    entries = list(chosen)
    frames = [loaded[folder] for folder, _ in sides]
    sources = [
        Source(named[folder], rows, runs[folder].context(rows), runs[folder].store.manifest())
        for folder, rows in loaded.items()
    ]
    short: list[str] = []
    # Every run is asked for the instances that any of them has, so that instances which one side lacks are counted as
    # missing.
    for folder, source in zip(loaded, expecting_alike(sources), strict=True):
        own = {method for (of, _), (method, _) in zip(sides, entries, strict=True) if of == folder}
        short += shortfalls(source.folder, source.final, source.context, own)
    if sides[0][0] != sides[1][0]:
        clash = entries[0][0] == entries[1][0]
        for at, (folder, _) in enumerate(sides):
            own_rows = frames[at][frames[at]["method"] == entries[at][0]]
            label = f"{entries[at][0]}, {named[folder]}" if clash else entries[at][0]
            frames[at], entries[at] = own_rows.assign(method=label), (label, entries[at][1])
        return pd.concat(frames, ignore_index=True), entries[0], entries[1], short
    return frames[0], entries[0], entries[1], short


def _declared(metric: str, runs: Mapping[str, Recorded]) -> Scale:
    """The scale of a metric, as the runs declare it.

    Raises:
        UserError: Two runs declare different scales.
    """
    from harness.plugins.scale import Scale

    scales = {folder: Scale.read(run.metrics.get(metric, {})) for folder, run in runs.items()}
    first, *others = scales.items()
    for folder, scale in others:
        if scale != first[1]:
            raise UserError(
                f"compare: found '{metric}' declared as {first[1].written} in {first[0]} and as {scale.written} in "
                f"{folder}; wanted the same. Compare by another metric, or run one of them again."
            )
    return first[1]


def _split(named: str, run: str | None) -> tuple[str, str]:
    """Split RUN:METHOD into the run's folder and the method's label, which is "" for a run with one method.

    Both may hold colons ("s3://bucket/runs/a:SAM: large"). So the longest part before a colon that names a run is the
    run; the colon of "s3://" is none of these. If no part names one, the whole is a method of `--run`.
    """
    starts = [
        named,
        *(named[:at] for at in range(len(named) - 1, 0, -1) if named[at] == ":" and named[at - 1 : at + 3] != "s://"),
    ]
    for start in starts:
        if _is_run(start, by_name=run is None):
            return start, named[len(start) + 1 :]
    if run is None:
        raise UserError(
            f"compare: '{named}' names no run's folder. Wanted RUN:METHOD, such as 'runs/quickstart:Text+Click', "
            "or --run."
        )
    return run, named


def _is_run(place: str, by_name: bool) -> bool:
    """Whether a place holds a run. With `--run`, a name without a slash may be a method's and is not looked up."""
    from harness.storage.store import Store, found_at

    try:
        return (found_at(place) if by_name or "/" in place else Store(place)).folder.exists("manifest.json")
    except UserError:
        return False


def _entry(rows: pd.DataFrame, folder: str, named: str) -> tuple[str, str]:
    """A method's label and ranking, by its name in tables: "SAM (oracle)", or "SAM" if it has one ranking."""
    # Only rows with a mask: a failed row has no ranking, and a method that always failed cannot be compared.
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
