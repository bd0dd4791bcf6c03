"""Reads checkpoints as tensors and checks whether they fit a model; every method loads its weights through this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harness.structures import UserError
from harness.weights.catalogue import hint

from .torch_files import load_torch


def missing(path: Path, reader: str) -> UserError:
    """The error for a checkpoint that is not there; for a published one it names the command that fetches it.

    Args:
        path: Where the file should be.
        reader: The file of ours that wants it.
    """
    remedy = hint(path) or "Download or train it (README)"
    return UserError(f"{reader}: no file at checkpoint={path}. {remedy}, or correct `checkpoint` in the config.")


def again(path: Path) -> str:
    """What the reader should do about a damaged checkpoint."""
    remedy = hint(path).partition(": ")[2]
    return f"Fetch it again: {remedy} --force" if remedy else "Fetch it again (README, Weights)"


def read_tensors(path: Path, reader: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A checkpoint's tensors, with floating-point ones as float32, and its metadata. No other object is unpickled.

    Args:
        path: A .safetensors file, or a PyTorch file with a state_dict, alone or under "model" or "state_dict".
        reader: The file of ours that wants it, for messages.

    Raises:
        UserError: The file is missing, is damaged or holds something else.
    """
    if not path.is_file():
        raise missing(path, reader)
    try:
        found, about = read_safetensors(path) if path.suffix == ".safetensors" else (_unpickled(path), {})
    except Exception as error:  # A damaged pickle fails in as many ways as pickle has opcodes.
        reason = str(error).partition("\n")[0]
        raise _unreadable(path, reader, f"no whole file of tensors ({type(error).__name__}: {reason})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise _unreadable(path, reader, "something else than a state_dict")
    weights = {str(key): value.float() if value.is_floating_point() else value for key, value in found.items()}
    return weights, about


def _unreadable(path: Path, reader: str, found: str) -> UserError:
    return UserError(
        f"{reader}: {path}: found {found}; wanted a checkpoint with tensors alone. {again(path)}, "
        "or correct `checkpoint`."
    )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a .safetensors file, unchanged, and its metadata.

    Raises:
        SafetensorError: It is not a complete file of that kind.
    """
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def _unpickled(path: Path) -> Any:
    found = load_torch(path)
    inner = [found[key] for key in ("model", "state_dict") if isinstance(found, Mapping) and key in found]
    return inner[0] if inner and isinstance(inner[0], Mapping) else found


def read_trained_here(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors that our training saved, unchanged, and the architecture in JSON ("" if the file has none).

    Raises:
        UserError: It is not a complete safetensors file.
    """
    try:
        weights, about = read_safetensors(path)
    except SafetensorError as error:
        raise UserError(f"{path}: found no whole safetensors file ({error}). Train or copy it again.") from error
    return weights, about.get("architecture", "")


class Misfit(NamedTuple):
    """A tensor in which a checkpoint and a model differ: the two shapes as text, "nothing" where it is missing."""

    name: str
    found: str
    wanted: str


def misfits(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[Misfit]:
    """The tensors that are missing or have another shape, in the model's order, then those that the model lacks."""
    every = [Misfit(name, _shape(found, name), _shape(wanted, name)) for name in {**wanted, **found}]
    return [one for one in every if one.found != one.wanted]


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "nothing"


def check_fit(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights of another model.

    Raises:
        UserError: A tensor is missing, is unknown to the model or has another shape.
    """
    wrong = misfits(weights, model.state_dict())
    if wrong:
        listed = "; ".join(f"{one.name}: found {one.found}, wanted {one.wanted}" for one in wrong[:3])
        raise UserError(
            f"{path}: {len(wrong)} tensors do not fit {type(model).__module__}.{type(model).__name__}: {listed}. "
            "The file was saved for another model. Correct `checkpoint`."
        )
