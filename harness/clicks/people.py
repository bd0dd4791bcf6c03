"""Clicks that people made, replayed: those that `try --record` keeps, and RClicks' published ones.

Such a file has clicks for some instances only. For any other instance no click can be made, and it gets a failed row
that says so; no instance is left out in silence. The files are hashed when a config is read: so rows name the clicks
that they were made with, and a file that changes during the run is noticed.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness import places
from harness.clicks.correction import center
from harness.clicks.recordings import clicks_by_instance, files_of
from harness.clicks.strategy import NoClickError, Situation
from harness.messages import number_of
from harness.places import located
from harness.plugins.registry import register_click_rule
from harness.structures import Click, UserError

Prompts = Mapping[Any, list[tuple[Click, ...]]]


def hashed(file: Path, **others: Any) -> dict[str, Any]:
    """A rule's options with the hash of its file, or of the files of its folder.

    Raises:
        UserError: There is no such file, or the rule cannot read it.
    """
    return {"file": str(file), **others, "sha256": _digest(located(file))}


def _digest(path: Path) -> str:
    """The SHA-256 of a file; for a folder of recordings, the SHA-256 of its files' hashes.

    Raises:
        UserError: There is no such file or folder.
    """
    hashes = [places.sha256(one) for one in ([path] if path.is_file() else files_of(path))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, reader: Callable[..., Prompts], *options: str) -> Prompts:
    """A file's prompts, read once a process.

    Raises:
        UserError: Its content has changed since the config was read.
    """
    if digest and _digest(path) != digest:
        raise UserError(f"{path}: it has changed since the run was planned. Start the run again.")
    return reader(path, *options)


def _recorded(file: Path, dataset: str = "", **others: Any) -> dict[str, Any]:
    options = hashed(file, **({"dataset": dataset} if dataset else {}), **others)
    _read(located(file), options["sha256"], clicks_by_instance, dataset)
    return options


@register_click_rule("recorded/v1", replays=_recorded)
def recorded(at: Situation, file: Path, dataset: str = "", sha256: str = "") -> tuple[Click, ...]:
    """The clicks of a recording of this instance (`try --record`), one a round, in the order in which they were made.

    If an instance has several recordings, draw 0 takes the first by the recordings' random ids, draw 1 the second, and
    so on: with `draws: 3`, three people's prompts are replayed. The words are not replayed.

    Args:
        at: The situation; its ids choose the recording, and the number of its earlier clicks chooses the next click.
        file: A Parquet file of recordings, or a folder of them.
        dataset: Only recordings on the data set that had this label in `try`; may be empty if ids are unique.
        sha256: The file's hash; filled in when the config is read.

    Raises:
        NoClickError: The instance has no recording for this draw, or that has no further click.
    """
    path = located(Path(file))
    known = _read(path, sha256, clicks_by_instance, dataset).get((at.sample.id, at.instance.id), [])
    if at.draw >= len(known):
        raise NoClickError(
            f"recorded/v1: {path.name} has {_count(len(known), 'recording')} of instance '{at.instance.id}'."
        )
    made, number = known[at.draw], len(at.clicks)
    if number >= len(made):
        raise NoClickError(
            f"recorded/v1: the recording of instance '{at.instance.id}' has {_count(len(made), 'click')}."
        )
    return (made[number],)


def _human(file: Path, dataset: str = "", **others: Any) -> dict[str, Any]:
    if not located(file).is_file():
        raise UserError(f"{file}: no such file; wanted RClicks' clicks.csv.")
    options = hashed(file, dataset=dataset, **others)
    _read(located(file), options["sha256"], rclicks, dataset)
    return options


@register_click_rule("human/v1", replays=_human)
def human(at: Situation, file: Path, dataset: str, sha256: str = "") -> tuple[Click, ...]:
    """A person's first click, from RClicks' `clicks.csv`; later clicks as `center/v1`.

    A line is one person's click on one object. Its click_type is "first" if the person saw the picture and the object.
    The other types, "fn" and "fp", correct a mask that some method had made, which no run here has, and are left out. A
    first click is positive, at x and y in pixels of the full image; a click beyond the image is put on its edge.
    `full_stem` is the image file's name without its suffix; if an image has several objects, "_______" and the object's
    value in the mask follow. Leading zeros of numbers do not count.

    If an object has several clicks, draw 0 takes the first in the file, draw 1 the second, and so on. A click that
    misses the object is kept, since people do miss.

    Source: Antonov et al., "RClicks: Realistic Click Simulation for Benchmarking Interactive Segmentation", NeurIPS
    2024, https://arxiv.org/abs/2410.11722. The format is the one that the authors' code reads
    (isegm/inference/evaluation.py and rclicks/clickmap.py of https://github.com/emb-ai/rclicks at e20bf76); their
    clicks.csv was not at hand.

    Args:
        at: The situation; its ids choose the lines.
        file: `clicks.csv`.
        dataset: The value of the column dataset in the lines to use: GrabCut, Berkeley, DAVIS or, for COCO_MVal, COCO.
        sha256: The file's hash; filled in when the config is read.

    Raises:
        NoClickError: The file has no click on this object for this draw.
    """
    if at.clicks:
        return center(at)
    path = located(Path(file))
    known = _read(path, sha256, rclicks, dataset)
    alone = len(at.sample.instances) == 1
    name = at.sample.id if alone else f"{at.sample.id}{OBJECT}{at.instance.id}"
    made = known.get(_plain(name), [])
    if at.draw >= len(made):
        raise NoClickError(f"human/v1: {path.name} has {_count(len(made), 'click')} on '{name}' of {dataset}.")
    ((click,), (height, width)) = made[at.draw], at.sample.size
    return (Click(min(max(click.x, 0), width - 1), min(max(click.y, 0), height - 1)),)


WANTED = ("dataset", "full_stem", "x", "y", "click_type")
FIRST = "first"
OBJECT = "_______"
"""The sign in RClicks' names between the image's and the object's part."""


def rclicks(path: Path, dataset: str) -> Prompts:
    """The object's name -> people's first clicks on it, one a prompt, in the file's order.

    Raises:
        UserError: The file cannot be read, a column or a number is missing, or no first click is of this data set.
    """
    found: dict[str, list[tuple[Click, ...]]] = {}
    datasets = set()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, restval="")
            if lacking := [name for name in WANTED if name not in (lines.fieldnames or ())]:
                raise UserError(f"{path}: no column {', '.join(lacking)}; wanted {', '.join(WANTED)}.")
            for line in lines:
                if line["click_type"] != FIRST:
                    continue
                datasets.add(line["dataset"])
                if line["dataset"] == dataset:
                    found.setdefault(_plain(line["full_stem"]), []).append((_click(line, path, lines.line_num),))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); wanted RClicks' clicks.csv.") from error
    if not found:
        there = ", ".join(sorted(datasets)) or "none"
        raise UserError(f"{path}: no line with click_type first and dataset {dataset!r}. Data sets there: {there}.")
    return found


def _click(line: Mapping[str, str], path: Path, number: int) -> Click:
    try:
        return Click(round(float(line["x"])), round(float(line["y"])))
    except (ValueError, OverflowError):
        where = f"{line['x']!r}, {line['y']!r}"
        raise UserError(f"{path}, line {number}: found {where}; wanted x and y in pixels.") from None


def _plain(name: str) -> str:
    """A name without zeros in front of its numbers: 139_7 of 000000000139_7."""
    parts = name.split("_")
    return "_".join((part.lstrip("0") or "0") if part.isascii() and part.isdecimal() else part for part in parts)


def _count(number: int, noun: str) -> str:
    return number_of(number, noun) if number else f"no {noun}s"
