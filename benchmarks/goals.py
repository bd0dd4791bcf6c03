"""Says whether a benchmark's figure meets its goal."""

from __future__ import annotations


def verdict(met: bool, goal: str) -> str:
    """`at least 6x: met`, in rich's colours."""
    return f"{goal}: {'[green]met' if met else '[red]missed'}"
