"""FocalClick's refiner: computes the mask of a small part of the image in detail, from features computed before.

Paper: Chen et al., "FocalClick", CVPR 2022, https://arxiv.org/abs/2204.02574, section 3.1 ("Refiner"). Its tensors have
the names of the authors' checkpoints.

The coarse network has seen its window at 256 pixels. The refiner sees a crop of that window, again at 256 pixels. Its
input is the coarse network's logits and features there (cut out by RoIAlign), and the crop's own pixels and clicks. It
returns two maps: the details, and how much they count at each pixel ("trimap": mostly a band along the outline).

    answer = details * t + coarse logits * (1 - t),    t = sigmoid(trimap)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..ritm.hrnet_ocr import resized

INPUTS = 6
"""Channels of the refiner's input: RGB, positive clicks, negative clicks, the coarse probabilities."""


class Refiner(nn.Module):
    """A few thin layers at half and at a quarter of the crop's size.

    Args:
        features: The channels of the coarse network's features.
        width: The channels of its own layers; 32 in all published weights.
    """

    def __init__(self, features: int, width: int = 32) -> None:
        super().__init__()
        self.image_conv1 = Layer(nn.Conv2d(INPUTS, width, 3, stride=2, padding=1), width)
        self.image_conv2 = SeparableLayer(width)
        self.image_conv3 = SeparableLayer(width)
        self.refine_fusion = Layer(nn.Conv2d(features, width, 1), width)
        self.refine_fusion2 = SeparableLayer(width)
        self.refine_fusion3 = SeparableLayer(width)
        self.refine_pred = nn.Conv2d(width, 1, 3, padding=1)
        self.refine_trimap = nn.Conv2d(width, 1, 3, padding=1)

    def forward(
        self,
        pixels: Float[Tensor, "n 3 h w"],
        clicks: Float[Tensor, "n 2 h w"],
        coarse: Float[Tensor, "n 1 h w"],
        features: Float[Tensor, "n c fh fw"],
        boxes: Float[Tensor, "n 4"],
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n 1 h w"]]:
        """The crop's logits, and the logits of the weight of its details at each pixel.

        Args:
            pixels: The crop, RGB, 0 to 1; not normalised.
            clicks: Maps of the positive and of the negative clicks in the crop.
            coarse: The coarse network's logits of its whole input.
            features: Its features of its whole input.
            boxes: The place of each crop in that input: left, top, right, bottom, in its pixels, fractions allowed.
        """
        # Sizes for a crop of 256 x 256 and a width of 32:
        size = (pixels.shape[2], pixels.shape[3])
        logits = cropped(coarse, boxes, size, 1.0)  # (n 1 256 256): the coarse answer in the crop
        shown = self.image_conv1(torch.cat([pixels, clicks, logits.sigmoid()], dim=1))  # (n 32 128 128)
        shown = self.image_conv3(self.image_conv2(shown))
        # The features are smaller than the input by `scale`, and so are the boxes in them.
        scale = features.shape[-1] / coarse.shape[-1]
        known = self.refine_fusion(cropped(features, boxes, (features.shape[2], features.shape[3]), scale))
        joined = shown + resized(known, (shown.shape[2], shown.shape[3]))
        joined = self.refine_fusion3(self.refine_fusion2(joined))
        details, trimap = (resized(layer(joined), size) for layer in (self.refine_pred, self.refine_trimap))
        # Where the trimap says 0.9, details of +4 over coarse logits of -2 give 4 * 0.9 - 2 * 0.1 = 3.4: the details
        # decide. At 0.1 it is -1.4. Away from the outline the coarse answer so stays as it is.
        believed = trimap.sigmoid()
        return details * believed + logits * (1 - believed), trimap


def cropped(
    maps: Float[Tensor, "n c h w"], boxes: Float[Tensor, "n 4"], size: tuple[int, int], scale: float
) -> Float[Tensor, "n c sh sw"]:
    """The part of each map in its box, resized.

    Args:
        maps: The maps, one for each box.
        boxes: The boxes, in pixels of the network's input.
        size: (h, w) of the parts.
        scale: A side of the maps over a side of the network's input.
    """
    from torchvision.ops import roi_align

    # roi_align cuts a box with fractional edges out of a map and resizes it by averaging bilinear samples. Without
    # `aligned` everything is off by half a pixel; -1 takes as many samples a cell as it has pixels. A box for each map:
    # n of (1 4).
    return roi_align(maps, list(boxes[:, None]), size, scale, sampling_ratio=-1, aligned=True)


class Layer(nn.Module):
    """A convolution, normalisation, ReLU."""

    def __init__(self, convolution: nn.Conv2d, width: int) -> None:
        super().__init__()
        self.conv = convolution
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d sh sw"]:
        """The layer's maps."""
        return torch.relu(self.norm(self.conv(maps)))


class SeparableLayer(nn.Module):
    """A 3 x 3 convolution of each channel by itself, a 1 x 1 one that mixes them, normalisation, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Maps of the same size."""
        return torch.relu(self.norm(self.conv1x1(self.conv3x3(maps))))
