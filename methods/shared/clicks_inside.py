"""Common to methods that are clicked: checks that the clicks lie in the image."""

from __future__ import annotations

from collections.abc import Sequence

from harness.structures import Click


def check_clicks(clicks: Sequence[Click], size: tuple[int, int]) -> None:
    """Refuse clicks that lie outside the image of (h, w), such as those of a caller who swaps x and y.

    Raises:
        ValueError: At least one does.
    """
    height, width = size
    for click in clicks:
        if not (0 <= click.x < width and 0 <= click.y < height):
            raise ValueError(f"found a click at x={click.x}, y={click.y}; wanted one on the {width} x {height} image.")
