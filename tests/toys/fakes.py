"""Plugins that tests name in configs, as `fakes:Toys`: images of few pixels, and methods that fail on purpose.

Workers of other processes find this module through PYTHONPATH.
"""

import os
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import Click, Dataset, Instance, Method, Prediction, Sample, UserError
from harness.plugins.vocabularies import Vocabulary
from harness.structures import Image, Listed, Prompt

H, W = 32, 48


class Toys(Dataset):
    """Images 32 x 48 of number x 10 (modulo 256) throughout, with a box on the left and a larger one on the right.

    `unreadable` images raise; `deadly` ones end the process that loads them.
    """

    classes = ("small", "large")

    def __init__(
        self, count: int = 6, unreadable: Sequence[int] = (), deadly: Sequence[int] = (), top: int = 5
    ) -> None:
        self.count, self.unreadable, self.deadly, self.top = count, unreadable, deadly, top

    def sample_ids(self) -> list[str]:
        return [f"toy-{number}" for number in range(self.count)]

    def load(self, sample_id: str) -> Sample:
        number = int(sample_id.removeprefix("toy-"))
        if number in self.deadly:
            os._exit(1)
        if number in self.unreadable:
            raise OSError("cut off\nafter 7 bytes")
        small, large = np.zeros((2, H, W), bool)
        small[self.top : self.top + 6, 4 : 14 + number % 3] = True
        large[self.top : 28, 22:44] = True
        image = np.full((H, W, 3), number * 10 % 256, np.uint8)
        instances = (Instance(f"{number}a", small, "small", True), Instance(f"{number}b", large, "large", False))
        return Sample(sample_id, image, instances)

    def fingerprint(self) -> dict[str, Any]:
        return {"top": self.top}


class Latin(Toys):
    """Toys whose annotations and files were named in Latin-1: texts that are no Unicode."""

    classes = ("small", "caf\udce9")

    def load(self, sample_id: str) -> Sample:
        if sample_id == "toy-1":
            raise OSError("cannot open caf\udce9.jpg")
        sample = super().load(sample_id)
        small, large = sample.instances
        named = Instance(f"{large.id} \udce9", large.mask, "caf\udce9", False, text="un caf\udce9")
        return Sample(sample_id, sample.image, (small, named))


class Counted(Toys):
    """Toys that count the instances of each image from 0."""

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        return replace(
            sample, instances=tuple(replace(one, id=str(number)) for number, one in enumerate(sample.instances))
        )


class Lazy(Toys):
    """Toys whose ids come from a generator."""

    def sample_ids(self) -> Any:
        yield from super().sample_ids()


class Classless(Toys):
    """Toys that do not say their classes."""

    classes = None  # type: ignore[assignment]


class Nameless(Toys):
    """Toys whose large box has no class."""

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        small, large = sample.instances
        return replace(sample, instances=(small, replace(large, category="")))


class Bare(Toys):
    """Toys without an instance."""

    def load(self, sample_id: str) -> Sample:
        return replace(super().load(sample_id), instances=())


class Hung(Toys):
    """Toys that are never there."""

    def __init__(self) -> None:
        time.sleep(600)


