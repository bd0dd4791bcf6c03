"""RITM: segments from positive and negative clicks; each round starts from the mask of the round before.

Paper: Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation", ICIP 2022, https://arxiv.org/abs/2102.06583
Code: https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460, MIT. This file is a rewrite of its NoBRS
predictor: the same weights and clicks give the same probabilities.

One round: choose where to look (`zoom.py`), cut that window out of the image and out of the probabilities of the round
before, resize both to the network's input, draw the clicks into it, run the network on it and on its mirror image, and
paste the answer back at the image's size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor

from harness.plugins.interfaces import Group, Method
from harness.plugins.registry import register_method
from harness.structures import Click, Image, Mask, Prediction, Prompt

from ..shared.clicks_inside import check_clicks
from ..shared.device import chosen_device
from ..shared.isegm import IsegmCheckpoints
from .hrnet_ocr import resized
from .network import CHECKPOINTS
from .zoom import View, Window, ZoomIn

OFFICIAL_ZOOM = ZoomIn()

LARGE_PX = 2**20
"""An input with more pixels gets a forward pass of its own, and so does its mirror image. A pass takes up to 700 bytes
for each pixel (HRNet-32): this memory is worth more than the time that sharing a pass would save."""

PUBLISHED = {
    "sbd_h18_itermask.pth": {
        "grabcut": {"NoC@85": 1.76, "NoC@90": 2.04},
        "berkeley": {"NoC@90": 3.22},
        "sbd": {"NoC@85": 3.39, "NoC@90": 5.43},
        "davis": {"NoC@85": 4.94, "NoC@90": 6.71},
        "coco_mval": {"NoC@90": 4.39},
    },
    "coco_lvis_h18_baseline.pth": {
        "grabcut": {"NoC@85": 1.54, "NoC@90": 1.70},
        "berkeley": {"NoC@90": 2.48},
        "sbd": {"NoC@85": 4.26, "NoC@90": 6.86},
        "davis": {"NoC@85": 4.79, "NoC@90": 6.00},
        "coco_mval": {"NoC@90": 3.58},
    },
    "coco_lvis_h18s_itermask.pth": {
        "grabcut": {"NoC@85": 1.54, "NoC@90": 1.68},
        "berkeley": {"NoC@90": 2.60},
        "sbd": {"NoC@85": 4.04, "NoC@90": 6.48},
        "davis": {"NoC@85": 4.70, "NoC@90": 5.98},
        "coco_mval": {"NoC@90": 3.33},
    },
    "coco_lvis_h18_itermask.pth": {
        "grabcut": {"NoC@85": 1.42, "NoC@90": 1.54},
        "berkeley": {"NoC@90": 2.26},
        "sbd": {"NoC@85": 3.80, "NoC@90": 6.06},
        "davis": {"NoC@85": 4.36, "NoC@90": 5.74},
        "coco_mval": {"NoC@90": 2.98},
    },
    "coco_lvis_h32_itermask.pth": {
        "grabcut": {"NoC@85": 1.46, "NoC@90": 1.56, "mIoU@1": 87.69},
        "berkeley": {"NoC@90": 2.10, "mIoU@1": 83.15},
        "sbd": {"NoC@85": 3.59, "NoC@90": 5.71, "mIoU@1": 70.61},
        "davis": {"NoC@85": 4.11, "NoC@90": 5.34, "mIoU@1": 72.53},
        "coco_mval": {"NoC@90": 2.97, "mIoU@1": 76.70},
    },
}
"""The authors' printed numbers for each of their checkpoints (`Ritm.published_in`). Those on Pascal VOC are left out:
they use a list of instances that is not distributed, in which some objects are merged."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """The image that all prompts on it share: RGB from 0 to 1, on the network's device, at the image's size."""

    pixels: Float[Tensor, "1 3 h w"]

    @classmethod
    def of(cls, image: Image, device: torch.device) -> EncodedImage:
        """Move an image to a device."""
        values = torch.from_numpy(image.astype(np.float32, order="C")).to(device)
        return cls(values.permute(2, 0, 1)[None].contiguous().div_(255))

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.pixels.shape[2], self.pixels.shape[3]


@dataclass(frozen=True, eq=False)
class RitmMemory:
    """The state from which the next round starts.

    Attributes:
        probabilities: Probabilities of the object, at the image's size.
        window: The window that ZoomIn looked at; None while it has not zoomed.
        answered: Whether there was a round already. Before the first one there is nothing to zoom in to: as in the
            official predictor, a mask to start from is an input of the network and moves no window.
    """

    probabilities: Float32[np.ndarray, "h w"]
    window: Window | None = None
    answered: bool = True

    @classmethod
    def starting(cls, size: tuple[int, int], mask: Mask | None = None) -> RitmMemory:
        """The state before the first round: a mask, or nothing."""
        return cls(np.zeros(size, np.float32) if mask is None else mask.astype(np.float32), answered=False)

    @property
    def seen(self) -> Float32[np.ndarray, "h w"]:
        """The probabilities around which the next window is chosen."""
        return self.probabilities if self.answered else np.zeros_like(self.probabilities)


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt on its way through the network.

    Attributes:
        state: The image.
        clicks: The clicks that the network sees.
        previous: The probabilities of the round before, an input of the network.
        view: The part of the image that the network sees.
        size: (h, w) of the network's input.
    """

    state: EncodedImage
    clicks: tuple[Click, ...]
    previous: Float32[np.ndarray, "h w"]
    view: View
    size: tuple[int, int]


