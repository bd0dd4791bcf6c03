"""How a training job went: a Parquet file and TensorBoard's events, kept after it is done."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.fitting import Progress

METRICS = "metrics.parquet"
"""The file's name in the job's folder: a row a report, `Progress` with the time in seconds since 1970."""

_SCHEMA = pa.schema(
    [("step", pa.int64()), ("steps", pa.int64())]
    + [(name, pa.float64()) for name in ("loss", "lr", "steps_per_s", "waited", "validation", "time_s")]
)


class Journal:
    """Writes every report down; a resumed job goes on where it resumed, so that no step stands there twice.

    Args:
        folder: The job's own; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] | None = None

    def add(self, progress: Progress) -> None:
        """Keep a report."""
        if self.rows is None or (self.rows and progress.step <= self.rows[-1]["step"]):  # A worker that was replaced.
            self.close()
            self._open(progress.step)
        assert self.rows is not None
        self.rows.append({**asdict(progress), "time_s": time.time()})
        temporary = self.folder / f"{METRICS}.tmp"
        pq.write_table(pa.Table.from_pylist(self.rows, _SCHEMA), temporary)
        temporary.replace(self.folder / METRICS)
        for name in ("loss", "lr", "steps_per_s", "waited", "validation"):
            if (value := getattr(progress, name)) is not None:
                self.events.add_scalar(name, value, progress.step)
        self.events.flush()

    def _open(self, step: int) -> None:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = [{**row} for row in self.kept() if row["step"] < step]
        self.events = SummaryWriter(str(self.folder), purge_step=step)

    def kept(self) -> list[dict[str, float]]:
        """The rows of earlier starts."""
        path = self.folder / METRICS
        return pq.read_table(path).to_pylist() if path.is_file() else []

    def close(self) -> None:
        """Let go of the events' file."""
        if self.rows is not None:
            self.events.close()
