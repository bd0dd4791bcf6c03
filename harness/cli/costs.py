"""`python -m harness plan CONFIG --cost`: each method's parameters and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console, say, warn

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig

MILLION, BILLION = 1e6, 1e9


def say_costs(config: RunConfig) -> None:
    """Print each method's parameters, and its operations for one picture as torch counts them."""
    from harness.trying.costs import costs

    (height, width), found = costs(config)
    listing = Table("Method", "Parameters, M", "GFLOP per image", "GFLOP per prompt")
    for one in found:
        said = (f"{one.image_operations / BILLION:.3f}", f"{one.prompt_operations / BILLION:.3f}")
        listing.add_row(escape(one.label), f"{one.parameters / MILLION:.2f}", *(("", "") if one.error else said))
        if one.error:
            warn(f"{one.label} gave no answer: {one.error}")
    console.print(listing)
    say(f"Counted by torch on one picture of {width} x {height}: a multiply and an add are two operations.")
