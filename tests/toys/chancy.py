"""A method that draws from all the generators that a process has."""

import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fakes import Steady
from harness import Prediction
from harness.structures import Image


class Chancy(Steady):
    """Steady, but its reach is drawn: by the constructor, at each encoding and for each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.own = drawn()

    def encode(self, images: Sequence[Image]) -> list[Any]:
        return [(image, self.own + drawn()) for image in images]

    def segment(self, groups: Sequence[Any]) -> list[list[Prediction]]:
        return [[self._answer(image, state, prompt) for prompt in prompts] for (image, state), prompts in groups]

    def _answer(self, image: Image, state: int, prompt: Any) -> Prediction:
        self.reach = 3 + (state + drawn()) % 11
        return self.predict(image, prompt.clicks, prompt.text)


class AloneOnly(Chancy):
    """Chancy, but it fails on several images at once."""

    def encode(self, images: Sequence[Image]) -> list[Any]:
        (image,) = images
        return super().encode([image])

    def segment(self, groups: Sequence[Any]) -> list[list[Prediction]]:
        (group,) = groups
        return super().segment([group])


def drawn() -> int:
    """The sum of a number each from Python's, NumPy's, torch's and OpenCV's generators."""
    spread = np.zeros((1, 1), np.uint16)
    cv2.randu(spread, 0, 1000)
    return int(random.randrange(1000) + np.random.randint(1000) + int(torch.randint(1000, ())) + spread[0, 0])
