"""Trains FocalClick's two networks together: the coarse one on a window, the refiner on a crop of that window.

Paper: Chen et al., "FocalClick", CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.3. Code: alibaba/ClickSEG at
d61a76b. As there, the coarse network is trained like RITM (`learners/ritm.py`), and the refiner on a crop around the
object that is larger than its box and shifted, both with the normalised focal loss. The refiner's trimap, the weight of
its details at each pixel, has a band along the outline as its target. Three things differ: the band's pixels have no
extra weight in the crop's loss, there are no ImageNet weights, and the differences of RITM's learner apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from harness.clicks import Situation
from harness.plugins.registry import register_learner
from harness.structures import Click, Image, Instance, Mask, Said, Sample

from ..focalclick.crops import Crop, box_of
from ..focalclick.network import FocalClickArchitecture, FocalClickNetwork
from ..focalclick.segformer import Count, SegFormerArchitecture, Width
from ..ritm.zoom import Window
from .ritm import InteractiveLearner, Share, normalised_focal_loss
from .shared.augmentation import jittered

LEAST_WINDOW = 32
"""The least side of a window, in the image's pixels."""

BAND = 7
"""Side in pixels of the square by which a crop's mask is grown and shrunk; between both the refiner's details count."""

SHIFT = 0.15
"""The largest shift of a crop from the object's box, as a share of the box's size."""


