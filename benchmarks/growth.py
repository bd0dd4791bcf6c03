"""How the cost of an evaluation grows: `python -m benchmarks.growth docs/growth.svg`, one core, no downloads.

Each line of the chart has 1, 2, 4 and 8 times as much of one thing as its first point: images, objects of an image,
class names, clicks, workers. Everything else stays. A point is the time of the whole evaluation beside that of the
line's first point: 8 images for 1 that cost 8 times as much are a line of slope 1, and what costs nothing more is flat.

Pictures are generated, 240 x 320; methods are the embedded Text+Click, and SAM for clicks. Times are CPU time of this
process, the least of some rounds in which all points take turns. Workers are timed on Ray by the clock, on a method
that sleeps for half a second an image, as if it waited for a GPU of its own: so two cores are enough for eight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from harness.datasets.coco.coco import Coco
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.engine_on_ray import asleep
from benchmarks.evaluation import evaluated
from benchmarks.memory import METHODS, SPLIT, generate
from harness.config.click_protocol import Clicks
from harness.figures import drawing
from harness.jobs.worker import limit_threads
from harness.plugins import parameters
from harness.plugins.interfaces import Method

TIMES = (1, 2, 4, 8)
SIZE = (240, 320)
IMAGES, OBJECTS, CLASSES = 10, 5, 20
"""What a line that is not about them has."""
SLEEPS = 160
WORKERS = "workers, each with a GPU of its own"

Point = Callable[[], float]


def generated(root: Path, images: int = IMAGES, objects: int = OBJECTS, classes: int = CLASSES) -> Coco:
    """A COCO folder."""
    generate(root, SIZE, objects, images, classes)
    return Coco(root, SPLIT, seen=None)


def seconds(method: Method, dataset: Coco, clicks: int = 1) -> float:
    """CPU seconds from the files to the rows."""
    started = time.process_time()
    evaluated(method, dataset, dataset.sample_ids(), Clicks(strategy="ritm/v1", max_clicks=clicks))
    return time.process_time() - started


def lines(root: Path) -> Iterator[tuple[str, list[Point]]]:
    """Each line of the chart with its points, as calls that return the seconds of one evaluation."""
    ours, sam = (parameters.build("methods", *METHODS[name]) for name in ("text_click", "sam, confidence"))
    for what, changed in (("images", "images"), ("objects of an image", "objects"), ("class names", "classes")):
        usual = {"images": IMAGES, "objects": OBJECTS, "classes": CLASSES}[changed]
        made = [generated(root / f"{changed}{times}", **{changed: usual * times}) for times in TIMES]
        yield f"{what} (Text+Click, from {usual})", [partial(seconds, ours, dataset) for dataset in made]
    dataset = generated(root / "clicks", images=4)
    yield "clicks on an object (SAM, from 1)", [partial(seconds, sam, dataset, times) for times in TIMES]


def measured(points: Mapping[str, Sequence[Point]], rounds: int) -> dict[str, list[float]]:
    """The least seconds of each point. The first call of a point, which embeds the names, is not counted."""
    for one in points.values():
        for point in one:
            point()
    taken: dict[str, list[list[float]]] = {name: [[] for _ in TIMES] for name in points}
    for _ in range(rounds):
        for name, one in points.items():
            for place, point in enumerate(one):
                taken[name][place].append(point())
    return {name: [min(times) for times in each] for name, each in taken.items()}


def drawn(found: Mapping[str, Sequence[float]]) -> Figure:
    """The chart: both axes double from line to line, so that equal slopes are equal growth."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes: Any = figure.subplots()
    axes.plot(TIMES, TIMES, ":", color="#525252", label="in proportion")
    axes.plot(TIMES, [1 / times for times in TIMES], ":", color="#525252")
    for colour, (name, seconds) in zip(drawing.COLOURS, found.items(), strict=False):
        axes.plot(TIMES, [one / seconds[0] for one in seconds], marker="o", markersize=4, color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(TIMES, [f"{times}x" for times in TIMES])
    ticks = [1 / 8, 1 / 4, 1 / 2, *TIMES]
    axes.set_yticks(ticks, [f"1/{round(1 / one)}" if one < 1 else f"{one}x" for one in ticks])
    axes.set_xlabel("as many as at the line's first point")
    axes.set_ylabel("time of the evaluation")
    axes.grid(axis="both")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def main(
    out: Annotated[Path, typer.Argument(help="The chart's file: .svg, .png or .pdf.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often each point is measured.")] = 5,
    workers: Annotated[bool, typer.Option(help="Whether to start Ray for the line of workers.")] = True,
) -> None:
    """Measure how the time grows, print it, and draw the chart."""
    limit_threads(1)
    with TemporaryDirectory() as folder:
        found = measured(dict(lines(Path(folder))), rounds)
    if workers:
        found[WORKERS] = [asleep(SLEEPS, 0.5, times).wall_s() for times in TIMES]
    table = Table(
        "with more", *(f"{times}x" for times in TIMES), title="Time of an evaluation beside the first point's"
    )
    for name, seconds in found.items():
        table.add_row(name, *(f"{one / seconds[0]:.2f}" for one in seconds))
    Console(width=120).print(table)
    with drawing.style():
        drawing.write(drawn(found), out)


if __name__ == "__main__":
    typer.run(main)
