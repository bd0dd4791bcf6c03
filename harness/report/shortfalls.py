"""Sentences on what a run's tables lack: data sets that no table shows, and methods without some of the rows.

Every command that prints tables prints these sentences, and ends with exit code 1 if there is one.
"""

from __future__ import annotations

from collections.abc import Collection

from harness.report.context import Context
from harness.statistics.expected import lacking, no_rows
from harness.statistics.final_clicks import FinalClicks


def shortfalls(
    run: str, final: FinalClicks, context: Context, methods: Collection[str] | None = None
) -> tuple[str, ...]:
    """Name the data sets that no table shows and the methods whose rows are incomplete, with a sentence for each.

    Args:
        run: The run's folder, as the sentences name it.
        final: All of the run's rows.
        context: The run's context, with the number of expected instances.
        methods: The labels of the methods to look at; by default all.
    """
    expected, gaps = context.expected_instances, lacking(final, context.expected_instances)
    sentences = [
        f"{run}: {'at least ' if context.uncounted.get(job) else ''}{missing} of {expected[job]} instances of {job[1]} "
        f"{no_rows(final.partial.get(job, 0))} of {job[0]}."
        for job, missing in gaps.items()
        if missing and (methods is None or job[0] in methods)
    ]
    return (*final.withheld.values(), *sentences)
