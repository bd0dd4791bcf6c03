"""FocalClick: a coarse mask in a window, then a fine one in the part of the window that the newest click changes.

Paper: Chen, Zhao, Zhang, Duan, Qi, Zhao, "FocalClick: Towards Practical Interactive Image Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.02574
Code: https://github.com/alibaba/ClickSEG at d61a76b (README: MIT; LICENSE: Apache-2.0). This file is a rewrite of its
FocalClick predictor: the same weights and clicks give the same probabilities.

One round:

1. Choose the window (`crops.view`), run the coarse network on it at 256 x 256, and paste its answer into the image.
2. Choose the crop (`crops.focus_crop`), run the refiner on it at 256 x 256, and paste its answer over the coarse one.

All inputs have this one size, so prompts on all images share forward passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor

from harness.plugins.interfaces import Group, Method
from harness.plugins.registry import register_method
from harness.structures import Click, Image, Mask, Prediction, Prompt

from ..ritm.hrnet_ocr import resized
from ..ritm.ritm import EncodedImage, as_tensor, remembered
from ..ritm.zoom import View, Window
from ..shared.clicks_inside import check_clicks
from ..shared.device import chosen_device
from .checkpoint import CHECKPOINTS
from .crops import CHANGED_ABOVE, SEEN_ABOVE, Crop, focus_crop, merged, view

SETTLED = 10
"""After this many clicks, a round changes the mask only within the refiner's crop."""

PUBLISHED = {
    "focalclick_hrnet18s_s1_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.64, "NoC@90": 1.88},
        "berkeley": {"NoC@85": 1.84, "NoC@90": 2.89},
        "sbd": {"NoC@85": 4.74, "NoC@90": 7.29},
        "davis": {"NoC@85": 4.77, "NoC@90": 6.56},
        "coco_mval": {"NoC@85": 2.89, "NoC@90": 4.00},
    },
    "focalclick_hrnet18s_s2_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.48, "NoC@90": 1.62},
        "berkeley": {"NoC@85": 1.60, "NoC@90": 2.23},
        "sbd": {"NoC@85": 4.43, "NoC@90": 6.79},
        "davis": {"NoC@85": 3.90, "NoC@90": 5.23},
        "coco_mval": {"NoC@85": 2.61, "NoC@90": 3.59},
    },
    "focalclick_hrnet32_s2_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.64, "NoC@90": 1.80},
        "berkeley": {"NoC@85": 1.70, "NoC@90": 2.36},
        "sbd": {"NoC@85": 4.24, "NoC@90": 6.61},
        "davis": {"NoC@85": 4.01, "NoC@90": 5.39},
        "coco_mval": {"NoC@85": 2.62, "NoC@90": 3.65},
    },
    "focalclick_hrnet32_s2_combined.pth": {
        "grabcut": {"NoC@85": 1.30, "NoC@90": 1.34},
        "berkeley": {"NoC@85": 1.49, "NoC@90": 1.85},
        "sbd": {"NoC@85": 4.35, "NoC@90": 6.61},
        "davis": {"NoC@85": 3.19, "NoC@90": 4.81},
        "coco_mval": {"NoC@85": 2.80, "NoC@90": 3.85},
    },
    "focalclick_segformerb0_s1_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.60, "NoC@90": 1.86, "mIoU@1": 76.43},
        "berkeley": {"NoC@85": 2.05, "NoC@90": 3.29, "mIoU@1": 72.62},
        "sbd": {"NoC@85": 4.98, "NoC@90": 7.60, "mIoU@1": 57.45},
        "davis": {"NoC@85": 5.13, "NoC@90": 7.42, "mIoU@1": 64.61},
        "coco_mval": {"NoC@85": 3.08, "NoC@90": 4.21, "mIoU@1": 63.97},
    },
    "focalclick_segformerb0_s2_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.40, "NoC@90": 1.66, "mIoU@1": 83.92},
        "berkeley": {"NoC@85": 1.59, "NoC@90": 2.27, "mIoU@1": 79.18},
        "sbd": {"NoC@85": 4.56, "NoC@90": 6.86, "mIoU@1": 63.14},
        "davis": {"NoC@85": 4.04, "NoC@90": 5.49, "mIoU@1": 72.19},
        "coco_mval": {"NoC@85": 2.65, "NoC@90": 3.59, "mIoU@1": 68.85},
    },
    "focalclick_segformerb3_s2_coco_lvis.pth": {
        "grabcut": {"NoC@85": 1.44, "NoC@90": 1.50},
        "berkeley": {"NoC@85": 1.55, "NoC@90": 1.92},
        "sbd": {"NoC@85": 3.53, "NoC@90": 5.59},
        "davis": {"NoC@85": 3.61, "NoC@90": 4.90},
        "coco_mval": {"NoC@85": 2.32, "NoC@90": 3.12},
    },
    "focalclick_segformerb3_s2_combined.pth": {
        "grabcut": {"NoC@85": 1.22, "NoC@90": 1.26},
        "berkeley": {"NoC@85": 1.35, "NoC@90": 1.48},
        "sbd": {"NoC@85": 3.70, "NoC@90": 5.84},
        "davis": {"NoC@85": 2.92, "NoC@90": 4.52},
        "coco_mval": {"NoC@85": 2.51, "NoC@90": 3.33},
    },
}
"""The authors' printed numbers for each of their checkpoints, under the names that `weights list` gives the files
(`FocalClick.published_in`). Those on Pascal VOC are left out, since the list of instances is not public, and so are
those on DAVIS-585, which differ with the mask to start from (docs/interactive.md)."""

