"""Arguments and options that several commands take, and the config that they name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import places
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig

ConfigPath = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="A YAML file, or the name of one that comes with the harness, such as quickstart."
    ),
]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set workers.count=2.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="At most this many images of each data set; every table says so.")
]
Only = Annotated[
    str | None,
    typer.Option(
        metavar="ID[,ID...]",
        help="Only these images, or the images of these instances; every table says so. An id with a comma goes in "
        "double quotes.",
    ),
]
Address = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster (auto, ray://...); this machine by default.")
]
Runs = Annotated[
    str | None,
    typer.Option(envvar="HARNESS_RUNS", help="Where runs are kept: a folder, s3://... or gs://...; runs/ by default."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print progress as JSON lines to stdout, instead of bars.")]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, bucket or name: runs/quickstart.")]

Data = Annotated[
    list[str],
    typer.Option(
        metavar="LABEL=FOLDER|CONFIG",
        help="Where a data set lies now: --data coco=/mnt/coco; or your config, whose plugins are loaded.",
    ),
]


def loaded(path: Path, overrides: list[str], limit: int | None, only: str | None = None) -> RunConfig:
    """Read and check a run's config; `limit` or `only` reduces it to a part of the images.

    Raises:
        UserError: At the first mistake.
    """
    from harness.config.run_config import load_run

    config = load_run(places.config(path), overrides)
    if only is not None and limit is not None:
        raise UserError("found --limit and --only; wanted only one of them. Leave one out.")
    if only is not None:
        from harness.jobs.only import narrowed

        # As a line of a CSV, so that quotes keep a comma of a file's name: "street, left",kitchen
        return narrowed(config, [one for one in next(csv.reader([only], skipinitialspace=True), []) if one])
    return config if limit is None else config.model_copy(update={"limit": limit})


def data_places(data: list[str]) -> dict[str, Path]:
    """Data set's label -> its folder, by `--data`. Plugins of configs that it names are imported.

    A run's folder may name a plugin of the reader's own, which is imported only if the reader names it as well. Loading
    a config does that, and its values are not needed.

    Raises:
        UserError: At the first mistake.
    """
    from harness.figures.source import data_roots  # with matplotlib, which no other command waits for

    configs = [one for one in data if "=" not in one and Path(one).suffix in (".yaml", ".yml")]
    for config in configs:
        loaded(Path(config), [], None)
    return data_roots([one for one in data if one not in configs])
