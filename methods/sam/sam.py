"""Segment Anything (SAM), the authors' own release, and small ones trained here.

Paper: Kirillov et al., "Segment Anything", ICCV 2023, https://arxiv.org/abs/2304.02643
Code: https://github.com/facebookresearch/segment-anything at dca509f, Apache-2.0 (PyPI: segment-anything 1.0)

The masks equal those of the package's `SamPredictor`. Here, prompts on one image share a batch of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from harness.plugins.interfaces import Saliency
from harness.plugins.registry import register_method
from harness.structures import Image, UserError

from ..shared.checkpoints import check_fit, read_tensors
from ..shared.device import chosen_device
from ..shared.multimask import Candidates, MultiMask, MultimaskRule, Network, Precision, Ranking
from ..shared.ranking import ClipRanking, Crop
from .tiny import described_architecture

Backbone = Literal["vit_b", "vit_l", "vit_h"]

ENCODER_WIDTHS: dict[int, str] = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Width of the image encoder -> backbone, by which a checkpoint is recognised."""


class SamNetwork(Network):
    """segment_anything's model, with exactly its preprocessing and postprocessing.

    Args:
        model: The model with its weights, on its device.
        precision: Precision of the image encoder's matrix products. The decoder, a twentieth of the work, stays in
            float32.
    """

    def __init__(self, model: Any, precision: Precision = "float32") -> None:
        self.model = model.eval()
        self.device = torch.device(model.device)
        self.dtype: torch.dtype = getattr(torch, precision)
        self.side = int(model.image_encoder.img_size)
        self.logits_size = tuple(model.prompt_encoder.mask_input_size)
        # The encoding of the grid's places depends on the network alone, so it is computed once for all prompts.
        with torch.inference_mode():
            self.positions = model.prompt_encoder.get_dense_pe()

    def features(self, image: Image) -> Any:
        """The image embedding, (1, d, grid, grid)."""
        pixels = self.model.preprocess(resized(image, self.side, self.device))
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self._encoded(pixels)

    def _encoded(self, pixels: Float[Tensor, "1 3 s s"]) -> Any:
        return self.model.image_encoder(pixels).float()

    def decode(
        self,
        features: Any,
        size: tuple[int, int],
        clicks_xy: Float64[np.ndarray, "n c 2"],
        labels: Int64[np.ndarray, "n c"],
        previous: Float[Tensor, "n 1 gh gw"] | None,
        multimask: bool,
        boxes_xyxy: Float64[np.ndarray, "n 4"] | None = None,
    ) -> tuple[Float[Tensor, "n k gh gw"], Float[Tensor, "n k"]]:
        """See `Network.decode`. The single mask comes from the first output token, the three masks from the others.

        With a box for each prompt (left, top, right, bottom, in pixels of the image) there may be no click.
        """
        # SAM's coordinates are pixels of the resized image, whose longest side is 1024. Clicks are scaled by its
        # rounded size, as in the package: 427 x 640 becomes 683 x 1024, so rows are scaled by 683 / 427, not by 1024 /
        # 640.
        height, width = input_size(size, self.side)
        scale = np.array([width / size[1], height / size[0]])
        points = torch.as_tensor(clicks_xy * scale, dtype=torch.float32, device=self.device)
        boxes = None
        if boxes_xyxy is not None:
            boxes = torch.as_tensor(boxes_xyxy * np.tile(scale, 2), dtype=torch.float32, device=self.device)
        sparse, dense = self.model.prompt_encoder(
            points=(points, torch.as_tensor(labels, dtype=torch.int32, device=self.device)) if points.numel() else None,
            boxes=boxes,
            masks=previous,
        )
        return self._decoded(features, sparse, dense, multimask)

    def _decoded(self, features: Any, sparse: Tensor, dense: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
        return self.model.mask_decoder(
            image_embeddings=features,
            image_pe=self.positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )

    def upsampled(self, logits: Float[Tensor, "m 1 gh gw"], size: tuple[int, int]) -> Float[Tensor, "m 1 h w"]:
        """Upsample in two bilinear steps and cut off the padding between them, as the published model does."""
        # The network sees a square; the image fills its top left part, and the rest is padding. So logits of 256 x 256
        # go to 1024 x 1024, are cut to the resized image, 683 x 1024, and go to the image's size, 427 x 640.
        height, width = input_size(size, self.side)
        padded = F.interpolate(logits, (self.side, self.side), mode="bilinear", align_corners=False)
        return F.interpolate(padded[..., :height, :width], size, mode="bilinear", align_corners=False)


@register_method("sam")
class Sam(MultiMask):
    """SAM. Its candidates are ranked by its own predicted IoU and, with a text, by CLIP or a saliency.

    It takes clicks, a box, or both. A box is unambiguous, so by default SAM answers it with the single mask.

    Args:
        checkpoint: Released weights (.pth), or weights that our training saved (.safetensors).
        backbone: The backbone that the checkpoint must have; None accepts any.
        rankings: Any of "confidence", SAM's own predicted IoU; "clip", CLIP's score of each candidate's crop; and
            "saliency", the text's saliency on each candidate. With several clicks, the first ranking's choice goes back
            into SAM.
        clip_model: The model that ranks by the text: a name or config of open_clip_model.load_clip.
        clip_checkpoint: The weights of `clip_model`; needed to rank by it.
        crop: The way in which a candidate is cut out for CLIP.
        template: The sentence that CLIP reads, with {} for the text.
        multimask: The rounds in which SAM answers with three masks: at the "first" click only, and with one mask for
            more clicks or a box, as its authors do; "always", as RClicks and SegNext do; or "never".
        candidates: "all", or only the one "chosen" by the single ranking, which is cheaper but has no oracle.
        device: The device of SAM and CLIP; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: How many prompts are decoded at once; by default 8 on the CPU, 64 on a GPU.
        precision: The precision of the matrix products of SAM's image encoder and of CLIP.
        saliency: The saliency for the ranking "saliency", whose score is the map's mean inside a candidate minus the
            mean outside. Any saliency may be used; nothing is trained.
    """

    takes = frozenset({"boxes"})

    def __init__(
        self,
        checkpoint: Path,
        backbone: Backbone | None = None,
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
        network = SamNetwork(load_sam(checkpoint, backbone).to(where), precision)
        clip = None
        if "clip" in rankings:
            clip = ClipRanking(clip_model, clip_checkpoint, crop, template, where, network.dtype)
        super().__init__(network, rankings, clip, multimask, candidates, prompts_per_batch, saliency)


def input_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(h, w) of an image whose longest side is resized to `side`: ResizeLongestSide's rounding, at least 1 pixel."""
    scale = side * 1.0 / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def resized(image: Image, side: int, device: torch.device) -> Float[Tensor, "1 3 h w"]:
    """The image with its longest side resized to `side`, 0 to 255, by PIL as ResizeLongestSide.apply_image does."""
    height, width = input_size(image.shape[:2], side)
    pixels = np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).to(device).permute(2, 0, 1).contiguous()[None].float()


def load_sam(checkpoint: Path, backbone: Backbone | None = None) -> Any:
    """The model with a checkpoint's weights, on the CPU.

    Raises:
        UserError: The file is missing, is no checkpoint of SAM or has another backbone.
    """
    from segment_anything import sam_model_registry

    weights, about = read_tensors(checkpoint, "methods/sam/sam.py")
    if about.get("architecture"):
        if backbone is not None:
            raise UserError(f"{checkpoint}: found a small SAM trained here; wanted {backbone}. Leave `backbone` out.")
        return with_weights(described_architecture(about["architecture"], checkpoint).network, weights, checkpoint)
    width = weights["image_encoder.pos_embed"].shape[-1] if "image_encoder.pos_embed" in weights else 0
    found = ENCODER_WIDTHS.get(width)
    if found is None or (backbone is not None and found != backbone):
        seen = f"a SAM with backbone {found}" if found else f"tensors such as {', '.join(list(weights)[:2]) or 'none'}"
        raise UserError(
            f"{checkpoint}: found {seen}; wanted the released weights of SAM's {backbone or 'vit_b, vit_l or vit_h'}. "
            "Correct `checkpoint` or `backbone`."
        )
    return with_weights(sam_model_registry[found], weights, checkpoint)


def with_weights(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], path: Path) -> nn.Module:
    """The model that `build` makes, with these weights.

    It is built without storage first: drawing random weights for 640 M parameters would take longer than reading the
    file.

    Raises:
        UserError: A tensor is missing, is unknown to the model or has another shape.
    """
    # A model on "meta" has shapes and no values. `assign` then puts the file's tensors in place of its own, without a
    # copy; all must be there, as one that is missing would stay without values.
    with torch.device("meta"):
        model = build()
    check_fit(model, weights, path)
    model.load_state_dict(dict(weights), assign=True)
    return model.requires_grad_(False)
