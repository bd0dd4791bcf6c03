"""The paper's Table 4: ours, trained on the seen classes, against SAM ranked by its own confidence."""

from __future__ import annotations

import pandas as pd

from harness.report.comparison import OURS, SAM, Versus
from harness.report.context import Context
from harness.report.layout import Table
from harness.report.registry import table


@table("table4")
def table4(rows: pd.DataFrame, context: Context) -> Table:
    """Ours against SAM by its confidence: overall, seen and unseen means of each data set."""
    return Versus(4, "Table 4: ours against SAM, on seen and unseen classes", (OURS, SAM)).build(rows, context)
