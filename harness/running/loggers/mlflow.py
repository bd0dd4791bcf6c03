"""A run's config, its means so far and its end for MLflow (`pip install mlflow-skinny`, the extra `mlflow`)."""

from __future__ import annotations

import re

import pandas as pd

from harness.plugins.interfaces import Ended, Logger
from harness.plugins.registry import register_logger
from harness.running.means_so_far import MeansSoFar
from harness.structures import UserError

_REFUSED = re.compile(r"[^\w.\- :/]")
"""The signs that MLflow refuses in a metric's name, such as the comma of "SAM, confidence"."""


@register_logger("mlflow")
class Mlflow(Logger):
    """Each metric's mean so far, by data set, method and click, over the instances that are done.

    MLflow reads the server's address and the access rights from its own environment variables (MLFLOW_TRACKING_URI).

    Args:
        experiment: The experiment; each start of a run becomes one of its runs.
    """

    def __init__(self, experiment: str = "harness") -> None:
        try:
            import mlflow  # here, so that `list loggers` does without it
        except ModuleNotFoundError as error:
            raise UserError(f"{error}; wanted MLflow. Install it: pip install mlflow-skinny") from error
        self.means, self.client = MeansSoFar(), mlflow.MlflowClient()
        found = self.client.get_experiment_by_name(experiment)
        self.experiment = found.experiment_id if found else self.client.create_experiment(experiment)
        self.run = ""

    def on_rows(self, rows: pd.DataFrame) -> None:
        """Add a point to the curves."""
        if not self.run:
            self.run = self.client.create_run(self.experiment, run_name=rows["run"].iloc[0]).info.run_id
        for name, (mean, count) in self.means.add(rows).items():
            self.client.log_metric(self.run, _REFUSED.sub("_", name.replace("@", " at ")), mean, step=count)

    def on_end(self, ended: Ended) -> None:
        """Close the run, with its exit code and its folder."""
        if self.run:
            self.client.set_tag(self.run, "folder", ended.folder)
            self.client.set_tag(self.run, "exit_code", str(ended.exit_code))
            self.client.set_terminated(self.run, "FAILED" if ended.exit_code else "FINISHED")
