"""What a run declares of its metrics, carried by its rows from the manifest to the code that computes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.plugins.scale import Scale

_METRICS = "metrics"


class Remembered(dict[Any, Any]):
    """What rows remember in their `attrs`; never changed, so that all copies may share it."""

    # pandas copies `attrs` deeply in every operation on a table: 5 % of the time of `report`.
    def __deepcopy__(self, memo: object) -> Remembered:
        return self


def with_metrics(rows: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The rows, which remember what the manifest says of their metrics; pandas keeps that with any part of them."""
    rows.attrs[_METRICS] = Remembered({name: dict(said) for name, said in metrics.items()})
    return rows


def scale_of(rows: pd.DataFrame, metric: str) -> Scale:
    """A metric's scale as its rows remember it; where they do not, a share for which higher is better."""
    return Scale.read(rows.attrs.get(_METRICS, {}).get(metric, {}))
