"""A logger that keeps what it is told."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness import Logger
from harness.plugins.interfaces import Ended

HEARD: list[Any] = []
"""What all of them were told, rows and ends, in this process."""


class Hears(Logger):
    """Keeps what it is told; fails in a hook, if it is asked to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def on_rows(self, rows: pd.DataFrame) -> None:
        HEARD.append(rows)
        if self.fails == "on_rows":
            raise KeyError("no such page")

    def on_end(self, ended: Ended) -> None:
        HEARD.append(ended)