@register_learner("focalclick")
class FocalClickLearner(InteractiveLearner):
    """FocalClick: a SegFormer of any size, with the refiner.

    Args:
        widths: Channels of the SegFormer's four stages.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        reductions: The factor by which keys and values are shrunk, in height and in width, in each stage.
        head_width: Channels of the head.
        refiner_width: Channels of the refiner.
        radius: The radius of a click's disk, in pixels of the networks' inputs.
        size: The side of both networks' square inputs, in pixels.
        next_clicks: A batch gets up to this many further clicks, each number equally often.
        zoomed: Share of the examples whose window is a part of the image around the object.
        strategy: The simulator of the first click.
        click_options: The simulator's options.
        flip: Mirror half of the examples.
        jitter: Strength of the colour jitter; 0 for none.
    """

    threshold = 0.5
    network: Any

    def __init__(
        self,
        widths: tuple[Width, Width, Width, Width] = (32, 64, 160, 256),
        depths: tuple[Count, Count, Count, Count] = (2, 2, 2, 2),
        heads: tuple[Count, Count, Count, Count] = (1, 2, 5, 8),
        reductions: tuple[Count, Count, Count, Count] = (8, 4, 2, 1),
        head_width: Width = 256,
        refiner_width: Width = 32,
        radius: Annotated[int, Field(ge=1)] = 5,
        size: Annotated[int, Field(ge=32)] = 256,
        next_clicks: Annotated[int, Field(ge=0)] = 3,
        zoomed: Share = 0.5,
        strategy: str = "paper/v1",
        click_options: Mapping[str, Any] | None = None,
        flip: bool = True,
        jitter: float = 0.0,
    ) -> None:
        backbone = SegFormerArchitecture(widths, depths, heads, reductions, head_width)
        architecture = FocalClickArchitecture(
            backbone, coarse_radius=radius, refiner_radius=radius, refiner_width=refiner_width
        )
        rounds = (size, next_clicks, zoomed, LEAST_WINDOW, strategy, click_options, flip, jitter)
        super().__init__(architecture, FocalClickNetwork(architecture), *rounds)

    def example(
        self,
        sample: Sample,
        instance: Instance,
        said: Said,  # noqa: ARG002 - there is no text
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """A window of the image and a crop of the window, the object in both, and the first clicks in the window."""
        clicks = self.click_rule.clicks(Situation(sample, instance, (), None, rng))
        image = jittered(sample.image, rng, self.jitter) if self.jitter else sample.image
        mask = instance.mask
        if self.flip and rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
            clicks = tuple(Click(mask.shape[1] - 1 - click.x, click.y, click.positive) for click in clicks)
        window = self._window(mask, clicks, rng)
        crop = self._crop(mask, window, rng)
        signs = [1 if click.positive else -1 for click in clicks]
        places = [(*window.place(click, self.size), sign) for click, sign in zip(clicks, signs, strict=True)]
        return {
            **self._shown(image, mask, window, ""),
            **self._shown(image, mask, crop, "crop_"),
            "clicks": np.array(places, np.float32),
            "box": np.array(crop.within(window, self.size[0]), np.float32),
        }

    def _shown(self, image: Image, mask: Mask, part: Window | Crop, name: str) -> dict[str, np.ndarray]:
        """A part of the image and of the object's mask, as the networks see it."""
        # Image and mask are cut and resized as one picture of four channels, (1 4 h w), so that the mask stays where
        # the object is; it is made of zeros and ones again afterwards.
        maps = torch.from_numpy(np.dstack([image, mask]).astype(np.float32)).permute(2, 0, 1)[None]
        shown = part.cut(maps, self.size)[0]
        return {f"{name}pixels": shown[:3].div(255).numpy(), f"{name}target": (shown[3] > 0.5).numpy()}

    def _crop(self, mask: Mask, window: Window, rng: np.random.Generator) -> Crop:
        """A part of the window around the object, larger than its box and a little shifted."""
        top, bottom, left, right = box_of(mask)
        # 1.4, the evaluation's ratio, is the mean.
        ratio = rng.uniform(1.1, 1.7)
        rows, columns = (
            drawn_range(first, last, ratio, limits, rng)
            for first, last, limits in ((top, bottom, window[:2]), (left, right, window[2:]))
        )
        return Crop(*rows, *columns)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Normalised focal losses of the window's mask and of the crop's, and the cross-entropy of the band.

        Raises:
            UserError: The batch has one example, which has no variance for batch normalisation.
        """
        # Both networks are trained in one step. The coarse answer is of the whole window; the refiner gets it, cut to
        # the crop, and its own clicks in the crop's pixels. Gradients flow from the refiner into the coarse network,
        # too.
        self.check_batch(batch)
        previous, clicks = self.interacted(batch["pixels"], batch["target"], batch["clicks"])
        coarse = self.network.coarse(batch["pixels"], previous, clicks)
        placed = clicks_in_crop(clicks, batch["box"], self.size[0])
        refined, trimap = self.network.refined(batch["crop_pixels"], placed, coarse, batch["box"])
        believed = F.binary_cross_entropy_with_logits(trimap[:, 0], band(batch["crop_target"], BAND))
        return (
            normalised_focal_loss(coarse.logits[:, 0], batch["target"])
            + normalised_focal_loss(refined[:, 0], batch["crop_target"])
            + believed
        )

    def answered(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> Float[Tensor, "n 1 h w"]:
        """The coarse network's logits; the rounds of a training use that network alone."""
        logits: Tensor = self.network.coarse(pixels, previous, clicks).logits
        return logits


def drawn_range(
    first: int, last: int, ratio: float, limits: Sequence[int], rng: np.random.Generator
) -> tuple[int, int]:
    """A range of rows or columns around a given one, `ratio` times as long and shifted, within the limits.

    Returns:
        Its first pixel and the one after its last.
    """
    length = last - first + 1
    centre = (first + last) / 2 + rng.uniform(-SHIFT, SHIFT) * length
    start = max(limits[0], int(centre - ratio * length / 2))
    end = min(limits[1] + 1, int(centre + ratio * length / 2))
    return start, max(end, start + 1)


def clicks_in_crop(clicks: Float[Tensor, "n k 3"], boxes: Float[Tensor, "n 4"], side: int) -> Float[Tensor, "n k 3"]:
    """The clicks of windows, in pixels of crops that are at left, top, right, bottom in the windows."""
    # Boxes begin with x, clicks with the row. In a window of 256 pixels, a crop from row 32 to row 160 is enlarged
    # twice: a click in the window's row 96 lies in the crop's row (96 - 32) * 256 / 128 = 128.
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    rows = (clicks[..., 0] - top) * side / (bottom - top)
    columns = (clicks[..., 1] - left) * side / (right - left)
    return torch.stack([rows, columns, clicks[..., 2]], dim=2)


def band(targets: Bool[Tensor, "n h w"], side: int) -> Float[Tensor, "n h w"]:
    """1 along the outline of each mask, 0 elsewhere: the mask grown, without the mask shrunk."""
    # A square of 7 pixels reaches 3 to each side of its centre. So the mask grows by 3 pixels and shrinks by 3, and
    # between both lies a band of 6 pixels with the outline in its middle.
    kernel = np.ones((side, side), np.uint8)
    masks = targets.cpu().numpy().astype(np.uint8)
    bands = [cv2.dilate(mask, kernel) - cv2.erode(mask, kernel) for mask in masks]
    return torch.from_numpy(np.stack(bands)).to(targets.device, torch.float32)
