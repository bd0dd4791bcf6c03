"""Reads the checkpoints of RITM's code, and of SimpleClick and FocalClick, which were built on it.

All of them save `{"state_dict": tensors, "config": {"class": path, "params": name -> {type, value, specified}}}`
(`isegm/utils/serialization.py` of SamsungLabs/ritm_interactive_segmentation at b9b4460): the config names the model's
class and its arguments, and is read as data. Our own training saves a .safetensors file with the same arguments as
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
import torch
from torch import Tensor, nn

from harness.messages import complaint
from harness.structures import UserError

from .checkpoints import (
    STATE_DICTS,
    as_float32,
    misfits,
    missing,
    no_weights,
    read_trained_here,
    read_whole,
    state_dict,
)

A = TypeVar("A")


@dataclass(frozen=True)
class IsegmCheckpoints(Generic[A]):
    """The reader of the checkpoints of one kind of network.

    Attributes:
        reader: Our file that reads them, for messages.
        network: The name of the network, for messages.
        classes: The classes that an official config may name.
        architecture: A dataclass with the arguments of the official class.
        build: Makes the network of an architecture.
        named: Names an architecture in a message.
        without_effect: Arguments of the official class that only change training.
        arguments: Turns the official arguments into those of `architecture`, if they differ.
        official: Class -> a dataclass of its arguments with a method `architecture()`, if an official config has other
            arguments than `architecture`.
        unused: Beginnings of the names of tensors that official files have and the network never reads.
        skipped: Full names of objects that official files have beside tensors. None is built or called.
    """

    reader: str
    network: str
    classes: tuple[str, ...]
    architecture: type[A]
    build: Callable[[A], nn.Module]
    named: Callable[[A], str]
    without_effect: tuple[str, ...] = ()
    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    official: Mapping[str, type[Any]] = field(default_factory=dict)
    unused: Callable[[A], tuple[str, ...]] = lambda _: ()
    skipped: tuple[str, ...] = ()

    def read(self, path: Path) -> tuple[A, dict[str, Tensor]]:
        """The architecture and the weights, as float32. Nothing in the file is executed.

        Raises:
            UserError: The file is missing, is damaged or holds another network.
        """
        if not path.is_file():
            raise missing(path, self.reader)
        architecture, weights = self._trained_here(path) if path.suffix == ".safetensors" else self._official(path)
        return architecture, as_float32(weights)

    def loaded(self, path: Path) -> nn.Module:
        """The network of a checkpoint with its weights.

        Raises:
            UserError: As in `read` and `fitted`.
        """
        return self.fitted(*self.read(path), path)

    def fitted(self, architecture: A, weights: Mapping[str, Tensor], path: Path) -> nn.Module:
        """The network with these weights, which come from `path`.

        Raises:
            UserError: A tensor is missing, is unknown to the network or has another shape.
        """
        # On the meta device a network takes no memory, even if a malicious file describes a huge one. Only after the
        # file's tensors fit its shapes are they assigned.
        with torch.device("meta"):
            network = self.build(architecture)
        if wrong := misfits(weights, network.state_dict()):
            name, found, wanted = min(wrong)
            raise UserError(
                f"{path}: found {found} as tensor {name}; wanted {wanted}, for {self.named(architecture)}. Fetch or "
                "train the file again."
            )
        network.load_state_dict(dict(weights), assign=True)
        return network

    def _trained_here(self, path: Path) -> tuple[A, dict[str, Tensor]]:
        weights, about = read_trained_here(path)
        try:
            values = json.loads(about)
        except ValueError as error:
            raise self._wrong(path, "no architecture in its metadata") from error
        return self._checked(self.architecture, values, path), weights

    def _official(self, path: Path) -> tuple[A, dict[str, Tensor]]:
        saved = "{'config': checkpoint['config'], 'state_dict': model.state_dict()}"
        content, _ = read_whole(path, self.reader, saved, self.skipped)
        if not isinstance(content, dict) or "config" not in content or not content.keys() & set(STATE_DICTS):
            found = f"keys {_some(content)}" if isinstance(content, dict) else f"a {type(content).__name__}"
            raise self._wrong(path, f"{found} at its top, not `config` and `state_dict`")
        weights = state_dict(content)
        if wrong := no_weights(weights):
            raise self._wrong(path, f"as `state_dict` {wrong}")
        architecture = self._described(content["config"], path)
        unused = self.unused(architecture)
        return architecture, {name: one for name, one in weights.items() if not name.startswith(unused)}

    def _described(self, config: Any, path: Path) -> A:
        """The architecture in an official config."""
        try:
            name = config["class"]
            given = {key: (one["value"], bool(one["specified"])) for key, one in config["params"].items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise self._wrong(path, "a `config` without a class and its arguments") from error
        if name not in self.classes:
            raise self._wrong(path, f"a model of class {name!r}")
        taken = self.official.get(name, self.architecture)
        known = {one.name for one in fields(taken)}
        # An unknown argument that was left at its default is dropped, as in the official loader: a later version of the
        # class has lost it, and the makers of the model did not choose its value. One that they did choose is kept, and
        # refused below.
        kept = {
            key: value
            for key, (value, specified) in given.items()
            if key not in self.without_effect and (key in known or specified)
        }
        found = self._checked(taken, self.arguments(kept), path)
        return found.architecture() if name in self.official else found

    def _checked(self, kind: Any, values: Any, path: Path) -> Any:
        """The values as an object of a dataclass."""
        try:
            return pydantic.TypeAdapter(kind).validate_python(values)
        except pydantic.ValidationError as error:
            mistake = error.errors()[0]
            place = ".".join(str(part) for part in mistake["loc"]) or "architecture"
            found = {
                "missing": f"no {place}",
                "unexpected_keyword_argument": f"an argument {place}, which it has not",
            }.get(mistake["type"], f"as {place}: {complaint([mistake]).removesuffix('.')}")
            raise self._wrong(path, found) from error

    def _wrong(self, path: Path, found: str) -> UserError:
        return UserError(
            f"{path}: found {found}; wanted {self.network}, as published (.pth with `config` and `state_dict`) or "
            "trained here (.safetensors). Correct `checkpoint`."
        )


def _some(content: Mapping[Any, Any]) -> str:
    """The first of a mapping's keys."""
    first = [str(key) for key in list(content)[:3]]
    return ", ".join(first) + (", ..." if len(content) > len(first) else "")
