"""One line that the paper prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HALVES = ("seen", "unseen")
MEANS = ("overall", *HALVES)


@dataclass(frozen=True)
class Published:
    """One printed row; its means in percent, None where the paper prints none.

    Attributes:
        table: The paper's table, 1 to 8.
        dataset: The data set plugin's name.
        method: The method plugin's name.
        variant: The saliency ("maskclip") or ranking ("clip", "confidence"), or "".
        text: The text that it was given: "class_name", "phrase" or "none".
        train_classes: The classes of `train_data`: "seen", "all", "voc20", "seen64", "seen34" or "seen23".
        metric: "miou" or "boundary_iou", as the table's heading says.
        gains: "overall", "seen", "unseen" -> the gain that is printed in parentheses, in points, if there is one.
        measured: The kind of the number by its source, whatever the heading says: "miou", a mean over instances;
            "boundary_iou"; "sentence_iou", a mean over sentences; "overall_iou", all intersections over all unions.
        flags: Sentences on what is wrong or unknown about the line or any of its means.
        doubts: "overall", "seen", "unseen" -> those of `flags` that are about this mean.
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
    gains: Mapping[str, float] = field(default_factory=dict)
    measured: str = ""
    flags: tuple[str, ...] = ()
    doubts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def whole(self) -> tuple[str, ...]:
        """The flags of the line itself."""
        told = {text for texts in self.doubts.values() for text in texts}
        return tuple(text for text in self.flags if text not in told)

    @property
    def label(self) -> str:
        """The name in tables: `published: text_click (maskclip)`."""
        return f"published: {self.method}" + (f" ({self.variant})" if self.variant else "")
