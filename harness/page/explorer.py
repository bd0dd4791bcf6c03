"""The data of the page's explorer: a line for each instance, in columns, and the masks in small files.

A run of 36,000 instances and six methods has 200,000 masks, some 100 MB, which a browser should not read at once. So
the main file has the data for filters, sorting and counts. The masks are cut by instance into files of about equal
size, and the page finds an instance's file by its line alone:

    line 250, per_file 100    ->    masks/2.js, entry 50        (files from 0: lines 0 to 99, 100 to 199, 200 to 299)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness import atomic
from harness.figures.chosen import entries
from harness.messages import without_folders
from harness.plugins.scale import Scale
from harness.report.context import Context
from harness.report.scores import named, numbers, scores
from harness.statistics.final_clicks import INSTANCE, FinalClicks, first_draw
from harness.storage.clicks import click_points
from harness.storage.rows import as_text

A_FILE = 100
"""The number of instances in a file of masks, at one click each: some 100 kB, which opens without a wait."""

FAILED, ABSENT, UNSCORED = -1, -2, -3
"""Written in place of an IoU if the method failed on the instance, has no row of it, or has a mask without an IoU."""

_DIGITS = 40
"""Digits of the longest number in an id that sorts as a number: UUIDs as numbers have 39."""

_FACTS = ["gt_area_px", "height", "width", "same_class_count", "under_click", "under_click_area_ratio"]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that the page holds.

    Attributes:
        file: The name in pictures/, without the ending.
        truths: Instance id -> the ground truth's run lengths.
    """

    file: str
    truths: Mapping[str, bytes]


