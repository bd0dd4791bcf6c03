"""Segment Anything 2 (SAM 2 and 2.1) on single images.

Paper: Ravi et al., "SAM 2: Segment Anything in Images and Videos", ICLR 2025, https://arxiv.org/abs/2408.00714
Code: https://github.com/facebookresearch/sam2, Apache-2.0 (PyPI: sam2 1.1.0, in the extra `sam2`)

The masks are those of the package's `SAM2ImagePredictor`; here, prompts on one image share a batch of the decoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from harness.plugins.interfaces import Saliency
from harness.plugins.registry import register_method
from harness.structures import Image, UserError

from .shared.checkpoints import check_fit, read_tensors
from .shared.device import chosen_device
from .shared.multimask import Candidates, MultiMask, MultimaskRule, Network, Precision, Ranking
from .shared.ranking import ClipRanking, Crop

Model = Literal[
    "sam2_hiera_t",
    "sam2_hiera_s",
    "sam2_hiera_b+",
    "sam2_hiera_l",
    "sam2.1_hiera_t",
    "sam2.1_hiera_s",
    "sam2.1_hiera_b+",
    "sam2.1_hiera_l",
]

LOGITS_LIMIT = 32.0
"""The package's predictor clips the logits that it feeds back to plus or minus this value."""


class Sam2Network(Network):
    """sam2's model, with its image predictor's preprocessing and postprocessing.

    Args:
        model: With its weights, on its device.
        precision: The precision of the image encoder's matrix products.
    """

    def __init__(self, model: Any, precision: Precision = "float32") -> None:
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        self.model, self.predictor = model, SAM2ImagePredictor(model)
        self.device = torch.device(model.device)
        self.dtype: torch.dtype = getattr(torch, precision)
        self.logits_size = tuple(model.sam_prompt_encoder.mask_input_size)
        with torch.inference_mode():
            self.positions = model.sam_prompt_encoder.get_dense_pe()

    def features(self, image: Image) -> Any:
        """The image embedding, and the two finer maps that the decoder adds."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            self.predictor.set_image(np.ascontiguousarray(image))
        found = self.predictor._features
        return found["image_embed"].float(), [level.float() for level in found["high_res_feats"]]

    def decode(
        self,
        features: Any,
        size: tuple[int, int],
        clicks_xy: Float64[np.ndarray, "n c 2"],
        labels: Int64[np.ndarray, "n c"],
        previous: Float[Tensor, "n 1 gh gw"] | None,
        multimask: bool,
    ) -> tuple[Float[Tensor, "n k gh gw"], Float[Tensor, "n k"]]:
        """As `Network.decode`; a single mask that is not stable is replaced by the best of three, as in the package."""
        embedding, finer = features
        # SAM 2 squeezes every image to a square of 1024, so x and y have factors of their own: (w, h), as points are
        # (x, y). (SAM keeps the proportions and pads.)
        extent = torch.tensor([size[1], size[0]], dtype=torch.float32)
        points = torch.as_tensor(clicks_xy, dtype=torch.float32) / extent * self.model.image_size
        sparse, dense = self.model.sam_prompt_encoder(
            points=(points.to(self.device), torch.as_tensor(labels, dtype=torch.int32, device=self.device)),
            boxes=None,
            masks=None if previous is None else previous.clamp(-LOGITS_LIMIT, LOGITS_LIMIT),
        )
        # One image's embedding, (1 256 64 64), is repeated for the n prompts. The decoder enlarges it to the logits'
        # 256 x 256 and adds the two finer maps of the encoder on the way, of 128 and 256 cells a side.
        logits, confidence, _, _ = self.model.sam_mask_decoder(
            image_embeddings=embedding,
            image_pe=self.positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=True,
            high_res_features=finer,
        )
        return logits, confidence

    def upsampled(self, logits: Float[Tensor, "m 1 gh gw"], size: tuple[int, int]) -> Float[Tensor, "m 1 h w"]:
        """Enlarge logits in one bilinear step, since SAM 2 stretches images to a square."""
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


@register_method("sam2")
class Sam2(MultiMask):
    """SAM 2; its candidates are ranked by its own predicted IoU and, with a text, by CLIP or a saliency.

    Args:
        checkpoint: Released weights (.pt).
        model: The checkpoint's configuration.
        rankings: As for `sam`.
        clip_model: As for `sam`.
        clip_checkpoint: The weights of `clip_model`.
        crop: The way in which a candidate is cut out for CLIP, as for `sam`.
        template: The sentence that CLIP reads, with {} for the text.
        multimask: The rounds in which SAM 2 answers with three masks, as for `sam`.
        candidates: "all", or only the one "chosen" by the single ranking.
        device: The device on which it runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: How many prompts are decoded at once; by default 8 on the CPU, 64 on a GPU.
        precision: The precision of the image encoder's and CLIP's matrix products.
        saliency: As for `sam`.
    """

    def __init__(
        self,
        checkpoint: Path,
        model: Model = "sam2.1_hiera_l",
        rankings: tuple[Ranking, ...] = ("confidence",),
        clip_model: str = "ViT-L-14-336-quickgelu",
        clip_checkpoint: Path | None = None,
        crop: Crop = "box",
        template: str = "a photo of a {}.",
        multimask: MultimaskRule = "first",
        candidates: Candidates = "all",
        device: str = "auto",
        prompts_per_batch: int | None = None,
        precision: Precision = "float32",
        saliency: Saliency | None = None,
    ) -> None:
        where = chosen_device(device)
        network = Sam2Network(load_sam2(checkpoint, model).to(where), precision)
        clip = None
        if "clip" in rankings:
            clip = ClipRanking(clip_model, clip_checkpoint, crop, template, where, network.dtype)
        super().__init__(network, rankings, clip, multimask, candidates, prompts_per_batch, saliency)


def load_sam2(checkpoint: Path, model: Model) -> torch.nn.Module:
    """The model with a checkpoint's weights, on the CPU.

    Raises:
        UserError: The package is missing, or the file is no checkpoint of this model.
    """
    try:
        from sam2.build_sam import build_sam2
    except ImportError as error:
        raise UserError(
            f"methods/sam2.py: found no package sam2 ({error}); wanted it installed. Run "
            "`SAM2_BUILD_CUDA=0 pip install --no-build-isolation 'sam2>=1.1.0'` (README, Weights)."
        ) from error
    weights, _ = read_tensors(checkpoint, "methods/sam2.py")
    built = build_sam2(f"configs/{model.partition('_')[0]}/{model}.yaml", None, device="cpu")
    check_fit(built, weights, checkpoint)
    built.load_state_dict(weights, assign=True)
    return built.requires_grad_(False)
