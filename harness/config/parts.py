"""What every config is made of: models that refuse unknown keys, a plugin by its name, and the hash of a value."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from harness.plugins import parameters


class Model(BaseModel):
    """Every part of a config: it has no unknown keys, and does not change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plugin(Model):
    """A plugin by name, with its constructor's arguments.

    Attributes:
        name: The file's name in its folder, an entry point, or module:Class.
        params: The constructor's arguments, checked and resolved once the config is loaded.
        label: How tables name it; keeps two entries of one plugin apart. The name by default.
    """

    name: str
    params: dict[str, Any] = {}
    label: str = ""


P = TypeVar("P", bound=Plugin)


def label(entry: Plugin) -> str:
    """How tables name a plugin."""
    return entry.label or entry.name


def resolved(entry: P, kind: str, where: str) -> P:
    """The entry with its params checked against the class; paths that only this machine can follow become absolute.

    Raises:
        UserError: No such plugin, or a parameter that it does not take.
    """
    return entry.model_copy(update={"params": parameters.resolve(kind, entry.name, entry.params, f"{where}.name")})


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of the value's JSON; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
