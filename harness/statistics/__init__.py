"""Means, intervals, paired comparisons and click counts, made from rows."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.statistics.comparisons import Comparison, compare
    from harness.statistics.final_clicks import FinalClicks
    from harness.statistics.means import summarise

__all__ = ["Comparison", "FinalClicks", "compare", "summarise"]
__getattr__ = imported_when_asked(
    __name__,
    {"Comparison": "comparisons", "FinalClicks": "final_clicks", "compare": "comparisons", "summarise": "means"},
)
