"""A disk around the last click: replace it by a method of your own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness import Click, Method, Prediction


class Disk(Method):
    """A disk around the last click.

    Args:
        radius: In pixels.
    """

    uses_text = False

    def __init__(self, radius: float = 20.0) -> None:
        self.radius = radius

    def predict(self, image: np.ndarray, click: Click | Sequence[Click], text: str | None) -> Prediction:
        """The disk, bool (1, h, w); the words are not looked at."""
        last = click if isinstance(click, Click) else click[-1]
        ys, xs = np.ogrid[: image.shape[0], : image.shape[1]]
        return Prediction(((xs - last.x) ** 2 + (ys - last.y) ** 2 <= self.radius**2)[None])
