"""`python -m harness weights list | fetch | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from harness.cli.terminal import console
from harness.structures import UserError
from harness.weights import catalogue as weights
from harness.weights.catalogue import Checkpoint, State

weights_app = typer.Typer(no_args_is_help=True, help="List, fetch and verify published checkpoints.")

Folder = Annotated[Path, typer.Option(help="Where the files lie.", show_default="weights/")]

NONE = "none published"

_SAID = {State.MISSING: "", State.OK: "verified", State.UNKNOWN: "there, not verified", State.WRONG: "WRONG"}


@weights_app.command(name="list")
def list_(
    name: Annotated[
        str | None, typer.Argument(help="Show url, checksum and source of this one; by default a table of all.")
    ] = None,
    folder: Folder = weights.FOLDER,
) -> None:
    """Every checkpoint that a config may name, and whether it is there."""
    if name is not None:
        _tell(weights.find(name), folder)
        return
    # `remembered` hashes nothing: hashing all files would take minutes. `verify` does it.
    listing = Table(Column("Name", no_wrap=True), "File", "Size", "Licence", "Used by", "Checksum", "Here")
    for known in weights.catalogue().values():
        algorithm = known.checksum.partition(":")[0] or NONE
        here = _SAID[weights.remembered(known, folder)] or ("by hand" if known.by_hand else "")
        row = [known.name, known.file, _size(known), known.licence, known.used_by, algorithm, here]
        listing.add_row(*map(escape, row))
    console.print(listing)
    console.print("To see the url, checksum and source of one: python -m harness weights list NAME", soft_wrap=True)


@weights_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Its name in `weights list`.")],
    force: Annotated[bool, typer.Option(help="Replace the file that is there.")] = False,
    folder: Folder = weights.FOLDER,
) -> None:
    """Download a checkpoint and check it; the same command again continues a transfer that broke off."""
    known = weights.find(name)
    if not force and (folder / known.file).is_file():
        _keep(known, folder)
        return
    columns = (TextColumn(known.file), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(known.file, total=None, visible=False)
        verdict = weights.fetch(
            known, lambda done, total: bar.update(task, completed=done, total=total, visible=True), folder
        )
    _say(known, folder, verdict)


@weights_app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Verify only this one; by default all that are there.")] = None,
    folder: Folder = weights.FOLDER,
) -> None:
    """Hash the files that are there; exit code 1 if one is not what was published."""
    wanted = list(weights.catalogue().values()) if name is None else [weights.find(name)]
    there = [known for known in wanted if (folder / known.file).is_file()]
    if not there:
        remedy = f"Fetch it: {weights.command(wanted[0], folder)}" if name else "See: python -m harness weights list"
        raise UserError(
            f"weights: nothing to verify: no {wanted[0].file if name else 'checkpoint'} in {folder}. {remedy}"
        )
    verdicts = {known: weights.verify(known, folder) for known in there}
    for known, verdict in verdicts.items():
        _say(known, folder, verdict)
    if any(verdict.state is State.WRONG for verdict in verdicts.values()):
        raise typer.Exit(1)


def _keep(known: Checkpoint, folder: Path) -> None:
    verdict = weights.verify(known, folder)
    if verdict.state is State.WRONG:
        raise UserError(
            f"weights: {folder / known.file} is there, but not what was published: found {_found(known, folder)}, "
            f"{verdict.digest}; wanted {weights.wanted(known)}. To replace it: {weights.command(known, folder)} --force"
        )
    _say(known, folder, verdict)


def _say(known: Checkpoint, folder: Path, verdict: weights.Verdict) -> None:
    wrong = f"wanted {weights.wanted(known)}; to replace it: {weights.command(known, folder)} --force"
    reason = {State.UNKNOWN: "no checksum was published", State.WRONG: wrong}.get(verdict.state)
    said = f"{verdict.state}: {reason}" if reason else str(verdict.state)
    line = f"{folder / known.file}: {said} ({_found(known, folder)}, {verdict.digest})"
    console.print(line, markup=False, soft_wrap=True)


def _tell(known: Checkpoint, folder: Path) -> None:
    here = weights.remembered(known, folder)
    absent = f"no. Fetch it: {weights.command(known, folder)}"
    facts = {
        "Name": known.name,
        "Url": known.url,
        "Size": _size(known) or NONE,
        "Checksum": known.checksum or NONE,
        "Licence": known.licence,
        "Used by": known.used_by,
        "Source": known.source,
        "Here": f"{folder / known.file}, {_SAID[here]}" if _SAID[here] else absent,
    }
    for key, value in facts.items():
        console.print(f"{key:9} {value}", markup=False, highlight=False, soft_wrap=True)


def _size(known: Checkpoint) -> str:
    return f"{known.stated_mb:g} MB" if known.stated_mb else ""


def _found(known: Checkpoint, folder: Path) -> str:
    return f"{(folder / known.file).stat().st_size:,} bytes"
