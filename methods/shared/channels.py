"""Turns an image, clicks and a saliency map into the channels of one network input.

Paper: Warner et al., "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
sections 3 and 4. Where its code (nikolaiwarner7/MaskCLIP at 37b9df0) differs from the paper or is more exact, the
defaults follow the code.

    channels   0 1 2   red, green, blue, normalised
               3       the text's saliency, -1 to 1        (Text+Click only)
               4       distance to the click, 0 to 1       (one more for each further click)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from harness.places import located
from harness.plugins.files import metadata
from harness.structures import Click

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Channels:
    """The layout of an input: RGB, the saliency if there is one, then a channel for each click, positive ones first.

    Attributes:
        saliency: Whether there is a saliency channel.
        positive_clicks: Channels for positive clicks.
        negative_clicks: Channels for negative clicks.
        size_rule: "short_side" keeps the aspect ratio: the short side becomes `size`, the long one at most four
            times that (as the code's evaluation does). "square" is `size` x `size`. "native" keeps the image's size.
        size: In pixels.
        click_range: Values of a click's distance map at the nearest and the farthest pixel: (0, 1) as in the code
            and section 3, or (-1, 1) as in section 4.
        saliency_range: Values of the saliency map at the least and the most likely pixel: (-1, 1) in the code.
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
        """The layout as JSON values, which `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Channels:
        """The inverse of `as_dict`.

        Raises:
            pydantic.ValidationError: A value has the wrong type, or an attribute is unknown.
        """
        return pydantic.TypeAdapter(cls).validate_python(values)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the network's input for an image of (h, w); halves round up, as in mmcv's `rescale_size`."""
        if self.size_rule == "native":
            return size
        if self.size_rule == "square":
            return self.size, self.size
        # A panorama of 8 : 1 would become 512 x 4096 by its short side alone, so the long side is limited.
        scale = min(self.size / min(size), 4 * self.size / max(size))
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def arranged(self, clicks: Sequence[Click]) -> tuple[Click, ...]:
        """The clicks in channel order.

        Raises:
            ValueError: The network has channels for other numbers of clicks.
        """
        positive = [click for click in clicks if click.positive]
        negative = [click for click in clicks if not click.positive]
        if (len(positive), len(negative)) != (self.positive_clicks, self.negative_clicks):
            raise ValueError(
                f"the network was trained for {self.positive_clicks} positive and {self.negative_clicks} negative "
                f"clicks, one channel each; found {len(positive)} and {len(negative)}. Train one for these clicks."
            )
        return (*positive, *negative)


def clicks_taken(checkpoint: str) -> tuple[int, int] | None:
    """How many positive and negative clicks a checkpoint's network has channels for; None if its header does not say.

    Args:
        checkpoint: The path of weights that training here saved.
    """
    try:
        about = json.loads(metadata(located(Path(checkpoint)))["architecture"])
        channels = Channels.from_dict(about["channels"])
    except (KeyError, TypeError, ValueError):  # Loading the weights tells what is wrong.
        return None
    return channels.positive_clicks, channels.negative_clicks


def image_channels(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], device: torch.device = CPU
) -> Float[Tensor, "3 sh sw"]:
    """The image at the network's size (antialiased bilinear), normalised with ImageNet's mean and deviation."""
    stored = torch.tensor(np.ascontiguousarray(image), device=device)
    pixels = stored.float().permute(2, 0, 1).div_(255)
    resized = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (resized - mean) / std


