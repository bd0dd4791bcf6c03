"""A CLIP's config: by open_clip's name or from a JSON file of our own, with the statistics of its pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from harness.messages import suggest
from harness.places import located
from harness.structures import UserError

Rgb = tuple[float, float, float]
_RGB = pydantic.TypeAdapter(Rgb)

_SCHEMES = ("hf-hub:", "local-dir:")
"""open_clip's prefixes of a model on Hugging Face's hub, and of one in a folder with its weights."""


def model_config(model: str) -> dict[str, Any]:
    """The open_clip config of a name or of a JSON file, from which `open_clip.CLIP` is built.

    Raises:
        UserError: There is no such name or file, or the model has another text tower than CLIP's own.
    """
    if model.startswith(_SCHEMES):
        raise UserError(
            f"methods/shared/clip_config.py: found model={model}; wanted files of this machine, since nothing is "
            "downloaded while a run computes. Download the model's open_clip_config.json and weights, and set the "
            "model to the path of that .json and the checkpoint to the path of the weights."
        )
    config = _json_config(model)[0] if model.endswith(".json") else _named_config(model)
    foreign = sorted(set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"})
    foreign += sorted(key for key in config["text_cfg"] if key.startswith(("hf_", "tokenizer_")))
    if foreign:
        raise UserError(
            f"methods/shared/clip_config.py: model={model} sets {', '.join(foreign)}; wanted a CLIP with CLIP's own "
            "text tower and tokeniser (RN50, ViT-B-16, ViT-L-14-336, ..., each with -quickgelu for OpenAI's weights)."
        )
    return config


def pixel_statistics(model: str, checkpoint: Path | None, from_openai: bool) -> tuple[Rgb, Rgb]:
    """The mean and the standard deviation by which a CLIP normalises pixels, from 0 to 1, as open_clip has them.

    A config has them under `preprocess_cfg`. For a name they come from its tag: the one in the name, else the one in
    the checkpoint's file name, else any if all tags of the name agree. If none of these has them, OpenAI's are taken.

    Args:
        model: The model, as `load_clip` takes it.
        checkpoint: The weights; None if they are random.
        from_openai: Whether the weights are OpenAI's.

    Raises:
        UserError: The config's values are no numbers for three channels, or the name's tags differ and none is named.
    """
    import open_clip

    if model.endswith(".json"):
        return _statistics(_json_config(model)[1], model)
    name, _, tag = model.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(name)
    # "ViT-L-14_dfn2b_s39b.pt" has two of open_clip's tags in its name, dfn2b and dfn2b_s39b: the longest is meant. If
    # no tag is known, all tags of the model count, and it is enough that they agree: `known` has an entry for each
    # distinct pair of mean and deviation, so one entry means one answer.
    in_file = [one for one in tags if checkpoint is not None and one.lower() in checkpoint.name.lower()]
    if tag:
        named = [tag]
    elif from_openai:
        named = ["openai"]
    else:
        named = sorted(in_file, key=len)[-1:] or tags
    known = {_statistics(open_clip.get_pretrained_cfg(name, one), model): one for one in named}
    if len(known) > 1 and checkpoint is not None:
        listed = "; ".join(f"{name}:{one} has mean {mean} and std {std}" for (mean, std), one in known.items())
        raise UserError(
            f"methods/shared/clip_config.py: found model={model}, whose published weights were trained with "
            f"pixels normalised in {len(known)} ways ({listed}), and {checkpoint.name} names none; wanted one of "
            f"them. Write the tag of the weights after the model's name: {', '.join(f'{name}:{one}' for one in tags)}."
        )
    return next(iter(known)) if len(known) == 1 else _statistics({}, model)


def _statistics(preprocessing: Mapping[str, Any], model: str) -> tuple[Rgb, Rgb]:
    """The mean and the deviation that open_clip takes from a model's preprocessing; a lone number is for all channels.

    Raises:
        UserError: They are no numbers for three channels, or a deviation is not above 0.
    """
    from open_clip.factory import PreprocessCfg, merge_preprocess_dict

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


def _named_config(model: str) -> dict[str, Any]:
    """The config of one of open_clip's names, with or without the tag of its weights."""
    import open_clip

    name, _, tag = model.partition(":")
    config, tags = open_clip.get_model_config(name), open_clip.list_pretrained_tags_by_model(name)
    if config is None:
        raise UserError(f"methods/shared/clip_config.py: no open_clip model '{model}'. {_close_names(model)}")
    if tag and tag not in tags:
        raise UserError(
            f"methods/shared/clip_config.py: found model={model}; wanted one of {name}'s weights after the colon. "
            f"{suggest(tag, tags)}"
        )
    return dict(config)


def _json_config(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config file's model and its preprocessing; {} if it has no preprocessing."""
    path = located(model)
    if not path.is_file():
        raise UserError(
            f"methods/shared/clip_config.py: no file at model={path}; wanted a config in open_clip's format."
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
    import open_clip

    close = suggest(model, open_clip.list_models())
    return f"{close.partition('There are:')[0]}`open_clip.list_models()` lists them; a config's path ends in .json."