class Known(Toys):
    """Toys whose listing opens no image."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        number = sample_id.removeprefix("toy-")
        return [Listed(f"{number}a", "small", True), Listed(f"{number}b", "large", False)]


class SilentError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise KeyError("no text")


class Steady(Method):
    """Boxes around the click: "confidence" prefers the middle one, "size" the largest."""

    def __init__(self, reach: int = 5, checkpoint: Path | None = None) -> None:
        self.reach = reach

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        last = click if isinstance(click, Click) else click[-1]
        y, x = np.indices(image.shape[:2])
        far = np.maximum(abs(y - last.y), abs(x - last.x))
        return Prediction(
            np.stack([far < self.reach - 2, far < self.reach, far < self.reach + 6]),
            {"confidence": [0.1, 0.9, 0.2], "size": [1, 2, 3]},
        )


class Begins(Method):
    """Answers with what it began with: the mask, the filled box, or one pixel."""

    uses_text = False
    takes = frozenset({"initial", "boxes"})

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        self.prompts += [prompt for _, prompts in groups for prompt in prompts]
        return [[self._answer(image, prompt) for prompt in prompts] for image, prompts in groups]

    def _answer(self, image: Image, prompt: Prompt) -> Prediction:
        y, x = np.indices(image.shape[:2])
        mask = ((x == 0) & (y == 0) & (not prompt.boxes)) if prompt.initial is None else prompt.initial.copy()
        for box in prompt.boxes:
            mask |= (x >= box.left) & (x <= box.right) & (y >= box.top) & (y <= box.bottom)
        return Prediction(mask[None])


class Taught(Steady):
    """Steady, which was taught the word "small" alone; "!" is a word on which it fails."""

    uses_text = True

    def unknown_words(self, text: str) -> tuple[int, int]:
        if "!" in text:
            raise ValueError("no word")
        words = text.split()
        return sum(word != "small" for word in words), len(words)


class Contrasted(Steady):
    """Steady, told which names to contrast a text with."""

    def __init__(self, vocabulary: Vocabulary = "dataset") -> None:
        super().__init__()


class Sleepy(Steady):
    """Steady, but every image takes this long, and no time of the processor."""

    def __init__(self, seconds: float = 0.05) -> None:
        super().__init__()
        self.seconds = seconds

    def encode(self, images: Sequence[Image]) -> list[Any]:
        time.sleep(self.seconds * len(images))
        return list(images)


class Noted(Steady):
    """Steady, but it notes in a file that it is built, and each image that it encodes."""

    def __init__(self, notes: str) -> None:
        super().__init__()
        self.notes = Path(notes)
        self._note("built")

    def encode(self, images: Sequence[Image]) -> list[Any]:
        for image in images:
            self._note(f"image {image[0, 0, 0] // 10}")
        return list(images)

    def _note(self, what: str) -> None:
        with self.notes.open("a") as file:
            file.write(what + "\n")


class Leisurely(Steady):
    """Steady, but it takes its time to be built, and for each image."""

    def __init__(self, loads_s: float, image_s: float) -> None:
        super().__init__()
        time.sleep(loads_s)
        self.image_s = image_s

    def encode(self, images: Sequence[Image]) -> list[Any]:
        time.sleep(self.image_s * len(images))
        return list(images)


class Fragile(Steady):
    """Steady, but for what it does, once or always, on the image of this number, or when it is built.

    Args:
        how: One of the names below, in `_fail`.
        at: The image's number; -1 for the constructor, -2 for what is asked between images.
        once: A file: where it is there, nothing fails any more.
        text: On the image, only where this is asked for.
    """

    def __init__(self, how: str, at: int, once: str | None = None, text: str | None = None) -> None:
        super().__init__()
        self.how, self.at, self.once, self.text = how, at, once and Path(once), text
        if at == -1:
            self._fail()

    @property
    def device(self) -> str:
        if self.at == -2:
            self._fail()
        return "cpu"

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        if image[0, 0, 0] == 10 * self.at and self.text in (None, text):
            self._fail()
        return super().predict(image, click, text)

    def _fail(self) -> None:
        if self.once:
            if self.once.exists():
                return
            self.once.touch()
        if self.how == "exit":
            os._exit(1)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "full disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            return
        if self.how == "hang":
            time.sleep(600)
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "close":
            raise GeneratorExit("closed")
        if self.how == "silent":
            raise SilentError
        if self.how == "endless":
            raise ValueError("again and " * 1_000_000)
        if self.how == "lost":
            raise RuntimeError("CUDA error: device-side assert triggered")
        if self.how == "mistake":
            raise UserError("fakes: found nothing; wanted something. Mend it.")
        raise RuntimeError("a bug in a plugin")


class Tires(Steady):
    """Steady, which fails on image 0's second click, and on what is large on image 1."""

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        clicks = 1 if isinstance(click, Click) else len(click)
        if (image[0, 0, 0] == 0 and clicks > 1) or (image[0, 0, 0] == 10 and text == "large"):
            raise ValueError("tired")
        return super().predict(image, click, text)


class Unlucky(Steady):
    """Steady, but each of these happens to it once, as the files in the folder tell.

    It is killed when it is built, and again on image 1; on image 3 its GPU is lost.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        mishaps = (("kill", -1), ("kill", 1), ("lost", 3))
        self.mishaps = [Fragile(how, at, str(folder / f"{how}{at}")) for how, at in mishaps]

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        for one in self.mishaps:
            one.predict(image, click, text)
        return super().predict(image, click, text)


class Turned(Method):
    """A small box where the click would lie if its y were its x."""

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        first = click if isinstance(click, Click) else click[0]
        y, x = np.indices(image.shape[:2])
        return Prediction((np.maximum(abs(y - first.x), abs(x - first.y)) < 2)[None])


class ByText(Method):
    """Answers with the left half or the right half of the image, by the text's length; it needs no click."""

    uses_text = True
    needs_click = False

    def predict(self, image: Image, click: Sequence[Click], text: str | None) -> Prediction:
        if not text:
            raise ValueError("no text")
        right = len(text) % 2
        mask = np.zeros(image.shape[:2], bool)
        half = image.shape[1] // 2
        mask[:, half * right : half + half * right] = True
        return Prediction(mask[None])
