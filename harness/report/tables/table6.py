"""The paper's Table 6: RITM, which is given the click alone, against ours, with what each was trained on."""

from __future__ import annotations

import pandas as pd

from harness.report.comparison import OURS, RITM, Versus
from harness.report.context import Context
from harness.report.layout import Table
from harness.report.registry import table


@table("table6")
def table6(rows: pd.DataFrame, context: Context) -> Table:
    """RITM against ours, with training and evaluation data: overall, seen and unseen means."""
    return Versus(6, "Table 6: RITM against ours, on seen and unseen classes", (RITM, OURS), trained=True).build(
        rows, context
    )
