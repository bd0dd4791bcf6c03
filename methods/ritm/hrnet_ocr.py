r"""HRNet with an OCR head for one object. Its tensors have the names of RITM's checkpoints.

Papers: Wang et al., "Deep High-Resolution Representation Learning for Visual Recognition", TPAMI 2020,
https://arxiv.org/abs/1908.07919; Yuan et al., "Object-Contextual Representations for Semantic Segmentation", ECCV 2020,
https://arxiv.org/abs/1909.11065. As in RITM, branches are upsampled to each other's exact size with corners kept in
place. timm's HRNet has the same backbone tensors, but repeats pixels by whole factors, which gives other masks.

HRNet keeps a high resolution from start to end, and adds a lower one at each stage. Within a stage all resolutions
exchange features (`Exchange`); at the end they are joined at the highest one:

    1/4   ----*----*-----*----+
    1/8        \---*-----*----+-- joined -> OCR head -> logits at 1/4
    1/16            \----*----+
    1/32                  \---+

The OCR head makes a first guess of the object (the auxiliary logits), averages the features over that guess, and joins
the average, the object's context, to every pixel's features before the final logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import add

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STEM = 64
"""Channels of the stem, the same for every width."""

AFTER_STEM = 4 * STEM
"""Channels of the first layer: a bottleneck block gives four times as many as it works with."""


class HrnetOcr(nn.Module):
    """Four resolutions side by side, then object-contextual features.

    Args:
        width: Channels at the highest resolution (18, 32); each next one has twice as many.
        ocr_width: Channels of the object's context; the pixels' features have twice as many.
        small: Whether it is RITM's "18s", with half the blocks and fewer modules.
    """

    def __init__(self, width: int, ocr_width: int, small: bool) -> None:
        super().__init__()
        blocks, modules = (2, (1, 3, 2)) if small else (4, (1, 4, 3))
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.conv1, self.bn1 = convolution(3, STEM, stride=2), nn.BatchNorm2d(STEM)
        self.conv2, self.bn2 = convolution(STEM, STEM, stride=2), nn.BatchNorm2d(STEM)
        self.layer1 = first_layer(blocks)
        self.transition1 = transition([AFTER_STEM], widths[:2])
        self.stage2 = nn.Sequential(*(Exchange(widths[:2], blocks) for _ in range(modules[0])))
        self.transition2 = transition(widths[:2], widths[:3])
        self.stage3 = nn.Sequential(*(Exchange(widths[:3], blocks) for _ in range(modules[1])))
        self.transition3 = transition(widths[:3], widths)
        self.stage4 = nn.Sequential(*(Exchange(widths, blocks) for _ in range(modules[2])))
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(sum(widths), 2 * ocr_width, 3, padding=1), nn.BatchNorm2d(2 * ocr_width), nn.ReLU()
        )
        self.ocr_distri_head = ContextHead(2 * ocr_width, ocr_width)
        self.cls_head = nn.Conv2d(2 * ocr_width, 1, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(sum(widths), sum(widths), 1),
            nn.BatchNorm2d(sum(widths)),
            nn.ReLU(),
            nn.Conv2d(sum(widths), 1, 1),
        )

    def forward(
        self, inputs: Float[Tensor, "n 3 h w"], added: Float[Tensor, "n 64 sh sw"] | None = None
    ) -> tuple[Float[Tensor, "n 1 qh qw"], Float[Tensor, "n 1 qh qw"]]:
        """The logits of the object, and of the auxiliary head, at a quarter of the input's size.

        Args:
            inputs: The image, normalised.
            added: Features of the prompt at half the input's size, which are added after the first convolution.
        """
        logits, auxiliary, _ = self.with_features(inputs, added)
        return logits, auxiliary

    def with_features(
        self, inputs: Float[Tensor, "n 3 h w"], added: Float[Tensor, "n 64 sh sw"] | None = None
    ) -> tuple[Float[Tensor, "n 1 qh qw"], Float[Tensor, "n 1 qh qw"], Float[Tensor, "n c qh qw"]]:
        """The results of `forward`, and the pixels' features with the object's context, from which logits are made."""
        # Sizes for an input of 400 x 400 and a width of 18, with an OCR width of 64:
        stem = torch.relu(self.bn1(self.conv1(inputs)))  # (n 64 200 200)
        stem = stem if added is None else stem + added
        features = self._features(torch.relu(self.bn2(self.conv2(stem))))  # (n 270 100 100): 18 + 36 + 72 + 144
        auxiliary = self.aux_head(features)  # (n 1 100 100): the first guess
        pixels = self.conv3x3_ocr(features)  # (n 128 100 100)
        contextual = self.ocr_distri_head(pixels, gathered(pixels, auxiliary))  # (n 128 100 100)
        return self.cls_head(contextual), auxiliary, contextual

    def _features(self, stem: Float[Tensor, "n 64 qh qw"]) -> Float[Tensor, "n c qh qw"]:
        """The features of all resolutions, at the size of the highest."""
        maps = [self.layer1(stem)]
        for widened, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A stage has one more resolution than the one before. `step` makes each of its maps: old ones from
            # themselves, and the new, lowest one from the lowest so far (hence `min`).
            maps = stage([step(maps[min(at, len(maps) - 1)]) for at, step in enumerate(widened)])
        size = (maps[0].shape[2], maps[0].shape[3])
        return torch.cat([maps[0], *(resized(one, size) for one in maps[1:])], dim=1)


class Exchange(nn.Module):
    """Residual blocks at every resolution; then each resolution receives all others.

    Args:
        widths: Channels of each resolution, the highest first.
        blocks: Residual blocks at each resolution.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        from torchvision.models.resnet import BasicBlock

        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width, width) for _ in range(blocks))) for width in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(exchanged(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the same sizes, after the exchange."""
        maps = [branch(one) for branch, one in zip(self.branches, maps, strict=True)]
        return [self._fused(maps, target) for target in range(len(maps))]

    def _fused(self, maps: Sequence[Tensor], target: int) -> Tensor:
        size = (maps[target].shape[2], maps[target].shape[3])
        steps = self.fuse_layers[target]
        assert isinstance(steps, nn.ModuleList)
        received = [step(one) for step, one in zip(steps, maps, strict=True)]
        return torch.relu(reduce(add, (resized(one, size) for one in received)))


class ContextHead(nn.Module):
    """Gives every pixel the object's context.

    The published module lets a pixel attend to several regions, with softmax weights from `f_pixel` and `f_object`.
    With a single region the weight is always 1, so these two layers have no effect. They are kept, frozen, since
    checkpoints have their tensors, but never computed.
    """

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.object_context_block = nn.ModuleDict(
            {
                "f_pixel": pointwise(channels, key_channels, key_channels).requires_grad_(False),
                "f_object": pointwise(channels, key_channels, key_channels).requires_grad_(False),
                "f_down": pointwise(channels, key_channels),
                "f_up": pointwise(key_channels, channels),
            }
        )
        self.conv_bn_dropout = nn.Sequential(*pointwise(2 * channels, channels), nn.Dropout2d(0.05))

    def forward(self, pixels: Float[Tensor, "n c h w"], region: Float[Tensor, "n c 1 1"]) -> Float[Tensor, "n c h w"]:
        """The pixels' features with the region's context."""
        context = self.object_context_block["f_up"](self.object_context_block["f_down"](region))
        return self.conv_bn_dropout(torch.cat([context.expand_as(pixels), pixels], dim=1))


def gathered(pixels: Float[Tensor, "n c h w"], logits: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n c 1 1"]:
    """The object's features: the mean over pixels, weighted by the softmax of the logits over the image."""
    # The softmax runs over the pixels, not over classes: the weights of an image sum to 1, whatever the object's size.
    weights = logits.flatten(2).softmax(dim=2)  # (n 1 hw)
    # (n 1 hw) times (n hw c) is (n 1 c): a weighted mean over the pixels, which is then turned to (n c 1 1).
    return torch.matmul(weights, pixels.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]


def resized(maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c sh sw"]:
    """Resize with bilinear interpolation and aligned corners, as RITM does everywhere."""
    if (maps.shape[2], maps.shape[3]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def pointwise(*channels: int) -> nn.Sequential:
    """A chain of 1 x 1 convolutions without bias, each with normalisation and ReLU."""
    steps: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        steps += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.Sequential(nn.BatchNorm2d(outputs), nn.ReLU())]
    return nn.Sequential(*steps)


def first_layer(blocks: int) -> nn.Sequential:
    """Bottleneck blocks at a quarter of the input's size, as in ResNet."""
    from torchvision.models.resnet import Bottleneck

    shortcut = nn.Sequential(nn.Conv2d(STEM, AFTER_STEM, 1, bias=False), nn.BatchNorm2d(AFTER_STEM))
    rest = (Bottleneck(AFTER_STEM, STEM) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(STEM, STEM, downsample=shortcut), *rest)


def transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
    """Layers from one stage's resolutions to the next stage's; the additional one is made from the lowest."""
    kept = [
        nn.Identity() if inputs == outputs else nn.Sequential(*normalised(convolution(inputs, outputs)), nn.ReLU())
        for inputs, outputs in zip(before, after, strict=False)
    ]
    halved = nn.Sequential(*normalised(convolution(before[-1], after[-1], stride=2)), nn.ReLU())
    return nn.ModuleList([*kept, nn.Sequential(halved)])


def exchanged(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """The layers between two resolutions, before upsampling: halvings on the way down, a projection on the way up."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(*normalised(nn.Conv2d(widths[source], widths[target], 1, bias=False)))
    # From 1/4 to 1/32 a map is halved three times. The first two keep its channels and end with a ReLU; the last one
    # brings it to the target's channels, and the ReLU comes after the sum.
    halvings = [
        nn.Sequential(*normalised(convolution(widths[source], widths[source], stride=2)), nn.ReLU())
        for _ in range(target - source - 1)
    ]
    last = nn.Sequential(*normalised(convolution(widths[source], widths[target], stride=2)))
    return nn.Sequential(*halvings, last)


def normalised(layer: nn.Conv2d) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The convolution, and the normalisation that follows it."""
    return layer, nn.BatchNorm2d(layer.out_channels)
