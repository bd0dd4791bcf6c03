"""Draws charts by matplotlib and writes figures, as PDF for print and PNG for screens; the same bytes each time."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness import atomic
from harness.figures.charts import Chart, Series
from harness.report.layout import plain
from harness.storage.folder import writing

COLOURS = ("#0b62a8", "#c8401f", "#15803d", "#8a3ea8", "#8a6100", "#0e7490", "#be185d", "#525252")
"""Colours with a contrast of at least 4.5 : 1 on white, as on the report page. Hatches mark a second round of them."""

STYLE: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # A class may be called $x$.
}

FORMATS = ("pdf", "png")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
"""Suffixes of files that a figure can be written to."""

DOTS_PER_INCH = 160
TITLE_WIDTH = 78
"""Characters on a line of a chart's title."""


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure."""
    with mpl.rc_context(STYLE):
        yield


def literal(text: str) -> str:
    """A text on one line, without control characters; `STYLE` sees to it that no dollar begins a formula."""
    return plain(text)


def file_name(name: str) -> str:
    """A data set's label as a file's name, with hyphens for signs that a file's name should not have."""
    return re.sub(r"[^\w.-]+", "-", name)


def unused(name: str, used: Callable[[str], bool]) -> str:
    """A file's name, with the first number that makes it another one if it is used: "a", "a-2", "a-3"."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
    return next(one for one in numbered if not used(one))


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure in every format; dates are left out, so that files differ only where pictures do.

    The figures of the data sets "a b" and "a-b" would have one file: the second gets a number.
    """
    own = unused(file_name(name), lambda one: (folder / f"{one}.{FORMATS[0]}").exists())
    paths = [folder / f"{own}.{suffix}" for suffix in FORMATS]
    for path in paths:
        write(figure, path)
    return paths


def write(figure: Figure, path: Path) -> None:
    """Write a figure to a file whose suffix is one of `PICTURES`, without a date.

    Raises:
        UserError: It cannot be written.
    """
    FigureCanvasAgg(figure)
    suffix = path.suffix.lower()
    undated: dict[str, Any] = {".pdf": {"CreationDate": None}, ".png": {"Software": None}, ".svg": {"Date": None}}
    faster: Any = {"pil_kwargs": {"compress_level": 3}} if suffix == ".png" else {}
    with writing(path), atomic.replacing(path) as file:
        figure.savefig(file, format=suffix[1:], dpi=DOTS_PER_INCH, metadata=undated.get(suffix), **faster)


def draw(chart: Chart) -> Figure:
    """Draw a chart with its 95 % intervals, and the counts below the groups."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    {"bars": _bars, "lines": _lines, "points": _points}[chart.kind](axes, chart)
    title = textwrap.fill(literal(chart.title), TITLE_WIDTH, break_long_words=False, break_on_hyphens=False)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("\n".join(map(literal, [chart.x, *chart.notes])), fontsize=8)
    axes.set_ylabel(literal(chart.y))
    axes.set_ylim(*chart.ends)
    if chart.kind != "points":
        axes.set_xlim(-0.5, len(chart.groups) - 0.5)
        axes.set_xticks(
            range(len(chart.groups)), [literal(group) + said for group, said in _counted(chart)], fontsize=8
        )
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _counted(chart: Chart) -> Iterator[tuple[str, str]]:
    """Each group and its number of instances; a range if methods differ, because some failed."""
    for place, group in enumerate(chart.groups):
        counts = [one.counts[place] for one in chart.series] or [0]
        low, high = min(counts), max(counts)
        yield group, f"\nn = {low}" + (f" to {high}" if high > low else "")


def _bars(axes: Axes, chart: Chart) -> None:
    width = 0.8 / max(1, len(chart.series))
    for place, one in enumerate(chart.series):
        # A group's bars share 0.8 of the step to the next group. With two series each is 0.4 wide, and stands at -0.2
        # and 0.2:
        #
        #    -0.4 [   ][   ] 0.4     0.6 [   ][   ] 1.4
        #          group 0                 group 1
        x = np.arange(len(chart.groups)) - 0.4 + width * (place + 0.5)
        hatch = None if place < len(COLOURS) else "//"
        axes.bar(
            x,
            _drawn(one.means, chart),
            width * 0.92,
            yerr=_spread(one, chart),
            color=COLOURS[place % len(COLOURS)],
            hatch=hatch,
            edgecolor="white",
            error_kw={"elinewidth": 0.9, "capsize": 2, "ecolor": "#222222"},
            label=literal(one.name),
        )


def _lines(axes: Axes, chart: Chart) -> None:
    x = np.arange(len(chart.groups))
    for place, one in enumerate(chart.series):
        colour = COLOURS[place % len(COLOURS)]
        style = "-" if place < len(COLOURS) else "--"
        axes.plot(x, _drawn(one.means, chart), style, marker="o", markersize=3, color=colour, label=literal(one.name))
        lows, highs = _drawn(one.lows, chart), _drawn(one.highs, chart)
        axes.fill_between(x, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _points(axes: Axes, chart: Chart) -> None:
    for place, one in enumerate(chart.series):
        look: Any = {"color": COLOURS[place % len(COLOURS)], "fmt": "o" if place < len(COLOURS) else "s"}
        x, means, spread = [one.at] * len(one.means), _drawn(one.means, chart), _spread(one, chart)
        axes.errorbar(x, means, spread, capsize=2, label=literal(one.name), **look)
    axes.set_xscale("log")


def _drawn(values: Sequence[float], chart: Chart) -> np.ndarray:
    return chart.factor * np.asarray(values, dtype=np.float64)


def _spread(one: Series, chart: Chart) -> np.ndarray:
    """An interval as matplotlib takes it: distances below and above the mean, 0 if they are unknown."""
    # Clipped, since rounding may put an end of an interval of width 0 a hair on the wrong side, which it refuses.
    means, lows, highs = (_drawn(values, chart) for values in (one.means, one.lows, one.highs))
    below, above = means - lows, highs - means
    return np.nan_to_num(np.clip([below, above], 0, None))
