"""Masks that were made elsewhere: COCO's results (https://cocodataset.org/#format-results), with instances' ids.

    [{"image_id": 139, "instance_id": 1640282, "segmentation": {"size": [426, 640], "counts": "..."},
      "category_id": 1, "score": 0.93}, ...]

COCO's own results do not name the instance of a mask; here each mask names it, since a prompt asks for one object. The
key may also be `annotation_id`. Two keys by which a run tells its masks apart are optional: `click_index`, how many
clicks had been given, and `draw`.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.masks.json_values import id_text, kind_of, whole
from harness.masks.segmentations import short
from harness.structures import UserError

INSTANCE_KEYS = ("instance_id", "annotation_id")
"""The keys of a result that may have the instance's id."""

Key = tuple[str, int | None, int | None]
"""Instance's id, draw, number of clicks; None where the result is meant for all."""


@dataclass(frozen=True, eq=False)
class Result:
    """One mask of the file.

    Attributes:
        where: The file and its place there, for messages.
        image_id: The image's id, as text.
        instance_id: The instance's id, as text.
        segmentation: Polygons or run lengths, not decoded.
        score: The score; None if the file has none.
        click_index: The number of clicks after which it was made; None for any number.
        draw: The draw of the clicks for which it was made; None for all.
    """

    where: str
    image_id: str
    instance_id: str
    segmentation: Any
    score: float | None = None
    click_index: int | None = None
    draw: int | None = None

    @property
    def key(self) -> Key:
        """The prompt that it answers."""
        return self.instance_id, self.draw, self.click_index


class Results:
    """The masks of a file, by the prompts that they answer.

    Attributes:
        all: All results, in the file's order.
        ranked: Whether any prompt has several candidates, which their scores rank.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.all = tuple(results)
        self._by_key: dict[Key, list[Result]] = {}
        for one in results:
            self._by_key.setdefault(one.key, []).append(one)
        self.ranked = any(len(own) > 1 for own in self._by_key.values())
        for own in self._by_key.values() if self.ranked else ():
            _check_candidates(own)

    @property
    def most_clicks(self) -> int | None:
        """The largest number of clicks that any result is for; None where no result has such a number."""
        known = [one.click_index for one in self.all if one.click_index is not None]
        return max(known) if known else None

    def of(self, instance_id: str, draw: int, clicks: int) -> Sequence[Result]:
        """The candidates for a prompt: those for just this draw and number of clicks, else those for all."""
        # From the most exact match to the least: (draw, clicks), (draw, any), (any, clicks), (any, any).
        for key in ((instance_id, d, c) for d in (draw, None) for c in (clicks, None)):
            if key in self._by_key:
                return self._by_key[key]
        return ()


def read(path: Path) -> Results:
    """Read and check a file of results; masks are decoded later, when their image's size is known.

    Raises:
        UserError: The file has another form, or an instance has a mask twice.
    """
    try:
        content = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except (OSError, orjson.JSONDecodeError) as error:
        raise UserError(f"{path}: {error}; wanted COCO's results in JSON.") from error
    if not isinstance(content, list):
        raise UserError(f"{path}: found {kind_of(content)}; wanted a list of results, [{{...}}, ...].")
    if not content:
        raise UserError(f"{path}: found an empty list; wanted one result at least.")
    return Results([_result(one, f"{path}, result {place}") for place, one in enumerate(content)])


def _result(raw: Any, where: str) -> Result:
    if not isinstance(raw, dict):
        raise UserError(f"{where}: found {kind_of(raw)}; wanted an object, {{...}}.")
    instance = next((raw[key] for key in INSTANCE_KEYS if key in raw), None)
    for name, value in (("image_id", raw.get("image_id")), (" or ".join(INSTANCE_KEYS), instance)):
        if type(value) not in (int, float, str):
            raise UserError(
                f"{where}: found {kind_of(value)} as {name}; wanted a number or a text. A mask is scored against the "
                "one instance that it was made for, whose id the file must have."
            )
    if "segmentation" not in raw:
        raise UserError(f"{where}: no segmentation; wanted polygons or run lengths (a `bbox` is no mask).")
    return Result(
        where,
        id_text(raw["image_id"]),
        id_text(instance),
        raw["segmentation"],
        _score(raw.get("score"), where),
        _count(raw.get("click_index"), f"{where}, click_index"),
        _count(raw.get("draw"), f"{where}, draw"),
    )


def _score(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise UserError(f"{where}, score: found {short(value)}; wanted a number.")
    return float(value)


def _count(value: Any, where: str) -> int | None:
    if value is None:
        return None
    number = whole(value)
    if number is None or number < 0:
        raise UserError(f"{where}: found {short(value)}; wanted a whole number from 0 on.")
    return number


def _check_candidates(own: Sequence[Result]) -> None:
    """Check that several masks of one instance differ and can be ranked.

    Raises:
        UserError: A mask is there twice, or has no score.
    """
    first: dict[tuple[str, float | None], Result] = {}
    for one in own if len(own) > 1 else ():
        same = first.setdefault((repr(one.segmentation), one.score), one)
        if same is not one:
            raise UserError(
                f"{one.where}: instance '{one.instance_id}' has the same mask and score as at "
                f"{_place(same)}. Remove one of them."
            )
        if one.score is None:
            raise UserError(
                f"{one.where}: instance '{one.instance_id}' has {len(own)} masks ({_places(own)}), and this one has "
                "no score; wanted one mask, or a score for each, by which they are ranked."
            )


def _place(one: Result) -> str:
    return one.where.rpartition(", ")[2]


def _places(own: Iterable[Result]) -> str:
    return ", ".join(map(_place, own))
