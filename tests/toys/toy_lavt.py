"""A LAVT of some thousand weights in the authors' format, names and shapes written out; and a vocabulary for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "car", "tall", "tree", "house", "the", "red", "##s", "left", "of"]
WIDTH, DEPTHS, HEADS, WINDOW, WORDS, HIDDEN, PLACES = 4, (1, 2, 1, 1), (1, 1, 2, 2), 12, 64, 16, 24


def vocabulary(path: Path, pieces: list[str] = VOCABULARY) -> Path:
    """The file that `vocab` names."""
    path.write_text("\n".join(pieces) + "\n")
    return path


def checkpoint(path: Path, inside: bool = False, seed: int = 0) -> Path:
    """A checkpoint as the authors' training saves it: of `lavt` or, with BERT `inside` the network, of `lavt_one`."""
    network, bert = drawn(network_shapes(), seed), drawn(bert_shapes(), seed + 1)
    beside: dict[str, Any] = {"epoch": 39, "args": argparse.Namespace(model="lavt", img_size=480), "optimizer": {}}
    if inside:
        torch.save({"model": network | {f"text_encoder.{name}": one for name, one in bert.items()}, **beside}, path)
    else:
        torch.save({"model": network, "bert_model": bert, **beside}, path)
    return path


def network_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.patch_embed.proj.weight": (WIDTH, 3, 4, 4),
        "backbone.patch_embed.proj.bias": (WIDTH,),
        **norm("backbone.patch_embed.norm", WIDTH),
    }
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        width, at = WIDTH * 2**stage, f"backbone.layers.{stage}"
        for block in range(depth):
            here = f"{at}.blocks.{block}"
            shapes |= norm(f"{here}.norm1", width) | norm(f"{here}.norm2", width)
            shapes |= {f"{here}.attn.relative_position_bias_table": ((2 * WINDOW - 1) ** 2, heads)}
            shapes |= {f"{here}.attn.relative_position_index": (WINDOW**2, WINDOW**2)}
            shapes |= linear(f"{here}.attn.qkv", width, 3 * width) | linear(f"{here}.attn.proj", width, width)
            shapes |= linear(f"{here}.mlp.fc1", width, 4 * width) | linear(f"{here}.mlp.fc2", 4 * width, width)
        for part, inputs in (
            *(("vis_project.0", width), ("project_mm.0", width), ("image_lang_att.W.0", width)),
            *(("image_lang_att.f_query.0", width), ("image_lang_att.f_key.0", WORDS)),
            ("image_lang_att.f_value.0", WORDS),
        ):
            shapes |= {f"{at}.fusion.{part}.weight": (width, inputs, 1), f"{at}.fusion.{part}.bias": (width,)}
        shapes |= {f"{at}.res_gate.{layer}.weight": (width, width) for layer in (0, 2)}
        if stage < 3:
            shapes |= {f"{at}.downsample.reduction.weight": (2 * width, 4 * width)}
            shapes |= norm(f"{at}.downsample.norm", 4 * width)
        shapes |= norm(f"backbone.norm{stage}", width)
    hidden = 4 * WIDTH
    for step, inputs in ((4, 12 * WIDTH), (3, 6 * WIDTH), (2, 5 * WIDTH)):
        for half, channels in ((1, inputs), (2, hidden)):
            shapes |= {f"classifier.conv{half}_{step}.weight": (hidden, channels, 3, 3)}
            shapes |= norm(f"classifier.bn{half}_{step}", hidden)
            shapes |= {f"classifier.bn{half}_{step}.{kind}": (hidden,) for kind in ("running_mean", "running_var")}
            shapes |= {f"classifier.bn{half}_{step}.num_batches_tracked": ()}
    return shapes | {"classifier.conv1_1.weight": (2, hidden, 1, 1), "classifier.conv1_1.bias": (2,)}


def bert_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), WORDS),
        "embeddings.position_embeddings.weight": (PLACES, WORDS),
        "embeddings.token_type_embeddings.weight": (2, WORDS),
        **norm("embeddings.LayerNorm", WORDS),
    }
    at = "encoder.layer.0"
    for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= linear(f"{at}.{part}", WORDS, WORDS)
    shapes |= linear(f"{at}.intermediate.dense", WORDS, HIDDEN) | linear(f"{at}.output.dense", HIDDEN, WORDS)
    return shapes | norm(f"{at}.attention.output.LayerNorm", WORDS) | norm(f"{at}.output.LayerNorm", WORDS)


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random weights of these shapes, such that activations keep their size and masks depend on the text."""
    rng = np.random.RandomState(seed)
    made = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(7)
        elif name.endswith("relative_position_index"):
            made[name] = relative_positions()
        elif len(shape) > 1:
            scale = 1.0 if "embeddings" in name else 1.5 / np.sqrt(np.prod(shape[1:]))
            made[name] = torch.from_numpy(np.float32(rng.standard_normal(shape) * scale))
        else:
            middle = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            made[name] = torch.from_numpy(np.float32(rng.uniform(middle - 0.1, middle + 0.1, shape)))
    return made


def relative_positions() -> Tensor:
    """Row of the table of biases for each two tokens of a window, counted out: (dy, dx) from the most negative."""
    places = [(y, x) for y in range(WINDOW) for x in range(WINDOW)]
    wide = 2 * WINDOW - 1
    return torch.tensor([[(y - v + WINDOW - 1) * wide + x - u + WINDOW - 1 for v, u in places] for y, x in places])
