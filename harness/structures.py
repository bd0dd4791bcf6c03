"""The data that flow through the harness: samples, clicks, prompts, predictions, and a record for each scored mask.

Coordinates are in pixels of the full image, x to the right and y down; the centre of the top-left pixel is (0, 0).
Images are uint8 (h, w, 3) in RGB order; masks are bool (h, w) at the image's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from harness.cropping import Cropped, KeptCropped
from harness.messages import readable

Image = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]
Masks = Bool[np.ndarray, "k h w"]


class UserError(Exception):
    """A mistake that the user can correct. It is shown as one message, without a traceback, and with exit code 2.

    The message says where it is, what was found, what was wanted and what to do.
    """


@dataclass(frozen=True)
class Click:
    """A point on the full image: positive on the object that is meant, negative beside it."""

    x: int
    y: int
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """A rectangle around the object that is meant, in pixels of the full image, its edges included.

    A mask's tight box goes from its first to its last column and row: a mask of one pixel has a box of width 0. Edges
    may lie between pixels' centres.

    Raises:
        ValueError: A side is no finite number, or opposite sides have passed each other.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        """Refuse impossible boxes: a network would answer them as if nothing were wrong."""
        # Written so that NaN is refused: every comparison with NaN is false, and `all` wants them true.
        # An infinite side leaves a difference of infinity or NaN, which is no finite number either.
        if not all(0 <= side < math.inf for side in (self.right - self.left, self.bottom - self.top)):
            raise ValueError(f"found {self}; wanted left <= right and top <= bottom, in pixels.")


@dataclass(frozen=True)
class Prompt:
    """Everything that a method is given besides the image.

    Attributes:
        clicks: The clicks in the order in which they were made; none if a run prompts by text alone, which it does
            only with methods that need no click.
        text: The words, as the data set or the user gave them; None for a prompt by clicks alone.
        previous: From the second round on, the `Prediction.memory` of the candidate that was taken in the round
            before, or that candidate's mask if the method keeps no memory.
        vocabulary: The names from which `text` was chosen: the data set's categories in their spoken form, in its
            order. A method may contrast the text with them, as MaskCLIP's softmax does. Empty if they are unknown, as
            for free text.
        initial: A mask to start from, bool (h, w), the same in every round; None to start from nothing.
        boxes: Boxes around the object, the same in every round; none in most runs.
        instance: The instance's id. It is filled in only for a method with `told_instances`, which looks up masks that
            were made elsewhere; for others it is "".
        draw: The number of the repetition if the instance is segmented several times with clicks drawn anew; filled in
            like `instance`.

    Boxes and masks are optional for a method. One that uses them says so (`Method.takes`); a config that gives them to
    another method is refused.
    """

    clicks: tuple[Click, ...]
    text: str | None = None
    previous: Any = None
    vocabulary: tuple[str, ...] = ()
    initial: Mask | None = None
    boxes: tuple[Box, ...] = ()
    instance: str = ""
    draw: int = 0


