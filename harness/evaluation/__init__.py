"""Evaluates one shard in one process: images in, rows out; no Ray, no disk."""

from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol

__all__ = ["Evaluation", "Names", "Protocol"]
