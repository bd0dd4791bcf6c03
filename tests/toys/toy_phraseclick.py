"""A PhraseClick of narrow layers, whose answers are not all of one class."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from harness.methods.phraseclick.network import PhraseArchitecture, PhraseClickNetwork, numbered
from harness.methods.shared.channels import Channels
from safetensors.torch import save_file

WORDS = ("car", "house", "red", "left")
CHANNELS = Channels(saliency=False, size_rule="native")


def small(words: tuple[str, ...] = WORDS) -> PhraseArchitecture:
    return PhraseArchitecture(CHANNELS, words, "tu-regnetx_002", 8, 16, word_width=6, state=5)


def checkpoint(path: Path, seed: int = 0) -> Path:
    """Random weights; the words' part is made large, so that words tell."""
    torch.manual_seed(seed)
    network = PhraseClickNetwork(small())
    inputs, words = torch.randn(4, 4, 64, 96), torch.tensor([numbered(word, WORDS) for word in WORDS])
    with torch.no_grad():
        network.attention[0].weight.mul_(8)
        for _ in range(20):
            network.train()(inputs, words)
        logits, _ = network.eval()(inputs, words)
        network.deeplab.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    save_file(
        {name: one.contiguous() for name, one in network.state_dict().items()},
        path,
        {"architecture": json.dumps(small().as_dict())},
    )
    return path
