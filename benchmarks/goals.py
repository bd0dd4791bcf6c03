"""What a benchmark says of a goal."""

from __future__ import annotations


def verdict(met: bool, goal: str) -> str:
    """`at least 6x: met`, in rich's colours."""
    return f"{goal}: {'[green]met' if met else '[red]missed'}"
