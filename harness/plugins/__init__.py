"""What plugins promise, and how they are registered and found by name, checked and built."""

from harness.plugins.interfaces import Dataset, Learner, Method, Saliency
from harness.plugins.registry import find, names

__all__ = ["Dataset", "Learner", "Method", "Saliency", "find", "names"]
