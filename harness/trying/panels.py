"""Figures made of panels side by side: an image, a mask over it or a saliency map, each with a title and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.figures.drawing import literal
from harness.figures.grids import show, show_clicks
from harness.structures import Box, Click

COLUMNS = 5
"""Panels in a row, by default."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One part of a picture.

    Attributes:
        pixels: An image, uint8 (h, w, 3), or a map of floats from 0 to 1, (h, w).
        title: The line above it.
        said: The line below it.
        clicks: Clicks to mark on it.
        boxes: Boxes to outline on it.
    """

    pixels: np.ndarray
    title: str
    said: str = ""
    clicks: Sequence[Click] = ()
    boxes: Sequence[Box] = ()


def in_rows(panels: Sequence[Panel], columns: int = COLUMNS) -> list[Sequence[Panel]]:
    """The panels cut into rows of this many."""
    return [panels[start : start + columns] for start in range(0, len(panels), columns)]


def drawn(rows: Sequence[Sequence[Panel]], title: str = "") -> Figure:
    """Draw the rows as one figure; the end of a shorter row stays empty."""
    columns = max(map(len, rows))
    # 2.4 inches for each column, the height by the first panel's proportions, and 0.65 inches for title and caption.
    height, width = rows[0][0].pixels.shape[:2]
    figure = Figure(figsize=(2.4 * columns, (2.4 * height / width + 0.65) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for own, panels in zip(axes, rows, strict=True):
        for place in own[len(panels) :]:
            place.set_axis_off()
        for place, panel in zip(own, panels, strict=False):
            _draw(place, panel)
    if title:
        figure.suptitle(literal(title), fontsize=9)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    show(axes, panel.pixels)
    show_clicks(axes, panel.clicks)
    for box in panel.boxes:
        edges = (box.left, box.top), box.right - box.left, box.bottom - box.top
        axes.add_patch(Rectangle(*edges, fill=False, edgecolor="#00b0ff"))
    axes.set_title(literal(panel.title), fontsize=8)
    axes.set_xlabel(literal(panel.said), fontsize=6.5, wrap=True)