def saliency_channel(
    saliency: Float[Tensor, "n h w"], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n sh sw"]:
    """Resize saliency maps (0 to 1) from the image's to the network's size, and scale them to `span`."""
    resized = F.interpolate(saliency[:, None].float(), size=size, mode="bilinear", antialias=True)[:, 0]
    return span[0] + resized * (span[1] - span[0])


def click_channels(
    clicks: Float[Tensor, "n c 2"], image_size: tuple[int, int], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n c sh sw"]:
    """The Euclidean distance map of each click, scaled so that the full image's pixels span `span`.

    The published code makes a map in three steps: a distance transform at the image's size, a minimum-maximum
    normalisation, a resize to the network's size. The same values follow in closed form. A pixel of the network covers
    a patch of the image; the distance is taken from that patch's centre to the click, in pixels of the image, and
    divided by the distance from the click to the farthest corner pixel. Distances are not truncated (section 3).

    Example, one row: an image of width 8, a network of width 4, a click at x = 0. The centres of the network's pixels
    are at x = 0.5, 2.5, 4.5, 6.5 in the image, the farthest pixel is at x = 7, so the map is 0.07, 0.36, 0.64, 0.93.

    Args:
        clicks: x, y in pixels of the full image.
        image_size: (h, w) of the full image.
        size: (h, w) of the network's input.
        span: The values at the click and at the farthest pixel.
    """
    (height, width), (rows, columns) = image_size, size
    # The centre of the top-left pixel is (0, 0), both in the image and in the network: hence + 0.5 and - 0.5.
    ys = (torch.arange(rows, device=clicks.device) + 0.5) * (height / rows) - 0.5
    xs = (torch.arange(columns, device=clicks.device) + 0.5) * (width / columns) - 0.5
    x, y = clicks[..., 0, None, None], clicks[..., 1, None, None]
    distance = torch.hypot(xs[None, :] - x, ys[:, None] - y)
    # The farthest pixel of a rectangle from any point is one of its corners, the farther one in each direction.
    farthest = torch.hypot(torch.maximum(x, width - 1 - x), torch.maximum(y, height - 1 - y))
    # An image of one pixel has a farthest distance of 0, hence `min=1`. The centres of the network's outermost pixels
    # may lie up to half a pixel beyond the image's corner pixels, so values slightly above 1 are cut.
    unit = (distance / farthest.clamp(min=1)).clamp(0, 1)
    return span[0] + unit * (span[1] - span[0])


def window_click_channels(
    clicks: Float[Tensor, "n c 2"], extent: Float[Tensor, "n 4"], size: tuple[int, int], span: tuple[float, float]
) -> Float[Tensor, "n c sh sw"]:
    """`click_channels` for a batch of windows cut out of images, at the windows' own resolution.

    Args:
        clicks: The clicks' x, y in pixels of the window; they may lie outside it.
        extent: The rectangle whose farthest pixel has the largest value, the whole image or the window: the centres of
            its left, top, right and bottom pixels, in pixels of the window.
        size: (h, w) of the windows.
        span: The values at the click and at the farthest pixel.
    """
    ys, xs = (torch.arange(length, device=clicks.device, dtype=clicks.dtype) for length in size)
    x, y = clicks[..., 0, None, None], clicks[..., 1, None, None]
    # Resizing multiplies all distances by one number, up to rounding, which distance / farthest cancels: so the
    # window's own pixels give the values of `click_channels`, and no map of the whole image is made. `extent` (n 4)
    # becomes four tensors (n 1 1 1) beside the clicks' (n c 1 1); a click outside the window only has no pixel with the
    # least value.
    left, top, right, bottom = (edge[:, None, None, None] for edge in extent.unbind(1))
    farthest = torch.hypot(torch.maximum(x - left, right - x), torch.maximum(y - top, bottom - y))
    unit = torch.hypot(xs - x, ys[:, None] - y).div_(farthest.clamp(min=1)).clamp_(0, 1)
    return span[0] + unit * (span[1] - span[0])


def normalised_pixels(rgb: UInt8[Tensor, "n h w 3"], inside: Int[Tensor, "n 2"]) -> Float[Tensor, "n 3 h w"]:
    """RGB with ImageNet's mean and deviation, and 0 outside of the `inside` (h, w), as MMSegmentation's `Pad` does."""
    mean, std = (torch.tensor(values, device=rgb.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (rgb.permute(0, 3, 1, 2).float() / 255 - mean) / std
    # Two comparisons of (n h) and (n w), multiplied to (n 1 h w): True inside each image's own rectangle.
    rows, columns = (torch.arange(length, device=rgb.device) for length in rgb.shape[1:3])
    shown = (rows < inside[:, :1])[:, None, :, None] & (columns < inside[:, 1:])[:, None, None, :]
    return pixels * shown
