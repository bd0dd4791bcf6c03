"""The paper's printed numbers, to stand beside ours, and what is known to be wrong with them.

Source: Warner, Hahn, Huang, Essa and Birodkar, "Text and Click inputs for unambiguous open vocabulary instance
segmentation", Tables 1 to 8. `published.csv` holds them as printed, in percent. A printed overall, seen and unseen mean
imply w = (overall - unseen) / (seen - unseen), the share of seen instances; where that is not the data set's own share,
the numbers cannot all be right. So nothing here is ever held equal to ours: the tables show both, with these flags.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Published:
    """One printed row; its means in percent, None where the paper prints none.

    Attributes:
        table: The paper's table, 1 to 8.
        dataset: The data set plugin's name.
        method: The method plugin's name.
        variant: Its saliency ("maskclip") or ranking ("clip", "confidence"), or "".
        text: What text it was given: "class_name", "phrase" or "none".
        train_classes: Of `train_data`: "seen", "all", "voc20", "seen64", "seen34" or "seen23".
        metric: "miou" or "boundary_iou".
        flags: What is known to be wrong or unknown.
    """

    table: int
    dataset: str
    eval_split: str
    method: str
    variant: str
    text: str
    positive_clicks: int
    negative_clicks: int
    train_data: str
    train_classes: str
    metric: str
    overall: float
    seen: float | None
    unseen: float | None
    flags: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How tables name it: `published: text_click (maskclip)`."""
        return f"published: {self.method}" + (f" ({self.variant})" if self.variant else "")


@dataclass(frozen=True)
class Flag:
    """A doubt about printed rows: those that agree with every field which is not None."""

    text: str
    table: int | None = None
    dataset: str | None = None
    method: str | None = None
    train_classes: str | None = None

    def concerns(self, row: Published) -> bool:
        """Whether it speaks of this row."""
        wanted = [(name.name, getattr(self, name.name)) for name in fields(self) if name.name != "text"]
        return all(value is None or getattr(row, name) == value for name, value in wanted)


FLAGS = (
    Flag("The paper does not say which of refCOCO's val, testA and testB it used.", dataset="refcoco"),
    Flag(
        "The paper's text has 5 seen classes in VOC; its numbers imply a seen share of 0.82, which is that of the "
        "usual split, 15 seen and 5 unseen.",
        table=1,
        dataset="voc",
    ),
    Flag(
        "The printed means imply a seen share of 0.577 for the text row and of 0.581 for the click-only row: they "
        "were not computed on the same instances. COCO val2017 without crowds has 0.568.",
        table=1,
        dataset="coco",
    ),
    Flag(
        "With 34 seen classes the text row implies a seen share of 0.237, the click-only row of 0.245: they were not "
        "computed on the same instances.",
        table=2,
        train_classes="seen34",
    ),
    Flag("The paper prints this gain as +7.89; its own means give +7.79.", table=2, train_classes="seen23"),
    Flag(
        "Seen and unseen look swapped: as printed they imply a seen share of 0.306, swapped 0.694; refCOCO has about "
        "0.693. Swapped back, SAM's unseen mean is 61.18, above the 56.35 of the paper's model.",
        table=4,
        dataset="refcoco",
        method="sam",
    ),
    Flag(
        "Seen and unseen look swapped: as printed they imply a seen share of 0.416, swapped 0.585; COCO val2017 "
        "without crowds has 0.568.",
        table=4,
        dataset="coco",
        method="sam",
    ),
    Flag(
        "The printed seen mean, 63.68, is Table 1's for click-only; Table 1's 67.03 fits the data set's seen share "
        "of 0.239.",
        table=4,
        dataset="openimages",
        method="text_click",
    ),
    Flag(
        "The printed means fit the data set's seen share, about 0.239, neither as they stand nor swapped.",
        table=4,
        dataset="openimages",
        method="sam",
    ),
    Flag(
        "The two rows imply seen shares of 0.111 (RITM) and 0.237 (the paper's model): they divide the classes "
        "differently.",
        table=6,
        dataset="openimages",
    ),
    Flag(
        "The printed boundary IoU, 39.62, is above the same model's mask IoU in Table 1, 38.42: implausible on one "
        "list of instances.",
        table=7,
        dataset="coco",
        method="text_click",
    ),
    Flag(
        "LAVT's 72.73 is its overall (cumulative) IoU; its mean IoU over instances is 74.46.",
        table=8,
        method="lavt",
    ),
    Flag("VLT's 65.65 is its overall (cumulative) IoU, not a mean over instances.", table=8, method="vlt"),
)


@cache
def load_published() -> tuple[Published, ...]:
    """Every printed row, in the paper's order, with its flags."""
    with Path(__file__).with_name("published.csv").open(newline="") as file:
        return tuple(_flagged(_row(line)) for line in csv.DictReader(file))


def published_rows(table: int, dataset: str) -> list[Published]:
    """The printed rows of one of the paper's tables for one data set plugin; none for a data set of our own."""
    return [row for row in load_published() if (row.table, row.dataset) == (table, dataset)]


def _row(line: dict[str, str]) -> Published:
    means = {name: float(line[name]) if line[name] else None for name in ("overall", "seen", "unseen")}
    counts = {name: int(line[name]) for name in ("table", "positive_clicks", "negative_clicks")}
    return Published(**{**line, **counts, **means})  # type: ignore[arg-type]


def _flagged(row: Published) -> Published:
    return replace(row, flags=tuple(flag.text for flag in FLAGS if flag.concerns(row)))
