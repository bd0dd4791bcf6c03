"""Pictures and methods for the page of `try`: objects that lie in one another, and methods that answer at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness import Dataset, Instance, Method, Prediction, Sample, UserError
from harness.structures import Listed, Prompt

H, W = 32, 48
TIE, SHIRT, PERSON = (22, 14, 26, 22), (18, 12, 30, 24), (14, 4, 34, 30)
"""Boxes, x0, y0, x1, y1: each lies in the next one."""


def filled(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


class Nested(Dataset):
    """A tie on a shirt on a person, and a lamp beside them; the pictures differ in their grey."""

    classes = ("tie", "shirt", "person", "lamp")

    def __init__(self, count: int = 3) -> None:
        self.count = count

    def sample_ids(self) -> list[str]:
        return [f"nested-{number}" for number in range(self.count)]

    def list_instances(self, sample_id: str) -> list[Listed]:
        return [Listed(f"{sample_id}/{name}", name) for name in self.classes[: 4 if sample_id == "nested-1" else 3]]

    def load(self, sample_id: str) -> Sample:
        number = int(sample_id.removeprefix("nested-"))
        image = np.full((H, W, 3), 60 + 10 * (number % 10), np.uint8)
        masks = {"tie": filled(TIE), "shirt": filled(SHIRT), "person": filled(PERSON), "lamp": filled((40, 4, 46, 12))}
        for shade, name in enumerate(("person", "shirt", "tie")):
            image[masks[name]] = 100 + 40 * shade
        instances = tuple(Instance(f"{sample_id}/{name}", mask, name) for name, mask in masks.items())
        return Sample(sample_id, image, instances)


class Torn(Nested):
    """The tie's mask has no pixel."""

    def load(self, sample_id: str) -> Sample:
        whole = super().load(sample_id)
        tie, *others = whole.instances
        return replace(whole, instances=(replace(tie, mask=np.zeros((H, W), bool)), *others))


class Absent(Nested):
    """A data set that is not on this machine."""

    def __init__(self) -> None:
        raise UserError("no pictures under root=/home/ada/absent. Fetch them.")


class Marks(Method):
    """A square around each click: added to its last mask, or taken away from it."""

    uses_text = False

    def __init__(self) -> None:
        self.encoded: list[int] = []

    def encode(self, images: Sequence[Any]) -> list[Any]:
        self.encoded += [int(image[0, 0, 0]) for image in images]
        return list(images)

    def segment(self, groups: Sequence[Any]) -> list[list[Prediction]]:
        return [[self._marked(image, prompt) for prompt in prompts] for image, prompts in groups]

    def _marked(self, image: Any, prompt: Prompt) -> Prediction:
        mask = np.zeros(image.shape[:2], bool) if prompt.previous is None else prompt.previous.copy()
        last = prompt.clicks[-1]
        mask[max(0, last.y - 2) : last.y + 3, max(0, last.x - 2) : last.x + 3] = last.positive
        return Prediction(mask[None])


class Names(Method):
    """By its words: "tie", "shirt" or "person"; two candidates, the second one taken by the ranking `wide`."""

    uses_text = True

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        if not text:
            raise ValueError("Names needs words; found none.")
        box = {"tie": TIE, "shirt": SHIRT}.get(text, PERSON)
        masks = np.stack([filled(box), filled(PERSON)])
        return Prediction(masks, {"narrow": [0.75, 0.25], "wide": [0.1, 0.9]})

    def saliency_map(self, state: Any, prompt: Prompt) -> Any:
        if not prompt.text:
            raise ValueError("Names needs words; found none.")
        return filled(TIE if prompt.text == "tie" else PERSON).astype(np.float32)


class Excludes(Method):
    """Two candidates; the logit of the first one says that it cannot be."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        return Prediction(np.stack([filled(TIE), filled(SHIRT)]), {"logit": [-np.inf, 1.5]})


class Once(Names):
    """As a network that was trained with one click."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        if isinstance(click, tuple) and len(click) > 1:
            raise ValueError(f"wanted one click; found {len(click)}.")
        return super().predict(image, click, text)


class Breaks(Method):
    """Fails on everything."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        raise RuntimeError("broken on request at /home/ada/secret/model.py")


class Loses(Method):
    """Loses its GPU."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        raise RuntimeError("CUDA error: unspecified launch failure")


class Waits(Method):
    """Answers once it is let go; says of which clicks it was asked."""

    go = threading.Event()
    asked: tuple[tuple[int, int], ...] = ()

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        last = click[-1] if isinstance(click, tuple) else click
        Waits.asked += ((last.x, last.y),)
        assert Waits.go.wait(60)
        return Prediction(filled(TIE)[None])


class Words(Method):
    """Takes no click: its mask is that of the words alone."""

    uses_text = True
    needs_click = False

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        return Prediction(filled(SHIRT if text == "shirt" else PERSON)[None])


def unfetched(*_: object) -> None:
    """Builds nothing: weights lack."""
    raise UserError("no file at checkpoint=x. Fetch it.")
