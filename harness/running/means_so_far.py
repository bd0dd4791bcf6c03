"""Running means of a run's metrics while its rows come in, for loggers.

They are over the images that happen to be done first, so they are no results.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from harness.storage.rows import metrics_in


class MeansSoFar:
    """Sums of each metric, by data set, method, ranking and click."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def add(self, rows: pd.DataFrame) -> dict[str, tuple[float, int]]:
        """Add rows.

        Returns:
            The means that changed: `scenes/SAM/iou@1` -> the mean, and the number of rows. A method with several
            rankings has one for each, `scenes/SAM, confidence/iou@1`.
        """
        changed: dict[str, tuple[float, int]] = {}
        ok = rows[rows["status"] == "ok"]
        for (dataset, method, ranking, click), own in ok.groupby(["dataset", "method", "ranking", "click_index"]):
            who = f"{dataset}/{method}" + ("" if ranking == "single" else f", {ranking}")
            for metric in metrics_in(rows):
                name, values = f"{who}/{metric}@{click}", own[metric].dropna()
                self.sums[name] += float(values.sum())  # type: ignore[assignment]
                self.counts[name] += len(values)
                if self.counts[name]:
                    changed[name] = (self.sums[name] / self.counts[name], self.counts[name])
        return changed
