"""Draws grids of pictures like the paper's Figures 4 to 7 and 9: click, saliency, every mask and the ground truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.figures.chosen import RULES, Answers, Rule, answers, entries, first, playable
from harness.figures.drawing import literal
from harness.figures.source import SaliencyMap, Source, finds
from harness.masks import rle
from harness.statistics.final_clicks import INSTANCE, first_draw
from harness.storage.clicks import click_lists
from harness.structures import Click, Image, Mask

LINES = 4
"""Instances in a grid."""

LOOKED_AT = 60
"""The most images whose saliency is computed to choose the images of Figure 9."""

MASK, TRUTH = (255, 64, 64), (40, 200, 90)
SALIENCY = "magma"


@dataclass(frozen=True, eq=False)
class Line:
    """An instance as a grid shows it.

    Attributes:
        name: The text, and the image's id.
        clicks: x, y and whether the click is positive.
        saliencies: The saliency's name -> its map of the text; empty without one.
        masks: Entry -> its mask and IoU, in the leaderboard's order; None if it failed.
    """

    name: str
    image: Image
    truth: Mask
    clicks: Sequence[Mapping[str, Any]]
    saliencies: Mapping[str, SaliencyMap]
    masks: Mapping[str, tuple[Mask, float] | None]


@dataclass(frozen=True, eq=False)
class Grid:
    """A figure of pictures.

    Attributes:
        name: The name of its file: "figure4_coco".
        caption: A description of the figure, and the rule that chose its pictures.
    """

    name: str
    caption: str
    figure: Figure


def grids(source: Source) -> Iterator[Grid]:
    """Every grid that the rows and the pictures allow.

    Raises:
        UserError: As in `FinalClicks.of`.
    """
    for dataset, found in answers(source.final, source.context).items():
        for rule in RULES:
            if playable(rule, found.roles):
                lines = list(_lines(source, found, rule))
                if lines:
                    title = f"{rule.title}, {dataset}"
                    caption = f"{title}. Chosen by rule: {rule.said}."
                    yield Grid(f"{rule.name}_{dataset}", caption, drawn(title, rule.said, lines))


def drawn(title: str, said: str, lines: Sequence[Line]) -> Figure:
    """One grid, with a row for each instance and a column for each kind of picture."""
    saliencies = list(dict.fromkeys(name for line in lines for name in line.saliencies))
    maps = [name if name == "saliency" else f"saliency: {name}" for name in saliencies]
    heads = ["image and click", *maps, *lines[0].masks, "ground truth"]
    # In inches: 1.75 x 1.95 for a picture with its label, and 0.7 above all of them for the two lines of the title.
    figure = Figure(figsize=(1.75 * len(heads), 1.95 * len(lines) + 0.7), layout=None)
    figure.subplots_adjust(0.04, 0.04, 0.995, 1 - 0.75 / figure.get_figheight(), 0.05, 0.22)
    axes = figure.subplots(len(lines), len(heads), squeeze=False)
    for line, own in zip(lines, axes, strict=True):
        _draw_line(own, line, saliencies)
    for head, top in zip(heads, axes[0], strict=True):
        top.set_title(literal(head), fontsize=8)
    figure.suptitle(f"{literal(title)}\nChosen by rule: {literal(said)}.", fontsize=8, y=0.99, va="top")
    return figure


def _lines(source: Source, found: Answers, rule: Rule) -> Iterator[Line]:
    order = rule.order(found)
    if rule.saliency:
        order = _found(source, found, order)
    lines = (_line(source, found, pick) for pick in first(found, order, len(order)))
    yield from itertools.islice((line for line in lines if line is not None), LINES)


def _found(source: Source, found: Answers, order: pd.Series[float]) -> pd.Series[float]:
    """The order of the instances that the saliency finds, among the first LOOKED_AT of different images and classes."""
    if source.saliency_entry() is None:
        return order.iloc[:0]
    # Each of these takes a pass of the saliency's network over a picture, so only the most promising are looked at.
    picks = {pick: _line(source, found, pick) for pick in first(found, order, LOOKED_AT)}
    firsts = {pick: next(iter(line.saliencies.values()), None) if line else None for pick, line in picks.items()}
    kept = [pick for pick, line in picks.items() if line and _finds(firsts[pick], line.truth)]
    return order[order.index.isin(kept)]


def _finds(saliency: SaliencyMap | None, truth: Mask) -> bool:
    return saliency is not None and finds(saliency, truth)


def _line(source: Source, found: Answers, pick: tuple[str, str, str]) -> Line | None:
    """The instance's line; None if the picture or its ground truth cannot be read."""
    dataset, image_id, instance_id = pick
    sample = source.sample(dataset, image_id)
    instance = next((one for one in sample.instances if one.id == instance_id), None) if sample else None
    if sample is None or instance is None:
        return None
    own = first_draw(source.rows[(source.rows[INSTANCE] == list(pick)).all(axis=1)])
    text = own["text"].dropna()
    said = str(text.iloc[0]) if len(text) else instance.category
    saliencies = source.saliency_maps(dataset, sample, said) if len(text) else {}
    # A method that failed at a later click, or in another draw, has an earlier mask and still counts as failed.
    answered = found.iou.xs(pick).dropna().index
    masks = dict.fromkeys(found.iou) | {name: answer for name, answer in _masks(own, sample.size) if name in answered}
    name = f"{said} ({instance.category})" if said != instance.category else said
    # Methods may have clicks of their own; those of the method with text are drawn, or else of click-only.
    theirs = own[entries(own) == (found.roles.text or found.roles.click)]
    clicks = _clicks(theirs if len(theirs) else own)
    return Line(f"{name}\n{image_id}", sample.image, instance.mask, clicks, saliencies, masks)


