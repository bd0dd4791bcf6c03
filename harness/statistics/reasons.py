"""Counts the reasons why instances failed, and finds what is doubtful about those that did not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pandas as pd

from harness.storage.rows import as_text

_OF_ONE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[/\\]\S*|\S*\d\S*")
"""The words in which two reasons of one kind may differ: names in quotes, paths, ids, numbers."""

_JOB = ["method", "dataset"]
_ASKED = [*_JOB, "image_id", "instance_id"]

LEAST_MASKS = 10
"""The least number of masks for a warning that most of them are odd."""

MOST_OUTSIDE = 0.5
"""The share of a method's masks that may miss their click before there is a warning.

Methods that follow their clicks miss few; one that swaps x and y misses most: of 136 instances the methods that come
along miss 0 or 1, click-only with swapped axes 89 (`configs/sam_vs_ours_scenes.yaml --limit 20`).
"""


@dataclass(frozen=True)
class Reason:
    """One kind of failure.

    Attributes:
        method: The method's label.
        dataset: The data set's label.
        instances: How many instances failed for this reason.
        text: The reason of the first of them; the others may differ in names and numbers.
        image_id: The image of the first of them.
    """

    method: str
    dataset: str
    instances: int
    text: str
    image_id: str


def reasons(rows: pd.DataFrame) -> list[Reason]:
    """The reasons why instances of a run failed, the most frequent one first; each instance counts once."""
    failed = as_text(rows[rows["status"] != "ok"].drop_duplicates(_ASKED))
    # "instance 17 has no pixel" and "instance 42 has no pixel" are one kind: every word with a digit, path or quote
    # becomes a star, and equal texts are then counted together.
    kinds = failed["error"].fillna("").map(lambda error: _OF_ONE.sub("*", error))
    found = [
        Reason(own["method"].iloc[0], own["dataset"].iloc[0], len(own), own["error"].iloc[0], own["image_id"].iloc[0])
        for _, own in failed.groupby([failed["method"], failed["dataset"], kinds], sort=False)
    ]
    return sorted(found, key=lambda one: -one.instances)


def doubts(rows: pd.DataFrame, by_words: Collection[str] = ()) -> list[str]:
    """A sentence for each method and data set whose masks miss their clicks, or that answered at a second try.

    Args:
        rows: A run's; rows without the columns `holds_click` and `retried` give no sentence.
        by_words: The labels of methods that also answer without a click: their masks may follow the words instead.
    """
    return [*_missed(rows[~rows["method"].isin(by_words)] if by_words else rows), *_second_tries(rows)]


def _missed(rows: pd.DataFrame) -> Iterator[str]:
    """A warning for each method whose masks mostly miss the first click, as they do if x and y are swapped.

    Only some rows can show that: the mask is not empty, it follows the first click, and the click lies on the object
    that the words mean. With a click off the object, or words for another object, the mask may rightly lie elsewhere.
    """
    if "holds_click" not in rows or not rows["holds_click"].notna().any():
        return
    first = rows["click_index"] == rows.groupby(_JOB)["click_index"].transform("min")
    own = rows["ranking"].ne("oracle") & ~rows["text_rule"].astype(str).str.startswith("wrong")
    on_object = (rows["click_depth_px"] > 0) & (rows["pred_area_px"] > 0) & rows["holds_click"].notna()
    telling = rows[first & own & on_object]
    for (method, dataset), masks in telling.groupby(_JOB, sort=False):
        outside = int((~masks["holds_click"].astype(bool)).sum())
        if len(masks) >= LEAST_MASKS and outside > MOST_OUTSIDE * len(masks):
            yield (
                f"{method} on {dataset}: in {outside} of {len(masks)} rows the first click lies on the object and "
                "outside of the mask. Does the method take x for y? A click is (x, y), a mask is indexed [y, x]."
            )


def _second_tries(rows: pd.DataFrame) -> Iterator[str]:
    """Methods that failed at first and answered when they were called again, with the same or with fewer prompts."""
    if "retried" not in rows or not rows["retried"].notna().any():
        return
    of = rows.drop_duplicates(_ASKED).groupby(_JOB).size().to_dict()
    again = rows[rows["retried"].notna()].drop_duplicates(_ASKED)
    for (method, dataset), own in again.groupby(_JOB, sort=False):
        yield (
            f"{method} on {dataset}: {len(own)} of {of[method, dataset]} instances were answered at a second try only, "
            f"the first of them after {own['retried'].iloc[0]}"
        )
