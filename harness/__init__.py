"""Promptable instance segmentation compared: one image, one click, a few words in; one mask out."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m harness` is being started: Ctrl-C is answered during its imports, too.
    from harness.interrupts import answer_at_once

    answer_at_once()

from importlib import import_module
from typing import Any

from harness.plugins.interfaces import Dataset, Learner, Method, Saliency
from harness.plugins.registry import register_dataset, register_learner, register_method, register_saliency
from harness.structures import Click, Instance, Prediction, Prompt, Sample, UserError

__version__ = "0.1.0"

LATER = {
    "compare": "harness.statistics.comparisons",
    "load": "harness.results.load",
    "summarise": "harness.statistics.means",
}
"""What notebooks ask for and workers do not: imported when it is first named, pandas with it."""

__all__ = [
    "Click",
    "Dataset",
    "Instance",
    "Learner",
    "Method",
    "Prediction",
    "Prompt",
    "Saliency",
    "Sample",
    "UserError",
    "compare",
    "load",
    "register_dataset",
    "register_learner",
    "register_method",
    "register_saliency",
    "summarise",
]


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    return getattr(import_module(LATER[name]), name)
