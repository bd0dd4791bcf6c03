"""Divides the instances of a comparison into slices, such as by size, class or number of objects under the click."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

Slice = tuple[str, str, Bool[np.ndarray, " instances"]]
"""A slice's name, its value, and which instances are in it."""

SLICES = ("dataset", "seen", "size", "same_class_count", "under_click", "category")
"""The columns by which the instances are divided, besides their number of clicks."""

SMALL, LARGE = 32**2, 96**2
"""Areas in pixels between which COCO calls an object medium."""

SIZES = ("small (< 32² px)", "medium", "large (≥ 96² px)")
"""COCO's, in this order."""


def sliced(final: pd.DataFrame, slices: Sequence[str]) -> Iterator[Slice]:
    """Each slice's name and value, and which instances are in it; a column with one value gives no slice."""
    for name in slices:
        values = _values(final, name)
        known = values[values.ne("")].dropna().unique()  # "" is the category of an instance without a class.
        if len(known) > 1:
            yield from (
                (name, str(value), (values == value).fillna(False).to_numpy(bool))
                for value in sorted(known, key=_place)
            )


def _place(value: Any) -> tuple[int, str]:
    """The key to sort by: sizes from small to large, all other values by name."""
    return (SIZES.index(value), "") if value in SIZES else (len(SIZES), str(value))


def _values(final: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name == "size" and "gt_area_px" in final:
        sizes = pd.cut(final["gt_area_px"].astype(float), [0, SMALL, LARGE, np.inf], right=False)
        return sizes.cat.rename_categories(SIZES).astype(object)
    if name == "same_class_count" and name in final:
        counts = final[name].astype(float)
        return counts.map(lambda n: "5 or more" if n >= 5 else f"{n:.0f}", na_action="ignore")
    if name == "under_click" and name in final:
        return final[name].map(lambda n: "several objects" if n > 1 else "one object", na_action="ignore")
    if name == "seen" and name in final:
        return final[name].map({True: "seen", False: "unseen"})
    return final[name] if name in final else pd.Series(np.nan, index=final.index)
