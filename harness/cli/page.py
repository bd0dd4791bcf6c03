"""`python -m harness page runs/quickstart`: the report page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import loaded
from harness.cli.terminal import end, live, say


def page(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or bucket, such as runs/quickstart.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page's folder; <RUN>/page by default.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=0, help="Images that the page holds, of all classes; 200 by default.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures for paper, too, as PDF and PNG.")] = True,
    data: Annotated[
        list[str],
        typer.Option(
            metavar="LABEL=FOLDER|CONFIG",
            help="Where a data set lies now: --data coco=/mnt/coco; or your config, whose plugins are loaded.",
        ),
    ] = [],  # noqa: B006
) -> None:
    """Build report.html: tables, charts and every instance with its masks; it opens from disk, without a server."""
    from harness.figures.source import data_roots  # with matplotlib, which no other command waits for
    from harness.page.build import PICTURES, build_page

    configs = [one for one in data if "=" not in one and Path(one).suffix in (".yaml", ".yml")]
    for config in configs:
        loaded(Path(config), [], None)  # imports the plugins that it names
    roots = data_roots([one for one in data if one not in configs])
    with live() as shown:
        made = build_page(run, out, PICTURES if pictures is None else pictures, figures, roots, shown.part)
    for note in made.notes:
        say(note)
    said = f"{made.instances} instances of {made.entries} methods and rankings, {made.pictures} pictures"
    say(f"{made.page}: {said}, {made.figures} figures.")
    end(made.shortfalls)
