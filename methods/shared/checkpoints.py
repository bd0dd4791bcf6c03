"""Reads checkpoints as tensors and checks whether they fit a model; every method loads its weights through this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harness.structures import UserError
from harness.weights.catalogue import hint

from .torch_files import ForeignObjectError, is_torchscript, load_torch, read_torchscript

T = TypeVar("T")

STATE_DICTS = ("model", "state_dict", "model_state_dict", "module")
"""Under which of a file's keys trainings save the weights; the first that is there counts."""

PREFIXES = ("module.", "model.", "sam.", "_orig_mod.")
"""The prefixes that wrappers (DistributedDataParallel, Lightning, MedSAM, torch.compile) put before all names."""


def missing(path: Path, reader: str) -> UserError:
    """The error for a checkpoint that is not there; for a published one it names the command that fetches it.

    Args:
        path: The path at which the file should be.
        reader: Our file that needs it.
    """
    remedy = hint(path) or "Download or train it (README)"
    return UserError(f"{reader}: no file at checkpoint={path}. {remedy}, or correct `checkpoint` in the config.")


def again(path: Path) -> str:
    """Advice for a damaged checkpoint: how to fetch it again."""
    remedy = hint(path).partition(": ")[2]
    return f"Fetch it again: {remedy} --force" if remedy else "Fetch it again (README, Weights)"


def read_tensors(path: Path, reader: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A checkpoint's tensors, with floating-point ones as float32, and its metadata. No other object is unpickled.

    Args:
        path: A .safetensors file, or a PyTorch file with a state_dict, alone or under one of `STATE_DICTS`.
        reader: Our file that needs it, for messages.

    Raises:
        UserError: The file is missing, is damaged or holds something else.
    """
    if not path.is_file():
        raise missing(path, reader)
    found, about = read_whole(path, reader)
    weights = state_dict(found)
    if wrong := no_weights(weights):
        raise UserError(
            f"{reader}: {path}: found {wrong}; wanted a checkpoint with tensors alone: a state_dict, by itself or "
            f"under {_listed(STATE_DICTS)}. Save it so, or correct `checkpoint`."
        )
    return as_float32(weights), about


def instead(path: Path) -> str:
    """Says what a file is if it is no checkpoint, as after a download that went wrong; "" if it may be one."""
    with path.open("rb") as file:
        beginning = file.read(64).lstrip()
    if not beginning:
        return "it is empty"
    if beginning.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, and the file itself is elsewhere: `git lfs pull`"
    return "it is a web page" if beginning.startswith(b"<") else ""


def as_float32(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, those of half or double precision as float32; counts and indices stay as they are."""
    return {name: one.float() if one.is_floating_point() else one for name, one in weights.items()}


def read_whole(
    path: Path, reader: str, saved: str = "model.state_dict()", skipped: Sequence[str] = ()
) -> tuple[Any, dict[str, str]]:
    """The whole content of a checkpoint, and a .safetensors file's metadata. Nothing in the file is run.

    Args:
        path: The file.
        reader: Our file that needs it, for messages.
        saved: The object that a training should save, in Python, for messages.
        skipped: Full names of further objects that such files hold; each becomes an empty `Part`.

    Raises:
        UserError: The file is damaged, or holds an object of a kind that is not read.
    """
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)
        return (read_torchscript(path) if is_torchscript(path) else load_torch(path, skipped)), {}
    except ForeignObjectError as error:
        raise UserError(
            f"{reader}: {path}: found an object of {error} in it; wanted only tensors, numbers and texts; nothing of "
            f"it was executed. Save it again without that object where the file was made: torch.save({saved}, "
            "'weights.pth'), or correct `checkpoint`."
        ) from error
    except Exception as error:  # A damaged pickle fails in as many ways as pickle has opcodes.
        text = str(error).strip().partition("\n")[0]
        reason = instead(path) or f"{type(error).__name__}{text and f': {text}'}"
        raise UserError(
            f"{reader}: {path}: found no whole file of tensors ({reason}); wanted tensors "
            f"alone; nothing of it was executed. {again(path)}, or correct `checkpoint`."
        ) from error


def state_dict(found: Any) -> Any:
    """The weights in a file's content, also under one of `STATE_DICTS`; a wrapper's prefix is removed from their names.

    A prefix is removed only if all names have it, so that a model's own part of such a name stays.
    """
    for _ in STATE_DICTS:  # Not for ever: a damaged file may hold a mapping that contains itself.
        keys = [key for key in STATE_DICTS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        found = found[keys[0]] if keys else found
    # A compiled network in DistributedDataParallel saves "module._orig_mod.conv.weight": each turn removes one prefix.
    while isinstance(found, Mapping) and (prefix := _shared_prefix(list(found))):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _shared_prefix(names: Sequence[Any]) -> str | None:
    """The one of `PREFIXES` with which all names begin; None if there is none."""
    whole = [prefix for prefix in PREFIXES if all(isinstance(one, str) and one.startswith(prefix) for one in names)]
    return whole[0] if whole and names else None


def no_weights(found: Any) -> str:
    """Says for a message what a content is if it is no mapping of names to tensors; "" if it is one."""
    if not isinstance(found, Mapping):
        return f"something other than a state_dict ({type(found).__name__})"
    others = [f"{key!r} ({type(value).__name__})" for key, value in found.items() if not isinstance(value, Tensor)]
    others += [f"{key!r} as a name" for key in found if not isinstance(key, str)]
    return f"something other than a state_dict, with {', '.join(others[:3])}" if others else ""


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a .safetensors file, unchanged, and its metadata.

    Raises:
        SafetensorError: It is not a complete file of that kind.
    """
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_trained_here(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors that our training saved, unchanged, and the architecture in JSON ("" if the file has none).

    Raises:
        UserError: It is not a complete safetensors file.
    """
    try:
        weights, about = read_safetensors(path)
    except SafetensorError as error:
        reason = instead(path) or str(error)
        todo = (
            "Train or copy it again" if path.suffix == ".safetensors" else "Name the .safetensors that training saved"
        )
        raise UserError(f"{path}: found no whole safetensors file ({reason}). {todo}.") from error
    return weights, about.get("architecture", "")


def read_learned(
    path: Path, parse: Callable[[str], T], reader: str, learner: str, about: str
) -> tuple[dict[str, Tensor], T]:
    """The tensors that a learner saved, unchanged, and its description of the network.

    Args:
        path: The checkpoint's path.
        parse: Turns the description, JSON, into an object; it raises KeyError, TypeError or ValueError if the
            description is of another network.
        reader: The method's file, for the message.
        learner: The learner's name, for the message.
        about: The name of the description, for the message: "architecture of PhraseClick".

    Raises:
        UserError: The file is damaged, or holds another network.
    """
    weights, told = read_trained_here(path)
    try:
        return weights, parse(told)
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{reader}: {path}: found no {about} ({type(error).__name__}: {reason}); wanted weights that the learner "
            f"{learner} saved. Correct `checkpoint`."
        ) from error


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
