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

import gzip
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pydantic
import torch
from jaxtyping import Float32, Int64
from open_clip.factory import PreprocessCfg, merge_preprocess_dict
from open_clip.tokenizer import default_bpe
from torch import Tensor, nn

from harness import atomic
from harness.messages import suggest
from harness.places import located
from harness.plugins.interfaces import TextLimit
from harness.structures import UserError

from .checkpoints import misfits, missing, no_weights, read_whole, state_dict
from .device import chosen_device

Rgb = tuple[float, float, float]
_RGB = pydantic.TypeAdapter(Rgb)

_SCHEMES = ("hf-hub:", "local-dir:")
"""How open_clip writes a model of Hugging Face's hub, and one in a folder with its weights."""

FULL_VOCABULARY = 49408
"""How many tokens open_clip's vocabulary file has."""

_BYTES_AND_SPECIALS = 2 * 256 + 2
_OPENAI_KEYS = ("input_resolution", "context_length", "vocab_size")
_NO_WEIGHTS = (*_OPENAI_KEYS, "attn_mask")
"""Tensors in files that are no weights: OpenAI's integers, and the causal mask that TorchScript stores."""

_TEXTS_A_FORWARD = 256


@dataclass(frozen=True, eq=False)
class ClipModel:
    """A CLIP with its weights.

    Attributes:
        module: The model, in eval mode, float32, on `device`; `module.visual` is the image tower.
        tokenizer: Turns texts into int64 (n, context length), with the vocabulary of the config.
        image_mean: Mean of RGB pixels from 0 to 1 with which the image tower was trained.
        image_std: Their standard deviation.
        image_size: (h, w) in pixels with which the image tower was trained.
        device: Where the module lies.
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
        model: A name that open_clip knows ("RN50-quickgelu", "ViT-B-16"), with the tag of its weights where these
            differ in the mean and deviation of pixels ("ViT-L-14:laion2b_s32b_b82k"), or the path, from the checkout's
            root, of a config in open_clip's JSON format: a model's, or the open_clip_config.json beside its weights.
        checkpoint: A .safetensors file, a state_dict (.pt, .bin) or OpenAI's TorchScript archive (.pt), float16 or
            float32. Nothing but tensors is unpickled.
        device: Where the model runs; "auto" is the GPU if there is one.
        allow_random: Whether a missing `checkpoint` means random weights, for training or for tests.

    Raises:
        UserError: There is no such model or checkpoint, the checkpoint is of another model, or the model does not say
            by which mean and deviation its pixels are normalised.
    """
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


