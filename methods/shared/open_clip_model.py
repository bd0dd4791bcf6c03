"""Loads an open_clip model: a CLIP by name or of our own config, its weights from a file, its tokeniser.

Paper: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
https://arxiv.org/abs/2103.00020
Code: https://github.com/mlfoundations/open_clip 3.3.0, MIT

OpenAI's weights were trained with QuickGELU, which open_clip builds only for names that end in "-quickgelu". With other
names the weights load without an error and give wrong results. `load_clip` refuses this where it recognises a file of
OpenAI's: by its TorchScript archive, by the three integers that OpenAI stores among the weights, or by "openai" in the
file's name. A renamed state_dict of OpenAI's cannot be recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.structures import UserError

from .checkpoints import misfits, missing, no_weights, read_whole, state_dict
from .clip_config import Rgb, model_config, pixel_statistics
from .clip_tokens import clip_tokenizer
from .device import chosen_device

if TYPE_CHECKING:
    import open_clip

_OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
_NO_WEIGHTS = (*_OPENAI_KEYS, "attn_mask")
"""Tensors in files that are no weights: OpenAI's integers, and the causal mask that TorchScript stores."""


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP with its weights.

    Attributes:
        module: The model, in eval mode, float32, on `device`; `module.visual` is the image tower.
        tokenizer: Turns texts into int64 (n, context length), with the vocabulary of the config.
        image_mean: The mean of RGB pixels, 0 to 1, with which the image tower was trained.
        image_std: The standard deviation of these pixels.
        image_size: (h, w) in pixels with which the image tower was trained.
        device: The module's device.
    """

    module: open_clip.CLIP
    tokenizer: open_clip.SimpleTokenizer
    image_mean: Rgb
    image_std: Rgb
    image_size: tuple[int, int]
    device: torch.device


def load_clip(
    model: str, checkpoint: Path | None = None, device: str = "auto", *, allow_random: bool = False
) -> ClipModel:
    """Build a CLIP and load its weights.

    Args:
        model: A name that open_clip knows ("RN50-quickgelu", "ViT-B-16"), with the tag of its weights if weights
            differ in the mean and deviation of pixels ("ViT-L-14:laion2b_s32b_b82k"), or the path, from the checkout's
            root, of a config in open_clip's JSON format: a model's, or the open_clip_config.json beside its weights.
        checkpoint: A .safetensors file, a state_dict (.pt, .bin) or OpenAI's TorchScript archive (.pt), float16 or
            float32. Nothing but tensors is unpickled.
        device: The device of the model; "auto" is the GPU if there is one.
        allow_random: Whether a missing `checkpoint` means random weights, for training or for tests.

    Raises:
        UserError: There is no such model or checkpoint, the checkpoint is of another model, or the mean and deviation
            of the model's pixels are unknown.
    """
    import open_clip

    config = model_config(model)
    if checkpoint is None and not allow_random:
        raise UserError(
            f"methods/shared/open_clip_model.py: no checkpoint for model={model}; wanted its weights. Download them "
            f"(README, Weights){_known_weights(model)} and set `checkpoint` in the config."
        )
    module = open_clip.CLIP(**config)
    from_openai = checkpoint is not None and _load_weights(
        module, checkpoint, model, quick_gelu=config.get("quick_gelu", False)
    )
    mean, std = pixel_statistics(model, checkpoint, from_openai)
    where = torch.device(chosen_device(device))
    size = module.visual.image_size
    return ClipModel(
        module=module.eval().to(where),
        tokenizer=clip_tokenizer(config["text_cfg"]),
        image_mean=mean,
        image_std=std,
        image_size=(size, size) if isinstance(size, int) else (size[0], size[1]),
        device=where,
    )


def _known_weights(model: str) -> str:
    import open_clip

    name, _, tag = model.partition(":")
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(name)
    url = open_clip.get_pretrained_url(name, tags[0]) if tags else ""
    return f", for example {url}," if url else ""


def _load_weights(module: open_clip.CLIP, checkpoint: Path, model: str, quick_gelu: bool) -> bool:
    """Put a file's weights into the model; returns whether they are OpenAI's."""
    weights = _read_weights(checkpoint)
    from_openai = "openai" in checkpoint.name.lower() or any(key in weights for key in _OPENAI_KEYS)
    if from_openai and not quick_gelu:
        raise UserError(
            f"methods/shared/open_clip_model.py: {checkpoint} holds OpenAI's weights, trained with QuickGELU; "
            f"model={model} uses GELU and would answer wrongly. Set `model: {model.partition(':')[0]}-quickgelu`."
        )
    # Files differ in three harmless ways: some lack batch normalisation's counters, some hold tensors that are no
    # weights, and some store `logit_scale` with shape (1,) and not ().
    wanted = module.state_dict()
    counters = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}
    weights = counters | {key: value for key, value in weights.items() if key not in _NO_WEIGHTS}
    if "logit_scale" in weights and weights["logit_scale"].numel() == 1:
        weights["logit_scale"] = weights["logit_scale"].reshape(wanted["logit_scale"].shape)
    _check_shapes(weights, wanted, f"{checkpoint}, as model={model}")
    module.load_state_dict(weights)
    return from_openai


def _read_weights(checkpoint: Path) -> dict[str, Tensor]:
    if not checkpoint.is_file():
        raise missing(checkpoint, "methods/shared/open_clip_model.py")
    found, _ = read_whole(checkpoint, "methods/shared/open_clip_model.py")
    weights: dict[str, Tensor] = state_dict(found)
    if wrong := no_weights(weights) or ("" if weights else "an empty file"):
        raise UserError(
            f"methods/shared/open_clip_model.py: cannot read {checkpoint}: found no state_dict, but {wrong}; wanted "
            "tensors alone: a state_dict, OpenAI's archive or safetensors. Save its state_dict again, or correct the "
            "path."
        )
    return weights


def _check_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    wrong = misfits(found, wanted)
    if wrong:
        listed = "; ".join(f"{one.name}: found {one.found}, wanted {one.wanted}" for one in wrong[:3])
        raise UserError(
            f"methods/shared/open_clip_model.py: {where}: {len(wrong)} tensors do not fit: {listed}. "
            "Name the model that these weights belong to."
        )
