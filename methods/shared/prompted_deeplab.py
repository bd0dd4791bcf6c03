"""The paper's network: DeepLabV3+ over an image, its clicks and, for Text+Click, a saliency map.

Paper: Warner et al., BMVC 2023, https://arxiv.org/abs/2311.14822, section 4. Code: nikolaiwarner7/MaskCLIP at 37b9df0.
Network: segmentation-models-pytorch's DeepLabV3+ with two classes. The paper's code uses MMSegmentation's, which has
another stem (ResNet-v1c; here a plain ResNet, unless the encoder is "tu-resnet50c"). An auxiliary head is used in
training only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from harness.plugins.interfaces import Group, Method, Saliency
from harness.structures import Image, Prediction, Prompt, UserError

from .channels import Channels, click_channels, clicks_taken, image_channels, saliency_channel
from .checkpoints import misfits, read_trained_here
from .clicks_inside import check_clicks
from .device import chosen_device
from .saliency_ranking import TextMaps, text_maps
from .texts import required_text

AUXILIARY = "auxiliary."
"""The prefix of the auxiliary head's tensors in a checkpoint."""


@dataclass(frozen=True)
class Architecture:
    """The arguments to build a checkpoint's network again; the checkpoint contains them.

    Attributes:
        channels: The layout of the input.
        encoder: An encoder of segmentation-models-pytorch; "resnet50" is the paper's.
        decoder_channels: Channels of the ASPP and the decoder; 512 in the paper's code.
        output_stride: Stride of the encoder; 8 in the paper's code.
    """

    channels: Channels
    encoder: str = "resnet50"
    decoder_channels: int = 512
    output_stride: int = 8

    def network(self, initialisation: str | None = None) -> nn.Module:
        """Build the network; `initialisation` names pretrained encoder weights ("imagenet"), None leaves it untrained.

        Raises:
            UserError: There is no such encoder, or it has no such stride.
        """
        import segmentation_models_pytorch as smp

        try:
            return smp.DeepLabV3Plus(
                self.encoder,
                encoder_weights=initialisation,
                encoder_output_stride=self.output_stride,
                decoder_channels=self.decoder_channels,
                in_channels=self.channels.count,
                classes=2,
            )
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"methods/shared/prompted_deeplab.py: found encoder={self.encoder}, "
                f"output_stride={self.output_stride}; "
                f"wanted an encoder of segmentation-models-pytorch, with stride 8 or 16. Correct them. ({error})"
            ) from error