@dataclass(frozen=True, eq=False)
class Listing:
    """The data of a run that the explorer shows.

    Attributes:
        instances: A line for each instance, sorted by its ids, numbers in them by value: `INSTANCE`, category, text,
            seen and the facts.
        names: The names of the entries (a method, or one of its rankings), in the leaderboard's order.
        answers: The rows at the last click, with `line` and `entry`: places in `instances` and `names`.
        rounds: The segmented rows of the first draw at every click, in the order of clicks, with `line` and `entry`.
        metrics: The run's own metrics beside IoU, with their scales.
        draws: The most draws that an instance has; `answers` are means over them.
    """

    instances: pd.DataFrame
    names: tuple[str, ...]
    answers: pd.DataFrame
    rounds: pd.DataFrame
    metrics: Mapping[str, Scale]
    draws: int = 1

    @classmethod
    def of(cls, final: FinalClicks, context: Context) -> Listing:
        """Make the listing from a run's rows, with their masks."""
        # Facts of an instance are in every method's row; a failed row may lack them. Sorted with "ok" before "error",
        # each fact is taken from the first row of the instance that has it.
        names = tuple(dict.fromkeys(named(line) for _, line in scores(final, context).iterrows()))
        answers = _answers(final.rows)
        order = answers.sort_values([*INSTANCE, "status"], ascending=[True, True, True, False], kind="stable")
        instances = order.groupby(INSTANCE, sort=False)[["category", "text", "seen", *_FACTS]].first().reset_index()
        instances = instances.sort_values(INSTANCE, key=natural, kind="stable", ignore_index=True)
        lines = pd.MultiIndex.from_frame(instances[INSTANCE])
        metrics = {name: context.scale(name) for name in context.own_metrics if name in final.rows}
        wanted = [*INSTANCE, "method", "ranking", "click_index", "clicks", "mask", "hit", "iou", *metrics]
        rounds = first_draw(final.every[final.every["status"] == "ok"])
        rounds = rounds.reindex(columns=wanted).sort_values("click_index", kind="stable")
        placed = [_placed(own, lines, names) for own in (answers, rounds)]
        return cls(instances, names, placed[0], placed[1], metrics, max(1, final.drawn["draw"].nunique()))

    @property
    def per_file(self) -> int:
        """The number of instances in a file of masks: fewer, the more clicks each had, for files of equal size."""
        return max(1, A_FILE // max(1, self.rounds["click_index"].nunique()))

    def columns(self, pictures: Mapping[tuple[str, str], Picture]) -> dict[str, Any]:
        """The explorer's main file as JSON values: lists with a number for each line.

        Names that repeat are sent once: `categories` is ["cup", "plate"] and `category` [0, 0, 1, 0].
        """
        own = self.instances
        datasets, of_dataset = _coded(own["dataset"])
        categories, of_category = _coded(own["category"])
        images, of_image = _coded(own["dataset"] + "\0" + own["image_id"])
        shown = [pictures.get((name.split("\0")[0], name.split("\0")[1])) for name in images]
        text = own["text"].fillna("").where(own["text"].fillna("") != own["category"], "")
        return {
            "entries": list(self.names),
            "datasets": datasets,
            "categories": categories,
            "images": [name.split("\0")[1] for name in images],
            "pictures": [picture.file if picture else None for picture in shown],
            "per_file": self.per_file,
            "draws": self.draws,
            "clicks": sorted({int(made) for made in self.rounds["click_index"]}),
            "dataset": of_dataset,
            "category": of_category,
            "image": of_image,
            "id": own["instance_id"].astype(str).tolist(),
            "text": text.tolist(),
            "seen": _whole(own["seen"]),
            "seen_by": self._seen_by(),
            "area": _whole(own["gt_area_px"]),
            "count": _whole(own["same_class_count"]),
            "under": _whole(own["under_click"]),
            "iou": self._iou(),
            "metrics": [
                {"name": name, "title": name + scale.said, "tail": "", "unit": scale.printed_in, "sign": scale.sign}
                | {"values": self._values(name, scale)}
                for name, scale in self.metrics.items()
            ],
        }

    def files(self, pictures: Mapping[tuple[str, str], Picture]) -> Iterator[list[Any]]:
        """The files of masks, of `per_file` instances each: size, ground truth, and each entry's error and rounds.

        A round is the number of clicks made, the clicks, the mask, what it hit, the IoU as in the main file, and the
        printed numbers of the run's own metrics:

            [[h, w], truth or null, [["", [[1, clicks, mask, hit, 8123, []], [2, ...]]], ["load: OSError", []]]]
        """
        own = self.instances
        cells: list[list[Any]] = [[["", []] for _ in self.names] for _ in range(len(own))]
        failed = self.answers[self.answers["status"] != "ok"]
        for line, entry, error in zip(failed["line"], failed["entry"], failed["error"], strict=True):
            cells[line][entry][0] = without_folders(_text(error) or "")
        columns = [self.rounds[name].tolist() for name in ("line", "entry", "click_index", "mask", "hit", "iou")]
        others = [_printed(self.rounds[name], scale) for name, scale in self.metrics.items()]
        clicked = click_points(self.rounds["clicks"])
        for points, line, entry, made, mask, hit, iou, *measured in zip(clicked, *columns, *others, strict=True):
            cells[line][entry][1].append([int(made), points, _text(mask), _text(hit), _hundredths(iou), measured])
        sizes = zip(_whole(own["height"]), _whole(own["width"]), strict=True)
        truths = [self._truth(pictures, *key) for key in own[INSTANCE].itertuples(index=False, name=None)]
        whole = [list(one) for one in zip(sizes, truths, cells, strict=True)]
        step = self.per_file  # Counting the clicks of all rows anew for each file would be quadratic in the instances.
        for start in range(0, len(whole), step):
            yield whole[start : start + step]

    def _iou(self) -> list[list[int]]:
        """A list for each entry, with the IoU of every line in hundredths of a percent."""
        # Whole numbers, for they are shorter as JSON than fractions, and a page of millions of answers is read by a
        # browser. Below zero are those that are no IoU.
        table = np.full((len(self.names), len(self.instances)), ABSENT, dtype=np.int64)
        iou = numbers(self.answers["iou"])
        scored = (self.answers["status"] == "ok") & iou.notna()
        values = (10_000 * iou.where(scored, 0)).round().astype(int)
        values = values.where(scored, FAILED).where(scored | (self.answers["status"] != "ok"), UNSCORED)
        table[self.answers["entry"].astype(int), self.answers["line"]] = values
        return [list(map(int, line)) for line in table]

    def _seen_by(self) -> dict[int, list[int]]:
        """The place of each entry that has other seen classes than `seen` -> the same column by its own training."""
        usual, found = np.array(_whole(self.instances["seen"]), np.int64), {}
        known = self.answers[self.answers["seen"].notna()]
        for place in range(len(self.names)):
            own, seen = known[known["entry"] == place], usual.copy()
            seen[own["line"]] = _whole(own["seen"])
            if (seen != usual).any():
                found[place] = seen.tolist()
        return found

    def _values(self, metric: str, scale: Scale) -> list[list[float | None]]:
        """A list for each entry, with the printed number of every line; None for no number."""
        table: list[list[float | None]] = [[None] * len(self.instances) for _ in self.names]
        ok = self.answers[self.answers["status"] == "ok"]
        for entry, line, value in zip(ok["entry"], ok["line"], _printed(ok[metric], scale), strict=True):
            table[entry][line] = value
        return table

    @staticmethod
    def _truth(
        pictures: Mapping[tuple[str, str], Picture], dataset: str, image_id: str, instance_id: str
    ) -> str | None:
        picture = pictures.get((dataset, image_id))
        return _text(picture.truths.get(instance_id)) if picture else None


def stratified(instances: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """At most `count` images (data set, image id) in which every data set and class is met as evenly as can be.

    The instances of each class are taken in turn, in the order of a hash of their ids, until there are enough images.
    """
    # A hash is as good as a lot, and the same on every machine. Say persons p1 p2 p3 and a tie t1, in its order:
    #
    #    turn 0    p1 t1
    #    turn 1    p2          taken: p1 t1 p2 p3, so that two images show both classes
    #    turn 2    p3
    key = pd.util.hash_pandas_object(instances[INSTANCE].astype(str).agg("\0".join, axis=1), index=False)
    shuffled = instances.assign(key=key).sort_values("key", kind="stable")
    turn = shuffled.groupby(["dataset", "category"], dropna=False).cumcount()
    taken = shuffled.assign(turn=turn).sort_values(["turn", "key"], kind="stable")
    images = taken.drop_duplicates(["dataset", "image_id"])[["dataset", "image_id"]].head(count)
    return [(str(dataset), str(image)) for dataset, image in images.itertuples(index=False)]


def natural(ids: pd.Series[str]) -> pd.Series[str]:
    """Keys by which ids sort as people count: "9" before "10", "val-2" before "val-10".

    Zeros before each number make all numbers equally long, and then their texts sort as they do.
    """
    return ids.astype(str).str.replace(r"\d+", lambda number: number.group().zfill(_DIGITS), regex=True)


def write_data(path: Path, name: str, value: Any) -> None:
    """Write a data file: a script that passes one JSON value to the page."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    atomic.write(path, f"report.receive({json.dumps(name)},{_safe(text)});\n".encode())


def _safe(text: str) -> str:
    """JSON that is harmless even inside HTML, without the two separators that end lines in old scripts."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _answers(rows: pd.DataFrame) -> pd.DataFrame:
    """The final rows, with all columns that the page shows; NaN where the run lacks one."""
    shown = list(dict.fromkeys([*rows.columns, *_FACTS, "mask", "hit", "category", "text", "error"]))
    return as_text(rows.reindex(columns=shown)).assign(category=lambda found: found["category"].fillna(""))


def _placed(own: pd.DataFrame, lines: pd.MultiIndex, names: Sequence[str]) -> pd.DataFrame:
    """The rows with `line` and `entry`, their places in the listing; without rows of instances that it lacks."""
    places = {name: place for place, name in enumerate(names)}
    line = lines.get_indexer(pd.MultiIndex.from_frame(own[INSTANCE]))
    return own.assign(line=line, entry=entries(own).map(places).astype(int))[line >= 0]


def _hundredths(iou: Any) -> int:
    """An IoU in hundredths of a percent, as the main file has it."""
    return FAILED if iou is None or np.isnan(iou) else round(10_000 * float(iou))


def _printed(column: pd.Series[Any], scale: Scale) -> list[float | None]:
    """The numbers as tables print them, None for NaN."""
    return [None if np.isnan(value) else round(scale.factor * value, 2) for value in numbers(column).tolist()]


def _coded(column: pd.Series[str]) -> tuple[list[str], list[int]]:
    """The distinct names, sorted, and for each line the place of its name among them."""
    codes, names = pd.factorize(column.astype(object), sort=True)
    return [str(name) for name in names], codes.tolist()


def _whole(column: pd.Series[Any]) -> list[int]:
    """The column as whole numbers, with -1 for null."""
    return [int(value) for value in numbers(column).fillna(-1)]


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
