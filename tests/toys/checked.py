"""A method and a data set that pass every probe of `check`, and one bad copy of them for each probe, which fails it."""

import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from harness import Click, Dataset, Instance, Method, Prediction, Prompt, Saliency, Sample
from harness.structures import Image, Listed


class Good(Method):
    """A disk around the last click, whose radius depends on the picture and on the words."""

    uses_text = True

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def encode(self, images: Sequence[Image]) -> list[Any]:
        return [(one.shape[:2], 5 + float(one.mean()) / 32) for one in images]

    def segment(self, groups: Sequence[Any]) -> list[list[Prediction]]:
        return [[self.disk(state, prompt) for prompt in prompts] for state, prompts in groups]

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        (size, radius), last = state, prompt.clicks[-1]
        return Prediction(around(size, last.x, last.y, radius + sum(map(ord, prompt.text or "")) % 97 / 20)[None])


class Three(Good):
    """The same around the first click, for two positive clicks and a negative one and no others."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        if [one.positive for one in prompt.clicks] != [True, True, False]:
            raise ValueError("wanted two positive clicks and a negative one.")
        return super().disk(state, replace(prompt, clicks=prompt.clicks[:1]))


class Map(Saliency):
    """A saliency that is computed on a device."""

    def __init__(self, weights: str, device: str = "auto") -> None: ...
    def features(self, images: Sequence[Image]) -> list[Any]:
        return []

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Any: ...


class Mapped(Good):
    """A method that holds it, and has no device of its own."""

    def __init__(self, saliency: Saliency | None = None) -> None:
        super().__init__()


def around(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    ys, xs = np.ogrid[: size[0], : size[1]]
    return np.asarray((xs - x) ** 2 + (ys - y) ** 2 <= radius**2)


class Floats(Good):
    """shapes and types: probabilities in place of a mask."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        return Prediction(super().disk(state, prompt).masks.astype(np.float32))


class Drawing(Good):
    """the same answer twice: draws from a generator that nobody seeds."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        return super().disk((state[0], state[1] + np.random.default_rng().uniform(0, 9)), prompt)


class FirstOfBatch(Good):
    """batch against single: takes the first picture's state for all."""

    def segment(self, groups: Sequence[Any]) -> list[list[Prediction]]:
        return super().segment([(groups[0][0], prompts) for _, prompts in groups])


class Swapped(Good):
    """swapped x and y: takes x for the row."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        turned = tuple(Click(one.y, one.x) for one in prompt.clicks)
        return super().disk(state, replace(prompt, clicks=turned))


class Cached(Good):
    """state that leaks between images: keeps what it knows of a picture by the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[Any, Any] = {}

    def encode(self, images: Sequence[Image]) -> list[Any]:
        return [self.known.setdefault(one.shape, super(Cached, self).encode([one])[0]) for one in images]


class Remembering(Good):
    """state that leaks between images: keeps the mask of the click before on `self`, whichever object it was of."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        self.last = super().disk(state, prompt).masks | (self.last if len(prompt.clicks) > 1 else False)
        return Prediction(self.last)


class NeedsWords(Good):
    """empty text: takes it for granted that there are words."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        return super().disk(state, replace(prompt, text=prompt.text.lower()))  # type: ignore[union-attr]


class Windowed(Good):
    """border click: cuts a window around the click that may leave the picture."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        (h, w), last = state[0], prompt.clicks[-1]
        reach = min(3, (h - 1) // 2, (w - 1) // 2)
        if last.x - reach < 0 or last.y - reach < 0 or last.x + reach >= w or last.y + reach >= h:
            raise IndexError("the window leaves the picture")
        return super().disk(state, prompt)


class EvenSizes(Good):
    """1-pixel and odd sizes: computes at half the size and doubles it."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        small = super().disk(state, prompt).masks[:, ::2, ::2]
        return Prediction(small.repeat(2, axis=1).repeat(2, axis=2))


class Writing(Good):
    """input left alone: normalises the picture in place, once it is done with it."""

    def encode(self, images: Sequence[Image]) -> list[Any]:
        states = super().encode(images)
        for one in images:
            one //= 2
        return states


class Secretive(Good):
    """uses_text told truly: reads the words and says that it does not."""

    uses_text = False


