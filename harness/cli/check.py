"""`python -m harness check`: short probes of a method or a data set, each with what to mend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console, say, warn
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.checking import Outcome, Subject

STYLES = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


def check(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PLUGIN|CONFIG", help="module:Class or a name of `list`; or a config, for all its plugins."
        ),
    ],
    params: Annotated[
        str, typer.Option(metavar="YAML", help="The plugin's arguments, as a config's params: '{radius: 7}'.")
    ] = "",
    method: Annotated[list[str], typer.Option(metavar="LABEL", help="Check only this method of a config.")] = [],  # noqa: B006
    dataset: Annotated[list[str], typer.Option(metavar="LABEL", help="Check only this data set of a config.")] = [],  # noqa: B006
    text: Annotated[
        list[str], typer.Option(metavar="WORDS", help="Ask a method with these words; give two or more.")
    ] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, help="Look at no more than this many images of a data set.")] = 20,
) -> None:
    """Test a method or a data set with twelve short probes; each failure says what to mend.

    harness check my_package.my_module:MyMethod --params '{radius: 7}'

    harness check quickstart --method "Text+Click"

    Exit code 1 if a probe fails.
    """
    from harness.checking import named

    given = _mapping(params)
    ended = [_shown(subject, text, limit) for subject in named(what, given, method, dataset)]
    if any(ended):
        raise typer.Exit(1)


def _shown(subject: Subject, words: list[str], limit: int) -> int:
    """Print a plugin's table; returns how many probes failed."""
    started = time.perf_counter()
    found = list(subject.outcomes(words, limit))
    noun = "data set" if subject.kind == "datasets" else "method"
    console.print(_table(f"{noun} {subject.label}", found))
    failed = [one for one in found if one.verdict == "failed"]
    took = f"{time.perf_counter() - started:.1f} s"
    if failed:
        warn(f"{noun} {subject.label}: {len(failed)} of {len(found)} probes failed, {took}")
    else:
        say(f"{noun} {subject.label}: no probe failed, {took}")
    return len(failed)


def _table(title: str, found: list[Outcome]) -> Table:
    table = Table("Probe", "", "What was found", title=escape(title), title_justify="left", show_lines=False)
    for one in found:
        mend = f"\n[dim]Mend:[/] {escape(one.mend)}" if one.mend else ""
        style = STYLES[one.verdict]
        table.add_row(escape(one.probe), f"[{style}]{one.verdict}[/]", escape(one.text) + mend)
    return table


def _mapping(text: str) -> dict[str, Any]:
    """Read `--params` as a config would.

    Raises:
        UserError: They are no mapping.
    """
    import yaml

    try:
        found = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        found = str(error).partition("\n")[0]
    if not isinstance(found, dict):
        raise UserError(f"--params {text}: wanted a mapping as in a config, such as '{{radius: 7}}'.")
    return found