Ratio = Annotated[float, Field(gt=0)]
Places = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class FocalClickMemory:
    """The state from which the next round starts.

    Attributes:
        probabilities: Probabilities of the object, at the image's size: an input of the coarse network.
        window: The window of the coarse network; None while it has only seen whole images.
        mask: The mask so far, after Progressive Merge, if the prompt started from a mask; else None.
        answered: Whether there was a round already; before the first there is nothing to zoom in to.
    """

    probabilities: Float32[np.ndarray, "h w"]
    window: Window | None = None
    mask: Mask | None = None
    answered: bool = True

    @classmethod
    def starting(cls, size: tuple[int, int], mask: Mask | None = None) -> FocalClickMemory:
        """The state before the first round: a mask, or nothing."""
        probabilities = np.zeros(size, np.float32) if mask is None else mask.astype(np.float32)
        return cls(probabilities, mask=mask, answered=False)

    @property
    def seen(self) -> Mask:
        """The mask around which the next window is chosen."""
        if not self.answered:
            return np.zeros(self.probabilities.shape, bool)
        return self.probabilities > SEEN_ABOVE if self.mask is None else self.mask


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt on its way through the networks.

    Attributes:
        image: The prompt's image.
        clicks: The prompt's clicks.
        memory: The state after the round before.
        view: The window that the coarse network sees, and the one where its answer is pasted.
    """

    image: EncodedImage
    clicks: tuple[Click, ...]
    memory: FocalClickMemory
    view: View

    @property
    def shown(self) -> Window:
        """The part of the image that the coarse network sees."""
        return self.view.shown or Window.whole(self.image.size)

    @property
    def window(self) -> Window:
        """The part of the image where its answer is pasted."""
        return self.view.kept or Window.whole(self.image.size)


@register_method("focalclick")
class FocalClick(Method):
    """FocalClick with the settings of the published numbers; it ignores the text.

    A prompt with a mask to start from (`initial`, or a mask of another method as `previous`) keeps that mask, except
    for what each click changes around itself.

    Args:
        checkpoint: The authors' weights (.pth), or weights that our training saved (.safetensors).
        infer_size: The side of the squares that both networks see, in pixels; 256 in the paper's evaluation.
        target_crop_ratio: The size of the coarse network's window over that of the box of mask and positive clicks.
        focus_crop_ratio: The size of the refiner's crop over that of the box of the region to refine.
        threshold: A pixel whose probability is above it belongs to the mask.
        progressive_merge: Whether a mask to start from is kept where a click changes nothing.
        device: The device of the networks; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts, of all images of a call, that share a forward pass.
    """

    uses_text = False
    takes = frozenset({"initial"})
    published = PUBLISHED
    published_in = (
        "README of https://github.com/alibaba/ClickSEG at d61a76b: inputs of 256, threshold 0.5, no flip; the authors' "
        "clicker (ritm/v1 here), at most 20 clicks. mIoU@1 by others: a script that plots it in cilinyan/PiClick; it "
        "names the network and not its training (of a SegFormer-B0, one file a pipeline is published)."
    )

    def __init__(
        self,
        checkpoint: Path,
        infer_size: Annotated[int, Field(ge=32)] = 256,
        target_crop_ratio: Ratio = 1.4,
        focus_crop_ratio: Ratio = 1.4,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
        progressive_merge: bool = True,
        device: str = "auto",
        prompts_per_batch: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        self.device = torch.device(chosen_device(device))
        self.network: Any = CHECKPOINTS.loaded(checkpoint).to(self.device).eval()
        self.infer_size, self.threshold, self.progressive_merge = infer_size, threshold, progressive_merge
        self.target_crop_ratio, self.focus_crop_ratio = target_crop_ratio, focus_crop_ratio
        self.prompts_per_batch = prompts_per_batch

    def encode(self, images: Sequence[Image]) -> list[EncodedImage]:
        """Move the images to the networks' device. Windows and crops are cut from them there."""
        return [EncodedImage.of(image, self.device) for image in images]

    @torch.inference_mode()
    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt, with the memory from which its next round starts.

        Raises:
            ValueError: A click lies outside the image, or a mask belongs to another image.
        """
        questions = [self._question(state, prompt) for state, prompts in groups for prompt in prompts]
        answers = self._answers(questions)
        return [[next(answers) for _ in prompts] for _, prompts in groups]

    def _question(self, image: EncodedImage, prompt: Prompt) -> Question:
        check_clicks(prompt.clicks, image.size)
        memory = remembered(prompt, image.size, FocalClickMemory)
        return Question(
            image, prompt.clicks, memory, view(memory.seen, memory.window, prompt.clicks, self.target_crop_ratio)
        )

    def _answers(self, questions: Sequence[Question]) -> Iterator[Prediction]:
        """Answer the questions, in their order; each batch takes one coarse and one refining forward pass."""
        for start in range(0, len(questions), self.prompts_per_batch):
            batch = questions[start : start + self.prompts_per_batch]
            for question, probabilities in zip(batch, self._probabilities(batch), strict=True):
                yield self._prediction(question, probabilities)

    def _prediction(self, question: Question, probabilities: Float32[np.ndarray, "h w"]) -> Prediction:
        # A prompt that starts from a mask gets Progressive Merge: the network answers for the whole window, but the
        # user only asked for a change at the click. One that starts from nothing has no mask worth protecting.
        found, before = probabilities > self.threshold, question.memory.mask
        if before is None or not self.progressive_merge:
            return Prediction(found[None], memory=(FocalClickMemory(probabilities, question.view.kept),))
        kept = merged(found, before, question.clicks[-1])
        # The next round's network gets the probabilities of this round without the merge, as in the official code.
        return Prediction(kept[None], memory=(FocalClickMemory(probabilities, question.view.kept, kept),))

    def _probabilities(self, batch: Sequence[Question]) -> list[Float32[np.ndarray, "h w"]]:
        """The probabilities of the object after both networks, at the images' sizes."""
        # First half: n windows, resized to side x side, go through the coarse network; each answer (1 side side) is
        # pasted into a map of its image's size. Second half: each answer decides a crop, n crops are resized to
        # side x side and refined, and each result is written over the coarse answer of its image.
        side = self.infer_size
        inputs = torch.cat([self._input(question) for question in batch])
        places = [[one.shown.place(click, (side, side)) for click in one.clicks] for one in batch]
        coarse = self.network.coarse(inputs[:, :3], inputs[:, 3:], self._clicks(batch, places))
        pasted = [
            question.window.pasted(answer[None], question.image.size)
            for question, answer in zip(batch, coarse.logits.sigmoid(), strict=True)
        ]
        crops = [self._crop(question, answer) for question, answer in zip(batch, pasted, strict=True)]
        pairs = list(zip(batch, crops, strict=True))
        pixels = torch.cat([crop.cut(question.image.pixels, (side, side)) for question, crop in pairs])
        places = [[crop.place(click, side) for click in question.clicks] for question, crop in pairs]
        boxes = torch.tensor([crop.within(question.window, side) for question, crop in pairs], device=self.device)
        logits, _ = self.network.refined(pixels, self._clicks(batch, places), coarse, boxes)
        return [
            written(self._base(question, answer), crop, refined[None])
            for question, crop, answer, refined in zip(batch, crops, pasted, logits, strict=True)
        ]

    def _input(self, question: Question) -> Float[Tensor, "1 4 s s"]:
        """The image and the probabilities of the round before, cut to the window that the coarse network sees."""
        previous = torch.from_numpy(question.memory.probabilities).to(self.device)[None, None]
        side = (self.infer_size, self.infer_size)
        return torch.cat([question.shown.cut(maps, side) for maps in (question.image.pixels, previous)], dim=1)

    def _clicks(self, batch: Sequence[Question], places: Sequence[Places]) -> Float[Tensor, "n k 3"]:
        """Row, column and sign of each prompt's clicks, from their places in the network's input."""
        placed = [zip(one.clicks, own, strict=True) for one, own in zip(batch, places, strict=True)]
        made = [[(*place, 1.0 if click.positive else -1.0) for click, place in one] for one in placed]
        return as_tensor(made, self.device)

    def _crop(self, question: Question, answer: Float[Tensor, "1 1 h w"]) -> Crop:
        """The part of the image that the refiner sees."""
        found = (answer[0, 0] > CHANGED_ABOVE).cpu().numpy()
        before = question.memory.probabilities > SEEN_ABOVE
        return focus_crop(found, before, question.clicks[-1], question.window, self.focus_crop_ratio)

    def _base(self, question: Question, answer: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 1 h w"]:
        """The probabilities into which the refiner's are written."""
        # At first the coarse answer, so that a click may change the whole mask. After `SETTLED` clicks the mask is
        # nearly right everywhere, and the answer of the round before protects it outside of the crop.
        if len(question.clicks) <= SETTLED:
            return answer
        return torch.from_numpy(question.memory.probabilities).to(self.device)[None, None].clone()


def written(base: Float[Tensor, "1 1 h w"], crop: Crop, logits: Float[Tensor, "1 1 s s"]) -> Float32[np.ndarray, "h w"]:
    """The probabilities, with the refiner's answer inside the crop."""
    # The official code writes logits into a map of logits and takes the sigmoid of all. It has to turn pasted
    # probabilities into logits for that, log(p / (1 - p)), which is infinite at 0 and 1; here each part is a
    # probability already.
    base[:, :, crop.top : crop.bottom, crop.left : crop.right] = resized(logits, crop.size).sigmoid()
    return base[0, 0].cpu().numpy()
