"""MaskCLIP: a text's saliency from CLIP's own image tower, without its last pooling; nothing is trained.

Paper: Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022, https://arxiv.org/abs/2112.01071
Code: https://github.com/chongzhou96/MaskCLIP at 245d31f (head: mmseg/models/decode_heads/maskclip_head.py, last block
of a ViT: mmseg/models/backbones/vit.py); key smoothing and prompt denoising are off, as in that code's configs.

The steps are those of https://github.com/nikolaiwarner7/MaskCLIP at 37b9df0. For an image of 480 x 640, a ResNet-50 and
a vocabulary of 80 names:

    dense features (1024, 15, 20)   -> cosine with each name (80, 15, 20)   -> bilinear upsampling (80, 480, 640)
    -> softmax over the names       -> the text's channel (480, 640)        -> min-max over the image, 0 to 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from harness.plugins.interfaces import Saliency, TextLimit
from harness.plugins.registry import register_saliency
from harness.structures import Click, Image, UserError

from ..shared.around_click import fits_at
from ..shared.channels import IMAGENET_MEAN, IMAGENET_STD
from ..shared.clip_maps import (
    Last,
    alike_together,
    aside,
    contrasted,
    log_sum_exp,
    min_max,
    normalised,
    own_stream,
    upsampled,
)
from ..shared.clip_texts import LONGEST, TextVectors, sentences
from ..shared.clip_tokens import clip_text_limit
from ..shared.clip_vit import grid_size, positional_embedding, vit_tokens
from ..shared.open_clip_model import load_clip

if TYPE_CHECKING:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

_RESNET_STRIDE = 32


@dataclass(frozen=True, eq=False)
class DenseImage:
    """The result of `MaskClip.features` for an image.

    Attributes:
        dense: Unit vectors, on a grid that covers the image.
        size: (h, w) of the image.
    """

    dense: Float32[Tensor, "d gh gw"]
    size: tuple[int, int]


@register_saliency("maskclip")
class MaskClip(Saliency):
    """The map of a text by CLIP's patches, in contrast to the names of a vocabulary.

    A text is contrasted with the vocabulary and itself, never with the other texts of a call: its map depends only on
    the image, the text and the vocabulary. Without a vocabulary a softmax would be 1 everywhere, so the map is the
    cosine itself. A map without any variation is 0 everywhere.

    Attributes:
        device: The model's device, with its number: a new thread begins on the first GPU, whatever the process chose.
        image_encodings: How many images went through the image tower so far.
    """

    incidental = frozenset({"device", "half"})

    def __init__(
        self,
        model: str = "RN50-quickgelu",
        checkpoint: Path | None = None,
        templates: Literal["published", "plain"] = "published",
        temperature: float = 1.0,
        normalise: Literal["imagenet", "clip"] = "imagenet",
        input: Literal["native"] | int = "native",
        max_side: int = 1300,
        resize_to: int = 1024,
        residual: bool = True,
        half: bool = False,
        device: str = "auto",
    ) -> None:
        """Load the model; every default except `device` is the paper's.

        Args:
            model: An open_clip name or the path of a config; OpenAI's weights need a "-quickgelu" one.
            checkpoint: The weights (`harness.methods.shared.open_clip_model.load_clip`).
            templates: "published": 85, averaged; "plain": "a photo of a {}." alone.
            temperature: The temperature of the softmax over the vocabulary; smaller is sharper.
            normalise: The mean and standard deviation for pixels: ImageNet's or CLIP's own.
            input: "native" keeps the image's size up to `max_side`; a number squeezes every image to that square.
            max_side: With "native", an image whose longer side has more pixels than this is made smaller.
            resize_to: The longer side of an image that is made smaller, in pixels.
            residual: Whether a ViT's last block keeps its residual and MLP, as published, or is its value projection.
            half: Whether the image tower runs in float16, on a GPU.
            device: The device of the model; "auto" is the GPU if there is one.
        """
        clip = load_clip(model, checkpoint, device)
        self.device = next(clip.module.parameters()).device
        self.clip = replace(clip, device=self.device)
        if self.device.type == "cuda":  # The memory layout that the convolutions of tensor cores read fastest.
            self.clip.module.visual.to(memory_format=torch.channels_last)
        self.templates = sentences(templates)
        self.temperature = temperature
        self.mean = IMAGENET_MEAN if normalise == "imagenet" else self.clip.image_mean
        self.std = IMAGENET_STD if normalise == "imagenet" else self.clip.image_std
        self.input, self.max_side, self.resize_to = input, max_side, resize_to
        self.residual, self.half = residual, half
        self.stream = own_stream(self.device)
        self.image_encodings = 0
        self.texts = TextVectors(self.clip, self.templates)
        self._others = Last[Float32[Tensor, "n h w"]]()
        self._positions: dict[tuple[int, int], Float32[Tensor, "tokens width"]] = {}
        _check_tower(self.clip.module.visual)

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """CLIP's limit."""
        return (clip_text_limit(params["model"], partial(sentences, params["templates"]), LONGEST),)

    @property
    def text_encodings(self) -> int:
        """How many distinct texts it has vectors of, from the text tower or kept by an earlier process."""
        return len(self.texts.known)

    def read_names(self, names: Sequence[str]) -> Iterator[str]:
        """See `Saliency.read_names`."""
        if work := self.texts.work_of(names):
            yield work
            with aside(self.stream):
                self.texts.of(names)

    def features(self, images: Sequence[Image]) -> list[DenseImage]:
        """Dense features; images with one size at the network's input share a forward pass."""
        sizes = [self.input_size(image) for image in images]

        def seen(size: tuple[int, int], indices: Sequence[int]) -> Iterable[DenseImage]:
            dense = self._dense([resized(images[index], size) for index in indices])
            return [DenseImage(one, images[index].shape[:2]) for index, one in zip(indices, dense, strict=True)]

        self.image_encodings += len(images)
        return alike_together(sizes, seen)

    @torch.inference_mode()
    def maps(
        self, features: DenseImage, texts: Sequence[str], vocabulary: Sequence[str]
    ) -> Float32[np.ndarray, "n h w"]:
        """See `Saliency.maps`: one map a text. A text that is not in the vocabulary joins it for its own map."""
        with aside(self.stream):
            return self._maps([features], texts, tuple(vocabulary)).cpu().numpy()

    @torch.inference_mode()
    def text_fits(
        self, features: DenseImage, clicks: Sequence[Click], texts: Sequence[str]
    ) -> Float32[np.ndarray, "n k"]:
        """The cosine of each text, in the map's own templates, with the patches around each click (`fits_at`)."""
        with aside(self.stream):
            vectors = self.texts.of(texts)
            return fits_at(features.dense, features.size, clicks, vectors)

    @torch.inference_mode()
    def maps_of_each(
        self, features: Sequence[DenseImage], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """See `Saliency.maps_of_each`; images of one size are computed together, on a GPU without a wait in between."""
        alike = [(one.size, one.dense.shape, tuple(own)) for one, own in zip(features, vocabularies, strict=True)]

        def computed(key: tuple[Any, Any, tuple[str, ...]], some: Sequence[int]) -> Iterable[Tensor]:
            return self._maps([features[index] for index in some], [texts[index] for index in some], key[-1])

        with aside(self.stream):
            return [one.cpu().numpy() for one in alike_together(alike, computed)]

    def _maps(
        self, images: Sequence[DenseImage], texts: Sequence[str], vocabulary: tuple[str, ...]
    ) -> Float32[Tensor, "n h w"]:
        """The maps of several texts on one image, or of one text on each of several images of one size."""
        names = list(dict.fromkeys([*vocabulary, *texts]))
        places, size, known = [names.index(text) for text in texts], images[0].size, len(set(vocabulary))
        if not texts:
            return torch.zeros((0, *size), device=self.device)
        scores = self._scores(images, names)
        # `scores` is (images, names, gh, gw). `scores[0, places]` picks several texts of the one image, and
        # `scores[[0, 1, 2], places]` one text for each of three images.
        asked = torch.arange(len(texts), device=self.device) if len(images) > 1 else 0
        score = upsampled(scores[asked, places], size)
        asking = tuple(images), vocabulary
        others = self._others.get(asking, lambda: log_sum_exp(scores[:, :known], size)) if known else None
        return min_max(contrasted(score, others, places, known))

    def input_size(self, image: Image) -> tuple[int, int]:
        """(h, w) that the image has at the network's input."""
        if self.input != "native":
            return self.input, self.input
        # Two numbers, as in the published code: an image of 1200 pixels stays as it is, one of 1400 is made 1024 pixels
        # long.
        height, width = image.shape[:2]
        longest = max(height, width)
        if longest <= self.max_side:
            return height, width
        return max(1, height * self.resize_to // longest), max(1, width * self.resize_to // longest)

    @torch.inference_mode()
    def _dense(self, images: Sequence[Image]) -> Float32[Tensor, "n d gh gw"]:
        visual = self.clip.module.visual
        with aside(self.stream), torch.autocast(self.device.type, torch.float16, enabled=self.half):
            pixels = normalised(torch.from_numpy(np.stack(images)).to(self.device), self.mean, self.std)
            return dense_features(visual, pixels, self.residual, self._position(visual, pixels)).float()

    def _position(
        self, visual: nn.Module, pixels: Float32[Tensor, "n 3 h w"]
    ) -> Float32[Tensor, "tokens width"] | None:
        from open_clip.transformer import VisionTransformer

        if not isinstance(visual, VisionTransformer):
            return None
        grid = grid_size(visual, pixels.shape[-2:])
        if grid not in self._positions:
            self._positions[grid] = positional_embedding(visual, grid)
        return self._positions[grid]

    def _scores(self, images: Sequence[DenseImage], names: Sequence[str]) -> Float32[Tensor, "n k gh gw"]:
        texts = self.texts.of(names)
        each = [torch.einsum("kd,dhw->khw", texts, image.dense) for image in images]
        # Cosines differ by 2 at most, so at temperature 1 no name can have more than e^2 = 7.4 times another's share:
        # over 80 names the softmax is nearly flat. The published code does so all the same, and its min-max over the
        # image (`min_max`) then stretches the small differences over 0 to 1.
        return torch.stack(each) / self.temperature


def dense_features(
    visual: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    residual: bool = True,
    positions: Float[Tensor, "tokens width"] | None = None,
) -> Float[Tensor, "n d gh gw"]:
    """MaskCLIP's features of a CLIP image tower, a unit vector for each cell, in CLIP's joint space; differentiable.

    A ViT's input is padded with zeros (the mean colour) at the bottom and the right to whole patches. A ResNet's grid
    rounds down, so only an input smaller than one cell is padded. Both are the published code's rules. As there,
    `MaskClip.maps` then stretches the grid over the image, although its far edges were padded or cut off.

    Args:
        visual: `open_clip.CLIP.visual`, a VisionTransformer or a ModifiedResNet.
        pixels: Normalised RGB.
        residual: Whether a ViT's last block keeps its residual and MLP (published); without meaning for a ResNet.
        positions: A ViT's `positional_embedding` of this grid, if the caller keeps it; else it is computed.
    """
    from open_clip.modified_resnet import ModifiedResNet

    _check_tower(visual)
    if isinstance(visual, ModifiedResNet):
        return functional.normalize(_resnet_features(visual, pixels), dim=1)
    return functional.normalize(_vit_features(visual, pixels, residual, positions), dim=1)


def _resnet_features(visual: ModifiedResNet, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d gh gw"]:
    height, width = pixels.shape[-2:]
    x = functional.pad(pixels, (0, max(0, _RESNET_STRIDE - width), 0, max(0, _RESNET_STRIDE - height)))
    for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = stage(x)
    # The pool adds a position to each cell before it attends. The published code reads the values without positions,
    # and so does this; `class_token.py`, which needs the pool's real attention, adds them.
    pool = visual.attnpool
    # The pool attends from one query to all cells. Without the attention, each cell goes through the value's and the
    # output's layer by itself, which are convolutions of 1 x 1.
    x = functional.conv2d(x, pool.v_proj.weight[:, :, None, None], pool.v_proj.bias)
    return functional.conv2d(x, pool.c_proj.weight[:, :, None, None], pool.c_proj.bias)


def _vit_features(
    visual: VisionTransformer,
    pixels: Float[Tensor, "n 3 h w"],
    residual: bool,
    positions: Float[Tensor, "tokens width"] | None,
) -> Float[Tensor, "n d gh gw"]:
    *_, last = visual.transformer.resblocks
    x = vit_tokens(visual, pixels, positions)
    x = visual.ln_post(_last_block(last, x[:, 1:], residual)) @ visual.proj
    return x.transpose(1, 2).unflatten(2, grid_size(visual, pixels.shape[-2:]))


def _last_block(
    block: ResidualAttentionBlock, x: Float[Tensor, "n patches width"], residual: bool
) -> Float[Tensor, "n patches width"]:
    """The block without its attention: each patch answers with its own value, so the class token is not needed."""
    # Query, key and value lie below each other in one weight, (3c c), so the third part makes the values. The attention
    # would replace each value by a mean over all patches; without it, every patch keeps its own.
    weight, bias = (parameter.chunk(3)[2] for parameter in (block.attn.in_proj_weight, block.attn.in_proj_bias))
    value = block.ls_1(block.attn.out_proj(functional.linear(block.ln_1(x), weight, bias)))
    if not residual:
        return value
    x = x + value
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _check_tower(visual: nn.Module) -> None:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    plain_vit = (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and isinstance(visual.transformer.resblocks[-1], ResidualAttentionBlock)
    )
    if not (plain_vit or isinstance(visual, ModifiedResNet)):
        raise UserError(
            f"methods/saliency/maskclip.py: found an image tower of the type {type(visual).__name__}, for which "
            "MaskCLIP is not defined; wanted CLIP's ResNet or plain ViT. Choose another `model`, such as "
            "RN50-quickgelu."
        )


def resized(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """The image at (h, w), by Lanczos' filter, as the published code makes large images smaller."""
    if image.shape[:2] == size:
        return image
    return np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.LANCZOS))
