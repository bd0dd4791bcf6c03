"""A repository of a user's that is there when a run is made and gone when the run is read."""

import numpy as np

from harness import Dataset, Instance, Method, Prediction, Sample, register_metric


@register_metric("dice", bounds=(0.0, 1.0))
def dice(truth, prediction):
    """Twice the intersection over the sum of both areas."""
    return 2 * (truth & prediction).sum() / (truth.sum() + prediction.sum())


class Halves(Method):
    """Nothing, of which it is confident, or the left half."""

    uses_text = True

    def __init__(self, rankings: tuple[str, ...] = ("clip", "confidence")) -> None:
        self.rankings = rankings

    def predict(self, image, click, text):
        masks = np.zeros((2, *image.shape[:2]), bool)
        masks[1, :, : image.shape[1] // 2] = True
        scores = {"confidence": np.array([1.0, 0.0]), "clip": np.array([0.0, 1.0])}
        return Prediction(masks, {name: scores[name] for name in self.rankings})


class Boxes(Dataset):
    """One box in the left half of each of three images."""

    classes = ("box",)

    def sample_ids(self):
        return ["a", "b", "c"]

    def load(self, sample_id):
        mask = np.zeros((32, 48), bool)
        mask[8:20, 2:20] = True
        return Sample(sample_id, np.zeros((32, 48, 3), np.uint8), (Instance(f"{sample_id}-0", mask, "box", True),))

    def left_out(self):
        return {"boxes on the right": 2}
