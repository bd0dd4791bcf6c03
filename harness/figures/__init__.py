"""Charts of a run's rows, and grids of pictures that stated rules choose.

A chart is numbers first (`charts.py`): matplotlib draws it for paper (`drawing.py`), the report page in a browser.
Whatever is drawn has an interval and a count, and a mean over a part of the instances is never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.figures.charts import Chart, charts
from harness.figures.drawing import draw, save, style
from harness.figures.grids import grids
from harness.figures.source import Source, opened

__all__ = ["Chart", "Source", "charts", "opened", "write_charts", "write_grids"]


def write_charts(made: Sequence[Chart], folder: Path) -> list[Path]:
    """Draw charts, each as PDF and PNG."""
    with style():
        return [path for chart in made for path in save(draw(chart), folder, chart.name)]


def write_grids(source: Source, folder: Path) -> dict[str, tuple[Path, str]]:
    """Draw the grids of pictures, each as PDF and PNG.

    Returns:
        The figure's name -> its PNG and its caption.
    """
    with style():
        return {one.name: (save(one.figure, folder, one.name)[-1], one.caption) for one in grids(source)}
