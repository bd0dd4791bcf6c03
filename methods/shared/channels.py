"""An image, clicks and a saliency map as the channels of one network input.

Paper: Warner et al., "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
sections 3 and 4; where its code (nikolaiwarner7/MaskCLIP at 37b9df0) says more or otherwise, the code is the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from harness.structures import Click

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Channels:
    """How an input is laid out: RGB, saliency if any, then one channel a click, positive ones first.

    Attributes:
        saliency: Whether there is a saliency channel.
        positive_clicks: Channels for positive clicks.
        negative_clicks: Channels for negative clicks.
        size_rule: "short_side": keep the ratio, the short side becomes `size`, the long one at most four times
            that (the code's evaluation); "square": `size` x `size`; "native": as the image is.
        size: In pixels.
        click_range: What a click's distance map spans, nearest to farthest: (0, 1) as in the code and section
            3, or (-1, 1) as in section 4.
        saliency_range: What the saliency map spans, least to most likely: (-1, 1) in the code.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    saliency: bool = True
    positive_clicks: int = 1
    negative_clicks: int = 0
    size_rule: Literal["short_side", "square", "native"] = "short_side"
    size: int = 512
    click_range: tuple[float, float] = (0.0, 1.0)
    saliency_range: tuple[float, float] = (-1.0, 1.0)

    @property
    def count(self) -> int:
        """The number of input channels: 5 for text and one click."""
        return 3 + int(self.saliency) + self.positive_clicks + self.negative_clicks

    def as_dict(self) -> dict[str, Any]:
        """JSON values, from which `from_dict` makes the same again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Channels:
        """The inverse of `as_dict`.

        Raises:
            pydantic.ValidationError: A value of another type, or an attribute unknown here.
        """
        return pydantic.TypeAdapter(cls).validate_python(values)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the network's input for an image of (h, w); halves round up, as in mmcv's `rescale_size`."""
        if self.size_rule == "native":
            return size
        if self.size_rule == "square":
            return self.size, self.size
        scale = min(self.size / min(size), 4 * self.size / max(size))
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def arranged(self, clicks: Sequence[Click]) -> tuple[Click, ...]:
        """The clicks in channel order.

        Raises:
            ValueError: Other numbers of clicks than the network has channels for.
        """
        positive = [click for click in clicks if click.positive]
        negative = [click for click in clicks if not click.positive]
        if (len(positive), len(negative)) != (self.positive_clicks, self.negative_clicks):
            raise ValueError(
                f"the network was trained for {self.positive_clicks} positive and {self.negative_clicks} negative "
                f"clicks, one channel each; found {len(positive)} and {len(negative)}. Train one for these clicks."
            )
        return (*positive, *negative)


def image_channels(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], device: torch.device = CPU
) -> Float[Tensor, "3 sh sw"]:
    """The image at the network's size, antialiased bilinear, with ImageNet's mean and deviation; made on the device."""
    stored = torch.tensor(np.ascontiguousarray(image), device=device)
    pixels = stored.float().permute(2, 0, 1).div_(255)
    resized = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (resized - mean) / std


def saliency_channel(
    saliency: Float[Tensor, "n h w"], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n sh sw"]:
    """Saliency maps (0 to 1, at the image's size) at the network's size, spanning `span`."""
    resized = F.interpolate(saliency[:, None].float(), size=size, mode="bilinear", antialias=True)[:, 0]
    return span[0] + resized * (span[1] - span[0])


def click_channels(
    clicks: Float[Tensor, "n c 2"], image_size: tuple[int, int], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n c sh sw"]:
    """Each click's Euclidean distance map, nearest to farthest pixel of the full image spanning `span`.

    Distances are taken in the image's pixels at the centres of the network's pixels, in closed form, and divided by the
    distance to the image's farthest corner pixel: the published minimum-maximum map, without a transform and a
    resize. No truncation (section 3).

    Args:
        clicks: x, y in pixels of the full image.
        image_size: (h, w) of the full image.
        size: (h, w) of the network's input.
        span: The values at the click and at the farthest pixel.
    """
    (height, width), (rows, columns) = image_size, size
    ys = (torch.arange(rows, device=clicks.device) + 0.5) * (height / rows) - 0.5
    xs = (torch.arange(columns, device=clicks.device) + 0.5) * (width / columns) - 0.5
    x, y = clicks[..., 0, None, None], clicks[..., 1, None, None]
    distance = torch.hypot(xs[None, :] - x, ys[:, None] - y)
    farthest = torch.hypot(torch.maximum(x, width - 1 - x), torch.maximum(y, height - 1 - y))
    unit = (distance / farthest.clamp(min=1)).clamp(0, 1)
    return span[0] + unit * (span[1] - span[0])


def window_click_channels(
    clicks: Float[Tensor, "n c 2"], extent: Float[Tensor, "n 4"], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n c sh sw"]:
    """`click_channels` of windows of images, one of its own each, for a whole batch at once.

    Args:
        clicks: x, y in pixels of the window; they may lie outside it.
        extent: Of what the farthest pixel is looked for in, the whole image or the window: the centres of the left,
            top, right and bottom pixels, in pixels of the window.
        size: (h, w) of the windows.
        span: The values at the click and at the farthest pixel.
    """
    ys, xs = (torch.arange(length, device=clicks.device, dtype=clicks.dtype) for length in size)
    x, y = clicks[..., 0, None, None], clicks[..., 1, None, None]
    left, top, right, bottom = (edge[:, None, None, None] for edge in extent.unbind(1))
    farthest = torch.hypot(torch.maximum(x - left, right - x), torch.maximum(y - top, bottom - y))
    unit = torch.hypot(xs - x, ys[:, None] - y).div_(farthest.clamp(min=1)).clamp_(0, 1)
    return span[0] + unit * (span[1] - span[0])


def normalised_pixels(rgb: UInt8[Tensor, "n h w 3"], inside: Int[Tensor, "n 2"]) -> Float[Tensor, "n 3 h w"]:
    """RGB with ImageNet's mean and deviation; 0 beyond the (h, w) that show an image, as MMSegmentation's `Pad`."""
    mean, std = (torch.tensor(values, device=rgb.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (rgb.permute(0, 3, 1, 2).float() / 255 - mean) / std
    rows, columns = (torch.arange(length, device=rgb.device) for length in rgb.shape[1:3])
    shown = (rows < inside[:, :1])[:, None, :, None] & (columns < inside[:, 1:])[:, None, None, :]
    return pixels * shown
