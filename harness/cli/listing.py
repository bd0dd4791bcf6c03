"""`python -m harness list`: every name that a config may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console
from harness.structures import UserError


class Kind(StrEnum):
    """What `list` lists."""

    methods = "methods"
    datasets = "datasets"
    saliency = "saliency"
    learners = "learners"
    metrics = "metrics"
    clicks = "clicks"
    tables = "tables"


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """Every name that a config may use, with one line on each."""
    listing = Table("Name", "What it is")
    for name, line in _described(kind.value):
        listing.add_row(escape(name), escape(line))
    console.print(listing)


def _described(kind: str) -> list[tuple[str, str]]:
    if kind == "metrics":
        from harness.masks.metrics import METRICS

        return [(name, metric.description) for name, metric in METRICS.items()]
    if kind == "clicks":
        from harness.clicks import STRATEGIES

        return [(name, _first_line(function)) for name, function in STRATEGIES.items()]
    if kind == "tables":
        from harness.report.registry import tables

        return [(name, _first_line(builder)) for name, builder in tables().items()]
    from harness.plugins import registry

    return [(name, _plugin_line(kind, name)) for name in registry.names(kind)]


def _plugin_line(kind: str, name: str) -> str:
    """What a plugin's docstring says, or why it cannot be imported: a broken one hides no other."""
    from harness.plugins import registry

    try:
        return _first_line(registry.find(kind, name))
    except UserError as error:
        return f"broken: {error}"


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]
