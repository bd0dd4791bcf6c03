"""Two methods' answers to the same prompts, side by side.

Only answers to identical prompts are compared. An instance is dropped and counted if one method failed on it at any
click or has no row of it, or if the clicks or the ground truth differ in any draw:

    instance   a: click, IoU     b: click, IoU
    cup        (4, 7)  0.90      (4, 7)  0.70      compared
    plate      (9, 9)  0.80      failed            dropped: the second failed on 1
    fork       (2, 5)  0.60      (3, 5)  0.50      dropped: 1 with other clicks

Where later clicks follow each method's own masks, answers are compared up to the last click that is the same for every
instance, which usually is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.statistics.final_clicks import ASKED, INSTANCE
from harness.storage.clicks import click_keys
from harness.structures import UserError

_TRUTH = ["gt_area_px", "height", "width"]
_ABOUT = ["seen", "category", "same_class_count", "gt_area_px"]


def paired(a: pd.DataFrame, b: pd.DataFrame, metric: str, slices: Sequence[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """The answers to identical prompts, a row for each instance, draw and click; and reason -> how many it drops."""
    frames = []
    for own in (a, b):
        own = own[own["status"] == "ok"]
        _refuse_double(own)
        facts = dict.fromkeys(one for one in (*_ABOUT, *_TRUTH, *slices) if one in own and one not in ASKED)
        scored = own[[*ASKED, "click_index", *facts]]
        frames.append(scored.assign(score=own.get(metric, np.nan), clicks=click_keys(own["clicks"])))
    pairs = frames[0].merge(frames[1], on=[*ASKED, "click_index"], suffixes=("", "_b"))
    pairs = _before_own_clicks(_whole(_answered(pairs, a, b), a, b))
    dropped = _lone(a, b, pairs)
    reasons = {
        "with other clicks": pairs["clicks"] != pairs["clicks_b"],
        "with another ground truth": _differs(pairs),
        f"without {metric}": pairs[["score", "score_b"]].isna().any(axis=1),
    }
    # An instance is dropped whole, with all its draws and clicks: by those that are left it would count by
    # fewer prompts than others. It is counted under the first reason that holds for it, so the counts add up.
    of = pairs.groupby(INSTANCE, sort=False, observed=True).ngroup()
    gone = pd.Series(False, index=pairs.index)
    for why, differs in reasons.items():
        lost = of.isin(of[differs]) & ~gone
        dropped[why] = of[lost].nunique()
        gone |= lost
    pairs = pairs[~gone].rename(columns={"score": "a", "score_b": "b"})
    if "seen_b" in pairs:
        pairs["seen"] = seen_alike(pairs["seen"], pairs["seen_b"])
    return pairs.assign(difference=pairs["a"] - pairs["b"]).reset_index(drop=True), dropped


def seen_alike(a: pd.Series[Any], b: pd.Series[Any]) -> pd.Series[Any]:
    """Whether the class of each pair's instance was seen by the first method; missing where the second differs.

    A gain on unseen classes must not be over those that the other method was trained on. If the second method has no
    seen and unseen classes, the first's count.

        seen by a   by b
        yes         yes       seen
        no          yes       neither: b was trained on this class
        no          missing   unseen
    """
    if a.equals(b):
        return a
    a, b = a.astype(object), b.astype(object)
    return a.mask(a.notna() & b.notna() & a.ne(b), None)


def _before_own_clicks(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs up to the last click, data set by data set, that was the same for every instance with one first click.

    A later click that follows a method's own mask is the same for two methods only where they happened to make the same
    mistake. A mean over such instances would be over those on which the methods hardly differ:

        instance   click 1    click 2, a and b     compared
        cup        the same   (4, 7) and (9, 2)    after click 1
        fork       the same   (3, 3) and (3, 3)    after click 1, too
    """
    other = pairs["clicks"] != pairs["clicks_b"]
    first = pairs["click_index"] == pairs.groupby("dataset")["click_index"].transform("min")
    apart = pd.MultiIndex.from_frame(pairs[ASKED]).isin(pd.MultiIndex.from_frame(pairs.loc[first & other, ASKED]))
    own = pairs["click_index"].where(other & ~apart).groupby(pairs["dataset"]).transform("min")
    return pairs[own.isna() | (pairs["click_index"] < own)].reset_index(drop=True)


def _answered(pairs: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The pairs of those instances on which neither method failed, at no click and in no draw."""
    failed = pd.concat([own.loc[own["status"] != "ok", INSTANCE] for own in (a, b)])
    return pairs[~pd.MultiIndex.from_frame(pairs[INSTANCE]).isin(pd.MultiIndex.from_frame(failed))]


def _whole(pairs: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The pairs of those instances that both methods answered in every draw, click by click."""
    asked = pd.concat([a[ASKED], b[ASKED]]).drop_duplicates().groupby(INSTANCE).size().rename("of").reset_index()
    if (asked["of"] == 1).all():
        return pairs
    # An instance with three draws, of which both answered two, would count as much as any other, but by a part of its
    # clicks: those on which neither method happened to fail. That would favour methods that fail on hard clicks.
    answered = pairs.groupby([*INSTANCE, "click_index"])["draw"].transform("size")
    of = pairs[INSTANCE].merge(asked, on=INSTANCE, how="left")["of"].to_numpy()
    return pairs[answered.to_numpy() == of].reset_index(drop=True)


def _lone(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, int]:
    """How many instances have no pair, by the reason: rows of one method alone, a failure, or other prompts."""
    asked, lost = (_instances(a), _instances(b)), [_instances(own[own["status"] != "ok"]) for own in (a, b)]
    both = asked[0] & asked[1]
    return {
        "only the first was asked": len(asked[0] - both),
        "only the second was asked": len(asked[1] - both),
        "the first failed on": len(lost[0] & both),
        "the second failed on": len(lost[1] & both - lost[0]),
        "with other draws or numbers of clicks": len(both - lost[0] - lost[1] - _instances(pairs)),
    }


def _instances(rows: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(map(tuple, rows[INSTANCE].drop_duplicates().to_numpy()))


def _refuse_double(own: pd.DataFrame) -> None:
    double = own[own.duplicated([*ASKED, "click_index"])]
    if len(double):
        one = double.iloc[0]
        raise UserError(
            f"compare, {one.dataset}: {one.method} has {len(double)} rows twice, the first for instance "
            f"'{one.instance_id}'; wanted one. Do not join a run with itself."
        )


def _differs(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Whether the ground truths of both rows differ, as far as the area and the image's size show."""
    differs = pd.Series(False, index=pairs.index)
    for column in _TRUTH:
        if f"{column}_b" in pairs:
            differs |= (pairs[column] != pairs[f"{column}_b"]) & pairs[[column, f"{column}_b"]].notna().all(axis=1)
    return differs
