"""Tables made from rows, beside the numbers that the paper published."""

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts

__all__ = ["Context", "MethodFacts", "build_table"]
