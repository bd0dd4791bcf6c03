"""Why instances failed, where a reader looks: in a table and in a line."""

from __future__ import annotations

from harness.report.failures import failures_table, in_a_line
from harness.report.rendering.markdown import to_markdown
from harness.statistics.reasons import Reason


def reason(count: int, text: str) -> Reason:
    return Reason("ours", "toys", count, text, "toy-1")


def test_the_table_has_a_line_a_reason() -> None:
    shown = to_markdown(failures_table([reason(3, "load: OSError: cut | off"), reason(1, "segment: a bug")], "r"))
    assert "Failed instances (run r)" in shown and "segment: a bug" in shown
    assert [line.split("|")[3].strip() for line in shown.splitlines() if line.startswith("| ours")] == ["3", "1"]


def test_the_line_has_the_most_frequent_reasons_and_counts_the_others() -> None:
    assert in_a_line([]) == ""
    few = in_a_line([reason(2, "load: cut off"), reason(1, "segment: a bug"), reason(1, "load: cut off")])
    assert few == "Reasons: 3 x load: cut off; 1 x segment: a bug. "
    many = [reason(9 - n, f"load: {'abcde'[n] * 300}") for n in range(5)]
    line = in_a_line(many)
    assert line.startswith(f"Reasons: 9 x load: {'a' * 194} ...; 8 x ")
    assert line.endswith("; 11 for other reasons, in report.md. ")
