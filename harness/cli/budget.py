"""`run --budget 20m`: takes as many images as fit into a time, and prints which difference they can show."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from harness.cli.power import known_powers
from harness.cli.terminal import say
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.running.one_run import Watcher

_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def seconds_of(time: str) -> int:
    """`1h30m`, `20m` or `90s` as seconds.

    Raises:
        UserError: It is none of these, or no time at all.
    """
    found = _TIME.fullmatch(time.strip())
    hours, minutes, seconds = (int(one or 0) for one in found.groups()) if found else (0, 0, 0)
    if not (total := 3600 * hours + 60 * minutes + seconds):
        raise UserError(f"--budget: found '{time}'; wanted a time above zero such as 20m, 90s or 1h30m.")
    return total


def part_within(
    asked: RunConfig,
    budget: str,
    watcher: Watcher,
    address: str | None = None,
    runs: str | None = None,
    as_json: bool = False,
) -> RunConfig:
    """Reduce the config to as many images as the budget suffices for, and print a line on that.

    Raises:
        UserError: The time cannot be read, or as `running.budget.within`.
    """
    from harness.running.budget import within

    budget_s = seconds_of(budget)
    part = within(asked, budget_s, watcher, address, runs)
    if not as_json:
        # Every data set keeps its first images, so the smallest possible part may take longer than the budget.
        over = (
            ", which is more than the budget: every data set keeps at least its first images"
            if part.seconds > budget_s
            else ""
        )
        where = f"{part.workers} worker{'s' * (part.workers > 1)}"
        say(
            f"--budget {budget}: {part.images} of {part.of} images, about {part.seconds:.0f} s on {where}, "
            f"without loading{over}."
        )
    return part.config


def say_found(asked: RunConfig, runs: str | None = None) -> None:
    """Print for each two methods the smallest difference that the run's images can show."""
    from harness.storage.store import store_of

    for one in known_powers(store_of(asked.run, runs), asked):
        if not math.isnan(one.found):
            say(
                f"{one.dataset}, {one}: {one.images} images show a difference of {100 * one.found:.2f} points of "
                "mIoU in 80 of 100 runs."
            )
