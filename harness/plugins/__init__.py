"""The plugins' interfaces, and their registration, search by name, checks and building."""

from harness.plugins.interfaces import Dataset, Learner, Method, Saliency
from harness.plugins.registry import find, names

__all__ = ["Dataset", "Learner", "Method", "Saliency", "find", "names"]
