"""Times commands on a run of millions of rows: `python -m benchmarks.big_report --rows 5000000`, no downloads.

The rows are drawn, not measured: eight methods and rankings on generated instances, 7.3 an image as in COCO, with masks
of ellipses. They are written as a worker writes them, one shard of 512 images after the other. Then each command runs
in a process of its own. Its seconds, its CPU seconds and its peak of memory are printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from benchmarks.page import ellipse
from benchmarks.report import ENTRIES, entry_rows
from harness.config.run_config import RunConfig
from harness.places import ROOT
from harness.statistics.final_clicks import SHOWN
from harness.storage.manifest import JobFacts, Samples
from harness.storage.shards import Header, name_of, packed
from harness.storage.store import Store

MOST_S, MOST_GB = 30.0, 3.0
"""The most that `report` may take: seconds, and GB of memory."""

INSTANCES_AN_IMAGE = 7.3
SHARD = 512
DATASET = "coco"

COMMANDS = {
    "report": ("-m", "harness", "report", "{run}"),
    "report, written before": ("-m", "harness", "report", "{run}"),
    "leaderboard": ("-m", "harness", "leaderboard", "{run}", "--format", "md"),
    "verify": ("-m", "harness", "verify", "{run}"),
    "load": ("-c", "import harness; harness.load('{run}')"),
    "page": ("-m", "harness", "page", "{run}", "--pictures", "0", "-o", "{run}/page"),
}
"""The measured commands in their order -> the arguments of Python; the first one writes results.parquet."""


@dataclass(frozen=True)
class Cost:
    """The cost of one process; the peak is of its own memory, without its children's."""

    wall_s: float
    cpu_s: float
    peak_gb: float
    code: int


def write_run(place: Path, rows: int, clicks: int) -> None:
    """A run's folder as `run` leaves it before its report: manifest, samples and shards."""
    instances = max(1, rows // (len(ENTRIES) * clicks))
    rng = np.random.default_rng(0)
    image = np.sort(rng.integers(max(1, int(instances / INSTANCES_AN_IMAGE)), size=instances))
    area = np.exp(rng.normal(8, 2, instances)).astype(np.int64) + 1
    made = rng.integers(0, 480, size=(instances, clicks, 2))
    masks = pa.array([ellipse(rng) for _ in range(200)], pa.binary())
    store = Store(place)
    store.open(config(clicks), list(jobs().values()), {"id": "generated", "commit": ""}, samples(image))
    for method, facts in jobs().items():
        entries = [entry for entry in ENTRIES if entry[0] == method]
        for content in shards(rng, entries, facts, (image, area, made), masks):
            store.folder.write(f"shards/{facts.key}/{name_of(content)}", content)
        pa.default_memory_pool().release_unused()


def shards(
    rng: np.random.Generator, entries: Sequence[Any], facts: JobFacts, asked: tuple[Any, ...], masks: pa.Array
) -> Iterator[pa.Buffer]:
    """The files of one method: each holds the rows of some images, of all rankings."""
    image, area, made = asked
    starts = np.flatnonzero(np.diff(image // SHARD, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(image)], strict=True):
        own = slice(start, end)
        parts = [entry_rows(rng, entry, image[own], area[own], made[own], first=start) for entry in entries]
        rows = pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("image_id", "instance_id")])
        drawn = masks.take(pa.array(rng.integers(0, len(masks), len(rows))))
        rows = rows.set_column(rows.column_names.index("mask"), rows.schema.field("mask"), drawn)
        yield packed(rows, Header(tuple(np.unique(image[own]).astype(str).tolist()), facts.parts))


def config(clicks: int) -> dict[str, Any]:
    """The config as `run` would record it."""
    methods = {method: plugin for method, plugin, _, _ in ENTRIES}
    asked = RunConfig(
        run="synthetic",
        datasets=[{"name": DATASET}],
        methods=[{"name": plugin, "label": label} for label, plugin in methods.items()],
        clicks={"max_clicks": clicks},
        tables=["table1", "leaderboard"],
    )
    return asked.model_dump(mode="json")


def jobs() -> dict[str, JobFacts]:
    """Method's label -> its job."""
    share = {"higher_is_better": True, "bounds": [0.0, 1.0]}
    about = {"dataset_plugin": DATASET, "metrics": dict.fromkeys(SHOWN, share)}
    return {
        method: JobFacts(method, DATASET, {}, about | {"uses_text": "Text" in method, "method_plugin": plugin})
        for method, plugin, _, _ in ENTRIES
    }


def samples(image: Any) -> Samples:
    """Image -> how many instances it holds."""
    found, counts = np.unique(image, return_counts=True)
    return {DATASET: dict(zip(found.astype(str).tolist(), counts.tolist(), strict=True))}


def measured(arguments: Sequence[str]) -> Cost:
    """Run Python in a process of its own and wait for its end."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    size = 1 << 30 if sys.platform == "darwin" else 1 << 20  # macOS counts bytes, Linux KiB.
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / size, child.returncode)


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 5_000_000,
    clicks: Annotated[int, typer.Option(min=1)] = 1,
    only: Annotated[list[str], typer.Option(help=f"Of {', '.join(COMMANDS)}; all by default.")] = [],  # noqa: B006
    run: Annotated[Path | None, typer.Option(help="Keep the run here; one that is there is used again.")] = None,
) -> None:
    """Generate a run, measure the commands, and print the costs; exit code 1 if `report` took too much."""
    with nullcontext(run) if run else tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "synthetic" if run is None else run
        if not (place / "manifest.json").exists():
            write_run(place, rows, clicks)
        costs = {}
        for name in only or COMMANDS:
            if name == "report":
                (place / "results.parquet").unlink(missing_ok=True)
            costs[name] = measured([part.replace("{run}", str(place)) for part in COMMANDS[name]])
            print(f"{name}: {costs[name]}", file=sys.stderr, flush=True)
    listing = Table("Command", "Seconds", "CPU seconds", "Peak", "Exit code", "Goal")
    met = True
    for name, cost in costs.items():
        bounded = name.startswith("report")
        fits = cost.wall_s < MOST_S and cost.peak_gb < MOST_GB
        met &= fits or not bounded
        goal = verdict(fits, f"under {MOST_S:g} s and {MOST_GB:g} GB") if bounded else ""
        listing.add_row(name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_gb:.2f} GB", str(cost.code), goal)
    Console().print(f"{rows:,} drawn rows, {clicks} clicks an instance", listing)
    raise typer.Exit(0 if met and not any(cost.code for cost in costs.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
