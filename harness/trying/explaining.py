"""Draws one instance of a run as one picture: every method's masks, click by click, from the stored rows.

    image           saliency   ground truth
    method A        1 click    2 clicks    3 clicks
    method B        1 click    2 clicks    3 clicks

No method is run. The image and its ground truth are loaded by the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from harness.figures.grids import MASK, TRUTH, tinted
from harness.figures.source import Pictures
from harness.masks import rle
from harness.results.recorded import Recorded
from harness.storage.manifest import JobFacts
from harness.structures import Box, Click, Image, Instance, Sample, UserError
from harness.trying.panels import COLUMNS, Panel, drawn, in_rows
from harness.trying.replaying import images_of, stored_rows

SHOWN = (1, 2, 3, 5, 10, 20)
"""The rounds that are shown beside the last one if an instance has more than `COLUMNS` clicks.

The first clicks change a mask most, so they are close together: of 20 clicks, 1, 2, 3, 5 and 20 are shown.
"""

BEGUN = {
    "box": "a box",
    "eroded": "an eroded mask",
    "dilated": "a dilated mask",
    "holed": "a holed mask",
    "run": "a run's mask",
    "given": "the given mask",
}
"""`harness.clicks.starts.Start.kind` -> its wording in the picture."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """The answers of one method and ranking to one instance.

    Attributes:
        name: "SAM (oracle)", or the method's label alone if it has one ranking.
        rows: One row for each number of clicks, in order; a failed row has no mask.
    """

    name: str
    rows: tuple[Row, ...]


def explained(run: Recorded, instance_id: str, pictures: Pictures) -> Iterator[Figure]:
    """A figure of the instance for each data set that has it.

    Raises:
        UserError: No row has this instance id, or its image cannot be read.
    """
    for dataset, image_id in images_of(run, instance_id).items():
        sample = pictures.sample(dataset, image_id)
        instance = next((one for one in sample.instances if one.id == instance_id), None) if sample else None
        if sample is None or instance is None:
            why = pictures.unread.get(dataset, f"image '{image_id}' has no such instance now")
            raise UserError(
                f"explain: {dataset}: {why}. Say where the data lie now (--data {dataset}=FOLDER), or name your config "
                "(--data CONFIG)."
            )
        lines = [line for job in run.jobs if job.dataset == dataset for line in _lines(run, job, image_id, instance_id)]
        yield _drawn(dataset, sample, instance, lines, pictures)


def _lines(run: Recorded, job: JobFacts, image_id: str, instance_id: str) -> Iterator[Line]:
    """A job's answers, one line for each ranking; only the first draw of an instance with several."""
    rows = [row for row in stored_rows(run, job, image_id, instance_id) if row["draw"] == 0]
    rankings = list(dict.fromkeys(row["ranking"] for row in rows))
    for ranking in rankings:
        own = sorted((row for row in rows if row["ranking"] == ranking), key=lambda row: row["click_index"])
        yield Line(f"{job.method} ({ranking})" if len(rankings) > 1 else job.method, tuple(own))


def _drawn(dataset: str, sample: Sample, instance: Instance, lines: Sequence[Line], pictures: Pictures) -> Figure:
    text = next((row["text"] for line in lines for row in line.rows if row["text"]), None)
    maps = pictures.saliency_maps(dataset, sample, text) if text else {}
    head = [Panel(sample.image, "image", f'"{text}"' if text else "")]
    head += [Panel(found, name if name == "saliency" else f"saliency: {name}") for name, found in maps.items()]
    head += [Panel(tinted(sample.image, instance.mask, TRUTH), "ground truth")]
    rounds = [[_panel(line.name, sample.image, row) for row in _shown(line)] for line in lines]
    # Each method gets a line, which shows how its masks change. Methods with a single click each share one line.
    alone = all(len(own) == 1 for own in rounds)
    rows = in_rows([*head, *(own[0] for own in rounds)]) if alone else [*in_rows(head), *rounds]
    known = f"{instance.category}, " if instance.category else ""
    return drawn(rows, f"{instance.id} ({known}{int(instance.mask.sum())} pixels), {dataset}")


def _shown(line: Line) -> Sequence[Row]:
    """The rounds that fit into a row of panels; the last one is always among them."""
    if len(line.rows) <= COLUMNS:
        return line.rows
    kept = [row for row in line.rows[:-1] if row["click_index"] in SHOWN][: COLUMNS - 1]
    return [*kept, line.rows[-1]]


def _panel(name: str, image: Image, row: Row) -> Panel:
    """A mask over the image, with the clicks and the box that led to it."""
    answered = row["mask"] is not None and row["status"] == "ok"
    pixels = tinted(image, rle.decode(row["mask"], (row["height"], row["width"])), MASK) if answered else image
    count = row["click_index"]
    asked = f"{count} click{'s' * (count != 1)}" if count else "no click"
    if row["start"] and row["start_iou"] is not None:
        asked += f", from {BEGUN[row['start']]} of IoU {100 * row['start_iou']:.1f}"
    score = f"IoU {100 * row['iou']:.1f}" if answered and row.get("iou") is not None else "failed"
    clicks = [Click(one["x"], one["y"], one["positive"]) for one in row["clicks"] or ()]
    return Panel(pixels, name, f"{asked}: {score}", clicks, [Box(**one) for one in row["boxes"] or ()])
