"""Rows click by click -> how many clicks a method needs, and how its IoU grows with them.

Every number is over whole sequences: instances with a mask after every round of the protocol. An instance whose
sequence broke off, or never began, is counted as failed and enters no other number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from harness.statistics.final_clicks import ASKED, INSTANCE
from harness.structures import UserError

QUALITIES = (0.8, 0.85, 0.9, 0.95)
"""IoUs at which the clicks are counted."""


@dataclass(frozen=True, eq=False)
class Sequences:
    """The IoU of n instances after each of k rounds, by one method and ranking on one data set.

    Attributes:
        instances: Their names, sorted.
        ious: 0 to 1, a line for each instance; for several draws of the click, the mean over them.
        clicks: How many clicks had been made at the end of each round.
        failed: How many instances lack a whole sequence in any of their draws.
        drawn: As `ious`, but a line for each draw; equal to `ious` if each instance has one draw.
        owners: For each line of `drawn`, the place of its instance in `instances`.
    """

    instances: pd.Index[Any]
    ious: Float64[np.ndarray, "n k"]
    clicks: Int64[np.ndarray, " k"]
    failed: int
    drawn: Float64[np.ndarray, "m k"]
    owners: Int64[np.ndarray, " m"]

    def none(self) -> Sequences:
        """The same protocol over no instance."""
        empty = {name: getattr(self, name)[:0] for name in ("instances", "ious", "drawn", "owners")}
        return replace(self, **empty)

    def noc(self, quality: float) -> float:
        """Mean number of clicks until the IoU is at least `quality`, 0 to 1; a failure counts as the last click.

        Three instances by a protocol of four clicks, at quality 0.9:

            after click   1      2      3      4      needs
                          0.92   0.95   0.96   0.96   1
                          0.70   0.85   0.91   0.89   3, for it was good enough once
                          0.30   0.40   0.60   0.70   4, as if the last click had done it

        NoC@90 is (1 + 3 + 4) / 3 = 2.67. A failure counts as the last click, as in RITM, so read NoC only together
        with the number of failures. NaN without instances. IoUs are compared in float32, in which RITM keeps them.

        Source: `compute_noc_metric` in `isegm/inference/utils.py` of
        https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.
        """
        return float(self.needed(quality).mean()) if len(self.ious) else float("nan")

    def nof_ritm(self, quality: float) -> int:
        """How many need the last click: RITM's ">=20", which also counts those that are good enough just then.

        With several draws, an instance counts by the share of its draws that do, and the sum is rounded.
        """
        return round(self._over_draws(self._needed(quality) == self.clicks.max(initial=0)).sum())

    def nof_strict(self, quality: float) -> int:
        """How many never reach the quality; draws are counted as in `nof_ritm`."""
        never = np.logical_not(self._reached(quality).any(axis=1))
        return round(self._over_draws(never).sum())

    def areas(self) -> Float64[np.ndarray, " n"]:
        """Each instance's area under IoU against clicks, from the first round to the last, as a share of the whole.

        0 to 1, by the trapezoidal rule, as in RClicks (https://arxiv.org/abs/2410.11722). NaN with one round.
        """
        # Between two rounds the curve is taken as a straight line: width times the mean of both ends. IoU 0.6, 0.8, 0.8
        # after 1, 2 and 4 clicks: 1 * 0.7 + 2 * 0.8 = 2.3 of at most 3, an area of 0.77.
        if len(self.clicks) < 2:
            return np.full(len(self.ious), np.nan)
        areas: Float64[np.ndarray, " n"] = (self.ious[:, 1:] + self.ious[:, :-1]) / 2 @ np.diff(self.clicks)
        return areas / (self.clicks[-1] - self.clicks[0])

    def _reached(self, quality: float) -> np.ndarray:
        reached: np.ndarray = self.drawn.astype(np.float32) >= np.float32(quality)
        return reached

    def needed(self, quality: float) -> Float64[np.ndarray, " n"]:
        """The clicks that each instance needs, as `noc` counts them; the mean over its draws."""
        return self._over_draws(self._needed(quality))

    def _over_draws(self, values: np.ndarray) -> Float64[np.ndarray, " n"]:
        """A value a draw -> each instance's mean over its draws."""
        count = len(self.instances)
        sums: Float64[np.ndarray, " n"] = np.bincount(self.owners, values.astype(np.float64), count)
        return sums / np.bincount(self.owners, minlength=count)

    def _needed(self, quality: float) -> Int64[np.ndarray, " m"]:
        """The clicks that each draw needs."""
        reached = self._reached(quality)
        last = self.clicks.max(initial=0)
        # `argmax` of booleans is the first True. It is 0 where there is none, which the last line replaces.
        first = self.clicks[reached.argmax(axis=1)] if len(self.clicks) else np.zeros(len(reached), np.int64)
        return np.where(reached.any(axis=1), first, last)


def sequences(rows: pd.DataFrame, metric: str = "iou") -> Sequences:
    """The sequences in the rows of one data set, method and ranking.

    Args:
        rows: With the method's failed rows.
        metric: A metric of the rows, by its column.

    Raises:
        UserError: An instance has two rows after one click of one draw.
    """
    rows = rows if "draw" in rows else rows.assign(draw=0)
    ok = rows[(rows["status"] == "ok") & rows[metric].notna()]
    key = [*ASKED, "click_index"]
    double = ok[ok.duplicated(key)]
    if len(double):
        one = double.iloc[0]
        raise UserError(
            f"sequences, {one.dataset}: instance '{one.instance_id}' has two rows after click {one.click_index}; "
            "wanted those of one method, ranking and run."
        )
    asked = rows[ASKED].drop_duplicates()
    wide = ok.pivot(index=ASKED, columns="click_index", values=metric).sort_index(axis=1)
    wide = wide.reindex(pd.MultiIndex.from_frame(asked)).sort_index()
    # A sequence is dropped for one of two reasons: the instance has a failed row (`broken`), or it lacks a round that
    # others have (`short`, NaN in the table of draws x clicks, which has a line for each draw, scored or not).
    lines = pd.MultiIndex.from_frame(wide.index.to_frame()[INSTANCE])
    broken = pd.MultiIndex.from_frame(rows.loc[rows["status"] != "ok", INSTANCE])
    short = lines[wide.isna().any(axis=1)]
    # By instance, not by draw: if one draw broke off, the instance's other draws are left out, as in all other means.
    kept = ~lines.isin(broken) & ~lines.isin(short)
    drawn, lines = wide[kept], lines[kept]
    whole = drawn.groupby(INSTANCE, sort=True).mean()
    owners = whole.index.get_indexer(lines).astype(np.int64)
    ious, by_draw = (one.to_numpy(dtype=np.float64) for one in (whole, drawn))
    clicks = wide.columns.to_numpy(dtype=np.int64)
    return Sequences(whole.index, ious, clicks, len(asked[INSTANCE].drop_duplicates()) - len(whole), by_draw, owners)
