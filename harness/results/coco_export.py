"""Exports a run's masks in COCO's result form, with the instance of each mask. COCOeval and `score` read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from harness.messages import suggest
from harness.report.comparison import answers
from harness.results.recorded import Recorded
from harness.storage.manifest import JobFacts
from harness.structures import UserError

Results = list[dict[str, Any]]


def coco_results(
    run: Recorded,
    *,
    method: str = "",
    dataset: str = "",
    ranking: str = "",
    every_click: bool = False,
    annotations: Path | None = None,
) -> Results:
    """One method's masks on one data set; instances without a mask are left out.

    So are those that failed at a later click, which count as failed in every table, unless every click is exported.
    An id of digits becomes a number, as in COCO's own files. `score` is always 1: rows record which mask a ranking
    chose, but not how sure the method was.

    Args:
        run: The run.
        method: The method's label; may be left out if the run has one method.
        dataset: The data set's label; may be left out if the run has one data set.
        ranking: The ranking that chooses among the candidates; by default the method's first one.
        every_click: Whether to export the masks after each click and of each draw, with `click_index` and `draw`;
            otherwise those after the last click of the first draw.
        annotations: COCO's annotation file, whose category ids are written. Without it, the categories of all rows,
            failed ones too, are numbered from 1 in the order of their names. An instance without a class has 0.

    Raises:
        UserError: There is no such method, data set or ranking, or the annotation file lacks a category.
    """
    job = _job(run, method, dataset)
    every = run.store.rows([job], run.samples, masks=True)
    rows = every[every["status"].eq("ok")]
    if rows.empty:
        raise UserError(f"{run.store.folder}: no mask of {job.method} on {job.dataset} in its rows.")
    rows = _of_ranking(run, rows, ranking)
    if not every_click:
        # The last click is the last row of its instance once the rows are sorted by click; the second sort, by the
        # index, brings the instances back into the order of the rows.
        failed = every.loc[every["status"].ne("ok") & every["draw"].eq(0), "instance_id"]
        rows = rows[rows["draw"].eq(0) & ~rows["instance_id"].isin(failed)].sort_values("click_index", kind="stable")
        rows = rows.drop_duplicates("instance_id", keep="last").sort_index()
    # Numbered over the failed rows, too: the files of two methods then number a class alike, whichever of them failed.
    ids = _category_ids(every["category"] if annotations is None else rows["category"], annotations)
    return list(_results(rows, ids, every_click))


def _job(run: Recorded, method: str, dataset: str) -> JobFacts:
    jobs = list(run.jobs)
    for option, wanted in (("method", method), ("dataset", dataset)):
        known = dict.fromkeys(getattr(job, option) for job in jobs)
        if wanted and wanted not in known:
            raise UserError(f"--{option}: no '{wanted}' in {run.store.folder}. {suggest(wanted, known)}")
        if not wanted and len(known) > 1:
            raise UserError(
                f"{run.store.folder}: found several labels for --{option}: {', '.join(known)}; wanted one, since a "
                f"file of COCO's results is of one method and one data set. Name it: --{option} LABEL."
            )
        jobs = [job for job in jobs if not wanted or getattr(job, option) == wanted]
    return jobs[0]


def _of_ranking(run: Recorded, rows: pd.DataFrame, ranking: str) -> pd.DataFrame:
    known = rows[["dataset", "method", "ranking"]].drop_duplicates(ignore_index=True)
    if ranking and ranking not in set(known["ranking"]):
        raise UserError(f"--ranking: no '{ranking}' in these rows. {suggest(ranking, known['ranking'])}")
    taken = ranking or answers(known, run.context(rows))["ranking"].iloc[0]
    return rows[rows["ranking"].eq(taken)]


def _category_ids(categories: pd.Series[Any], annotations: Path | None) -> Mapping[str, int]:
    named = sorted({*categories} - {""})
    if annotations is None:
        return {name: number for number, name in enumerate(named, start=1)}
    try:
        listed = orjson.loads(annotations.read_bytes())["categories"]
        ids = {one["name"]: one["id"] for one in listed}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"--annotations {annotations}: {type(error).__name__}: {error}; wanted COCO's annotation file, with a "
            "list `categories` of objects that have a name and an id."
        ) from error
    for name in named:
        if name not in ids:
            raise UserError(f"--annotations {annotations}: no category '{name}'. {suggest(name, ids)}")
    return ids


def _results(rows: pd.DataFrame, category_ids: Mapping[str, int], every_click: bool) -> Iterator[dict[str, Any]]:
    for row in rows.to_dict("records"):
        told = {"click_index": int(row["click_index"]), "draw": int(row["draw"])} if every_click else {}
        yield {
            "image_id": _id(row["image_id"]),
            "instance_id": _id(row["instance_id"]),
            "category_id": category_ids.get(row["category"], 0),  # 0 for an instance without a class
            "category": row["category"],
            "segmentation": {"size": [int(row["height"]), int(row["width"])], "counts": row["mask"].decode("ascii")},
            "score": 1.0,
            **told,
        }


def _id(text: str) -> int | str:
    """The id as a number if it is one without leading zeros, else as it is: "139" -> 139, "000139" -> "000139"."""
    # JSON readers in JavaScript keep whole numbers exactly up to 2^53, which has 16 digits.
    return int(text) if text.isascii() and text.isdecimal() and str(int(text)) == text and len(text) < 16 else text
