"""Loads an encoder's weights from many kinds of files: of a classifier, of another port, of a segmentation network.

Published files of one network differ in names. One calls a tensor `layer1.0.conv1.weight`, another
`backbone.layer1.0.conv1.weight`, a third numbers its layers in its own way. Two rules find the tensors:

1. By name. Each usual prefix is tried on the file's names and on the encoder's; the pair of prefixes that matches most
   names is taken, if it matches more than half of them.
2. By order, for the other tensors. Ports of one network define their layers in the same order, so the n-th tensor left
   in the file belongs to the n-th one left in the encoder. This is accepted only if each pair has the same shape and
   kind (weight, bias, running mean, ...); a single misfit rejects them all, since then the order is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from harness.structures import UserError

from .checkpoints import read_tensors

_PREFIXES = ("", "module.", "backbone.", "encoder.", "model.", "model.encoder.", "network.encoder.")
_COUNTER = "num_batches_tracked"


def load_encoder(encoder: nn.Module, path: Path, first_filters: Literal["random", "rgb"] = "random") -> None:
    """Put a file's weights into an encoder whose first convolution may have more input channels than the file's.

    Tensors that the file has and the encoder lacks (those of a classifier) are left out.

    Args:
        encoder: An encoder of segmentation-models-pytorch.
        path: A .safetensors file, or a PyTorch file of tensors.
        first_filters: The filters of a first convolution with more channels than the file's: "random" keeps the
            encoder's own random filters, as MMSegmentation does with tensors that do not fit; "rgb" takes the file's
            filters for the first three channels.

    Raises:
        UserError: The file is not this encoder's.
    """
    read, _ = read_tensors(path, "methods/shared/encoder_weights.py")
    wanted = {name: value for name, value in encoder.state_dict().items() if not name.endswith(_COUNTER)}
    named = _named(read, wanted)
    found = {name: read[other] for name, other in named.items()} | _in_order(
        [(name, value) for name, value in read.items() if name not in named.values()],
        {name: value for name, value in wanted.items() if name not in named},
    )
    # The first convolution is the one whose channels may differ: the encoder also sees clicks and saliency, which no
    # published file has. All other tensors must fit exactly.
    first = next(iter(wanted))
    wrong = [
        name for name in wanted if name != first and (name not in found or found[name].shape != wanted[name].shape)
    ]
    if wrong or not _begins(found.get(first), wanted[first]):
        name = wrong[0] if wrong else first
        raise UserError(
            f"{path}: {max(1, len(wrong))} of the encoder's {len(wanted)} tensors are not in it, such as {name}, "
            f"{tuple(wanted[name].shape)}; wanted weights of this encoder. Correct `encoder_weights` or `encoder`."
        )
    values = {name: found[name] for name in wanted if name != first}
    if found[first].shape == wanted[first].shape:
        values[first] = found[first]
    elif first_filters == "rgb":
        values[first] = wanted[first].clone()
        values[first][:, : found[first].shape[1]] = found[first]
    # Not strict: batch normalisation's counters are left out above, and a first convolution may keep its own filters.
    encoder.load_state_dict(values, strict=False)


def _named(read: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, str]:
    """Encoder's name -> file's name, by the pair of prefixes that matches most; empty if it matches less than half."""
    best: dict[str, str] = {}
    # Files put names of their wrapper before all tensors: "module.backbone.layer1.0.conv1.weight". Neither side's
    # prefix is known, so every pair is tried, and the one under which most names meet is taken.
    for theirs in _PREFIXES:
        for ours in ("", "model."):
            names = {name: theirs + name.removeprefix(ours) for name in wanted}
            best = max(best, {name: other for name, other in names.items() if other in read}, key=len)
    return best if len(best) > len(wanted) / 2 else {}


def _in_order(read: Iterable[tuple[str, Tensor]], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pair the encoder's tensors with the file's first ones, in order; empty if a shape or a kind differs."""
    theirs = [(name, value) for name, value in read if not name.endswith(_COUNTER)]
    pairs = list(zip(wanted.items(), theirs, strict=False))
    # One misfit rejects all: if a file has one layer more, every pair after it is shifted by one, and those of equal
    # shapes would be exchanged without an error.
    alike = all(
        _kind(ours) == _kind(name) and (value.shape == tensor.shape or _begins(value, tensor))
        for (ours, tensor), (name, value) in pairs
    )
    return {ours: value for (ours, _), (_, value) in pairs} if alike else {}


def _kind(name: str) -> str:
    """The kind of a tensor in its layer: "weight", "bias", "running_mean", ..."""
    return name.rsplit(".", 1)[-1]


def _begins(found: Tensor | None, wanted: Tensor) -> bool:
    """Whether two filters of a first convolution differ only in the number of input channels."""
    if found is None or found.ndim != wanted.ndim:
        return False
    same = [index for index in range(found.ndim) if index != 1 and found.shape[index] == wanted.shape[index]]
    return len(same) == found.ndim - 1 and found.shape[1] <= wanted.shape[1]
