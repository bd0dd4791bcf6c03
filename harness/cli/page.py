"""`python -m harness page runs/quickstart`: the report page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Data, RunFolder, data_places
from harness.cli.terminal import end, live, say


def page(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page's folder; <RUN>/page by default.")] = None,
    pictures: Annotated[
        int | None, typer.Option(min=0, help="How many images the page holds, from all classes; 200 by default.")
    ] = None,
    figures: Annotated[bool, typer.Option(help="Also draw the figures as PDF and PNG, for a paper.")] = True,
    data: Data = [],  # noqa: B006
) -> None:
    """Build report.html: tables, charts and every instance with its masks; it opens from disk, without a server."""
    _build(run, out, pictures, figures, data)


def publish(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder: a new one, or that of an earlier `publish`.")],
    pictures: Annotated[
        int | None, typer.Option(min=0, help="How many images the page holds, from all classes; 200 by default.")
    ] = None,
    data: Data = [],  # noqa: B006
) -> None:
    """Put the report page, all rows as Parquet and a card into a folder for a static host or a hub's Space."""
    _build(run, out, pictures, True, data, published=True)


def _build(
    run: RunFolder, out: Path | None, pictures: int | None, figures: bool, data: Data, published: bool = False
) -> None:
    from harness.page.build import PICTURES, build_page

    roots = data_places(data)
    with live() as shown:
        # The options' default is None and not PICTURES, since its module would then be imported for every command.
        made = build_page(run, out, PICTURES if pictures is None else pictures, figures, roots, shown.part, published)
    for note in made.notes:
        say(note)
    said = f"{made.instances} instances of {made.entries} methods and rankings, {made.pictures} pictures"
    say(f"{made.page}: {said}, {made.figures} figures.")
    end(made.shortfalls)
