"""What rows remember of their metrics, wherever they go."""

import pandas as pd

from harness.plugins.scale import SHARE
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.scales import scale_of, with_metrics

SAID = {"missed_px": {"higher_is_better": False, "bounds": [0, None], "unit": "px"}}


def test_parts_of_rows_and_what_means_are_over_remember(pair: pd.DataFrame) -> None:
    rows = with_metrics(pair.assign(missed_px=1.0), SAID)
    final = FinalClicks.of(rows)
    for own in (rows, rows[rows["method"] == "ours"], final.rows, final.every, final.segmented):
        assert scale_of(own, "missed_px").unit == "px" and scale_of(own, "iou") == SHARE
    assert scale_of(final.where(final.rows["method"] == "ours").rows, "missed_px").sign == -1


def test_rows_that_nobody_told_are_of_shares(pair: pd.DataFrame) -> None:
    assert scale_of(pair, "missed_px") == SHARE