class Said(NamedTuple):
    """The words for an instance, and the names of its data set's classes; the same in training and evaluation.

    Attributes:
        text: The words for the instance; None if the text rule gives none.
        vocabulary: The data set's classes in their spoken form ("tv monitor"), in its order; empty if it has none.
        classes: The same classes as the data set prints them ("tvmonitor").
    """

    text: str | None
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Instance:
    """One object of a sample, with its ground-truth mask.

    Attributes:
        id: An id that is unique in its data set, and the same at each reading: the random clicks depend on it.
        mask: The visible pixels. They may overlap other instances (a tie lies on a person). The instance keeps a copy
            of only their bounding box, and each access to `mask` makes a new array of the image's size.
        category: The class name, as the data set prints it.
        seen: Whether the category is among the seen ones of the data set's split; None without a split.
        same_class_count: How many instances of this category the image holds, this one included (Figure 8's N).
        text: The data set's own words for this one object (refCOCO's phrase); empty if it has only the category.
        initial: A mask from which prompts start, bool (h, w), which the clicks correct; None to start from nothing.
    """

    id: str
    mask: Mask = KeptCropped()  # type: ignore[assignment]  # noqa: RUF009 - a descriptor, typed as what it gives
    category: str  # type: ignore[misc]  # the mask has no default
    seen: bool | None = None
    same_class_count: int = 1
    text: str = ""
    initial: Mask | None = None

    def __post_init__(self) -> None:
        """Keep texts that can be written."""
        _keep_readable(self)

    @property
    def cropped(self) -> Cropped | None:
        """The mask's bounding box and the pixels in it; None if the mask is not a bool array of two dimensions."""
        kept = vars(self)["mask"]
        return kept if isinstance(kept, Cropped) else None

    @property
    def object_id(self) -> str:
        """The id up to a "~". Instances that are one object with several texts share it, and so get the same clicks."""
        return self.id.partition("~")[0]


NOT_LISTED = " (not listed)"
"""The ending, after the sample's id, of the id of an instance that represents all instances if these are unknown."""


@dataclass(frozen=True)
class Listed:
    """The facts about an instance in a data set's listing, without opening its image; with fields of `Instance`.

    `category` is empty if the image would have to be loaded to find it.
    """

    id: str
    category: str = ""
    seen: bool | None = None
    text: str = ""

    def __post_init__(self) -> None:
        """Keep texts that can be written."""
        _keep_readable(self)


