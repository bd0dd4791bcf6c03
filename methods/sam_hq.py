"""HQ-SAM: Segment Anything with one more output token, for masks with finer outlines.

Paper: Ke et al., "Segment Anything in High Quality", NeurIPS 2023, https://arxiv.org/abs/2306.01567
Code: https://github.com/SysCV/sam-hq, Apache-2.0 (PyPI: segment-anything-hq 0.3, in the extra `sam-hq`)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from harness.plugins.registry import register_method
from harness.structures import UserError

from .sam.sam import SamNetwork
from .shared.checkpoints import check_fit, read_tensors
from .shared.device import chosen_device
from .shared.multimask import MultiMask, MultimaskRule, Precision

Backbone = Literal["vit_tiny", "vit_b", "vit_l", "vit_h"]


class SamHqNetwork(SamNetwork):
    """segment_anything_hq's model, whose decoder also reads the encoder's first blocks.

    Args:
        model: The model with its weights, on its device.
        precision: The precision of the image encoder's matrix products.
        hq_token_only: Whether to take the high-quality token's mask alone, instead of its sum with SAM's.
    """

    def __init__(self, model: Any, precision: Precision = "float32", hq_token_only: bool = False) -> None:
        super().__init__(model, precision)
        self.hq_token_only = hq_token_only

    def _encoded(self, pixels: Float[Tensor, "1 3 s s"]) -> Any:
        embedding, early = self.model.image_encoder(pixels)
        return embedding.float(), [one.float() for one in early]

    def _decoded(self, features: Any, sparse: Tensor, dense: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
        # `early` has the output of each block with global attention; the decoder reads the first, whose details the
        # last one has lost. Several candidates never come out: with `multimask` the decoder adds its mask to SAM's
        # most confident one.
        embedding, early = features
        return self.model.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            hq_token_only=self.hq_token_only,
            interm_embeddings=early,
        )


@register_method("sam_hq")
class SamHq(MultiMask):
    """HQ-SAM. It adds its token's mask to SAM's most confident one, so it has one mask a prompt and nothing to rank.

    Args:
        checkpoint: Released weights (.pth).
        backbone: The checkpoint's backbone.
        multimask: The rounds in which SAM's share is the best of its three masks and not the single one: "never", as in
            the authors' demo, at the "first" click, or "always".
        hq_token_only: Whether to leave SAM's share out.
        device: The device on which it runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: How many prompts are decoded at once; by default 8 on the CPU, 64 on a GPU.
        precision: The precision of the image encoder's matrix products.
    """

    def __init__(
        self,
        checkpoint: Path,
        backbone: Backbone = "vit_h",
        multimask: MultimaskRule = "never",
        hq_token_only: bool = False,
        device: str = "auto",
        prompts_per_batch: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        model = load_sam_hq(checkpoint, backbone).to(chosen_device(device))
        network = SamHqNetwork(model, precision, hq_token_only)
        super().__init__(network, ("confidence",), None, multimask, "chosen", prompts_per_batch)


def load_sam_hq(checkpoint: Path, backbone: Backbone) -> torch.nn.Module:
    """The model with a checkpoint's weights, on the CPU.

    Raises:
        UserError: The package is missing, or the file is no checkpoint of this backbone.
    """
    try:
        from segment_anything_hq import sam_model_registry
    except ImportError as error:
        raise UserError(
            f"methods/sam_hq.py: found no package segment_anything_hq ({error}); wanted it installed. "
            "Run `pip install 'segment-anything-hq>=0.3'` (README, Weights)."
        ) from error
    weights, _ = read_tensors(checkpoint, "methods/sam_hq.py")
    model = sam_model_registry[backbone]()
    check_fit(model, weights, checkpoint)
    model.load_state_dict(weights, assign=True)
    return model.requires_grad_(False)
