"""Curves of a run's means for TensorBoard, written by tensorboardX, which is there anyway."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
from tensorboardX import summary  # type: ignore[import-untyped]
from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

from harness.plugins.interfaces import Ended, Logger
from harness.plugins.registry import register_logger
from harness.running.means_so_far import MeansSoFar


@register_logger("tensorboard")
class TensorBoard(Logger):
    """Each metric's mean so far, by data set, method and click, over the instances that are done.

    Args:
        folder: The folder in which each run gets its own, for `tensorboard --logdir FOLDER`.
    """

    def __init__(self, folder: Path = Path("runs/tensorboard")) -> None:
        self.folder, self.means = folder, MeansSoFar()
        self.writer: Any = None

    def on_rows(self, rows: pd.DataFrame) -> None:
        """Add a point to the curves.

        Raises:
            OSError: It cannot be written, as on a full disk.
        """
        # Not by tensorboardX's SummaryWriter: its thread dies on a full disk, its queue of ten fills up, and the run
        # would wait for ever. The number of the process keeps parts that start in one second out of each other's file.
        if self.writer is None:
            own = self.folder / str(rows["run"].iloc[0])
            own.mkdir(parents=True, exist_ok=True)
            self.writer = EventsWriter(str(own / "events"), f".{os.getpid()}")
        for name, (mean, count) in self.means.add(rows).items():
            self._add(summary.scalar(name, mean), count)
        self.writer.flush()

    def on_end(self, ended: Ended) -> None:
        """Write how the run ended, as text, and close the file."""
        if self.writer is not None:
            self._add(summary.text("ended", f"exit code {ended.exit_code} {ended.error}".strip()))
            self.writer.close()

    def _add(self, what: Any, step: int = 0) -> None:
        self.writer.write_event(Event(wall_time=time.time(), step=step, summary=what))
