"""`python -m harness watch`, `verify` and `merge`: commands on the folders and buckets of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import AsJson, RunFolder, loaded
from harness.cli.terminal import console, say, warn
from harness.interrupts import in_order


def watch(run: RunFolder, as_json: AsJson = False) -> None:
    """Show how a run goes, from another shell, until it ends."""
    from harness.running.watch import follow

    follow(run, console, as_json)


def verify(
    run: RunFolder,
    data: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="A config of this machine; check that its data sets list the same images."),
    ] = None,
) -> None:
    """Prove that a run is complete and as it was written: every shard, row and result; exit code 1 if it is not.

    The run's folder is all that is needed. With --data its images and instances are compared with the data sets, too.
    """
    from harness.storage.store import found_at
    from harness.storage.verify import verified

    found = verified(found_at(run), loaded(data, [], None).datasets if data else ())
    for line in found.proved:
        say(f"proved: {line}")
    for line in found.unproved:
        say(f"not looked at: {line}")
    for line in found.lacking:
        warn(f"missing: {line}")
    lacking = len(found.lacking)
    say(f"{run}: {f'missing or wrong: {lacking}, see above.' if lacking else 'complete.'}")
    if lacking:
        raise typer.Exit(1)


def merge(
    sources: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or buckets of runs.")],
    into: Annotated[str, typer.Option("--into", "-o", help="The folder of the merged run; it is made, or added to.")],
) -> None:
    """Put the rows of several runs, of other machines or other methods, into one run."""
    from harness.storage.folder import Folder
    from harness.storage.merge import merged
    from harness.storage.store import Store, found_at

    with in_order():
        copied, rows = merged([found_at(source) for source in sources], Store(Folder.at(into)))
    say(f"{into}: {copied} shards copied, {rows} rows in results.parquet.")
    say(f"python -m harness verify {shlex.quote(into)}; python -m harness report {shlex.quote(into)}")
