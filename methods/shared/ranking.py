"""Ranks candidate masks by CLIP: by the similarity of each mask's crop of the image with the text.

Paper: Warner et al., BMVC 2023, section 4.3 ("CLIP score", with ViT-L/14@336px). The paper does not say how a mask is
cropped or how the text is phrased, so both are options here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from harness.structures import Click, Image, Mask, Masks, UserError

from ..saliency.maskclip import dense_features
from .around_click import fits_at
from .clip_texts import TextVectors
from .open_clip_model import load_clip

Crop = Literal["box", "masked", "masked_padded"]
"""The ways to cut out a candidate for CLIP. "box": the image within the bounding box. "masked": the same, with
everything but the candidate grey. "masked_padded": the latter, padded with grey to a square. The first two are
stretched to CLIP's square; CLIP's own preprocessing would cut off the ends of a long object."""

GREY = 127
"""The colour around a masked candidate. The CLIP of the embedded benchmark was trained on the same."""

EMPTY = -1.0
"""The score of a candidate without pixels. No cosine is lower."""


class ClipRanking:
    """Scores crops of an image against texts.

    Args:
        model: A model of `open_clip_model.load_clip`.
        checkpoint: The model's weights.
        crop: The way in which a candidate is cut out.
        template: The sentence for CLIP, with "{}" for the text.
        device: The device of CLIP; "auto" takes the GPU if there is one.
        dtype: The type of the image tower's matrix products.
        crops_per_batch: How many crops are encoded at once; 64 are enough for all candidates of most images.

    Attributes:
        whole_images: How many whole images were encoded so far, for `text_fits`.
    """

    def __init__(
        self,
        model: str,
        checkpoint: Path | None,
        crop: Crop = "box",
        template: str = "a photo of a {}.",
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
        crops_per_batch: int = 64,
    ) -> None:
        if "{}" not in template:
            raise UserError(
                f"methods/shared/ranking.py: found template={template!r}; wanted one with {{}} for the text."
            )
        if checkpoint is None:
            raise UserError(
                f"methods/shared/ranking.py: found no clip_checkpoint; wanted the weights of {model}, to rank by "
                "CLIP. Download them (README, Weights) and set `clip_checkpoint`, or take clip out of `rankings`."
            )
        self.clip = load_clip(model, checkpoint, device)
        self.crop, self.template, self.dtype, self.crops_per_batch = crop, template, dtype, crops_per_batch
        self.embedded = TextVectors(self.clip, (template,))
        self.whole_images = 0

    @torch.inference_mode()
    def scores(self, image: Image, masks: Masks, texts: Sequence[str]) -> Float32[np.ndarray, " n"]:
        """The cosine, -1 to 1, of each mask's crop with its text; -1 for an empty mask.

        Args:
            image: The image, RGB.
            masks: Masks at the image's size, of any number of prompts.
            texts: A text for each mask.
        """
        scores = np.full(len(masks), EMPTY, np.float32)
        # An empty mask has no box to crop. It keeps the lowest score, so it is chosen only if all masks are empty.
        shown = [index for index, mask in enumerate(masks) if mask.any()]
        if shown:
            crops = self._images(image, [masks[index] for index in shown])
            words = self._texts([texts[index] for index in shown])
            # Both are unit vectors, so the sum of products is the cosine.
            scores[shown] = (crops * words).sum(1).cpu().numpy()
        return scores

    @torch.inference_mode()
    def patches(self, image: Image) -> Float32[Tensor, "d gh gw"]:
        """MaskCLIP's features of the whole image, squeezed to CLIP's own size: one pass, no crop."""
        self.whole_images += 1
        return dense_features(self.clip.module.visual, self._pixels(image)[None])[0].float()

    @torch.inference_mode()
    def text_fits(
        self, patches: Float32[Tensor, "d gh gw"], size: tuple[int, int], clicks: Sequence[Click], texts: Sequence[str]
    ) -> Float32[np.ndarray, "n k"]:
        """The cosine of each text, in the template, with the patches around each click (`fits_at`).

        Args:
            patches: The image's, from `patches`.
            size: (h, w) of the image.
            clicks: In pixels of the image.
            texts: Without the template.
        """
        return fits_at(patches, size, clicks, self._texts(texts))

    def _images(self, image: Image, masks: Sequence[Mask]) -> Float[Tensor, "n d"]:
        """The embeddings of the masks' crops, which are cut one at a time: each may be as large as the image."""
        parts = []
        for start in range(0, len(masks), self.crops_per_batch):
            some = masks[start : start + self.crops_per_batch]
            pixels = torch.stack([self._pixels(cropped(image, mask, self.crop)) for mask in some])
            # Only the tower's matrix products run in half precision. The embedding is normalised in float32: the
            # candidates of one click overlap, so their cosines are close together, and a length rounded to half
            # precision could turn their order.
            with torch.autocast(self.clip.device.type, self.dtype, enabled=self.dtype != torch.float32):
                parts.append(self.clip.module.encode_image(pixels))
        return F.normalize(torch.cat(parts).float(), dim=-1)

    def _pixels(self, crop: Image) -> Float[Tensor, "3 h w"]:
        """The crop, resized as CLIP's preprocessing does (bicubic with antialiasing) and normalised."""
        # CLIP's own preprocessing makes the short side as long as its input and cuts a square out of the middle. Of a
        # crop of 20 x 200 pixels that would show a tenth. So the crop is stretched to the square, or was padded to one
        # (`padded`).
        height, width = self.clip.image_size
        resized = PIL.Image.fromarray(crop).resize((width, height), PIL.Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).to(self.clip.device).permute(2, 0, 1) / 255
        mean, std = (pixels.new_tensor(value)[:, None, None] for value in (self.clip.image_mean, self.clip.image_std))
        return (pixels - mean) / std

    def _texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """The texts' embeddings; each text is encoded once in the method's life."""
        return self.embedded.of(texts)


def cropped(image: Image, mask: Mask, crop: Crop) -> UInt8[np.ndarray, "ch cw 3"]:
    """The crop of a mask with at least one pixel, before it is resized for CLIP."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    box = (slice(top, top + height), slice(left, left + width))
    if crop == "box":
        return np.ascontiguousarray(image[box])
    # Grey is about the mean colour of CLIP's training (0.48, 0.46, 0.41 of 1), so the surroundings become 0.1 to 0.3 in
    # the network's input. Black would become -1.5 to -1.8, a shape of its own that CLIP might read.
    masked = np.where(mask[box][..., None], image[box], np.uint8(GREY))
    return padded(masked) if crop == "masked_padded" else masked


def padded(image: Image) -> UInt8[np.ndarray, "side side 3"]:
    """The image in the middle of a grey square."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.full((side, side, 3), GREY, np.uint8)
    square[top : top + height, left : left + width] = image
    return square
