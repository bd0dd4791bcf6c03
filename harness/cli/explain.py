"""`python -m harness explain`: one instance of a run as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import Data, RunFolder, data_places
from harness.cli.terminal import say
from harness.structures import UserError


def explain(
    run: RunFolder,
    instance: Annotated[str, typer.Argument(metavar="ID", help="The instance's id, as in the column instance_id.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture (.png, .pdf, .svg); <ID>.png by default.")
    ] = None,
    data: Data = [],  # noqa: B006
) -> None:
    """Draw what every method made of an instance, click by click: masks, clicks, saliency and ground truth.

    The masks are those that the run stored; no method is asked (`replay` asks).
    """
    from harness.figures.drawing import PICTURES, file_name, style, write
    from harness.figures.source import Pictures
    from harness.results.recorded import recorded_at
    from harness.trying.explaining import explained

    place = out or Path(f"{file_name(instance)}.png")
    if place.suffix.lower() not in PICTURES:
        raise UserError(f"explain: found -o {place}; wanted a picture: {', '.join(PICTURES)}.")
    roots, found = data_places(data), recorded_at(run)
    pictures = Pictures(found.config, roots)
    with style():
        for number, figure in enumerate(explained(found, instance, pictures)):
            path = place if not number else place.with_stem(f"{place.stem}_{number + 1}")
            write(figure, path)
            say(str(path))
    for name, why in pictures.unread.items():
        say(f"{name}: {why}")
