"""`python -m harness export`: a run's masks as COCO's results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import RunFolder
from harness.cli.terminal import say


def export(
    run: RunFolder,
    coco: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, .json: COCO's results.")],
    method: Annotated[str, typer.Option(metavar="LABEL", help="The masks of this method.")] = "",
    dataset: Annotated[str, typer.Option(metavar="LABEL", help="The masks on this data set.")] = "",
    ranking: Annotated[
        str, typer.Option(help="The masks that this ranking chose; by default the method's first ranking.")
    ] = "",
    every_click: Annotated[
        bool,
        typer.Option(
            "--every-click", help="The masks after every click and in every draw, not only after the last click."
        ),
    ] = False,
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="COCO's annotation file, to write its category ids.")
    ] = None,
) -> None:
    """Write a method's masks as COCO's results, with instance_id: for COCOeval, other tools, and `score`.

    harness export runs/quickstart --coco ours.json --method Text+Click
    """
    import orjson

    from harness.results.coco_export import coco_results
    from harness.results.recorded import recorded_at
    from harness.storage.folder import write_bytes

    known = recorded_at(run)
    results = coco_results(
        known,
        method=method,
        dataset=dataset,
        ranking=ranking,
        every_click=every_click,
        annotations=annotations,
    )
    write_bytes(coco, b"[\n" + b",\n".join(map(orjson.dumps, results)) + b"\n]\n")
    say(f"{coco}: {len(results)} masks")
