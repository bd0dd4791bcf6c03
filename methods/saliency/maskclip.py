"""MaskCLIP: a text's saliency from CLIP's own image tower, its last pooling left out; nothing is trained.

Paper: Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022, https://arxiv.org/abs/2112.01071
Code: https://github.com/chongzhou96/MaskCLIP at 245d31f (head: mmseg/models/decode_heads/maskclip_head.py, last block
of a ViT: mmseg/models/backbones/vit.py); key smoothing and prompt denoising are off, as in that code's configs.

The order is that of https://github.com/nikolaiwarner7/MaskCLIP at 37b9df0: a cosine for each name of the vocabulary ->
bilinear upsampling to the image -> softmax over the vocabulary -> the text's channel -> min-max over the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import open_clip
import PIL.Image
import torch
from jaxtyping import Float, Float32, UInt8
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from harness.plugins.interfaces import Saliency
from harness.plugins.registry import register_saliency
from harness.structures import Image, UserError

from ..shared.channels import IMAGENET_MEAN, IMAGENET_STD
from ..shared.open_clip_model import load_clip, text_embeddings

T = TypeVar("T")

PUBLISHED_TEMPLATES = (
    *(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
"""CLIP's 80 ImageNet templates and MaskCLIP's five (tools/maskclip_utils/prompt_engineering.py)."""

TEMPLATES = {"published": PUBLISHED_TEMPLATES, "plain": ("a photo of a {}.",)}

_RESNET_STRIDE = 32
_IMAGES_AT_ONCE = 8
_CLASSES_AT_ONCE = 8
"""At least: what stays in a CPU's cache."""
_ON_GPU_AT_ONCE = 2**26
"""Pixels of classes: a GPU is faster with many of them."""
_FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class DenseImage:
    """What `MaskClip.features` keeps of an image.

    Attributes:
        dense: Unit vectors, on a grid that is stretched over the image.
        size: (h, w) of the image.
    """

    dense: Float32[Tensor, "d gh gw"]
    size: tuple[int, int]


