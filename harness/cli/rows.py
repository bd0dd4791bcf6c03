"""`python -m harness rows`: from a cell of a table to its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import RunFolder
from harness.cli.tables import emit
from harness.cli.terminal import console, say
from harness.messages import number_of
from harness.structures import UserError

SHOWN = 40
"""The number of rows that a terminal shows by default."""


def rows(
    run: RunFolder,
    method: Annotated[str, typer.Option(metavar="LABEL", help="Only rows of this method.")] = "",
    dataset: Annotated[str, typer.Option(metavar="LABEL", help="Only rows on this data set.")] = "",
    ranking: Annotated[
        str, typer.Option(help="Only masks that this ranking chose: confidence, clip, oracle, ...")
    ] = "",
    category: Annotated[str, typer.Option(help="Only instances of this class.")] = "",
    seen: Annotated[
        bool | None, typer.Option("--seen/--unseen", help="Only classes that were seen in training, or that were not.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only instances without a mask, with the reason.")] = False,
    worst: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N rows with the worst scores.")
    ] = None,
    best: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the N rows with the best scores.")] = None,
    metric: Annotated[str, typer.Option(help="The metric of --worst, --best and the mean.")] = "iou",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file: .parquet or .json with all columns, .csv, .md, .html."),
    ] = None,
) -> None:
    """Show the rows behind a cell of a table, and the mean that the cell prints.

    harness rows runs/quickstart --method Text+Click --unseen --worst 20
    """
    from harness.results.behind import Wanted, as_table, rows_behind
    from harness.results.recorded import recorded_at

    if (worst and best) or (failed and (worst or best)):
        raise UserError("rows: found several of --failed, --worst and --best; wanted only one of them.")
    known = recorded_at(run)
    found = rows_behind(known, Wanted(method, dataset, ranking, category, seen, failed, metric, worst, best))
    if output and output.suffix in (".parquet", ".json"):
        import pyarrow as pa

        from harness.storage.folder import write_bytes
        from harness.storage.shards import parquet

        given = pa.Table.from_pandas(found.rows, preserve_index=False).replace_schema_metadata()
        as_json = output.suffix == ".json"
        text = f"{json.dumps(given.to_pylist(), indent=1, default=str)}\n" if as_json else ""
        write_bytes(output, text.encode() if as_json else bytes(parquet(given)))
        say(f"{output}: {number_of(len(found.rows), 'row')}")
        return
    table = as_table(found, known)
    if output:
        emit([table], None, output)
        return
    from dataclasses import replace

    from harness.report.rendering.terminal import to_terminal

    most = worst or best or SHOWN
    console.print(to_terminal(replace(table, body=table.body[:most])))
    if len(table.body) > most:
        say(f"The first {most} of {len(table.body)} rows; -o rows.csv (.json, .parquet) has all, --worst N the worst.")
