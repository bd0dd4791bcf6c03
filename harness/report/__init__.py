"""Tables made from rows, beside the numbers that the paper published."""

from harness.report.context import Context, MethodFacts
from harness.report.registry import build_table

__all__ = ["Context", "MethodFacts", "build_table"]
