"""Masks that were made elsewhere, looked up in a file of COCO's results, so that they are scored as any method's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.masks import coco_results
from harness.masks.segmentations import decode
from harness.plugins.interfaces import Group, Method
from harness.plugins.registry import register_method
from harness.structures import Image, Mask, Prediction, Prompt


@register_method("predictions")
class Predictions(Method):
    """Masks made elsewhere: each prompt gets those that a file has for its instance, and fails if there are none.

    It computes nothing, and cannot check that the masks were made for the clicks and words in the rows: their author
    must ensure this. Several masks of one instance are candidates, which their scores rank as "confidence".

    Args:
        file: COCO's results with instances' ids (`harness/masks/coco_results.py`); hashed as weights are.
    """

    needs_click = False
    told_instances = True

    def __init__(self, file: Path) -> None:
        self.file = file
        self.results = coco_results.read(file)

    def encode(self, images: Sequence[Image]) -> list[Any]:
        """The images' (h, w), which is all that `segment` needs."""
        return [image.shape[:2] for image in images]

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """The candidates of each prompt's instance.

        Raises:
            ValueError: The file has none, or one that is no mask of the image's size.
        """
        return [[self._answer(prompt, size) for prompt in prompts] for size, prompts in groups]

    def _answer(self, prompt: Prompt, size: tuple[int, int]) -> Prediction:
        if not prompt.instance:
            raise ValueError(
                f"{self.file.name} has masks only for instances of a data set; found a prompt without one. Use "
                "`score` or `run`."
            )
        found = self.results.of(prompt.instance, prompt.draw, len(prompt.clicks))
        if not found:
            raise ValueError(f"{self.file.name} has no mask of instance '{prompt.instance}'{self._after(prompt)}.")
        masks = np.stack([_mask(one, size) for one in found])
        return Prediction(masks, {"confidence": [one.score or 0.0 for one in found]} if self.results.ranked else {})

    def _after(self, prompt: Prompt) -> str:
        return "" if self.results.most_clicks is None else f" after {len(prompt.clicks)} clicks"


def _mask(result: coco_results.Result, size: tuple[int, int]) -> Mask:
    try:
        return decode(result.segmentation, *size, may_be_empty=True)
    except ValueError as error:
        raise ValueError(f"{result.where.rpartition('/')[2]}: {error}") from error
