"""Reads VLT's released weights, a Keras .h5, unchanged, by the package h5py (BSD, in the extra `referring`).

Keras keeps a group for each layer, which lists the names of its arrays. Layers are found by their kind and number,
since their order in the file is not that of their creation. A convolution's kernel is (height, width, in, out) there
and (out, in, height, width) in torch; a dense layer's is (in, out) and (out, in).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.structures import UserError

from ..shared.checkpoints import check_fit, missing
from .network import BIASED, Sizes, VltNetwork

READER = "methods/vlt/vlt.py"
NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "out"}
PARTS = {"MultiHeadSelfAttention": "attention", "MultiHeadQueryAttention": "reading", "FeedForward": "out"}


def load_vlt(path: Path) -> VltNetwork:
    """The network with released weights, in float32 on the CPU.

    Raises:
        UserError: The package h5py or the file is missing, the file is damaged or holds another network.
    """
    if not path.is_file():
        raise missing(path, READER)
    layers = read_keras(path)
    try:
        weights = renamed(layers)
        with torch.device("meta"):
            network = VltNetwork(Sizes.of(weights))
    except (KeyError, IndexError, ValueError, AssertionError) as error:
        raise _wrong(path, f"a network without {error}") from error
    for name, buffer in network.named_buffers():  # Keras counts no batches
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    check_fit(network, weights, path)
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval()


def read_keras(path: Path) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """The arrays of each layer: layer -> array's own name ("kernel") -> float32.

    Raises:
        UserError: The package h5py is missing, or the file holds no weights of Keras.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            f"{READER}: found no package h5py ({error}); wanted it installed. Run `pip install h5py`, or install this "
            "package with its extra `referring`."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            top = file.get("model_weights", file)  # where a model was saved with its weights
            return {
                _text(layer): {_own(_text(name)): _array(top[layer][name]) for name in top[layer].attrs["weight_names"]}
                for layer in top.attrs["layer_names"]
            }
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise _wrong(path, f"no weights as Keras saves them ({type(error).__name__}: {reason})") from error


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _own(name: str) -> str:
    """The array's own name: "forward_gru_1/kernel" of "bidirectional_1/bidirectional_1/forward_gru_1/kernel:0"."""
    *_, layer, last = ("", *name.split("/"))
    return (f"{layer}/{last}" if "gru" in layer else last).partition(":")[0]


def _array(values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values[()], np.float32)


def renamed(layers: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]) -> dict[str, Tensor]:
    """The tensors in the names and the layout of `VltNetwork`; layers without weights have none."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for layer, arrays in layers.items():
        for name, values in arrays.items():
            ours = _name(layer, name)
            found[ours] = values if ours.startswith("words.") else _layout(values)  # the GRU multiplies as Keras does
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}


def _layout(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.ndim == 4:
        return values.transpose(3, 2, 0, 1)
    return values.T if values.ndim == 2 else values


def _name(layer: str, array: str) -> str:
    """Our name of an array; the file's name if we have none, which is then reported as unknown."""
    kind, _, number = layer.rpartition("_")
    if kind == "conv2d":
        return f"convs.{number}.conv.{'weight' if array == 'kernel' else array}"
    if kind == "dense":
        return f"dense.{number}.{'weight' if array == 'kernel' else array}"
    if kind == "batch_normalization":
        return f"{_normed(int(number))}.{NORM.get(array, array)}"
    if kind == "bidirectional":
        way, _, own = array.partition("/")
        return f"words.{'there' if way.startswith('forward') else 'back'}.{own.removesuffix('_kernel')}"
    if kind == "multi_head_attention":
        return f"asking.{_projection(array)}"
    if known := re.fullmatch(r"(Encoder|Decoder)-(\d)-(\w+?)(-Norm)?", layer):
        half, place, part, norm = known.groups()
        within = f"{half.lower()}.{int(place) - 1}"
        if norm:
            return f"{within}.{PARTS.get(part, part)}_norm.{NORM.get(array, array)}"
        if part == "FeedForward":
            return f"{within}.{'hidden' if array.endswith('1') else 'out'}.{_kind(array.rpartition('_')[2])}"
        return f"{within}.{PARTS.get(part, part)}.{_projection(array)}"
    return f"{layer}.{array}"


def _normed(number: int) -> str:
    """Our name of a batch norm, by its number in the file and the layer that it normalises."""
    # Keras numbers each kind of layer by itself, so that the numbers of norms and convolutions drift apart:
    #
    #    convolution    ... 60        61   62 ... 72    73 (biased, no norm)    74 ...
    #    norm           ... 60   [61 62]   63   64 ... 74                            75 ...
    #
    # [61 62] are the sentence's and the product's. From 63 on, a norm is 2 ahead of its convolution, from 75 on 1.
    if number in (61, 62):
        return "sentence_norm" if number == 61 else "product_norm"
    conv = number if number < 61 else number - 2
    return f"convs.{conv if conv < BIASED[0] else conv + 1}.norm"


def _projection(array: str) -> str:
    """`query.weight` of "Encoder-1-MultiHeadSelfAttention_Wq"."""
    last = array.rpartition("_")[2]
    return f"{ATTENTION.get(last[1:], last)}.{_kind(last)}"


def _kind(last: str) -> str:
    return "weight" if last.startswith("W") else "bias"


def _wrong(path: Path, found: str) -> UserError:
    return UserError(f"{READER}: {path}: found {found}; wanted the weights of VLT, a Keras .h5. Correct `checkpoint`.")