def _keep_readable(one: Instance | Listed) -> None:
    r"""Write characters that are not valid Unicode as `\udce9`: annotations may contain them, but rows cannot."""
    # The data classes are frozen, and `object.__setattr__` goes past that while they are being made.
    for name in ("id", "category", "text"):
        value = getattr(one, name)
        if isinstance(value, str) and not value.isascii():
            object.__setattr__(one, name, readable(value))


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its instances.

    Attributes:
        id: An id that is unique in its data set.
        image: uint8 (h, w, 3), RGB.
        instances: The instances whose ground truth could be read.
        broken: Instance id -> the reason why its ground truth could not be read. Each becomes a failed row.
        ignore: Pixels that no metric counts (VOC's void, crowds on request); None if all count.

    Raises:
        ValueError: The image or `ignore` has the wrong type or shape, or two instances share an id.
    """

    id: str
    image: Image
    instances: tuple[Instance, ...]
    broken: Mapping[str, str] = field(default_factory=dict)
    ignore: Mask | None = None

    def __post_init__(self) -> None:
        """Check arrays and ids: with wrong ones, methods and training would give wrong results without an error."""
        image, ignore = self.image, self.ignore
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image {_kind(image)}; wanted uint8 (h, w, 3), RGB.")
        if ignore is not None and (_kind(ignore) != f"bool {self.size}"):
            raise ValueError(f"ignore {_kind(ignore)}; wanted bool {self.size}, the image's (h, w).")
        self._check_ids()

    def _check_ids(self) -> None:
        known: set[str] = set()
        for id_ in (*(one.id for one in self.instances), *self.broken):
            if not isinstance(id_, str):
                raise ValueError(f"instance id {type(id_).__name__} {id_!r}; wanted a text.")
            if id_ in known:
                raise ValueError(f"instance id '{id_}' twice; wanted an id of its own for each.")
            known.add(id_)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.image.shape[0], self.image.shape[1]


def _kind(array: Any) -> str:
    """`float32 (32, 48, 3)` for an array, otherwise the type's name."""
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__


@dataclass(frozen=True, eq=False)
class Prediction:
    """A method's answer to one prompt.

    Attributes:
        masks: The k candidates at the image's size, k >= 1.
        scores: Ranking's name -> k numbers. The candidate with the largest number is the ranking's answer; among
            equals it is the first. A single candidate needs no score.
        memory: One value for each candidate, or none at all. The method gets the chosen candidate's value back as
            `Prompt.previous` at the next click on the same instance (low-resolution logits, a region of interest).
    """

    masks: Masks
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    memory: Sequence[Any] = ()


@dataclass(frozen=True, eq=False)
class Record:
    """One row of the results: one mask of one instance after one round of clicks, or the reason why there is none.

    The primary key is (dataset, method, instance_id, draw, click_index, ranking). docs/results.md describes every
    column.

    Attributes:
        run: The run's name.
        dataset: The data set's label; `dataset_plugin` its plugin.
        method: The method's label; `method_plugin` its plugin.
        ranking: The ranking that chose among the method's candidates: "confidence", "clip", ..., the scorer's "oracle",
            or "single" for one candidate without a score. Ranked candidates have an oracle's row, too. None in a failed
            row, which counts for every ranking.
        image_id: The sample's id.
        draw: The number of the repetition, from 0, if the instance is segmented several times; otherwise 0.
        click_index: How many clicks the method had been given; 0 if it was prompted by text alone.
        guess: The class that a text rule which looks at the picture chose, as the data set prints it; None for others.
        click_strategy: The rule that made the clicks; None for a prompt by text alone.
        click_options: All options of the click strategy as JSON, with the defaults of those that the config leaves out.
        start: The start of the prompts beside clicks: "box", "eroded", "dilated", "holed", "run" or "given"
            (`harness.clicks.starts.Start.kind`); None for none. With a start, `boxes` are its boxes, if any, and
            `start_iou` is the IoU of its mask, or of the filled box, with the ground truth.
        under_click: How many of the image's objects contain the first positive click, this one included;
            `under_click_area_ratio` and `click_depth_px` are those of `Place` (masks/destinations.py). None before any
            click.
        partner: The instance id of the other object in which the click lies, if the click rule clicks where two
            objects overlap; then `shared_px` is the number of counted pixels in both, and `partner_iou` is the mask's
            IoU with the other object.
        hit: The kind of object that the mask hit: "right", "part", "whole", "same_class", "other_class", "background"
            or "nothing", by `harness.masks.destinations.Objects.hit`.
        candidate: The mask's position among the candidates.
        metrics: Metric name -> value; each is a column.
        intersection_px: The number of pixels in both masks; `union_px` in at least one of them, `gt_area_px` and
            `pred_area_px` in each by itself. Ignored pixels are not counted.
        mask: The predicted mask, COCO's compressed RLE of (height, width).
        holds_click: Whether the mask holds the first positive click; None if there is none.
        encode_ms: The time for the image, shared by all its rows; `segment_ms` is the mean over the prompts of its
            batch.
        retried: The error that the method raised at its first try, if it answered at the second one; otherwise None.
        status: "ok" or "failed"; `error` has the reason.
    """

    run: str
    dataset: str
    dataset_plugin: str
    method: str
    method_plugin: str
    image_id: str
    instance_id: str
    category: str
    seen: bool | None
    text: str | None
    text_rule: str
    clicks: tuple[Click, ...]
    click_index: int
    click_strategy: str | None
    same_class_count: int | None
    height: int | None
    width: int | None
    device: str
    draw: int = 0
    guess: str | None = None
    partner: str | None = None
    shared_px: int | None = None
    click_options: str | None = "{}"
    start: str | None = None
    boxes: tuple[Box, ...] | None = None
    start_iou: float | None = None
    under_click: int | None = None
    under_click_area_ratio: float | None = None
    click_depth_px: float | None = None
    ranking: str | None = None
    candidate: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    hit: str | None = None
    partner_iou: float | None = None
    intersection_px: int | None = None
    union_px: int | None = None
    gt_area_px: int | None = None
    pred_area_px: int | None = None
    mask: bytes | None = None
    holds_click: bool | None = None
    encode_ms: float | None = None
    segment_ms: float | None = None
    retried: str | None = None
    status: str = "ok"
    error: str | None = None
