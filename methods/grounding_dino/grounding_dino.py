"""Grounding DINO + SAM: a box from the text, and a mask from the box and the click.

Papers: Liu et al., "Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object Detection", ECCV 2024,
https://arxiv.org/abs/2303.05499; put together with SAM by Ren et al., "Grounded SAM", https://arxiv.org/abs/2401.14159
Code: https://github.com/IDEA-Research/GroundingDINO at 856dde2, Apache-2.0; here the port in Hugging Face's
`transformers` 5.24, Apache-2.0 (extra `transformers`), with the snapshot IDEA-Research/grounding-dino-tiny, -base, or
one of MM Grounding DINO (Zhao et al. 2024, https://arxiv.org/abs/2401.02361); SAM as in methods/sam/sam.py.

It gives one answer. With a click, the text's boxes with a score of at least `box_threshold` that hold the first
positive click are looked at; SAM is asked with the clicks and the one with the highest score. If there is none, the
text does not help at that place, and SAM is asked with the clicks alone. Without a click SAM is asked with the box that
has the highest score, however low, as in the evaluation of referring expressions. Grounded SAM takes every box above
its threshold and no click.

Published: 48.4 box AP on COCO for Swin-T without COCO in its training, 56.7 for Swin-B with it (README at 856dde2).
These are numbers of boxes. No number of Grounding DINO + SAM with a click is known, so no table shows one.

Swin-B learned from COCO, RefCOCO and Open Images, among others, so none of their classes is unseen to it; Swin-T
learned from Objects365, GoldG (which holds COCO's images with phrases) and captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float64
from pydantic import Field

from harness.places import located
from harness.plugins.interfaces import TextLimit
from harness.plugins.registry import register_method
from harness.structures import Click, Image, Prompt

from ..sam.sam import Backbone, SamNetwork, load_sam
from ..shared.device import chosen_device
from ..shared.multimask import Answer, EncodedImage, MultiMask, Precision, batches
from ..shared.snapshots import snapshot_config, snapshot_text_limit
from ..shared.texts import required_text
from .detector import LONGEST, Boxes, Detector, caption

WHERE = "methods/grounding_dino/grounding_dino.py"


@register_method("grounding_dino")
class GroundingDino(MultiMask):
    """SAM with Grounding DINO's box for the text, which chooses among the objects under the click.

    Args:
        snapshot: A folder with the hub's snapshot of Grounding DINO or MM Grounding DINO.
        sam_checkpoint: SAM's released weights, or small ones that our training saved.
        backbone: SAM's backbone that the checkpoint must have; None accepts any.
        box_threshold: The least score of a box that is taken for the click; the authors' demo has 0.25 to 0.35.
        device: The device of both networks; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: How many prompts SAM decodes at once; by default 8 on the CPU, 64 on a GPU.
        texts_per_batch: How many texts on an image share Grounding DINO's pass; by default 1 on the CPU, 8 on a GPU.
        precision: The precision of the matrix products in SAM's image encoder; Grounding DINO runs in float32.
    """

    uses_text = True
    needs_click = False
    network: SamNetwork

    def __init__(
        self,
        snapshot: Path,
        sam_checkpoint: Path,
        backbone: Backbone | None = None,
        box_threshold: Annotated[float, Field(ge=0, le=1)] = 0.25,
        device: str = "auto",
        prompts_per_batch: int | None = None,
        texts_per_batch: Annotated[int, Field(ge=1)] | None = None,
        precision: Precision = "float32",
    ) -> None:
        where = chosen_device(device)
        network = SamNetwork(load_sam(sam_checkpoint, backbone).to(where), precision)
        super().__init__(network, ("confidence",), None, "never", "chosen", prompts_per_batch)
        together = texts_per_batch or (1 if network.device.type == "cpu" else 8)
        self.detector = Detector(snapshot, network.device, WHERE, together)
        self.box_threshold = box_threshold

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """Grounding DINO's."""
        folder = located(params["snapshot"])
        most = int(snapshot_config(folder).get("max_text_len", LONGEST))
        return snapshot_text_limit(folder, most, "Grounding DINO", caption, cut=True)

    def encode(self, images: Sequence[Image]) -> list[EncodedImage]:
        """Run both networks' image towers, once for each image."""
        encoded = super().encode(images)
        seen = [self.detector.see(image) for image in images]
        return [EncodedImage(one.image, one.size, one.features, own) for one, own in zip(encoded, seen, strict=True)]

    def _check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        required_text(prompt, self.name)
        if prompt.clicks:
            super()._check(prompt, size)

    def _answers(self, state: EncodedImage, prompts: Sequence[Prompt]) -> list[Answer]:
        texts = [required_text(prompt, self.name) for prompt in prompts]
        found = self.detector.boxes(state.seen, texts)
        taken = [chosen(found[text], one.clicks, self.box_threshold) for text, one in zip(texts, prompts, strict=True)]
        boxes = {place: box for place, box in enumerate(taken) if box is not None}
        answers: dict[int, Answer] = {}
        # A batch is one tensor: all of its prompts have a box, or none has.
        for places in ([*boxes], [place for place in range(len(prompts)) if place not in boxes]):
            for batch in batches([prompts[place] for place in places], self.prompts_per_batch):
                own = [places[index] for index in batch]
                given = np.stack([boxes[place] for place in own]) if own[0] in boxes else None
                answers |= zip(own, self._asked(state, [prompts[place] for place in own], given), strict=True)
        return [answers[place] for place in range(len(prompts))]

    def _asked(
        self, state: EncodedImage, prompts: Sequence[Prompt], boxes: Float64[np.ndarray, "n 4"] | None
    ) -> list[Answer]:
        clicks = [prompt.clicks for prompt in prompts]
        alone = boxes is None and len(clicks[0]) == 1  # Ambiguous, as for SAM by itself: the best of its three masks.
        logits, confidence = self.network.decode(
            state.features,
            state.size,
            np.array([[(click.x, click.y) for click in row] for row in clicks], np.float64).reshape(len(clicks), -1, 2),
            np.array([[click.positive for click in row] for row in clicks], np.int64).reshape(len(clicks), -1),
            self._previous(prompts),
            alone,
            boxes,
        )
        return [Answer(*pair) for pair in zip(logits, confidence, strict=True)]


def chosen(boxes: Boxes, clicks: Sequence[Click], threshold: float) -> Float64[np.ndarray, " 4"] | None:
    """The best box for the clicks: left, top, right, bottom in pixels of the image; None if none holds the click.

    Args:
        boxes: All boxes of the text.
        clicks: The prompt's clicks. The first positive one must lie in the box; without one, any box is accepted.
        threshold: The least score of a box that is chosen by a click.
    """
    scores = boxes.scores
    first = next((click for click in clicks if click.positive), None)
    if first is not None:
        left, top, right, bottom = boxes.xyxy.unbind(-1)
        x, y = first.x + 0.5, first.y + 0.5  # A pixel's middle; boxes count from the image's edge.
        holds = (left <= x) & (x <= right) & (top <= y) & (y <= bottom) & (scores >= threshold)
        scores = torch.where(holds, scores, -1.0)
    best = int(scores.argmax())
    return boxes.xyxy[best].double().cpu().numpy() if scores[best] >= 0 else None