class Boastful(Good):
    """uses_text told truly: says that it reads the words and does not."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        return super().disk(state, replace(prompt, text=None))


class OtherOnGpu(Good):
    """GPU against CPU: another answer on the GPU."""

    def disk(self, state: Any, prompt: Prompt) -> Prediction:
        return super().disk((state[0], state[1] + 9 * (self.device != "cpu")), prompt)


class TwoWays(Good):
    """predict against segment: `predict` is another algorithm."""

    def predict(self, image: Image, click: Any, text: str | None, vocabulary: Any = None) -> Prediction:
        last = click if isinstance(click, Click) else click[-1]
        return Prediction(around(image.shape[:2], last.x, last.y, 30)[None])


BAD_METHODS = (
    *(Floats, Drawing, FirstOfBatch, Swapped, Cached, Remembering, NeedsWords, Windowed, EvenSizes, Writing),
    *(Secretive, Boastful, OtherOnGpu, TwoWays),
)
"""Each says in its docstring, before the colon, which probe it fails."""


class Sound(Dataset):
    """Five pictures of 32 x 48 pixels with two boxes each."""

    classes: Any = ("small", "large")

    def sample_ids(self) -> Any:
        return [f"s{number}" for number in range(5)]

    def load(self, sample_id: str) -> Sample:
        image = np.full((32, 48, 3), 40 * int(sample_id[1:]), np.uint8)
        return Sample(sample_id, image, tuple(self.instances(sample_id)))

    def instances(self, sample_id: str) -> list[Instance]:
        masks = [np.zeros((32, 48), bool) for _ in range(2)]
        masks[0][4:9, 4:9], masks[1][10:30, 20:40] = True, True
        return [Instance(f"{sample_id}/{n}", mask, self.classes[n]) for n, mask in enumerate(masks)]

    def changed(self, sample_id: str, **changes: Any) -> list[Instance]:
        first, second = Sound.instances(self, sample_id)
        return [replace(first, **changes), second]


class OneText(Sound):
    """classes: one text in place of a list of them."""

    classes = "sl"

    def instances(self, sample_id: str) -> list[Instance]:
        return [replace(one, category="s") for one in super().instances(sample_id)]


class Repeated(Sound):
    """sample ids: one id is there twice."""

    def sample_ids(self) -> Any:
        return ["s0", "s1", "s1"]


class Restless(Sound):
    """sample ids: another order each time."""

    def sample_ids(self) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        return super().sample_ids()[:: (-1) ** self.asked]


class OtherSample(Sound):
    """every image loads: gives the sample of another id."""

    def load(self, sample_id: str) -> Sample:
        return super().load("s0")


class IntMasks(Sound):
    """masks: numbers in place of bool."""

    def instances(self, sample_id: str) -> list[Instance]:
        return self.changed(sample_id, mask=np.ones((32, 48), np.uint8))


class TurnedMasks(Sound):
    """masks: not of the image's size."""

    def instances(self, sample_id: str) -> list[Instance]:
        return self.changed(sample_id, mask=np.ones((48, 32), bool))


class Empty(Sound):
    """no empty instance: one shows no pixel."""

    def instances(self, sample_id: str) -> list[Instance]:
        return self.changed(sample_id, mask=np.zeros((32, 48), bool))


class CountedInImage(Sound):
    """instance ids: counted anew in each picture."""

    def instances(self, sample_id: str) -> list[Instance]:
        return [replace(one, id=str(n)) for n, one in enumerate(super().instances(sample_id))]


class OtherClass(Sound):
    """categories: one that `classes` lacks."""

    def instances(self, sample_id: str) -> list[Instance]:
        return self.changed(sample_id, category="huge")


class Unlisted(Sound):
    """listing: knows one of the two."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        return super().list_instances(sample_id)[:1]


class OtherListing(Sound):
    """listing: has another class."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        return [replace(one, category="large") for one in super().list_instances(sample_id)]


class Noisy(Sound):
    """loading twice: noise that nobody seeds."""

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        sample.image[...] += np.random.default_rng().integers(0, 9, sample.image.shape, np.uint8)
        return sample


class Timed(Sound):
    """fingerprint: another one each time."""

    def fingerprint(self) -> Mapping[str, Any]:
        self.asked = getattr(self, "asked", 0) + 1
        return {**super().fingerprint(), "asked": self.asked}


class NoJson(Sound):
    """fingerprint: a set is no JSON."""

    def fingerprint(self) -> Mapping[str, Any]:
        return {"classes": {*self.classes}}


class Locked(Sound):
    """pickle: holds a lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class ByProcess(Sound):
    """another process: depends on the process."""

    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint(), "process": os.getpid()}


BAD_DATASETS = (
    *(OneText, Repeated, Restless, OtherSample, IntMasks, TurnedMasks, Empty, CountedInImage, OtherClass),
    *(Unlisted, OtherListing, Noisy, Timed, NoJson, Locked, ByProcess),
)
"""Likewise."""


class Here:
    """In place of another process, whose start takes seconds: this one."""

    def __init__(self, *_: Any) -> None: ...
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...
    def submit(self, function: Any, *given: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*given))
        return future
