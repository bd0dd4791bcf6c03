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
    """The SHA-256 of a file; of a folder, that of its files' hashes.

    Raises:
        UserError: There is none.
    """
    if path.suffix == ".csv" and not path.is_file():
        raise UserError(f"{path}: no such file; wanted RClicks' clicks.csv.")
    hashes = [places.sha256(one) for one in ([path] if path.is_file() else files_of(path))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, reader: Callable[..., Prompts], *options: str) -> Prompts:
    """A file's prompts, read once a process.

    Raises:
        UserError: Its content has changed since the config was read.
    """
    if digest and _digest(path) != digest:
        raise UserError(f"{path}: it is another one than when the run was planned. Start the run again.")
    return reader(path, *options)


def _recorded(file: Path, **others: Any) -> dict[str, Any]:
    options = hashed(file, **others)
    _read(located(file), options["sha256"], clicks_by_instance)
    return options


@register_click_rule("recorded/v1", replays=_recorded)
def recorded(at: Situation, file: Path, sha256: str = "") -> tuple[Click, ...]:
    """The clicks of a recording of this instance (`try --record`), one a round, in the order in which they were made.

    If an instance has several recordings, draw 0 takes the first by the recordings' random ids, draw 1 the second, and
    so on: with `draws: 3`, three people's prompts are replayed. The words are not replayed.

    Args:
        at: Its image's and instance's ids say which recording; its earlier clicks, how many were made.
        file: A Parquet file of recordings, or a folder of them.
        sha256: The file's hash; filled in when the config is read.

    Raises:
        NoClickError: The instance has no recording for this draw, or that has no further click.
    """
    path = located(Path(file))
    known = _read(path, sha256, clicks_by_instance).get((at.sample.id, at.instance.id), [])
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


def _human(file: Path, dataset: str = "", click_type: str = "", **others: Any) -> dict[str, Any]:
    options = hashed(file, dataset=dataset, click_type=click_type, **others)
    _read(located(file), options["sha256"], rclicks, dataset, click_type)
    return options


@register_click_rule("human/v1", replays=_human)
def human(at: Situation, file: Path, dataset: str, click_type: str = "", sha256: str = "") -> tuple[Click, ...]:
    """A person's first click, from RClicks' `clicks.csv`; later clicks as `center/v1`.

    Source: Antonov et al., "RClicks: Realistic Click Simulation for Benchmarking Interactive Segmentation", NeurIPS
    2024. The public file was not at hand, so this is assumed of it: a line is one person's click on one object, with
    the columns dataset, full_stem, x, y and click_type; x and y are pixels of the full image. `full_stem` is the
    name of the object's mask file, without its suffix: the image's id, where it has one instance, the instance's id, or
    both joined by "_". Zeros in front of numbers do not count (COCO's 000000000139_1640282). A line whose click_type
    is "negative" is a click beside the object, and is left to `click_type` to choose; every other line is a positive
    click.

    If an object has several clicks, draw 0 takes the first in the file, draw 1 the second, and so on. A click that
    misses the object is kept, since people do miss.

    Args:
        at: Its ids say which lines.
        file: `clicks.csv`.
        dataset: Which lines, by their column dataset: GrabCut, Berkeley, DAVIS or COCO_MVal.
        click_type: Only lines of this type; all but negative ones by default.
        sha256: The file's hash; filled in when the config is read.

    Raises:
        NoClickError: The file has no click on this object for this draw.
    """
    if at.clicks:
        return center(at)
    path = located(Path(file))
    known = _read(path, sha256, rclicks, dataset, click_type)
    # The file names objects by their mask file. Which of our ids that is differs by data set, so the most exact name
    # comes first. The image's id alone is unambiguous only where the image has one instance.
    ids = [f"{at.sample.id}_{at.instance.id}", at.instance.id]
    ids += [at.sample.id] if len(at.sample.instances) == 1 else []
    made = next((known[_plain(one)] for one in ids if _plain(one) in known), [])
    if at.draw >= len(made):
        raise NoClickError(f"human/v1: {path.name} has {_count(len(made), 'click')} on '{ids[0]}' of {dataset}.")
    return made[at.draw]


WANTED = ("dataset", "full_stem", "x", "y", "click_type")


def rclicks(path: Path, dataset: str, click_type: str) -> Prompts:
    """The object's name -> the clicks on it, one a prompt, in the file's order.

    Raises:
        UserError: A column or a number is missing, or no line is of this data set and type.
    """
    found: dict[str, list[tuple[Click, ...]]] = {}
    datasets, types = set(), set()
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        if lacking := [name for name in WANTED if name not in (lines.fieldnames or ())]:
            raise UserError(f"{path}: no column {', '.join(lacking)}; wanted {', '.join(WANTED)}.")
        for line in lines:
            datasets.add(line["dataset"])
            if line["dataset"] != dataset:
                continue
            types.add(line["click_type"])
            negative = line["click_type"] == "negative"
            if line["click_type"] != click_type if click_type else negative:
                continue
            at = f"{path}, line {lines.line_num}"
            click = Click(_pixel(line["x"], at), _pixel(line["y"], at), not negative)
            found.setdefault(_plain(line["full_stem"] or ""), []).append((click,))
    if not found:
        of = f"click_type {click_type!r}" if types and click_type else f"dataset {dataset!r}"
        there = ", ".join(sorted(types if types and click_type else datasets)) or "none"
        raise UserError(f"{path}: no click of {of}. There are: {there}.")
    return found


def _pixel(text: str | None, where: str) -> int:
    try:
        return round(float(text or ""))
    except (ValueError, OverflowError):
        raise UserError(f"{where}: found {text!r}; wanted x and y in pixels.") from None


def _plain(name: str) -> str:
    """A name without zeros in front of its numbers: 139_7 of 000000000139_7."""
    return "_".join(str(int(part)) if part.isascii() and part.isdecimal() else part for part in name.split("_"))


def _count(number: int, noun: str) -> str:
    return number_of(number, noun) if number else f"no {noun}s"
