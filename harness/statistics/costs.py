"""Computes the time of a method's answers from its rows: measured by the worker's clock, on the worker's device.

An image is encoded once for all its instances and clicks. Each click of an instance is then timed by itself:

    image 1  encode 30 ms   a: clicks of 2 and 4 ms   b: a click of 6 ms      30 + 2 + 4 + 6 = 42 ms

which is 42 / 2 = 21 ms an instance. There are three masks, so 1000 masks take 42 / 3 = 14 s.
"""

from __future__ import annotations

import math

import pandas as pd

from harness.statistics.final_clicks import INSTANCE


def ms_an_instance(rows: pd.DataFrame) -> float:
    """The time of an instance: all its clicks and its share of the image's encoding; NaN if the rows have no times.

    If an instance has several draws of the click, the mean over them counts.

    Args:
        rows: The rows of one method and one ranking, at every click; without the instances that failed at a later one,
            or these count by a part of their clicks.
    """
    ok, times = _timed(rows)
    draws = ok[INSTANCE].assign(draw=ok.get("draw", 0), ms=times["segment_ms"])
    answers = draws.groupby([*INSTANCE, "draw"], dropna=False, observed=True)["ms"].sum()
    instances = answers.groupby(INSTANCE, observed=True).mean()
    return float(encodings_ms(ok).sum() + instances.sum()) / len(instances) if len(instances) else math.nan


def s_per_1000_masks(rows: pd.DataFrame) -> float:
    """The seconds for 1000 masks, one for each click, with the encoding of their images; NaN where rows have no times.

    If the method had a GPU to itself, these are GPU-seconds. Decoding and scoring are not counted.

    Args:
        rows: As in `ms_an_instance`.
    """
    ok, times = _timed(rows)
    # Milliseconds for one mask are seconds for a thousand: no factor is needed.
    return float(encodings_ms(ok).sum() + times["segment_ms"].sum()) / len(ok) if len(ok) else math.nan


def encodings_ms(rows: pd.DataFrame) -> pd.Series[float]:
    """The time to encode each image, a number an image.

    Args:
        rows: With `encode_ms`, as in `ms_an_instance`. Every answered row of an image repeats its time, and failed ones
            lack it; so an image counts by its first row that has it.
    """
    return rows.dropna(subset="encode_ms").drop_duplicates(["dataset", "image_id"])["encode_ms"].astype(float)


def _timed(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answered rows and their times; none where any time is missing."""
    ok = rows[rows["status"] == "ok"]
    times = ok.reindex(columns=["encode_ms", "segment_ms"]).astype(float)
    return (ok[:0], times[:0]) if times.isna().any(axis=None) else (ok, times)
