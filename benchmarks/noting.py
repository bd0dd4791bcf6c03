"""A method that notes its prompts, so that work that was done twice can be counted."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness import Click, Method, Prediction
from harness.plugins.interfaces import clicks_of
from harness.structures import Image

NOTES = "HARNESS_NOTES"
"""The variable with the file that each prompt adds a line to; without it nothing is noted, and nothing waits."""

TAKES_S = 0.02


class Noting(Method):
    """A disc around the last click."""

    uses_text = False  # Declared, since a start prompts a method that does not declare it with other words, too.

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:  # noqa: ARG002
        """The disc, after a moment in which a model would work."""
        if notes := os.environ.get(NOTES):
            with Path(notes).open("a") as file:
                file.write("asked\n")
            time.sleep(TAKES_S)
        last = clicks_of(click)[-1]
        rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
        return Prediction(((rows - last.y) ** 2 + (columns - last.x) ** 2 < 30)[None])
