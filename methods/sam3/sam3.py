"""Segment Anything 3 (SAM 3): all instances of a noun phrase, of which a click chooses one.

Paper: Carion et al., "SAM 3: Segment Anything with Concepts", 2025, https://arxiv.org/abs/2511.16719
Code: https://github.com/facebookresearch/sam3 at 99d02f2, SAM licence; here the port in Hugging Face's `transformers`
5.24, Apache-2.0 (extra `transformers`), with the snapshot facebook/sam3, SAM licence. The hub gives it only to people
whom its owners have accepted: ask on its page, then `hf auth login` (`python -m harness weights list sam3`). PyPI's
`sam3` is another project; never install it here.

No public call takes a text and a click together. So the two networks answer separately, after one pass of their common
image tower:

- `concept`: among the instances that the text finds with a score above `score_threshold`, the best one whose mask holds
  the first positive click; with several clicks, the best of those that agree with the most of them. If no instance
  holds the click, it is the answer of `confidence`, since the text says nothing about that place.
- `confidence`: SAM 3's tracker with the clicks alone. It answers as SAM 2 does: three masks for a single click, ranked
  by their predicted IoU, and one for several clicks, starting from its last mask.

The oracle is the best of all of these. By text alone the answer is the instance with the highest score; without a text
it is the tracker's answer. Phrases are short and name a kind of object. A place in them ("left car") is mostly ignored
(facebookresearch/sam3, issue 461).

Both networks' answers equal the package's, except for one vector of the tracker, which the package loses
(`Sam3Network._embedded`).

Published: 48.5 mask AP on LVIS and 54.1 cgF1 on SA-Co Gold (README at 99d02f2), of all instances of a phrase. No number
for a text with a click is known, so no table shows one.

SAM 3 learned from 4 million phrases with their masks: no class of a usual data set is unseen to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from harness.places import located
from harness.plugins.interfaces import TextLimit
from harness.plugins.registry import register_method
from harness.structures import Click, Prediction, Prompt

from ..shared.device import chosen_device, in_float32
from ..shared.multimask import Answer, EncodedImage, MultiMask, MultimaskRule, Precision
from ..shared.snapshots import snapshot_text_limit
from .network import LONGEST, Instances, Sam3Network, SeenImage


@register_method("sam3")
class Sam3(MultiMask):
    """SAM 3. Its answers are ranked `confidence` (its tracker, by clicks) and `concept` (the text's best at the click).

    Args:
        snapshot: A folder with the hub's snapshot of facebook/sam3.
        score_threshold: The score above which an instance of the text counts for a click; 0.5 in the authors' code.
        multimask: The rounds in which the tracker answers with three masks: the "first", "always" or "never".
        device: The device on which it runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: How many prompts the tracker decodes at once; by default 8 on the CPU, 64 on a GPU.
        texts_per_batch: How many texts on an image share the detector's pass; by default 1 on the CPU, 8 on a GPU.
        precision: The precision of the image tower's matrix products.
    """

    uses_text = True
    needs_click = False
    network: Sam3Network

    def __init__(
        self,
        snapshot: Path,
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5,
        multimask: MultimaskRule = "first",
        device: str = "auto",
        prompts_per_batch: int | None = None,
        texts_per_batch: Annotated[int, Field(ge=1)] | None = None,
        precision: Precision = "float32",
    ) -> None:
        where = torch.device(chosen_device(device))
        together = texts_per_batch or (1 if where.type == "cpu" else 8)
        network = Sam3Network(snapshot, where, precision, score_threshold, together)
        super().__init__(network, ("confidence",), None, multimask, "all", prompts_per_batch)

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """SAM 3's own."""
        return snapshot_text_limit(located(params["snapshot"]), LONGEST, "SAM 3")

    def _check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        if prompt.clicks:
            super()._check(prompt, size)
        elif not said(prompt):
            raise ValueError(f"{self.name} needs a click or a text; found neither.")

    @in_float32
    def _predictions(self, state: EncodedImage, prompts: Sequence[Prompt]) -> list[Prediction]:
        for prompt in prompts:
            self._check(prompt, state.size)
        seen: SeenImage = state.features
        found = self.network.instances(seen, state.size, [text for text in map(said, prompts) if text])
        clicked = [place for place, prompt in enumerate(prompts) if prompt.clicks]
        answers = self._answers(state, [prompts[place] for place in clicked])
        tracked = dict(zip(clicked, zip(answers, self._masks(answers, state.size), strict=True), strict=True))
        return [self._answer(found.get(said(one)), one, tracked.get(place)) for place, one in enumerate(prompts)]

    def _answer(self, found: Instances | None, prompt: Prompt, tracked: tuple[Answer, np.ndarray] | None) -> Prediction:
        """The tracker's masks followed by the text's instance, each with its score in both rankings."""
        # A click with three tracker masks of predicted IoU 0.9, 0.7, 0.6, and an instance of score 0.8:
        #
        #                   tracker's masks       instance
        #    confidence      0.9   0.7   0.6      -1.0       the tracker's best mask wins
        #    concept        -0.1  -0.3  -0.4       0.8       the instance wins
        #
        # Without an instance at the click, the last column is missing and the tracker's best mask wins both.
        taken = None if found is None else chosen(found, prompt.clicks, self.network.threshold)
        if tracked is None:  # By text alone.
            assert found is not None and taken is not None
            return Prediction(found.masks[taken][None])
        answer, masks = tracked
        quality, memory = answer.confidence.float().cpu().tolist(), list(answer.logits)
        if found is None:
            return Prediction(masks, {"confidence": quality}, memory)
        # A predicted IoU is from 0 to 1. Minus 1, it ranks the tracker's masks behind any instance, in their own order.
        concept = [one - 1 for one in quality]
        if taken is None:
            return Prediction(masks, {"confidence": quality, "concept": concept}, memory)
        return Prediction(
            np.concatenate([masks, found.masks[taken][None]]),
            {"confidence": [*quality, -1.0], "concept": [*concept, float(found.scores[taken])]},
            [*memory, found.logits[taken]],
        )


def said(prompt: Prompt) -> str:
    """A prompt's text; "" for none."""
    return (prompt.text or "").strip()


def chosen(found: Instances, clicks: Sequence[Click], threshold: float) -> int | None:
    """The place of the instance that the clicks choose; None where none is chosen.

    An instance must have a score above the threshold and hold the first positive click. Among several, the one that
    agrees with the most clicks is chosen (it holds a positive click, it leaves out a negative one), and among equals
    the one with the highest score. Without a positive click it is the one with the highest score, however low.
    """
    # The network returns the instances by descending score.
    first = next((click for click in clicks if click.positive), None)
    if first is None:
        return 0
    holds = found.masks[:, first.y, first.x] & (found.scores > threshold)
    if not holds.any():
        return None
    agreeing = sum((found.masks[:, click.y, click.x] == click.positive).astype(int) for click in clicks)
    return int(np.argmax(np.where(holds, agreeing, -1)))  # The first of equals has the highest score.
