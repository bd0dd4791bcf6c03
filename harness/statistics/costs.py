"""What a method's answers took, of the times in its rows: by the worker's clock, on whatever device it ran.

An image is encoded once for all its instances and clicks, and each click of an instance is answered by itself:

    image 1  encode 30 ms   a: clicks of 2 and 4 ms   b: a click of 6 ms      30 + 2 + 4 + 6 = 42 ms

which is 21 ms for each of the two instances, and 14 s for 1000 masks: here there are three.
"""

from __future__ import annotations

import math

import pandas as pd

from harness.statistics.final_clicks import INSTANCE


def ms_an_instance(rows: pd.DataFrame) -> float:
    """What an instance takes, all its clicks, with its share of the image's encoding; NaN where the rows have no times.

    Where an instance was asked several times (draws), the mean of these counts.

    Args:
        rows: One method's with one ranking, at every click.
    """
    ok, times = _timed(rows)
    draws = ok[INSTANCE].assign(draw=ok.get("draw", 0), ms=times["segment_ms"])
    answers = draws.groupby([*INSTANCE, "draw"], dropna=False, observed=True)["ms"].sum()
    instances = answers.groupby(INSTANCE, observed=True).mean()
    return (_encoding_ms(ok, times) + float(instances.sum())) / len(instances) if len(instances) else math.nan


def s_per_1000_masks(rows: pd.DataFrame) -> float:
    """The seconds for 1000 masks, a mask a click, with their share of encoding; NaN where the rows have no times.

    They are GPU-seconds where the method ran on a GPU, alone on it; decoding and scoring are not counted.

    Args:
        rows: As `ms_an_instance`.
    """
    ok, times = _timed(rows)
    answers = float(times["segment_ms"].sum())
    return (_encoding_ms(ok, times) + answers) / len(ok) if len(ok) else math.nan  # ms a mask are s a thousand


def _timed(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answered rows and their times; none where any time is missing."""
    ok = rows[rows["status"] == "ok"]
    times = ok.reindex(columns=["encode_ms", "segment_ms"]).astype(float)
    return (ok[:0], times[:0]) if times.isna().any(axis=None) else (ok, times)


def _encoding_ms(ok: pd.DataFrame, times: pd.DataFrame) -> float:
    """Every image's encoding, once."""
    return float(times["encode_ms"][~ok.duplicated(["dataset", "image_id"])].sum())
