"""Reads FocalClick's checkpoints: the authors' files as they are, and those that our training saves.

The authors' files come from their code, alibaba/ClickSEG at d61a76b. Their `config` names a class and its arguments.
Some arguments have no effect there, and so none here: `norm_radius` (the radius of a click's disk depends on network
and pipeline alone), `use_rgb_conv`, `conv_extend` and `feature_stride`. The authors' loader accepts a file that lacks
tensors and leaves these at random values; here every tensor must be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import pydantic

from ..shared.isegm import IsegmCheckpoints
from ..simpleclick.network import SKIPPED
from .network import FocalClickArchitecture, FocalClickNetwork, HrnetArchitecture, Positive, Rgb
from .segformer import PUBLISHED, SegFormerArchitecture, Width

SEGFORMER = "isegm.model.is_segformer_model.SegFormerModel"
HRNET = "isegm.model.is_hrnet_model.HRNetModel"

UNUSED = ("maps_transform.", "refiner.feature_gate.")
"""Beginnings of tensors' names in a SegFormer's file that its forward pass does not read, as its prompt has another
entrance."""

WITHOUT_EFFECT = (
    "norm_radius",
    "use_rgb_conv",
    "conv_extend",
    "feature_stride",
    "with_aux_output",
    "backbone_lr_mult",
    "norm_layer",
)
"""Arguments of the official classes that change nothing, or training only."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of the official classes that do have an effect; those that no published file has are refused."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    pipeline_version: Literal["s1", "s2"]
    norm_mean_std: tuple[Rgb, tuple[Positive, Positive, Positive]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    use_leaky_relu: bool = False
    use_disks: Literal[True] = True
    with_prev_mask: Literal[True] = True
    binary_prev_mask: Literal[False] = False
    cpu_dist_maps: Literal[False] = False
    clicks_groups: None = None


@dataclass(frozen=True, kw_only=True)
class SegFormerArguments(Arguments):
    """The arguments of the official class `SegFormerModel`."""

    model_version: Literal["b0", "b3"]

    def architecture(self) -> FocalClickArchitecture:
        """The network that the official class builds from these arguments."""
        # The official class sets the radius itself; the `norm_radius` of its config is never read.
        radius = 3 if self.pipeline_version == "s1" else 5
        backbone = PUBLISHED[self.model_version]
        return FocalClickArchitecture(backbone, self.pipeline_version, radius, norm_mean_std=self.norm_mean_std)


@dataclass(frozen=True, kw_only=True)
class HrnetArguments(Arguments):
    """The arguments of the official class `HRNetModel`."""

    width: Width = 48
    ocr_width: Width = 256
    small: bool = False

    def architecture(self) -> FocalClickArchitecture:
        """The network that the official class builds from these arguments."""
        # Not 3 as above: the two official classes differ here.
        radius = 2 if self.pipeline_version == "s1" else 5
        backbone = HrnetArchitecture(self.width, self.ocr_width, self.small, self.use_leaky_relu)
        return FocalClickArchitecture(backbone, self.pipeline_version, radius, norm_mean_std=self.norm_mean_std)


def named(architecture: FocalClickArchitecture) -> str:
    """The networks in words."""
    about = architecture.backbone
    if isinstance(about, HrnetArchitecture):
        return f"FocalClick with HRNet width {about.width}"
    return f"FocalClick with a SegFormer of widths {', '.join(map(str, about.widths))}"


def unused(architecture: FocalClickArchitecture) -> tuple[str, ...]:
    """The beginnings of names of tensors that a file holds and the networks do not read."""
    return UNUSED if isinstance(architecture.backbone, SegFormerArchitecture) else ()


CHECKPOINTS = IsegmCheckpoints(
    reader="methods/focalclick/focalclick.py",
    network="FocalClick's SegFormer or HRNet with its refiner",
    classes=(SEGFORMER, HRNET),
    architecture=FocalClickArchitecture,
    build=FocalClickNetwork,
    named=named,
    without_effect=WITHOUT_EFFECT,
    official={SEGFORMER: SegFormerArguments, HRNET: HrnetArguments},
    unused=unused,
    # SimpleClick's files hold these: so the message for one names its network's class.
    skipped=SKIPPED,
)