def model_config(model: str) -> dict[str, Any]:
    """The open_clip config of a name or of a JSON file, from which `open_clip.CLIP` is built.

    Raises:
        UserError: There is no such name or file, or the model has another text tower than CLIP's own.
    """
    if model.startswith(_SCHEMES):
        raise UserError(
            f"methods/shared/open_clip_model.py: found model={model}; wanted files of this machine, since nothing is "
            "downloaded while a run computes. Download the model's open_clip_config.json and weights, and set the "
            "model to the path of that .json and the checkpoint to the path of the weights."
        )
    name, _, tag = model.partition(":")
    config = _json_config(model)[0] if model.endswith(".json") else open_clip.get_model_config(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if config is not None and tag and tag not in tags and not model.endswith(".json"):
        raise UserError(
            f"methods/shared/open_clip_model.py: found model={model}; wanted one of {name}'s weights after the colon. "
            f"{suggest(tag, tags)}"
        )
    if config is None:
        raise UserError(f"methods/shared/open_clip_model.py: no open_clip model '{model}'. {_close_names(model)}")
    foreign = sorted(set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
    foreign += sorted(key for key in config["text_cfg"] if key.startswith(("hf_", "tokenizer_")))
    if foreign:
        raise UserError(
            f"methods/shared/open_clip_model.py: model={model} sets {', '.join(foreign)}; wanted a "
            f"CLIP with CLIP's own text "
            "tower and tokeniser (RN50, ViT-B-16, ViT-L-14-336, ..., each with -quickgelu for OpenAI's weights)."
        )
    return config


def pixel_statistics(model: str, checkpoint: Path | None, from_openai: bool) -> tuple[Rgb, Rgb]:
    """The mean and the standard deviation by which a CLIP normalises pixels, from 0 to 1, as open_clip has them.

    A config says them under `preprocess_cfg`. A name says them through its tag: the one in the name, else
    the one in the checkpoint's file name, else any, where all tags of the name agree. What nothing says is OpenAI's.

    Args:
        model: As `load_clip` takes it.
        checkpoint: The weights; None if they are random.
        from_openai: Whether these are OpenAI's.

    Raises:
        UserError: The config's are no numbers for three channels, or the name's tags differ and none is named.
    """
    if model.endswith(".json"):
        return _statistics(_json_config(model)[1], model)
    name, _, tag = model.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(name)
    in_file = [one for one in tags if checkpoint is not None and one.lower() in checkpoint.name.lower()]
    named = [tag] if tag else ["openai"] if from_openai else sorted(in_file, key=len)[-1:] or tags
    known = {_statistics(open_clip.get_pretrained_cfg(name, one), model): one for one in named}
    if len(known) > 1 and checkpoint is not None:
        listed = "; ".join(f"{name}:{one} has mean {mean} and std {std}" for (mean, std), one in known.items())
        raise UserError(
            f"methods/shared/open_clip_model.py: found model={model}, whose published weights were trained with "
            f"pixels normalised in {len(known)} ways ({listed}), and {checkpoint.name} names none; wanted one of "
            f"them. Write the tag of the weights after the model's name: {', '.join(f'{name}:{one}' for one in tags)}."
        )
    return next(iter(known)) if len(known) == 1 else _statistics({}, model)


def _statistics(preprocessing: Mapping[str, Any], model: str) -> tuple[Rgb, Rgb]:
    """The mean and the deviation that open_clip takes from a model's preprocessing; a lone number is for all channels.

    Raises:
        UserError: They are no numbers for three channels, or a deviation is not above 0.
    """
    merged = merge_preprocess_dict(PreprocessCfg(), dict(preprocessing))
    try:
        mean, std = (
            _RGB.validate_python([one] * 3 if isinstance(one, (int, float)) else one)
            for one in (merged["mean"], merged["std"])
        )
        if min(std) > 0:
            return mean, std
    except pydantic.ValidationError:
        pass
    raise UserError(
        f"{model}: found preprocess_cfg with mean={merged['mean']} and std={merged['std']}; wanted three numbers "
        "each, and deviations above 0. Correct the model's config."
    )


def clip_tokenizer(text_config: Mapping[str, Any]) -> open_clip.SimpleTokenizer:
    """open_clip's tokeniser, its vocabulary cut to the config's `vocab_size` most frequent tokens.

    It cuts a text longer than `context_length` tokens; `text_embeddings` refuses such a text. `open_clip.get_tokenizer`
    cannot cut the vocabulary; its token numbers would exceed the embedding of a smaller model.
    """
    context_length = text_config.get("context_length", 77)
    size = text_config.get("vocab_size", FULL_VOCABULARY)
    if size == FULL_VOCABULARY:
        return open_clip.SimpleTokenizer(context_length=context_length)
    if not _BYTES_AND_SPECIALS < size < FULL_VOCABULARY:
        raise UserError(
            f"methods/shared/open_clip_model.py: text_cfg.vocab_size is {size}; wanted "
            f"{_BYTES_AND_SPECIALS} plus a number "
            f"of merges, at most {FULL_VOCABULARY}. Correct the model's config."
        )
    # A vocabulary is 256 bytes, the same 256 as ends of words, one token a merge, and two special tokens. The file has
    # a heading and then the merges, the most frequent first, so the first lines alone are a smaller vocabulary.
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: 1 + size - _BYTES_AND_SPECIALS]
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "vocabulary.txt.gz"
        atomic.write(cut, gzip.compress("\n".join(lines).encode()))
        return open_clip.SimpleTokenizer(bpe_path=str(cut), context_length=context_length)


@torch.inference_mode()
def text_embeddings(clip: ClipModel, names: Sequence[str], templates: Sequence[str]) -> Float32[Tensor, "n d"]:
    """A unit vector for each name: the mean of the normalised embeddings of its templates, normalised again.

    Args:
        clip: The model.
        names: The names that are put into the templates.
        templates: Sentences with one "{}" each.

    Raises:
        ValueError: A text is longer than the model reads, so that two that differ at their ends would be one.
    """
    texts = [template.replace("{}", name) for name in names for template in templates]
    tokens: Int64[Tensor, "texts context"] = clip.tokenizer(texts)
    _check_lengths(clip.tokenizer, texts, tokens)
    tokens = tokens.to(clip.device)
    parts = [nn.functional.normalize(clip.module.encode_text(part), dim=-1) for part in tokens.split(_TEXTS_A_FORWARD)]
    mean = torch.cat(parts).float().reshape(len(names), len(templates), -1).mean(dim=1)
    return nn.functional.normalize(mean, dim=-1)


def clip_text_limit(model: str, templates: Sequence[str]) -> TextLimit:
    """How many tokens a CLIP reads of a text in its longest template; its weights are not looked at.

    Args:
        model: As `load_clip` takes it.
        templates: Sentences with one "{}" each.

    Raises:
        UserError: There is no such model.
    """
    tokenizer = clip_tokenizer(model_config(model)["text_cfg"])
    most = tokenizer.context_length
    marks = 2  # of a text's start and its end

    def beyond(text: str) -> int:
        sentences = [template.replace("{}", text) for template in templates]
        # A token is a byte at least, so that most texts need no tokeniser.
        if max(len(one.encode()) for one in sentences) + marks <= most:
            return 0
        longest = max(len(tokenizer.encode(one)) for one in sentences) + marks
        return longest if longest > most else 0

    return TextLimit(most, "tokens", f"the CLIP {model}", beyond)


def _check_lengths(
    tokenizer: open_clip.SimpleTokenizer, texts: Sequence[str], tokens: Int64[Tensor, "texts context"]
) -> None:
    """Refuse a text that the tokeniser cut, as the tokeniser of OpenAI's own code does."""
    # A text that was cut fills its row up to the end mark in the last place. One that fits exactly does so too.
    for index in (tokens[:, -1] != 0).nonzero().flatten().tolist():
        needed = len(tokenizer.encode(texts[index])) + 2  # the marks of its start and its end
        if needed > tokens.shape[1]:
            raise ValueError(
                f"found a text of {needed} tokens, '{texts[index]}'; wanted at most {tokens.shape[1]}, which is all "
                "that this CLIP reads. Shorten the text or its template, or choose a CLIP with a longer context."
            )


def _json_config(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config file's model and its preprocessing; {} where it says nothing of the latter."""
    path = located(model)
    if not path.is_file():
        raise UserError(
            f"methods/shared/open_clip_model.py: no file at model={path}; wanted a config in open_clip's format."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        config = dict(content.get("model_cfg", content))
        preprocessing = dict(config.pop("preprocess_cfg", content.get("preprocess_cfg")) or {})
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: found no JSON mapping ({error}); wanted a model config in open_clip's format. Correct the path."
        ) from error
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise UserError(f"{path}: found no {', '.join(missing)}; wanted a model config in open_clip's format.")
    return config, preprocessing


def _close_names(model: str) -> str:
    close = suggest(model, open_clip.list_models())
    return f"{close.partition('There are:')[0]}`open_clip.list_models()` lists them; a config's path ends in .json."


def _known_weights(model: str) -> str:
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
            f"methods/shared/open_clip_model.py: {checkpoint} holds OpenAI's weights, trained with "
            f"QuickGELU; model={model} "
            f"uses GELU and would answer wrongly. Set `model: {model.partition(':')[0]}-quickgelu`."
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
            "tensors alone: a state_dict, OpenAI's archive or safetensors. Save its state_dict anew, or correct the "
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
