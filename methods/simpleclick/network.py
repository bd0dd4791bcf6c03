"""SimpleClick's network and its checkpoints: from an image, the mask of the round before and the clicks to logits.

Paper: Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers",
ICCV 2023, https://arxiv.org/abs/2210.11006. The checkpoints of its authors' code (uncbiag/SimpleClick at f33112e, MIT)
load as they are. These files also contain the training's loss as a Python object. It is replaced by an empty stand-in,
and no code of the file is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ..ritm.hrnet_ocr import resized
from ..ritm.network import PromptInput
from ..shared.isegm import IsegmCheckpoints
from .pyramid import Head, Pyramid, tokens_of

if TYPE_CHECKING:
    from .plain_vit import PlainViT

WINDOW_PX = 224
"""There are as many windows as whole squares of this side in the input: 2 x 2 at 448 pixels, 3 x 3 at 672."""

CLASS = "isegm.model.is_plainvit_model.PlainVitModel"
LOSS = "isegm.model.modeling.transformer_helper.cross_entropy_loss"
SKIPPED = (f"{LOSS}.CrossEntropyLoss", f"{LOSS}.cross_entropy")
"""The loss in the published files: an object of a class, and a function that it refers to."""

WITHOUT_EFFECT = ("with_aux_output", "use_rgb_conv", "use_leaky_relu", "backbone_lr_mult", "norm_layer")
"""Arguments of the official class that change training only, or nothing."""

Channels = Annotated[int, Field(ge=1, le=8192)]
Side = Annotated[int, Field(ge=1, le=8192)]
Four = tuple[Channels, Channels, Channels, Channels]
FORBID = pydantic.ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Backbone:
    """The ViT.

    Attributes:
        embed_dim: The channels of a patch: 160 (xtiny), 768 (base), 1024 (large), 1280 (huge).
        depth: The number of blocks: 8, 12, 24, 32.
        num_heads: The heads of the attention: 4, 12, 16, 16.
        img_size: (h, w) of the inputs that the positions were trained for; at others they are resized.
        patch_size: (h, w) of a patch: 16, huge 14.
        in_chans: The channels of an image.
        mlp_ratio: The width of a patch's MLP over that of the patch.
        qkv_bias: Whether the attention's projections have a bias.
        num_classes: The outputs of a classifier that the files contain and that is not used.
        group: The number of blocks in a group. The last one attends over the whole image, the others within windows.
            Null is the published rule: 6 of 12 blocks, else a quarter of them.
        window: The side of the square that decides the number of windows, in pixels (`WINDOW_PX`).
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID

    embed_dim: Channels
    depth: Annotated[int, Field(ge=1, le=64)]
    num_heads: Annotated[int, Field(ge=1, le=64)]
    img_size: tuple[Side, Side] = (448, 448)
    patch_size: tuple[Side, Side] = (16, 16)
    in_chans: Literal[3] = 3
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4
    qkv_bias: bool = True
    num_classes: Annotated[int, Field(ge=0, le=100_000)] = 1000
    group: Annotated[int, Field(ge=1)] | None = None
    window: Side = WINDOW_PX

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} that num_heads {self.num_heads} divides")
        if self.depth % self.blocks_a_group:
            raise ValueError(f"a depth of whole groups of {self.blocks_a_group} blocks")

    @property
    def blocks_a_group(self) -> int:
        """`group`, with the published rule put in."""
        return self.group or (6 if self.depth == 12 else max(1, self.depth // 4))

    def build(self) -> PlainViT:
        """The ViT, at random."""
        from .plain_vit import PlainViT

        return PlainViT(
            self.blocks_a_group,
            self.window,
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            mlp_ratio=self.mlp_ratio,
            qkv_bias=self.qkv_bias,
            num_classes=self.num_classes,
        )


@dataclass(frozen=True)
class Neck:
    """The pyramid: channels of the ViT's map and of the four maps that are made from it."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID

    in_dim: Channels
    out_dims: Four


@dataclass(frozen=True)
class Segmenter:
    """The head.

    Attributes:
        in_channels: The channels of the four maps.
        channels: The channels before the logits.
        upsample: The size of the logits over that of the largest map.
        in_index: The maps that it takes.
        num_classes: How many maps of logits it gives.
        align_corners: Whether corners are aligned when the maps are resized.
        dropout_ratio: The dropout in training; it has no effect when masks are computed.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = FORBID

    in_channels: Four
    channels: Annotated[int, Field(ge=4, le=8192)]
    upsample: Literal["x1", "x2", "x4"] = "x1"
    in_index: tuple[Literal[0], Literal[1], Literal[2], Literal[3]] = (0, 1, 2, 3)
    num_classes: Literal[1] = 1
    align_corners: Literal[False] = False
    dropout_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class SimpleClickArchitecture(PromptInput):
    """The arguments to build a checkpoint's network again; names are the official class's.

    Attributes:
        backbone_params: The ViT.
        neck_params: The pyramid.
        head_params: The head.
        random_split: Random groups of patches in training. Not supported: no published weights have them.
    """

    backbone_params: Backbone
    neck_params: Neck
    head_params: Segmenter
    random_split: Literal[False] = False

    def __post_init__(self) -> None:
        if self.neck_params.in_dim != self.backbone_params.embed_dim:
            raise ValueError(f"neck_params.in_dim of {self.backbone_params.embed_dim}, the backbone's embed_dim")
        if self.head_params.in_channels != self.neck_params.out_dims:
            raise ValueError(f"head_params.in_channels of {self.neck_params.out_dims}, the neck's out_dims")


class SimpleClickNetwork(nn.Module):
    """The ViT that also sees the clicks and the mask of the round before."""

    def __init__(self, architecture: SimpleClickArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        about, neck, head = architecture.backbone_params, architecture.neck_params, architecture.head_params
        self.backbone = about.build()
        # A second first layer, of the same form as the image's, takes in the prompt.
        stem = nn.Conv2d(architecture.prompt_channels, about.embed_dim, about.patch_size, about.patch_size)
        self.patch_embed_coords = nn.ModuleDict({"proj": stem})
        self.neck = Pyramid(neck.in_dim, neck.out_dims)
        self.head = Head(head.in_channels, head.channels, int(head.upsample[1:]))

    def forward(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> tuple[Float[Tensor, "n 1 h w"], None]:
        """Logits of the object, and None, where RITM's network returns the logits of its auxiliary head.

        Args:
            pixels: RGB, 0 to 1.
            previous: Probabilities of the round before; zeros in the first round.
            clicks: The clicks in the form of `ritm.network.click_maps`.

        Raises:
            ValueError: The input cannot be cut into whole patches and windows.
        """
        # Sizes of ViT-B at 448 x 448. The prompt becomes patches like the image, and is added to the image's patches:
        prompt = self.patch_embed_coords["proj"](self.architecture.prompt(previous, clicks))  # (n 768 28 28)
        maps = self.backbone(self.architecture.image(pixels), tokens_of(prompt))  # (n 768 28 28)
        return resized(self.head(self.neck(maps)), (pixels.shape[2], pixels.shape[3])), None


def without_loss(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The official arguments without the loss, which is an object among the head's arguments."""
    head = arguments.get("head_params")
    if not isinstance(head, Mapping):
        return dict(arguments)
    return {**arguments, "head_params": {name: value for name, value in head.items() if name != "loss_decode"}}


CHECKPOINTS = IsegmCheckpoints(
    reader="methods/simpleclick/simpleclick.py",
    network="SimpleClick's plain ViT",
    classes=(CLASS,),
    architecture=SimpleClickArchitecture,
    build=SimpleClickNetwork,
    named=lambda one: f"SimpleClick with a ViT of width {one.backbone_params.embed_dim}",
    without_effect=WITHOUT_EFFECT,
    arguments=without_loss,
    skipped=SKIPPED,
)
