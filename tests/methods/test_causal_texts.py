"""The causal text tower without padding gives the vectors of open_clip's own code, for every kind of tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from harness.methods.shared.causal_texts import is_causal
from harness.methods.shared.clip_sentences import Sentences
from harness.methods.shared.clip_texts import sentences
from harness.methods.shared.open_clip_model import ClipModel, load_clip

from small_clips import embedded

pytestmark = pytest.mark.slow

VOCABULARY = 2014
TEXT = {"context_length": 40, "vocab_size": VOCABULARY, "width": 64, "heads": 4, "layers": 3}
KINDS: dict[str, tuple[bool, dict[str, Any]]] = {
    "plain": (True, {}),
    "quick gelu": (True, {"quick_gelu": True}),
    "layer scale and a projection with a bias": (True, {"ls_init_value": 0.3, "proj_bias": True}),
    "read at a mark by its number": (True, {"pool_type": "eos", "eos_id": VOCABULARY - 1}),
    "no projection": (True, {"proj_type": "none", "width": 32}),
    "not causal": (False, {"no_causal_mask": True}),
    "read at the last place": (False, {"pool_type": "last"}),
    "read at the first place": (False, {"pool_type": "first"}),
}
NAMES = ["dog", "traffic light", "", "a dog <end_of_text> and a cat", "<start_of_text>", "Ärmel, 3 x"]


def built(tmp_path: Path, options: dict[str, Any]) -> ClipModel:
    """A small CLIP with random weights whose text tower is of a kind."""
    text = {**TEXT, **{key: value for key, value in options.items() if key != "quick_gelu"}}
    image = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 32}
    whole = {"embed_dim": 32, "vision_cfg": image, "text_cfg": text, "quick_gelu": "quick_gelu" in options}
    path = tmp_path / "kind.json"
    path.write_text(json.dumps(whole))
    torch.manual_seed(1)
    made = load_clip(str(path), allow_random=True, device="cpu")
    with torch.no_grad():
        for name, value in made.module.named_parameters():
            if not name.startswith("visual."):
                value.add_(0.1 * torch.randn_like(value))  # biases too, which begin as zeros
    return made


@torch.inference_mode()
def by_open_clip(clip: ClipModel, name: str, templates: tuple[str, ...]) -> torch.Tensor:
    """The same by open_clip's own code."""
    texts = clip.tokenizer([template.replace("{}", name) for template in templates])
    return F.normalize(clip.module.encode_text(texts, normalize=True).mean(dim=0), dim=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_open_clips(kind: str, tmp_path: Path) -> None:
    causal, options = KINDS[kind]
    clip = built(tmp_path, options)
    assert is_causal(clip.module) == causal
    for templates in (sentences("published"), ("{}",)):
        found = embedded(clip, NAMES, templates)
        for name, vector in zip(NAMES, found, strict=True):
            assert (vector - by_open_clip(clip, name, templates)).abs().max() <= 1e-6


def test_a_names_vector_does_not_depend_on_the_others_by_a_bit(tmp_path: Path) -> None:
    clip = built(tmp_path, {})
    together = embedded(clip, NAMES, sentences("published"))
    alone = Sentences(clip, sentences("published"))
    for index in (3, 0):
        assert torch.equal(alone.mean_of(NAMES[index]), together[index])


def test_padding_and_what_sentences_share_do_not_go_through_the_tower(tmp_path: Path) -> None:
    clip, tokens = built(tmp_path, {}), [0]

    def counted(_: Any, given: tuple[torch.Tensor]) -> None:
        tokens[0] += given[0].shape[0] * given[0].shape[1]

    clip.module.transformer.resblocks[0].mlp.register_forward_pre_hook(counted)
    tower = Sentences(clip, sentences("published"))
    tower.mean_of("dog")
    first, tokens[0] = tokens[0], 0
    tower.mean_of("car")
    # All 85 sentences are "car", a full stop in most, and the end mark; few have more words behind the name.
    assert tokens[0] < 85 * 4 < first < 85 * 20
