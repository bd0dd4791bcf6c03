"""`python -m harness replay`: one instance of a run asked for again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import RunFolder, loaded
from harness.cli.terminal import say, warn
from harness.messages import number_of

if TYPE_CHECKING:
    from harness.trying.replaying import Verdict

ROWS_SHOWN = 6
"""The most rows that are printed one by one if they differ."""


def replay(
    run: RunFolder,
    instance: Annotated[str, typer.Argument(metavar="ID", help="The instance's id, as in the column instance_id.")],
    method: Annotated[list[str], typer.Option(metavar="LABEL", help="Only this method; may be repeated.")] = [],  # noqa: B006
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG",
            help="A config of yours: its methods and data sets of the same labels are run in place of those that the "
            "run's folder names.",
        ),
    ] = None,
) -> None:
    """Ask a run's methods for one instance again, and compare masks and scores with the stored rows.

    Prints PASS or FAIL for each method; exit code 1 on a FAIL. This executes the run's methods. If the run's folder is
    not yours, only methods of the harness or of installed packages are executed, unless a config of yours names others.
    """
    from harness.results.recorded import recorded_at
    from harness.trying.replaying import replayed

    mine = loaded(config, [], None) if config else None
    failed = False
    for verdict in replayed(recorded_at(run), instance, method, mine):
        _tell(verdict)
        failed |= not verdict.passed
    if failed:
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    whole = f"{verdict.method} on {verdict.dataset}"
    if verdict.passed:
        say(f"PASS  {whole}: {number_of(verdict.rows, 'row')}, masks and scores as stored")
        return
    say(f"FAIL  {whole}")
    for line in verdict.differing[:ROWS_SHOWN]:
        warn(f"      {line}")
    if len(verdict.differing) > ROWS_SHOWN:
        warn(f"      and {number_of(len(verdict.differing) - ROWS_SHOWN, 'more row')}")
