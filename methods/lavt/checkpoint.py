"""Reads LAVT's released checkpoints, unchanged: their names become ours, and the sizes follow from the shapes.

A file of `lavt` has the network under `model` and BERT under `bert_model`; one of `lavt_one` has both under `model`,
with BERT's names after "text_encoder.". The file also has options (an argparse.Namespace) and the optimiser's state;
these are skipped, and nothing in the file is run.

A file that the learner `lavt` saved has both networks under our names, and their sizes, words and side beside them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.structures import UserError

from ..shared.checkpoints import (
    as_float32,
    check_fit,
    missing,
    no_weights,
    read_learned,
    read_whole,
    state_dict,
)
from .bert import Bert, BertSizes
from .network import Architecture, LavtNetwork
from .word_pieces import WordPieces

READER = "methods/lavt/lavt.py"
INSIDE = "text_encoder."
"""The beginning of BERT's names in the network of `lavt_one`."""

NETWORK_NAMES: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]] = (
    (r"^backbone\.patch_embed\.proj\.", "features.0.0."),
    (r"^backbone\.patch_embed\.norm\.", "features.0.2."),
    # torchvision counts the patches, the stages and the steps between them as one sequence.
    (r"^backbone\.layers\.(\d)\.blocks\.", lambda found: f"features.{2 * int(found[1]) + 1}."),
    (r"^backbone\.layers\.(\d)\.downsample\.", lambda found: f"features.{2 * int(found[1]) + 2}."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^backbone\.layers\.(\d)\.fusion\.vis_project\.0\.", r"fusions.\1.image."),
    (r"^backbone\.layers\.(\d)\.fusion\.image_lang_att\.f_(query|key|value)\.0\.", r"fusions.\1.\2."),
    (r"^backbone\.layers\.(\d)\.fusion\.image_lang_att\.W\.0\.", r"fusions.\1.answer."),
    (r"^backbone\.layers\.(\d)\.fusion\.project_mm\.0\.", r"fusions.\1.product."),
    (r"^backbone\.layers\.(\d)\.res_gate\.", r"fusions.\1.gate."),
    (r"^backbone\.norm(\d)\.", r"norms.\1."),
    # The decoder's first step, which reads the third stage's map, is called 4; each step has conv, norm, ReLU twice.
    (r"^classifier\.conv([12])_([234])\.", lambda found: f"decoder.steps.{4 - int(found[2])}.{3 * int(found[1]) - 3}."),
    (r"^classifier\.bn([12])_([234])\.", lambda found: f"decoder.steps.{4 - int(found[2])}.{3 * int(found[1]) - 2}."),
    (r"^classifier\.conv1_1\.", "decoder.logits."),
)
"""Released name -> ours, as patterns; those of the Swin blocks go on as in torchvision."""

# Applied in this order, each to the result of those before. ".attention.output.dense." must come before
# ".output.dense.", which is a part of it: otherwise the attention's last layer would be taken for linear2.
BERT_NAMES = (
    (r"^embeddings\.word_embeddings\.", "pieces."),
    (r"^embeddings\.position_embeddings\.", "places."),
    (r"^embeddings\.token_type_embeddings\.", "segments."),
    (r"^embeddings\.LayerNorm\.", "norm."),
    (r"^encoder\.layer\.", "layers."),
    (r"\.attention\.output\.dense\.", ".self_attn.out_proj."),
    (r"\.attention\.output\.LayerNorm\.", ".norm1."),
    (r"\.intermediate\.dense\.", ".linear1."),
    (r"\.output\.dense\.", ".linear2."),
    (r"\.output\.LayerNorm\.", ".norm2."),
)

WITHOUT_USE = ("pooler.", "embeddings.position_ids")
"""Parts of other BERTs that play no role in the last hidden state."""


@dataclass(frozen=True)
class Loaded:
    """The loaded parts of a LAVT.

    Attributes:
        network: The Swin transformer with the fusions and the decoder.
        bert: The BERT that reads the text.
        pieces: Cuts a text into BERT's word pieces.
        side: Pixels of the side of the network's square input.
    """

    network: LavtNetwork
    bert: Bert
    pieces: WordPieces
    side: int


@dataclass(frozen=True)
class TrainedHere:
    """The description of the networks in a checkpoint of our own training, in JSON.

    Attributes:
        network: Sizes of the network.
        bert: Sizes of its BERT.
        vocabulary: The word pieces, each at its number.
        side: Pixels of the side of the network's square input.
    """

    network: Architecture
    bert: BertSizes
    vocabulary: tuple[str, ...]
    side: int

    def as_json(self) -> str:
        """The description as JSON; `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrainedHere:
        """The inverse of `as_json`.

        Raises:
            KeyError, TypeError, ValueError: A value is missing, unknown or of the wrong type.
        """
        values = json.loads(text)
        sizes = values["network"]
        network = Architecture(**{**sizes, "depths": tuple(sizes["depths"]), "heads": tuple(sizes["heads"])})
        return cls(network, BertSizes(**values["bert"]), tuple(values["vocabulary"]), int(values["side"]))


def load_trained_here(path: Path) -> Loaded:
    """A checkpoint that the learner `lavt` saved, in float32 on the CPU.

    Raises:
        UserError: The file is missing, is damaged or holds another network.
    """
    if not path.is_file():
        raise missing(path, READER)
    weights, told = read_learned(path, TrainedHere.from_json, READER, "lavt", "sizes and words of LAVT")
    whole = as_float32(weights)
    parts = [_part(whole, name) for name in ("network", "bert")]
    network, bert = _filled(LavtNetwork, told.network, parts[0], path), _filled(Bert, told.bert, parts[1], path)
    return Loaded(network, bert, WordPieces(told.vocabulary, str(path)), told.side)


def _part(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    inside = f"{name}."
    return {key.removeprefix(inside): value for key, value in weights.items() if key.startswith(inside)}


def load_lavt(path: Path) -> tuple[LavtNetwork, Bert]:
    """The network and BERT with a released checkpoint's weights, in float32 on the CPU.

    Raises:
        UserError: The file is missing, is damaged or holds another model.
    """
    if not path.is_file():
        raise missing(path, READER)
    content, _ = read_whole(path, READER, "{'model': model.state_dict(), 'bert_model': bert_model.state_dict()}")
    network, bert = halves(content, path)
    try:
        sizes, text_sizes = Architecture.of(network), BertSizes.of(bert)
    except (KeyError, IndexError) as error:
        raise _wrong(path, f"a state_dict without {error}") from error
    return _filled(LavtNetwork, sizes, network, path), _filled(Bert, text_sizes, bert, path)


def halves(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's and BERT's tensors, in our names.

    Raises:
        UserError: The file has no such two parts.
    """
    if not isinstance(content, Mapping) or "model" not in content:
        some = ", ".join(map(str, list(content)[:3])) if isinstance(content, Mapping) else type(content).__name__
        raise _wrong(path, f"{some} at its top")
    both = state_dict({"model": content["model"]})
    text = state_dict({"model": content["bert_model"]}) if "bert_model" in content else {}
    for name, part in (("model", both), ("bert_model", text)):
        if wrong := no_weights(part):
            raise _wrong(path, f"as `{name}` {wrong}")
    inside = {name.removeprefix(INSIDE): value for name, value in both.items() if name.startswith(INSIDE)}
    network = {name: value for name, value in both.items() if not name.startswith(INSIDE)}
    if not (text := inside or text):
        raise _wrong(path, "no BERT")
    return _network_tensors(as_float32(network)), _bert_tensors(as_float32(text))


def _network_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in _renamed(weights, NETWORK_NAMES).items():
        # A convolution of one pixel, (out, in, 1), is a product of matrices; torchvision keeps the index flat.
        squeezed = value[..., 0] if name.startswith("fusions.") and value.ndim == 3 else value
        found[name] = squeezed.flatten() if name.endswith("relative_position_index") else squeezed
    return found


def _bert_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BERT's tensors; what makes queries, keys and values of a layer is one tensor in torch."""
    used = {name: value for name, value in weights.items() if not name.startswith(WITHOUT_USE)}
    found = _renamed(used, BERT_NAMES)
    for name in [name for name in found if ".attention.self.query." in name]:
        layer, kind = name.split(".attention.self.query.")
        parts = [found.pop(f"{layer}.attention.self.{part}.{kind}", None) for part in ("query", "key", "value")]
        whole = [part for part in parts if part is not None]
        # torch has the three below each other in the order query, key, value: three (768 768) become one (2304 768).
        found[f"{layer}.self_attn.in_proj_{kind}"] = torch.cat(whole)
    return found


def _renamed(weights: Mapping[str, Tensor], names: Sequence[tuple[str, Any]]) -> dict[str, Tensor]:
    found = {}
    for released, value in weights.items():
        name = released
        for pattern, ours in names:
            name = re.sub(pattern, ours, name)
        found[name] = value
    return found


def _filled(kind: Any, sizes: Any, weights: Mapping[str, Tensor], path: Path) -> Any:
    try:
        with torch.device("meta"):
            network: nn.Module = kind(sizes)
    except (ValueError, AssertionError, ZeroDivisionError, IndexError) as error:
        raise _wrong(path, f"shapes that make no network ({sizes}: {error})") from error
    check_fit(network, weights, path)
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def _wrong(path: Path, found: str) -> UserError:
    return UserError(
        f"{READER}: {path}: found {found}; wanted a checkpoint of LAVT, with the network under `model` and BERT under "
        "`bert_model` (lavt) or inside the network (lavt_one). Correct `checkpoint`."
    )