class PaddedNetwork(nn.Module):
    """Runs a network that needs sides divisible by its stride on any size: pads right and below, crops the logits.

    The padding repeats the last pixels. Zeros would be wrong: in a click's channel, 0 means that the click is there.
    """

    def __init__(self, network: nn.Module, stride: int) -> None:
        super().__init__()
        self.network = network
        self.stride = stride

    def forward(self, inputs: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 2 h w"]:
        """Logits of background and object at the input's size."""
        height, width = inputs.shape[-2:]
        # -height % stride is the distance to the next multiple: -50 % 16 = 14, and 50 + 14 = 64.
        padded = F.pad(inputs, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        return self.network(padded)[..., :height, :width]


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """The data that all prompts on one image share.

    Attributes:
        size: (h, w) of the image.
        pixels: The RGB channels at the network's size.
        maps: The saliency's maps of the image; None without text.
    """

    size: tuple[int, int]
    pixels: Tensor
    maps: TextMaps | None


class PromptedDeepLab(Method):
    """The network with its weights, as a method: Text+Click with a saliency, click-only without one.

    The network fuses early: clicks and saliency enter its first convolution together with the image. So each prompt
    needs a whole forward pass. Only the resized image and the saliency's features are shared by an image's prompts.

    Args:
        checkpoint: Weights that our training saved, with their architecture.
        saliency: The saliency that turns the text into a channel; None if the checkpoint has no such channel.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts of an image that share a forward pass.
    """

    def __init__(
        self, checkpoint: Path, saliency: Saliency | None, device: str = "auto", prompts_per_batch: int = 16
    ) -> None:
        if prompts_per_batch < 1:
            raise UserError(f"{checkpoint}: found prompts_per_batch={prompts_per_batch}; wanted 1 or more. Correct it.")
        self.device = torch.device(chosen_device(device))
        self.architecture, weights = read_checkpoint(checkpoint)
        if self.architecture.channels.saliency != (saliency is not None):
            found = "a saliency channel" if self.architecture.channels.saliency else "no saliency channel"
            raise UserError(
                f"{checkpoint}: these weights have {found}; wanted "
                f"{'one' if saliency else 'none'} for this method. Use text_click for weights with it, else click_only."
            )
        self.network = load_weights(self.architecture, weights, checkpoint).to(self.device).eval()
        self.saliency = saliency
        self.prompts_per_batch = prompts_per_batch

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int] | None:
        """The numbers for which the network was trained: it has a channel for each click."""
        return clicks_taken(params["checkpoint"])

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> list[EncodedImage]:
        """Resize each image and compute its saliency features."""
        return [self._encoded(*one) for one in zip(images, text_maps(self.saliency, images), strict=True)]

    def _encoded(self, image: Image, maps: TextMaps | None) -> EncodedImage:
        size = (image.shape[0], image.shape[1])
        return EncodedImage(size, image_channels(image, self.architecture.channels.input_size(size), self.device), maps)

    @torch.inference_mode()
    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt: where the object's logit exceeds the background's, at the image's size."""
        return [list(self._predictions(state, prompts)) for state, prompts in groups]

    def _predictions(self, state: EncodedImage, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        if not prompts:
            return
        side = self._side_channels(state, prompts)
        for start in range(0, len(prompts), self.prompts_per_batch):
            # (3 h w) pixels for all prompts and (n c h w) other channels become (n 3+c h w): `expand` repeats the
            # pixels without a copy, and `cat` then makes one.
            batch = side[start : start + self.prompts_per_batch]
            inputs = torch.cat([state.pixels.expand(len(batch), -1, -1, -1), batch], dim=1)
            logits = self.network(inputs).float()
            # Logits are resized, not masks: so the outline can run between the network's pixels.
            resized = F.interpolate(logits, size=state.size, mode="bilinear", align_corners=False)
            # The two logits go into a softmax, which keeps their order: the larger one has a probability above one
            # half.
            for mask in (resized[:, 1] > resized[:, 0]).cpu().numpy():
                yield Prediction(mask[None])

    def _side_channels(self, state: EncodedImage, prompts: Sequence[Prompt]) -> Float[Tensor, "n c h w"]:
        """The channels of every prompt after RGB: the saliency, if there is one, then the clicks."""
        channels = self.architecture.channels
        size = channels.input_size(state.size)
        for prompt in prompts:
            check_clicks(prompt.clicks, state.size)
        clicks = [[(c.x, c.y) for c in channels.arranged(prompt.clicks)] for prompt in prompts]
        positions = torch.tensor(clicks, dtype=torch.float32, device=self.device)
        maps = click_channels(positions, state.size, size, channels.click_range)
        if self.saliency is None:
            return maps
        saliency = torch.from_numpy(self._saliency(state, prompts)).to(self.device)
        return torch.cat([saliency_channel(saliency, size, channels.saliency_range)[:, None], maps], dim=1)

    @torch.inference_mode()
    def saliency_map(self, state: EncodedImage, prompt: Prompt) -> Float32[np.ndarray, "h w"] | None:
        """The saliency map that the network gets for a prompt; None for click-only."""
        return self._saliency(state, [prompt])[0] if self.saliency else None

    def _saliency(self, state: EncodedImage, prompts: Sequence[Prompt]) -> Float32[np.ndarray, "n h w"]:
        """A map for each prompt."""
        assert state.maps is not None
        return np.stack(state.maps.of(prompts, [required_text(prompt, "text_click") for prompt in prompts]))


def read_checkpoint(path: Path) -> tuple[Architecture, dict[str, Tensor]]:
    """The architecture and the weights, as float32.

    Raises:
        UserError: The file is missing, is no safetensors file or holds another network.
    """
    if not path.is_file():
        raise UserError(
            f"no file at checkpoint={path}; wanted weights that training here saved. "
            "Train it (README, Training) or correct `checkpoint`."
        )
    weights, about = read_trained_here(path)
    kept = {name: tensor.float() for name, tensor in weights.items() if not name.startswith(AUXILIARY)}
    return described_architecture(about, path), kept


def described_architecture(about: str, path: Path) -> Architecture:
    """The architecture in a checkpoint's metadata, which is JSON.

    Raises:
        UserError: There is none, or it is of a kind that this code cannot build.
    """
    try:
        values = json.loads(about)
        return Architecture(**{**values, "channels": Channels.from_dict(values["channels"])})
    except (KeyError, TypeError, ValueError) as error:
        found = f"the architecture {about}" if about else "no architecture in its metadata"
        raise UserError(
            f"{path}: found {found}; wanted one that training here saved. Train it again (README, Training) "
            "or correct `checkpoint`."
        ) from error


def load_weights(architecture: Architecture, weights: Mapping[str, Tensor], path: Path) -> PaddedNetwork:
    """The network with its weights.

    Raises:
        UserError: A tensor is missing, is unknown to the network or has another shape.
    """
    network = architecture.network()
    if wrong := misfits(weights, network.state_dict()):
        name, found, wanted = min(wrong)
        raise UserError(
            f"{path}: found {found} as tensor {name}; wanted {wanted}, for {architecture.encoder}. The file was "
            "saved for another network; train it again."
        )
    network.load_state_dict(dict(weights))
    return PaddedNetwork(network, architecture.output_stride)
