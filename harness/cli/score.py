"""`python -m harness score`: masks that were made elsewhere, as the rows of a method."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ConfigPath, Limit, Only, Runs, Set, loaded


def score(
    predictions: Annotated[
        Path,
        typer.Argument(metavar="RESULTS", help="COCO's results (.json) with instance_id, as `export --coco` writes."),
    ],
    config: ConfigPath,
    name: Annotated[str, typer.Option("--label", help="The masks' label in tables; the file's name by default.")] = "",
    dataset: Annotated[
        str, typer.Option(metavar="LABEL", help="The data set of the masks, if several data sets have their images.")
    ] = "",
    run: Annotated[str, typer.Option(metavar="NAME", help="The run's name; <config's>_<label> by default.")] = "",
    uses_text: Annotated[
        bool | None,
        typer.Option("--text/--no-text", help="Whether the masks were made with the text, which tables show."),
    ] = None,
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    only: Only = None,
    runs: Runs = None,
) -> None:
    """Score masks that were made elsewhere, by the code that scores every method, as the rows of a run.

    harness score ours.json sam_vs_ours_scenes --label "Ours, elsewhere"

    The config says on which data set, and with which clicks and words they were made; its methods are not asked.
    Several masks of one instance are candidates, ranked by `score`. An instance without a mask is a failed row.
    """
    from harness.cli.run import execute
    from harness.jobs.predictions import scoring

    whole = loaded(config, set_, limit, only)
    asked = scoring(whole, predictions, name=name, dataset=dataset, run=run, uses_text=uses_text)
    execute(asked, shlex.join(["python", "-m", "harness", *sys.argv[1:]]), runs=runs)
