"""Click-only, the paper's baseline: the network of Text+Click without the saliency channel.

Paper: Warner et al., BMVC 2023, section 4.2 ("same architecture but without text saliency heatmaps as input").
"""

from __future__ import annotations

from pathlib import Path

from harness.plugins.registry import register_method

from .shared.prompted_deeplab import PromptedDeepLab


@register_method("click_only")
class ClickOnly(PromptedDeepLab):
    """The network of Text+Click without a text: it segments by clicks alone.

    Args:
        checkpoint: Weights that our training saved, with their architecture.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts of an image that share a forward pass.
    """

    uses_text = False

    def __init__(self, checkpoint: Path, device: str = "auto", prompts_per_batch: int = 16) -> None:
        super().__init__(checkpoint, None, device, prompts_per_batch)