def _masks(own: pd.DataFrame, size: tuple[int, int]) -> Iterator[tuple[str, tuple[Mask, float]]]:
    """Each method's name, with its mask after its last click and that mask's IoU."""
    ok = own[own["status"] == "ok"]
    last = ok[ok["click_index"] == ok.groupby("method")["click_index"].transform("max")]
    for name, counts, iou in zip(entries(last), last["mask"], last["iou"], strict=True):
        yield name, (rle.decode(counts, size), float(iou))


def _clicks(own: pd.DataFrame) -> Sequence[Mapping[str, Any]]:
    return click_lists(own.sort_values("click_index", kind="stable")["clicks"].iloc[-1:])[0]


def _draw_line(axes: Sequence[Axes], line: Line, saliencies: Sequence[str]) -> None:
    places = iter(axes)
    first = next(places)
    show(first, line.image)
    show_clicks(first, [Click(click["x"], click["y"], click["positive"]) for click in line.clicks])
    name, _, where = line.name.partition("\n")
    first.set_ylabel(f"{literal(name)}\n{literal(where)}", fontsize=7)
    for name in saliencies:
        show(next(places), line.saliencies.get(name, line.image))
    for answer in line.masks.values():
        place = next(places)
        show(place, line.image if answer is None else tinted(line.image, answer[0], MASK))
        place.set_xlabel("failed" if answer is None else f"IoU {100 * answer[1]:.1f}", fontsize=7)
    show(next(places), tinted(line.image, line.truth, TRUTH))


def show_clicks(axes: Axes, clicks: Sequence[Click]) -> None:
    """Mark clicks on a picture: positive ones green, negative ones red."""
    for click in clicks:
        colour = "#00e676" if click.positive else "#ff1744"
        axes.plot(click.x, click.y, "o", markersize=5, color=colour, markeredgecolor="white")


def show(axes: Axes, picture: np.ndarray) -> None:
    """Show an image (h, w, 3), or a map (h, w) from 0 to 1, in its own pixels and without a frame."""
    height, width = picture.shape[:2]
    axes.imshow(picture, cmap=SALIENCY, vmin=0, vmax=1 if picture.ndim == 2 else None, interpolation="antialiased")
    # A pixel's centre is a whole number, so the picture begins half a pixel before 0; row 0 is at the top.
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def tinted(image: Image, mask: Mask, colour: tuple[int, int, int]) -> Image:
    """The image in pale grey, with the mask's pixels half in a colour and its outline in the full colour."""
    # Only the mask keeps the image's colours, so that even a small mask is seen at once.
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    picture = (0.5 * grey + 0.5 * 255).astype(np.uint8)
    picture[mask] = (0.5 * image[mask] + 0.5 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, colour, max(1, round(max(mask.shape) / 200)))
    return picture
