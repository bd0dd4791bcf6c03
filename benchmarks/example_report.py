"""Writes docs/example_report: `python -m benchmarks.example_report`, minutes on two cores, no downloads.

Two configs, of every system with weights in the checkout and of one click in two objects, are run in a temporary
folder, unless a folder with finished runs of them is named. The part of a run that is equal on all machines (no masks,
no times, no names of machines) is kept as a run's folder, and the documents beside it are made from these folders by
the commands in its README. `--kept` makes them anew from the rows kept there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
import pyarrow as pa
import typer

from harness.cli.tables import Form, audit, claims, compare, leaderboard, tabulate
from harness.figures import charts, grids, opened, save, style, write_charts
from harness.storage.manifest import read_samples, save_manifest, save_samples
from harness.storage.rows import MEASURED, ORDER
from harness.storage.shards import name_of, packed
from harness.storage.store import Store

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = Path("docs/example_report")
RUN, PAIRS = EXAMPLE / "run", EXAMPLE / "run_same_click"
"""The folders of the kept runs, from the checkout's root, where the commands are given."""

CONFIGS = {"configs/sam_vs_ours_all_scenes.yaml": RUN, "configs/same_click_scenes.yaml": PAIRS}
"""A config -> the folder that keeps its rows."""

LEFT_OUT = ("mask", *MEASURED)
"""Columns that are emptied: most of the bytes, and what differs between two runs."""

MACHINE = ("id", "started", "ended", "host", "cpus", "gpus", "python", "peaks")
"""The keys of the manifest's starts that differ from machine to machine, and from start to start."""

GRID = "figure5_text_right_scenes"
FEW = ("Text+Click", "Click only", "SAM tiny", "RITM tiny")
"""The methods in the picture that README shows, where a column is narrow."""

CHARTS = ("figure8_scenes", "seen_unseen_scenes")
PIXELS = 85
"""Pixels of an inch of the grids."""

DOCUMENTS: Mapping[str, Callable[[Path], None]] = {
    "tables.md": lambda out: tabulate(str(RUN), "all", Form.md, out, intervals=False),
    "leaderboard.md": lambda out: leaderboard([str(RUN)], output=out),
    "audit.md": lambda out: audit([str(RUN)], output=out),
    "claims.md": lambda out: claims([str(RUN)], output=out),
    "same_click.md": lambda out: tabulate(str(PAIRS), "same_click", Form.md, out, intervals=True),
    "compare.md": lambda out: compare("Text+Click", "SAM tiny (clip)", str(RUN), output=out),
}
"""Document -> how it is made from the kept rows alone; the commands are in the example's README."""


def main(
    runs: Annotated[Path | None, typer.Argument(help="A folder with finished runs of the configs, with masks.")] = None,
    kept: Annotated[bool, typer.Option("--kept", help="Without a run, of the rows that are there.")] = False,
) -> None:
    """Write the example anew."""
    runs = runs and runs.resolve()
    os.chdir(ROOT)
    if runs:
        keep_all(runs)
    elif not kept:
        with tempfile.TemporaryDirectory() as folder:
            for config in CONFIGS:
                subprocess.run([sys.executable, "-m", "harness", "run", config, "--runs", folder], check=True)
            keep_all(Path(folder))
    write_documents(EXAMPLE)


def keep_all(runs: Path) -> None:
    """Keep the rows of every config's run, and two grids, for which masks and pictures are needed."""
    for config, example in CONFIGS.items():
        keep(runs / Path(config).stem, example)
    keep_grid(runs / next(Path(config).stem for config, example in CONFIGS.items() if example == RUN))


def keep_grid(run: Path) -> None:
    """Keep a grid of every method's masks, and one of a few methods."""
    source = opened(Store(run))
    few = replace(source, rows=source.rows[source.rows["method"].isin(FEW)])
    for name, shown in ((f"{GRID}_all", source), (GRID, few)):
        with tempfile.TemporaryDirectory() as folder, style():
            figure = next(one.figure for one in grids(shown) if one.name == GRID)
            picture, width = save(figure, Path(folder), name)[-1], round(PIXELS * figure.get_figwidth())
            _shrunk(picture, EXAMPLE / f"{name}.jpg", width)


def keep(run: Path, at: Path) -> None:
    """Keep a finished run's rows and manifest."""
    shutil.rmtree(at, ignore_errors=True)
    store, example = Store(run), Store(at)
    manifest = store.manifest()
    for key in manifest["jobs"]:
        _keep_job(store, example, key)
    samples = save_samples(example.folder, read_samples(store.folder))
    (*_, start) = manifest["starts"]
    starts = [{name: said for name, said in start.items() if name not in MACHINE}]
    save_manifest(example.folder, {**manifest, "samples": samples, "starts": starts})


def write_documents(out: Path) -> None:
    """Tables, leaderboard, audit, comparison and charts, of the kept rows."""
    out.mkdir(exist_ok=True)
    for name, write in DOCUMENTS.items():
        write(out / name)
    source = opened(Store(RUN))
    with tempfile.TemporaryDirectory() as folder:
        write_charts([chart for chart in charts(source.final, source.context) if chart.name in CHARTS], Path(folder))
        for name in CHARTS:
            shutil.copyfile(Path(folder) / f"{name}.png", out / f"{name}.png")


def _keep_job(store: Store, example: Store, key: str) -> None:
    """A job's shards as one."""
    headers = store.headers(key)
    rows = pa.concat_tables([store.read(key, name) for name in headers]).sort_by(
        [(name, "ascending") for name in ORDER]
    )
    emptied: dict[str, Any] = {name: pa.nulls(len(rows), rows.schema.field(name).type) for name in LEFT_OUT}
    emptied["device"] = pa.array([""] * len(rows), pa.string())
    columns = {name: emptied.get(name, rows[name]) for name in rows.column_names}
    samples = tuple(sorted(one for header in headers.values() for one in header.samples))
    first, *others = headers.values()
    assert all((one.parts, one.code) == (first.parts, first.code) for one in others)
    words = {sample: counts for header in headers.values() for sample, counts in header.words.items()}
    content = packed(pa.table(columns, schema=rows.schema), replace(first, samples=samples, words=words))
    example.folder.write(f"shards/{key}/{name_of(content)}", content)


def _shrunk(picture: Path, out: Path, width: int) -> None:
    """Small enough to be committed."""
    with PIL.Image.open(picture) as whole:
        small = whole.convert("RGB")
        small.thumbnail((width, whole.height), PIL.Image.Resampling.LANCZOS)
        small.save(out, quality=85)


if __name__ == "__main__":
    typer.run(main)