@register_saliency("maskclip")
class MaskClip(Saliency):
    """Where CLIP sees a text, in contrast to the names of a vocabulary.

    A text is contrasted with the vocabulary and itself, never with the other texts of a call: its map depends on
    nothing but the image, the text and the vocabulary. With nothing to contrast with, where a softmax would be
    1 everywhere, the map is the cosine itself. A map without any variation is 0 everywhere.

    Attributes:
        device: Where the model lies, with its number: threads begin on the first GPU, whatever the process chose.
        image_encodings: Images that went through the image tower so far.
        text_encodings: Distinct texts that went through the text tower so far.
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
        """Load the model; every default but `device` is what the paper used.

        Args:
            model: An open_clip name or the path of a config; OpenAI's weights need a "-quickgelu" one.
            checkpoint: The weights (`harness.methods.shared.open_clip_model.load_clip`).
            templates: "published": 85, averaged; "plain": "a photo of a {}." alone.
            temperature: Of the softmax over the vocabulary; smaller is sharper.
            normalise: By which mean and standard deviation pixels are normalised: ImageNet's or CLIP's own.
            input: "native" keeps the image's size but for `max_side`; a number squeezes every image to that square.
            max_side: Only an image with a longer side than this, in pixels, is made smaller ("native") ...
            resize_to: ... until its longer side has so many.
            residual: Whether a ViT's last block keeps its residual and MLP, as published, or is its value projection.
            half: Whether the image tower runs in float16, on a GPU.
            device: Where the model runs; "auto" is the GPU if there is one.
        """
        clip = load_clip(model, checkpoint, device)
        self.device = next(clip.module.parameters()).device
        self.clip = replace(clip, device=self.device)
        if self.device.type == "cuda":  # The order in which tensor cores read what a convolution is given.
            self.clip.module.visual.to(memory_format=torch.channels_last)
        self.templates = TEMPLATES[templates]
        self.temperature = temperature
        self.mean = IMAGENET_MEAN if normalise == "imagenet" else self.clip.image_mean
        self.std = IMAGENET_STD if normalise == "imagenet" else self.clip.image_std
        self.input, self.max_side, self.resize_to = input, max_side, resize_to
        self.residual, self.half = residual, half
        self.stream = own_stream(self.device)
        self.image_encodings = self.text_encodings = 0
        self._texts: dict[str, Float32[Tensor, " d"]] = {}
        self._positions: dict[tuple[int, int], Float32[Tensor, "tokens width"]] = {}
        _check_tower(self.clip.module.visual)

    def features(self, images: Sequence[Image]) -> list[DenseImage]:
        """Dense features, ready to be read; images of one size at the network's input share a forward."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(self.input_size(image), []).append(index)
        found: dict[int, DenseImage] = {}
        for size, alike in by_size.items():
            for indices in several(alike, _IMAGES_AT_ONCE):
                dense = self._dense([resized(images[index], size) for index in indices])
                found |= {i: DenseImage(one, images[i].shape[:2]) for i, one in zip(indices, dense, strict=True)}
        self.image_encodings += len(images)
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def maps(
        self, features: DenseImage, texts: Sequence[str], vocabulary: Sequence[str]
    ) -> Float32[np.ndarray, "n h w"]:
        """One map a text, as `Saliency.maps` says; a text missing from the vocabulary joins it for its own map."""
        with aside(self.stream):
            return self._maps([features], texts, tuple(vocabulary)).cpu().numpy()

    @torch.inference_mode()
    def maps_of_each(
        self, features: Sequence[DenseImage], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """As `Saliency.maps_of_each` says; images of one size together, and on a GPU without a wait between them."""
        alike: dict[Any, list[int]] = {}
        for index, (one, vocabulary) in enumerate(zip(features, vocabularies, strict=True)):
            alike.setdefault((one.size, one.dense.shape, tuple(vocabulary)), []).append(index)
        found: dict[int, Float32[Tensor, "h w"]] = {}
        with aside(self.stream):
            for (_, _, vocabulary), indices in alike.items():
                for some in several(indices, _IMAGES_AT_ONCE):
                    maps = self._maps([features[index] for index in some], [texts[index] for index in some], vocabulary)
                    found |= zip(some, maps, strict=True)
            return [found[index].cpu().numpy() for index in range(len(features))]

    def _maps(
        self, images: Sequence[DenseImage], texts: Sequence[str], vocabulary: tuple[str, ...]
    ) -> Float32[Tensor, "n h w"]:
        """Of several texts on one image, or of one text on each of several images of one size."""
        names = list(dict.fromkeys([*vocabulary, *texts]))
        places, size, known = [names.index(text) for text in texts], images[0].size, len(set(vocabulary))
        if not texts:
            return torch.zeros((0, *size), device=self.device)
        scores = self._scores(images, names)
        asked = torch.arange(len(texts), device=self.device) if len(images) > 1 else 0
        score = upsampled(scores[asked, places], size)
        others = log_sum_exp(scores[:, :known], size) if known else None
        return min_max(contrasted(score, others, places, known))

    def input_size(self, image: Image) -> tuple[int, int]:
        """(h, w) that the image has at the network's input."""
        if self.input != "native":
            return self.input, self.input
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
        if not isinstance(visual, VisionTransformer):
            return None
        grid = grid_size(visual, pixels)
        if grid not in self._positions:
            self._positions[grid] = positional_embedding(visual, grid)
        return self._positions[grid]

    def _scores(self, images: Sequence[DenseImage], names: Sequence[str]) -> Float32[Tensor, "n k gh gw"]:
        new = [name for name in names if name not in self._texts]
        if new:
            self._texts |= zip(new, text_embeddings(self.clip, new, self.templates), strict=True)
            self.text_encodings += len(new)
        texts = torch.stack([self._texts[name] for name in names])
        each = [torch.einsum("kd,dhw->khw", texts, image.dense) for image in images]
        return torch.stack(each) / self.temperature


def several(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """So many at a time."""
    return (items[start : start + count] for start in range(0, len(items), count))


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A GPU's stream for what loaders compute, which would else wait for the training step that is queued before it."""
    if device.type != "cuda":
        return None
    stream = torch.cuda.Stream(device, priority=-1)
    stream.wait_stream(torch.cuda.current_stream(device))  # The weights are still on their way there.
    return stream


@contextmanager
def aside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """On a GPU, compute in a stream, and wait until all of it is there for whoever reads it in another."""
    with torch.cuda.stream(stream):
        yield
    if stream is not None:
        stream.synchronize()


def dense_features(
    visual: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    residual: bool = True,
    positions: Float[Tensor, "tokens width"] | None = None,
) -> Float[Tensor, "n d gh gw"]:
    """MaskCLIP's features of a CLIP image tower, a unit vector a cell, in CLIP's joint space; differentiable.

    A ViT's input is padded with zeros (the mean colour) at the bottom and the right to whole patches; a ResNet's
    grid rounds down, so that only an input smaller than one cell is padded. Both are the published code's rules,
    and as there `MaskClip.maps` stretches the grid over the image, whatever was added or lost at its far edges.

    Args:
        visual: `open_clip.CLIP.visual`, a VisionTransformer or a ModifiedResNet.
        pixels: Normalised RGB.
        residual: Whether a ViT's last block keeps its residual and MLP (published); without meaning for a ResNet.
        positions: A ViT's `positional_embedding` of this grid, where the caller keeps it; else it is computed.
    """
    _check_tower(visual)
    if isinstance(visual, ModifiedResNet):
        return functional.normalize(_resnet_features(visual, pixels), dim=1)
    return functional.normalize(_vit_features(visual, pixels, residual, positions), dim=1)


def _resnet_features(visual: ModifiedResNet, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d gh gw"]:
    height, width = pixels.shape[-2:]
    x = functional.pad(pixels, (0, max(0, _RESNET_STRIDE - width), 0, max(0, _RESNET_STRIDE - height)))
    for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = stage(x)
    pool = visual.attnpool
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
    return x.transpose(1, 2).unflatten(2, grid_size(visual, pixels))


def vit_tokens(
    visual: VisionTransformer,
    pixels: Float[Tensor, "n 3 h w"],
    positions: Float[Tensor, "tokens width"] | None = None,
    block: int = -1,
) -> Float[Tensor, "n tokens width"]:
    """What a ViT's block is given, the class token first; by default the last block.

    Args:
        visual: The image tower.
        pixels: Normalised RGB.
        positions: As `dense_features` takes them.
        block: Its index; one below 0 counts from the end.
    """
    x = visual.conv1(_whole_patches(visual, pixels)).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    positions = positional_embedding(visual, grid_size(visual, pixels)) if positions is None else positions
    x = visual.ln_pre(torch.cat([class_token, x], dim=1) + positions.to(x.dtype))
    for earlier in visual.transformer.resblocks[:block]:
        x = earlier(x)
    return x


def _last_block(
    block: ResidualAttentionBlock, x: Float[Tensor, "n patches width"], residual: bool
) -> Float[Tensor, "n patches width"]:
    """The block without its attention: each patch answers with its own value, so the class token is not needed."""
    weight, bias = (parameter.chunk(3)[2] for parameter in (block.attn.in_proj_weight, block.attn.in_proj_bias))
    value = block.ls_1(block.attn.out_proj(functional.linear(block.ln_1(x), weight, bias)))
    if not residual:
        return value
    x = x + value
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def grid_size(visual: VisionTransformer, pixels: Float[Tensor, "n 3 h w"]) -> tuple[int, int]:
    """(gh, gw), the patches that it takes to cover the input."""
    (height, width), (patch_h, patch_w) = pixels.shape[-2:], visual.patch_size
    return -(-height // patch_h), -(-width // patch_w)


def positional_embedding(visual: VisionTransformer, grid: tuple[int, int]) -> Float[Tensor, "tokens width"]:
    """A ViT's positions, the class token's first, resized bicubically to a grid."""
    learned = visual.positional_embedding
    if grid == tuple(visual.grid_size):
        return learned
    patches = learned[1:].T.unflatten(1, visual.grid_size)[None]
    patches = functional.interpolate(patches, grid, mode="bicubic", align_corners=False)
    return torch.cat([learned[:1], patches[0].flatten(1).T])


def _whole_patches(visual: VisionTransformer, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 H W"]:
    (rows, columns), (patch_h, patch_w) = grid_size(visual, pixels), visual.patch_size
    height, width = pixels.shape[-2:]
    return functional.pad(pixels, (0, columns * patch_w - width, 0, rows * patch_h - height))


def _check_tower(visual: nn.Module) -> None:
    plain_vit = (
        isinstance(visual, VisionTransformer)
        and visual.attn_pool is None
        and isinstance(visual.transformer.resblocks[-1], ResidualAttentionBlock)
    )
    if not (plain_vit or isinstance(visual, ModifiedResNet)):
        raise UserError(
            f"methods/saliency/maskclip.py: the image tower is a {type(visual).__name__} of a kind that MaskCLIP does "
            "not define; wanted CLIP's ResNet or plain ViT. Choose another `model`, such as RN50-quickgelu."
        )


def resized(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """The image at (h, w), by Lanczos' filter, as the published code makes large images smaller."""
    if image.shape[:2] == size:
        return image
    return np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.LANCZOS))


def normalised(
    images: UInt8[Tensor, "n h w 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "n 3 h w"]:
    """The network's input of RGB images; mean and std are of pixels from 0 to 1."""
    scaled = images.float() / 255 - torch.tensor(mean, device=images.device)
    return (scaled / torch.tensor(std, device=images.device)).permute(0, 3, 1, 2).contiguous()


def upsampled(scores: Float32[Tensor, "n gh gw"], size: tuple[int, int]) -> Float32[Tensor, "n h w"]:
    """Stretched bilinearly over (h, w), align_corners=False."""
    return functional.interpolate(scores[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def log_sum_exp(scores: Float32[Tensor, "n k gh gw"], size: tuple[int, int]) -> Float32[Tensor, "n h w"]:
    """The softmax's normaliser over k classes at (h, w), a few classes in memory at a time."""
    # No class exceeds the bound anywhere, since interpolation is monotone: no exp overflows. It is linear, too: what is
    # subtracted from the few cells need not be subtracted from all pixels.
    most = scores.amax(1, keepdim=True)
    bound = upsampled(most[:, 0], size)
    total = torch.zeros_like(bound)
    at_once = max(_CLASSES_AT_ONCE, _ON_GPU_AT_ONCE // bound.numel()) if bound.is_cuda else _CLASSES_AT_ONCE
    for part in (scores - most).split(at_once, dim=1):
        total += upsampled(part.flatten(0, 1), size).exp_().unflatten(0, part.shape[:2]).sum(1)
    return total.clamp_min_(torch.finfo(total.dtype).tiny).log_() + bound


def min_max(values: Float32[Tensor, "n h w"]) -> Float32[Tensor, "n h w"]:
    """Each stretched to [0, 1]; zeros where the values vary by no more than rounding does."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    flat = high - low <= _FLAT * torch.maximum(low.abs(), high.abs())  # Not an `if`, which would wait for a GPU.
    return (values - low).div_(high - low).masked_fill_(flat, 0.0)  # In place: a map takes 4 bytes a pixel.


def contrasted(
    score: Float32[Tensor, "n h w"], others: Float32[Tensor, "m h w"] | None, places: Sequence[int], known: int
) -> Float32[Tensor, "n h w"]:
    """The texts' probabilities among the vocabulary and themselves; their scores where there is nothing else.

    Args:
        score: Of the texts.
        others: The vocabulary's normaliser, of all of them or of each.
        places: Of the texts among all names, of which the first `known` are the vocabulary.
        known: How many names the vocabulary has.
    """
    if others is None:
        return score
    if max(places) >= known:
        joined = torch.tensor([place >= known for place in places], device=score.device)[:, None, None]
        others = torch.where(joined, torch.logaddexp(others, score), others)
    probability = (score - others).exp_()
    if known > 1:
        return probability
    alone = torch.tensor([place < known for place in places], device=score.device)[:, None, None]
    return torch.where(alone, score, probability)
