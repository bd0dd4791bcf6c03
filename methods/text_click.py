"""Text+Click, the paper's method ("Ours"): DeepLabV3+ over RGB, a text saliency and click distance maps.

Paper: Warner et al., "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
https://arxiv.org/abs/2311.14822
Code: the authors' fork, https://github.com/nikolaiwarner7/MaskCLIP at 37b9df0; no weights were published.
"""

from __future__ import annotations

from pathlib import Path

from harness.plugins.interfaces import Saliency
from harness.plugins.registry import register_method

from .shared.prompted_deeplab import PromptedDeepLab


@register_method("text_click")
class TextClick(PromptedDeepLab):
    """The click says which instance, the text's saliency says which of the things under the click.

    Args:
        checkpoint: Weights as training here saves them, which carry their architecture.
        saliency: Turns the text into a channel; MaskCLIP in the paper. The one that the weights were trained with.
        device: Where the network runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: Forward passes are cut to this many prompts of an image.
    """

    uses_text = True

    def __init__(self, checkpoint: Path, saliency: Saliency, device: str = "auto", prompts_per_batch: int = 16) -> None:
        super().__init__(checkpoint, saliency, device, prompts_per_batch)
