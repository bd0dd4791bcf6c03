"""Runs of fakes on fakes: configs, as they are written, and a watcher that keeps what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome

OUTSIDE = Path(__file__).parent / "outside"
"""Modules that are on no path."""
STEADY: dict[str, Any] = {"name": "fakes:Steady", "label": "steady"}
WIDE: dict[str, Any] = {"name": "fakes:Steady", "label": "wide", "params": {"reach": 8}}
TOYS: dict[str, Any] = {"name": "fakes:Toys", "label": "toys", "params": {"count": 6}}


class Quiet:
    """A watcher that prints nothing; a run that trains nothing gives it no training."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.outcomes: list[Outcome] = []

    @property
    def images(self) -> int:
        """Number of images that were worked on, not found done."""
        return sum(outcome.samples for outcome in self.outcomes)

    def begins(self, what: str) -> None:
        """What begins matters to no test of these."""

    def training(self, method: str, progress: Any) -> None:
        raise AssertionError("nothing to train")

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        self.done = dict(done)

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


SHOWN: dict[str, Any] = {"tables": ["leaderboard"]}
"""What a config says that prints a table."""


def written(path: Path, **changed: Any) -> Path:
    """A config that runs `steady` on six toys without Ray and prints no table, which would take half of its time."""
    known: dict[str, Any] = {
        "run": path.stem,
        "datasets": [TOYS],
        "methods": [STEADY],
        "workers": {"executor": "local", "samples_per_shard": 2},
        "tables": [],
        "max_failures": 1.0,
    }
    path.write_text(yaml.safe_dump(known | changed))
    return path
