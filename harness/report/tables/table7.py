"""The paper's Table 7: Table 4 by boundary IoU."""

from __future__ import annotations

import pandas as pd

from harness.report.comparison import OURS, SAM, Versus
from harness.report.context import Context
from harness.report.layout import Table
from harness.report.registry import table


@table("table7")
def table7(rows: pd.DataFrame, context: Context) -> Table:
    """Ours against SAM by its confidence, by boundary IoU: overall, seen and unseen means."""
    versus = Versus(7, "Table 7: ours against SAM, by boundary IoU", (OURS, SAM), "boundary_iou", "boundary mIoU")
    return versus.build(rows, context)
