"""Plugins that live outside the checkout."""

import os
import time

import numpy as np

from harness import Dataset, Instance, Method, Prediction, Sample


class Disc(Method):
    """A disc around the first click."""

    def __init__(self, radius: int = 5) -> None:
        self.radius = radius

    def predict(self, image, click, text):
        time.sleep(float(os.environ.get("DISC_SLEEPS_S", "0")))
        first = click if hasattr(click, "x") else click[0]
        y, x = np.ogrid[: image.shape[0], : image.shape[1]]
        return Prediction(((x - first.x) ** 2 + (y - first.y) ** 2 <= self.radius**2)[None])


class Loser(Disc):
    """Finds nothing, and says so."""

    def predict(self, image, click, text):
        raise RuntimeError("nothing found")


class Boxes(Dataset):
    """A box on each of some images of 32 x 48."""

    classes = ("box", "bar")

    def __init__(self, count: int = 2) -> None:
        self.count = count

    def sample_ids(self):
        return [f"s{number}" for number in range(self.count)]

    def load(self, sample_id):
        mask = np.zeros((32, 48), bool)
        mask[8:20, 10:30] = True
        return Sample(sample_id, np.zeros((32, 48, 3), np.uint8), (Instance(f"{sample_id}-0", mask, "box", True),))
