"""Promptable instance segmentation compared: one image, one click, a few words in; one mask out."""

from harness.interfaces import Dataset, Learner, Method, Saliency
from harness.registry import register_dataset, register_learner, register_method, register_saliency
from harness.structures import Click, Instance, Prediction, Prompt, Sample, UserError

__version__ = "0.1.0"

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
    "register_dataset",
    "register_learner",
    "register_method",
    "register_saliency",
]
