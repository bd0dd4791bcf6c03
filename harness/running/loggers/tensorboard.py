"""Curves of a run's means for TensorBoard, written by tensorboardX, which is there anyway."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

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
        self.writer: SummaryWriter | None = None

    def on_rows(self, rows: pd.DataFrame) -> None:
        """Add a point to the curves."""
        if self.writer is None:
            self.writer = SummaryWriter(str(self.folder / rows["run"].iloc[0]))
        for name, (mean, count) in self.means.add(rows).items():
            self.writer.add_scalar(name, mean, count)

    def on_end(self, ended: Ended) -> None:
        """Write how the run ended, as text, and close the file."""
        if self.writer is not None:
            self.writer.add_text("ended", f"exit code {ended.exit_code} {ended.error}".strip())
            self.writer.close()
