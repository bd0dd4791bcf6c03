"""Prints what `plan --detect` asks for: how many images a difference needs, and which difference those so far show.

With a spread of 20 points (the deviation of paired differences by image), a difference of 2 points needs
n = 7.85 (20 / 2)^2 = 785 images, and one of 1 point four times as many. 7.85 is (1.96 + 0.84)^2: the quantiles of a
normal distribution for a two-sided test at 5 % and for a power of 80 %.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console, say

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.statistics.power import Power
    from harness.storage.store import Store

_HOW = (
    "mIoU in points. A two-sided test of paired differences by images, at 5 % with a power of 80 %, needs n = 7.85 "
    "(spread / difference)^2 images, and at least six. Solved for the difference, this gives what the images so far "
    "can show. A spread from few images is uncertain: from 20 of them by a sixth, from 200 by a twentieth."
)


def known_powers(store: Store, asked: RunConfig) -> list[Power]:
    """The power of a run's rows for each two of a config's methods; empty if the run has no rows."""
    from harness.config.parts import label
    from harness.results.recorded import recorded
    from harness.statistics.power import powers

    if not store.manifest():
        return []
    rows = recorded(store).rows(coded=True)
    return powers(rows, [label(one) for one in asked.methods]) if len(rows) else []


def say_detect(store: Store, asked: RunConfig, points: float) -> None:
    """Print, for every pair of methods, how many images it takes to find a difference of `points` of mIoU."""
    from harness.config.parts import label

    found = known_powers(store, asked)
    if found:
        listing = Table(
            "Data set", "Methods", "Difference", "Spread", "Images so far", "show", f"{points:g} points need"
        )
        for one in found:
            needed = one.images_for(points / 100)
            told = [_points(value) for value in (one.difference, one.spread)]
            needs = "–" if needed is None else f"{needed:,} images"
            listing.add_row(escape(one.dataset), escape(f"{one}"), *told, str(one.images), _points(one.found), needs)
        console.print(listing)
        say(_HOW)
    named = {(one.dataset, method) for one in found for method, _ in (one.a, one.b)}
    for method, entry in asked.pairs():
        if (label(entry), label(method)) not in named:
            say(
                f"--detect: found no rows of {label(method)} and another method on {label(entry)} yet; wanted some, "
                "to estimate the spread. Run a part first: --limit 50."
            )


def _points(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"
