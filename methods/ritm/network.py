"""RITM's network and its checkpoints: an image, the mask before and the clicks in, the object's logits out.

Paper: Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation", ICIP 2022, https://arxiv.org/abs/2102.06583. The checkpoints of its authors' code
(SamsungLabs/ritm_interactive_segmentation at b9b4460) load as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from harness.messages import complaint
from harness.structures import UserError

from ..shared.checkpoints import again, misfits, missing, read_trained_here
from .hrnet_ocr import STEM, HrnetOcr, resized

CLASSES = ("isegm.model.is_hrnet_model.HRNetModel", "ritm_annotation.model.is_hrnet_model.HRNetModel")
"""What a checkpoint's config may name as its class: the official one, and as its packaged copy calls it."""

WITHOUT_EFFECT = ("with_aux_output", "backbone_lr_mult", "norm_layer")
"""Of the official class's arguments, those that change training alone (checkpoints hold batch normalisation)."""

Rgb = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
Channels = Annotated[int, Field(ge=1, le=1024)]


@dataclass(frozen=True)
class RitmArchitecture:
    """What a checkpoint needs to be rebuilt; names and defaults are those of the official class.

    Attributes:
        width: Channels of HRNet at its highest resolution: 18 or 32.
        ocr_width: Channels of the OCR head: 48 (18s), 64 (18), 128 (32).
        small: HRNet18s.
        norm_radius: Of the clicks, in pixels of the network's input.
        use_disks: A click is a disk of the radius; else a distance map, tanh(2 d / radius).
        with_prev_mask: The probabilities of the round before are an input.
        binary_prev_mask: They are cut at 0.5.
        use_leaky_relu: In what takes in the prompt.
        use_rgb_conv: Image and prompt are mixed to three channels; else the prompt enters after the first convolution.
        conv_extend: It does so by one convolution.
        norm_mean_std: Of the image, for values of 0 to 1.
        clicks_groups: Maps of their own for the first clicks: not supported, no published weights have them.
        cpu_dist_maps: Another way to draw clicks, on whole pixels: not supported, no published weights have it.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    width: Channels = 48
    ocr_width: Channels = 256
    small: bool = False
    norm_radius: Annotated[int, Field(ge=1)] = 260
    use_disks: bool = False
    with_prev_mask: bool = False
    binary_prev_mask: bool = False
    use_leaky_relu: bool = False
    use_rgb_conv: bool = True
    conv_extend: bool = False
    norm_mean_std: tuple[Rgb, tuple[Positive, Positive, Positive]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    clicks_groups: None = None
    cpu_dist_maps: Literal[False] = False


class RitmNetwork(nn.Module):
    """HRNet + OCR that also sees the clicks and the mask of the round before."""

    def __init__(self, architecture: RitmArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        prompt = 2 + int(architecture.with_prev_mask)
        activation = nn.LeakyReLU(0.2) if architecture.use_leaky_relu else nn.ReLU()
        if architecture.use_rgb_conv:
            mixed = prompt + 6
            self.rgb_conv = nn.Sequential(
                nn.Conv2d(prompt + 3, mixed, 1), nn.BatchNorm2d(mixed), activation, nn.Conv2d(mixed, 3, 1)
            )
        elif architecture.conv_extend:
            self.maps_transform: nn.Module = nn.Conv2d(prompt, STEM, 3, stride=2, padding=1)
        else:
            self.maps_transform = nn.Sequential(
                nn.Conv2d(prompt, 16, 1), activation, nn.Conv2d(16, STEM, 3, stride=2, padding=1), Scale()
            )
        self.feature_extractor = HrnetOcr(architecture.width, architecture.ocr_width, architecture.small)

    def forward(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n 1 h w"]]:
        """Logits of the object, and those of the auxiliary head that training uses.

        Args:
            pixels: RGB, 0 to 1.
            previous: Probabilities of the round before; zeros in the first.
            clicks: As `click_maps` wants them.
        """
        image, prompt = self._normalised(pixels), self._prompt(previous, clicks)
        if self.architecture.use_rgb_conv:
            outputs = self.feature_extractor(self.rgb_conv(torch.cat([image, prompt], dim=1)))
        else:
            outputs = self.feature_extractor(image, self.maps_transform(prompt))
        logits, auxiliary = (resized(one, (pixels.shape[2], pixels.shape[3])) for one in outputs)
        return logits, auxiliary

    def _normalised(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in self.architecture.norm_mean_std)
        return (pixels - mean) / deviation

    def _prompt(
        self, previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> Float[Tensor, "n channels h w"]:
        about = self.architecture
        size = (previous.shape[2], previous.shape[3])
        maps = click_maps(clicks, size, about.norm_radius, about.use_disks)
        if not about.with_prev_mask:
            return maps
        return torch.cat([(previous > 0.5).float() if about.binary_prev_mask else previous, maps], dim=1)


class Scale(nn.Module):
    """Multiplies by a learned number, whose sign does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, scaled."""
        return inputs * self.scale.abs()


def click_maps(
    clicks: Float[Tensor, "n k 3"], size: tuple[int, int], radius: int, disks: bool
) -> Float[Tensor, "n 2 h w"]:
    """A map of the positive clicks and one of the negative ones: disks of 1 on 0, or distances, 0 to 1.

    Args:
        clicks: Row, column, sign: 1 positive, -1 negative, 0 none. Rows and columns may be fractions and may lie
            outside; a click above the map and left of it counts as none, as in the official code.
        size: (h, w) of the maps.
        radius: In pixels of the maps.
        disks: Disks or distances.
    """
    unit = 1 if disks else radius
    rows = torch.arange(size[0], dtype=torch.float32, device=clicks.device)
    columns = torch.arange(size[1], dtype=torch.float32, device=clicks.device)
    down = ((rows - clicks[..., 0, None]) / unit).square()
    across = ((columns - clicks[..., 1, None]) / unit).square()
    squares = down[..., :, None] + across[..., None, :]
    counts = clicks[..., 2] * (clicks[..., :2].amax(dim=2) >= 0)
    nearest = torch.stack([_nearest(squares, counts > 0), _nearest(squares, counts < 0)], dim=1)
    return (nearest <= radius**2).float() if disks else (2 * nearest.sqrt()).tanh()


def _nearest(squares: Float[Tensor, "n k h w"], counted: Bool[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
    """The least squared distance to a click that counts; a large one where there is none."""
    return squares.masked_fill(~counted[..., None, None], 1e6).amin(dim=1)


def read_checkpoint(path: Path) -> tuple[RitmArchitecture, dict[str, Tensor]]:
    """The architecture and the weights, as float32; nothing in the file is executed.

    Raises:
        UserError: No such file, a damaged one, or one of another network.
    """
    if not path.is_file():
        raise missing(path, "methods/ritm/ritm.py")
    architecture, weights = _trained_here(path) if path.suffix == ".safetensors" else _official(path)
    return architecture, {name: one.float() if one.is_floating_point() else one for name, one in weights.items()}


def _trained_here(path: Path) -> tuple[RitmArchitecture, dict[str, Tensor]]:
    weights, about = read_trained_here(path)
    try:
        values = json.loads(about)
    except ValueError as error:
        raise _wrong(path, "no architecture in its metadata") from error
    return _architecture(values, path), weights


def _official(path: Path) -> tuple[RitmArchitecture, dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever a damaged or a hostile file makes the unpickler raise.
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{path}: found a file that does not load as tensors and plain values alone ({reason}); wanted RITM's "
            f"published checkpoint, whole. {again(path)}; nothing of it was executed."
        ) from error
    if not isinstance(content, dict) or not {"config", "state_dict"} <= content.keys():
        found = f"keys {_some(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise _wrong(path, f"{found} at its top, not `config` and `state_dict`")
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(one, Tensor) for name, one in weights.items()
    ):
        raise _wrong(path, "a `state_dict` that is no mapping of names to tensors")
    return described(content["config"], path), weights


def described(config: Any, path: Path) -> RitmArchitecture:
    """The architecture that an official checkpoint's config tells: a class's path and its arguments, read as data.

    Raises:
        UserError: Another class, or arguments that this network has not.
    """
    try:
        name = config["class"]
        arguments = {key: (given["value"], bool(given["specified"])) for key, given in config["params"].items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise _wrong(path, "a `config` without a class and its arguments") from error
    if name not in CLASSES:
        raise _wrong(path, f"a model of class {name!r}")
    known = {field.name for field in fields(RitmArchitecture)}
    # As in the official loader: a default that the class no longer has was none of the model's maker's choices.
    return _architecture(
        {
            key: value
            for key, (value, specified) in arguments.items()
            if key not in WITHOUT_EFFECT and (key in known or specified)
        },
        path,
    )


def _architecture(values: Any, path: Path) -> RitmArchitecture:
    try:
        return pydantic.TypeAdapter(RitmArchitecture).validate_python(values)
    except pydantic.ValidationError as error:
        mistake = error.errors()[0]
        place = ".".join(str(part) for part in mistake["loc"]) or "architecture"
        raise _wrong(path, f"as {place}: {complaint([mistake])}") from error


def load_weights(architecture: RitmArchitecture, weights: Mapping[str, Tensor], path: Path) -> RitmNetwork:
    """The network with its weights.

    Raises:
        UserError: A tensor is missing, is too many or has another shape.
    """
    with torch.device("meta"):  # Takes no memory, however large the network that a file claims to hold.
        network = RitmNetwork(architecture)
    if wrong := misfits(weights, network.state_dict()):
        name, found, wanted = min(wrong)
        raise UserError(
            f"{path}: found {found} as tensor {name}; RITM with HRNet width {architecture.width} wanted {wanted}. "
            "Fetch or train the file again."
        )
    network.load_state_dict(dict(weights), assign=True)
    return network


def _wrong(path: Path, found: str) -> UserError:
    return UserError(
        f"{path}: found {found}; wanted RITM's HRNet + OCR, as published (.pth with `config` and `state_dict`) or "
        "trained here (.safetensors). Correct `checkpoint`."
    )


def _some(content: Mapping[Any, Any]) -> str:
    """The first of a mapping's keys."""
    first = [str(key) for key in list(content)[:3]]
    return ", ".join(first) + (", ..." if len(content) > len(first) else "")