@register_method("ritm")
class Ritm(Method):
    """RITM without back-propagating refinement ("NoBRS"); it ignores the text.

    A prompt with a mask to start from (`initial`, or a mask of another method as `previous`) starts from that mask.

    Args:
        checkpoint: The authors' weights (.pth), or weights that our training saved (.safetensors).
        zoom: The rules by which a window is chosen; the defaults are those of the paper's evaluation. With null the
            network always sees the whole image.
        flip: Whether to average the logits with those of the mirrored image.
        threshold: A pixel whose probability is above it belongs to the mask.
        clicks_limit: The most clicks that the network sees, the first ones; null: all.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts with inputs of one size, also on several images, that share a forward pass;
            on a CPU that saves nothing. Inputs above a megapixel have passes of their own.
        max_megapixels: The largest input, since a pass takes 0.4 to 0.7 GB for each megapixel; a larger one is refused.
            Without a window an input is as large as the picture; by default that is so at the first click.
    """

    uses_text = False
    takes = frozenset({"initial"})
    checkpoints: ClassVar[IsegmCheckpoints[Any]] = CHECKPOINTS
    published = PUBLISHED
    published_in = (
        "README of https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460, table 'Pretrained models': "
        "NoBRS with ZoomIn (400 pixels, on DAVIS 600) and flip, the authors' clicker (ritm/v1 here), at most 20 "
        "clicks. mIoU@1 of HRNet32 by others: a script that plots it in cilinyan/PiClick, which names the network "
        "alone."
    )

    def __init__(
        self,
        checkpoint: Path,
        zoom: ZoomIn | None = OFFICIAL_ZOOM,
        flip: bool = True,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.49,
        clicks_limit: Annotated[int, Field(ge=1)] | None = None,
        device: str = "auto",
        prompts_per_batch: Annotated[int, Field(ge=1)] = 1,
        max_megapixels: Annotated[float, Field(gt=0)] = 16,
    ) -> None:
        self.device = torch.device(chosen_device(device))
        self.network = self.checkpoints.loaded(checkpoint).to(self.device).eval()
        self.zoom, self.flip, self.threshold = zoom, flip, threshold
        self.clicks_limit, self.prompts_per_batch = clicks_limit, prompts_per_batch
        self.max_megapixels = max_megapixels

    def encode(self, images: Sequence[Image]) -> list[EncodedImage]:
        """Move the images to the network's device. Windows are cut from them there."""
        return [EncodedImage.of(image, self.device) for image in images]

    @torch.inference_mode()
    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt, with the memory from which its next round starts.

        Raises:
            ValueError: A click lies outside the image, `previous` belongs to another image, or the network would see
                more than `max_megapixels`.
        """
        predictions = iter(self._predictions([(state, prompt) for state, prompts in groups for prompt in prompts]))
        return [list(islice(predictions, len(prompts))) for _, prompts in groups]

    def _predictions(self, asked: Sequence[tuple[EncodedImage, Prompt]]) -> list[Prediction]:
        memories = [remembered(prompt, state.size, RitmMemory) for state, prompt in asked]
        questions = [
            self._question(state, prompt, memory, memory)
            for (state, prompt), memory in zip(asked, memories, strict=True)
        ]
        found = self._answers(questions)
        # With skip_clicks 0, the network answers once more if its first mask is small, this time in a window around it.
        again = [at for at, one in enumerate(found) if self.zoom and self.zoom.again(one.probabilities, one.window)]
        # For this second answer the official predictor gives the network the mask of the round before, but not a mask
        # to start from.
        before = {at: memories[at] if memories[at].answered else RitmMemory.starting(asked[at][0].size) for at in again}
        closer = [self._question(*asked[at], before[at], found[at]) for at in again]
        for at, memory in zip(again, self._answers(closer), strict=True):
            found[at] = memory
        return [Prediction((memory.probabilities > self.threshold)[None], memory=(memory,)) for memory in found]

    def _question(self, state: EncodedImage, prompt: Prompt, previous: RitmMemory, seen: RitmMemory) -> Question:
        """A prompt's input for the network. The window follows from `seen`, the latest answer."""
        check_clicks(prompt.clicks, state.size)
        view = self.zoom.view(seen.seen, seen.window, prompt.clicks) if self.zoom else View(None, None)
        size = self.zoom.size(view.shown) if self.zoom and view.shown else state.size
        if size[0] * size[1] > self.max_megapixels * 1e6:
            raise ValueError(
                f"the network would see {size[0]} x {size[1]} pixels, {size[0] * size[1] / 1e6:.1f} megapixels; wanted "
                f"{self.max_megapixels:g} at most, since a megapixel takes 0.4 to 0.7 GB. Show it the picture at a "
                "fixed size (`zoom: {target_size: [400, 400], skip_clicks: -1}`), or raise `max_megapixels`."
            )
        return Question(state, prompt.clicks[: self.clicks_limit], previous.probabilities, view, size)

    def _answers(self, questions: Sequence[Question]) -> list[RitmMemory]:
        """Answer the questions, in their order; questions of one input size share forward passes."""
        answers: dict[int, RitmMemory] = {}
        for positions in self._batches(questions):
            batch = [questions[at] for at in positions]
            for at, question, probabilities in zip(positions, batch, self._probabilities(batch), strict=True):
                whole = placed(probabilities[None], question.view, question.state.size)
                answers[at] = RitmMemory(whole, question.view.kept)
        return [answers[at] for at in range(len(questions))]

    def _batches(self, questions: Sequence[Question]) -> Iterator[list[int]]:
        by_size = defaultdict(list)
        for at, question in enumerate(questions):
            by_size[question.size].append(at)
        for positions in by_size.values():
            for start in range(0, len(positions), self.prompts_per_batch):
                yield positions[start : start + self.prompts_per_batch]

    def _probabilities(self, batch: Sequence[Question]) -> Float[Tensor, "n 1 sh sw"]:
        """The probabilities for questions of one input size, at that size; averaged with the mirror image's logits."""
        inputs = torch.cat([self._input(question) for question in batch])
        clicks = [clicks_in_view(question) for question in batch]
        if not self.flip:
            return self._logits(inputs, clicks).sigmoid()
        # Column c becomes w - 1 - c in the mirror image. Images and mirror images run in one forward pass:
        #
        #    inputs (n 4 h w) and mirrored (n 4 h w) -> logits (2n 1 h w) -> two halves (n 1 h w), the second mirrored
        #
        # The mean is taken of logits, not of probabilities, as in the official predictor.
        mirrored = [[(row, batch[0].size[1] - column - 1, sign) for row, column, sign in one] for one in clicks]
        logits = self._logits(torch.cat([inputs, inputs.flip(3)]), clicks + mirrored)
        straight, flipped = logits.chunk(2)
        return (0.5 * (straight + flipped.flip(3))).sigmoid()

    def _input(self, question: Question) -> Float[Tensor, "1 4 sh sw"]:
        """The image and the probabilities of the round before, cut to the window and resized to the input's size."""
        previous = torch.from_numpy(question.previous).to(self.device)[None, None]
        parts, shown = (question.state.pixels, previous), question.view.shown
        return resized(torch.cat([shown.part(one) if shown else one for one in parts], dim=1), question.size)

    def _logits(
        self, inputs: Float[Tensor, "n 4 h w"], clicks: Sequence[Sequence[tuple[float, float, float]]]
    ) -> Float[Tensor, "n 1 h w"]:
        values = as_tensor(clicks, self.device)
        at_once = 1 if inputs.shape[2] * inputs.shape[3] > LARGE_PX else len(inputs)
        parts = zip(inputs.split(at_once), values.split(at_once), strict=True)
        return torch.cat([self.network(part[:, :3], part[:, 3:], own)[0].float() for part, own in parts])


