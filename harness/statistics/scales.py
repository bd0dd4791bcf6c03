"""The scales that a run declares for its metrics; rows carry them from the manifest to the code that computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from harness.plugins.scale import Scale

_METRICS = "metrics"


class Remembered(dict[Any, Any]):
    """A value in the rows' `attrs`; it never changes, so all copies of the rows share it."""

    # pandas copies `attrs` deeply in every operation on a table, which took 5 % of the time of `report`.
    def __deepcopy__(self, memo: object) -> Remembered:
        return self


def with_metrics(rows: pd.DataFrame, metrics: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The rows with the manifest's entries on their metrics in `attrs`, which pandas keeps with any part of them."""
    rows.attrs[_METRICS] = Remembered({name: dict(said) for name, said in metrics.items()})
    return rows


def scale_of(rows: pd.DataFrame, metric: str) -> Scale:
    """A metric's scale by its rows' `attrs`; if these lack it, a share that is better when higher."""
    return Scale.read(rows.attrs.get(_METRICS, {}).get(metric, {}))
