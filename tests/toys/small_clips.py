"""Small CLIPs with random weights, and CLIPs whose weights follow from a rule, so that a fixture need not hold them."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from harness.methods.shared import clip_saliency
from harness.methods.shared.clip_saliency import ClipSaliency
from harness.methods.shared.clip_sentences import Sentences
from harness.methods.shared.clip_tokens import clip_tokenizer
from harness.methods.shared.open_clip_model import ClipModel
from jaxtyping import Float32
from safetensors.torch import save_file
from torch import Tensor, nn

import real_data

S = TypeVar("S", bound=ClipSaliency)

TEXT = {"context_length": 24, "vocab_size": 2014, "width": 32, "heads": 2, "layers": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 16},
        "text_cfg": TEXT,
    },
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 96, "patch_size": None, "width": 8, "layers": [1, 1, 1, 1]},
        "text_cfg": TEXT,
    },
}
FIXTURES = real_data.PARITY / "clip_saliency"
fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no answers of official code under {FIXTURES} (tests/README.md)"
)


def clip(config: dict[str, Any], seed: int = 0, gain: float = 2.0) -> ClipModel:
    """A CLIP of open_clip's with weights by the rule."""
    module = open_clip.CLIP(**config).eval()
    by_rule(module, seed, gain)
    known = config["text_cfg"].get("vocab_size", 49408) > 514
    size = module.visual.image_size
    return ClipModel(
        module,
        clip_tokenizer(config["text_cfg"]) if known else None,  # type: ignore[arg-type]
        open_clip.OPENAI_DATASET_MEAN,
        open_clip.OPENAI_DATASET_STD,
        (size, size) if isinstance(size, int) else tuple(size),  # type: ignore[arg-type]
        torch.device("cpu"),
    )


def written(folder: Path, model: str) -> dict[str, Path]:
    """A small CLIP of CONFIGS as files, by the parameters that name them."""
    files = {"model": folder / f"{model}.json", "checkpoint": folder / f"{model}.safetensors"}
    files["model"].write_text(json.dumps(CONFIGS[model]))
    save_file(clip(CONFIGS[model], gain=1.0 if model == "resnet" else 2.0).module.state_dict(), files["checkpoint"])
    return files


def by_rule(module: nn.Module, seed: int, gain: float) -> None:
    """Every weight from its name, its shape and the seed, as the fixtures of official code have them."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and name != "logit_scale":
            drawn = np.random.RandomState(zlib.crc32(name.encode()) + seed).standard_normal(tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(_ruled(name, drawn, gain)))


def _ruled(name: str, n: np.ndarray, gain: float) -> np.ndarray:
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return 0.5 + np.abs(n)
    if leaf == "running_mean":
        return 0.1 * n
    if leaf == "weight" and n.ndim == 1:
        return 1 + 0.2 * n
    if leaf == "bias" or leaf.endswith("_bias"):
        return 0.1 * n
    if "embedding" in name:
        return 0.3 * n
    fan = n.shape[0] if leaf in ("proj", "text_projection") else np.prod(n.shape[1:])
    return gain * n / np.sqrt(fan)


def case() -> dict[str, Any]:
    """What the fixtures of official code were made with."""
    found: dict[str, Any] = json.loads((FIXTURES / "case.json").read_text())
    return found


def official(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Have saliencies that are built from now on take the fixtures' weights of this model."""
    told = case()
    if model != "tiny":
        made = published(model)
    else:
        made = clip(told["tiny_config"], told["seed"], told["models"][model]["gain"])
        floats = {k: v for k, v in made.module.state_dict().items() if v.is_floating_point()}
        digest = hashlib.sha256(b"".join(name.encode() + floats[name].numpy().tobytes() for name in sorted(floats)))
        assert digest.hexdigest() == told["models"][model]["sha256_of_floats_sorted_by_name"]
    monkeypatch.setattr(clip_saliency, "load_clip", lambda *_: made)


@lru_cache(maxsize=1)
def published(model: str) -> ClipModel:
    """A published image tower, which tests only read: its weights are drawn once for all in a row that want it."""
    told = case()
    # A small text tower, to build them quickly: tests take the fixtures' text embeddings.
    config = {**open_clip.get_model_config(model), "text_cfg": TEXT}
    return clip(config, told["seed"], told["models"][model]["gain"])


def expected(model: str, name: str) -> np.ndarray:
    """An answer of official code."""
    found: np.ndarray = np.load(FIXTURES / "expected.npz")[f"{model}__{name}"]
    return found


def of_fixture(
    kind: type[S], model: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[S, np.ndarray, Tensor, Tensor]:
    """A saliency with the fixtures' weights, their image, their texts' unit vectors and the lengths of these."""
    official(monkeypatch, model)
    saliency: Any = kind(model, device="cpu", **options)  # type: ignore[call-arg]
    image = np.load(FIXTURES / "expected.npz")["image_tiny" if model == "tiny" else "image_224"]
    texts = torch.from_numpy(expected(model, "text"))
    vectors = F.normalize(texts, dim=-1)
    saliency.texts.known = dict(zip(case()["texts"], vectors, strict=True))
    return saliency, image, vectors, texts.norm(dim=-1)[:, None, None]


def small(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """Have saliencies that are built from now on take a small CLIP of CONFIGS."""
    # With a gain of 2 a ResNet's values grow from stage to stage until float32 has few digits left.
    made = clip(CONFIGS[model], seed=2, gain=1.0 if model == "resnet" else 2.0)
    monkeypatch.setattr(clip_saliency, "load_clip", lambda *_: made)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coarse random patches: something to see at every cell."""
    small_one = np.random.default_rng(seed).integers(0, 256, (-(-height // 12), -(-width // 12), 3), dtype=np.uint8)
    return np.ascontiguousarray(small_one.repeat(12, 0).repeat(12, 1)[:height, :width])


def evidence(saliency: ClipSaliency, images: Sequence[np.ndarray], vectors: Tensor) -> Tensor:
    """Each text's evidence (k, n, gh, gw) in each of several images."""
    kept = torch.stack([one.kept for one in saliency.features(images)])
    with torch.inference_mode():
        return saliency.evidence(kept, vectors[:, None])


def pixels(saliency: ClipSaliency, image: np.ndarray) -> Tensor:
    """An image of the network's own size as the tower wants it, computed apart from the product's code."""
    mean, std = (torch.tensor(one)[:, None, None] for one in (saliency.mean, saliency.std))
    return ((torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std)[None]


def score(saliency: ClipSaliency, embedded: Tensor, text: Tensor, kind: str) -> Tensor:
    """What is differentiated, of one image."""
    if kind == "dot":
        return embedded @ text
    return saliency.clip.module.logit_scale.exp() * torch.cosine_similarity(embedded, text, dim=0)


def far(found: Tensor | np.ndarray, true: Tensor | np.ndarray) -> float:
    """The largest difference, as a share of the largest expected value."""
    wanted = np.asarray(true)
    return float(np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max())


def embedded(clip: ClipModel, names: Sequence[str], templates: Sequence[str]) -> Float32[Tensor, "n d"]:
    """The unit vector of each name in these sentences, which nothing keeps on a disk."""
    sentences = Sentences(clip, templates)
    return torch.stack([sentences.mean_of(name) for name in names])