def clicks_in_view(question: Question) -> list[tuple[float, float, float]]:
    """Row, column and sign of the clicks, in pixels of the network's input."""
    places = [
        question.view.shown.place(click, question.size) if question.view.shown else (float(click.y), float(click.x))
        for click in question.clicks
    ]
    signs = [1.0 if click.positive else -1.0 for click in question.clicks]
    return [(row, column, sign) for (row, column), sign in zip(places, signs, strict=True)]


def placed(probabilities: Float[Tensor, "1 1 sh sw"], view: View, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """The network's answer at the image's size, 0 outside the window."""
    whole = view.kept.pasted(probabilities, size) if view.kept else probabilities
    return whole[0, 0].cpu().numpy()


def as_tensor(clicks: Sequence[Sequence[tuple[float, float, float]]], device: torch.device) -> Float[Tensor, "n k 3"]:
    """Row, column and sign of each prompt's clicks."""
    # A batch is one tensor, so shorter lists of clicks are filled up with clicks of sign 0, which draw nothing.
    most = max(1, *map(len, clicks))
    padded = [[*one, *[(0.0, 0.0, 0.0)] * (most - len(one))] for one in clicks]
    return torch.tensor(padded, dtype=torch.float32, device=device)


class Memory(Protocol):
    """The state from which a method's next round starts; `probabilities` are at the image's size."""

    @property
    def probabilities(self) -> Float32[np.ndarray, "h w"]:
        """Probabilities of the object."""

    @classmethod
    def starting(cls, size: tuple[int, int], mask: Mask | None = None) -> Self:
        """The state before the first round: a mask, or nothing."""


M = TypeVar("M", bound=Memory)


def remembered(prompt: Prompt, size: tuple[int, int], own: type[M]) -> M:
    """The state from which a prompt starts: the method's own memory, a mask, or nothing.

    Args:
        prompt: The prompt; its `previous` is taken or, if that is None, its `initial`.
        size: (h, w) of the image.
        own: The type of the method's memory.

    Raises:
        ValueError: The value is neither such a memory nor a mask, or is a mask of another size.
    """
    previous: Any = prompt.initial if prompt.previous is None else prompt.previous
    if previous is None:
        return own.starting(size)
    if isinstance(previous, np.ndarray) and previous.dtype == bool:
        previous = own.starting(size, previous)
    if not isinstance(previous, own):
        raise ValueError(f"found {type(previous).__name__} as the prompt's previous; wanted its own memory or a mask.")
    if previous.probabilities.shape != size:
        raise ValueError(f"found a previous mask of {previous.probabilities.shape}; wanted {size}, the image's (h, w).")
    return previous
