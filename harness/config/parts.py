"""The parts of every config: models that refuse unknown keys, a plugin by its name, and the hash of a value."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from harness.plugins import parameters


class Model(BaseModel):
    """A part of a config. It refuses unknown keys, and does not change once it is read."""

    # Frozen, since the driver, plans and workers share a config, and all must see the file's values. A change makes a
    # copy (`model_copy`).
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin(Model):
    """A data set, a learner or a logger, by its name, with its constructor's arguments.

    Attributes:
        name: The file's name in its folder, an entry point, or module:Class.
        params: The constructor's arguments, checked and resolved once the config is loaded.
        label: Its name in tables, which keeps two entries of one plugin apart; by default `name`.
    """

    name: str
    params: dict[str, Any] = {}
    label: str = ""


P = TypeVar("P", bound=Plugin)


def label(entry: Plugin) -> str:
    """The name of a plugin in tables and rows."""
    return entry.label or entry.name


def resolved(entry: P, kind: str, where: str) -> P:
    """The entry with its params checked against the class; paths that only this machine can follow become absolute.

    Raises:
        UserError: No such plugin, or a parameter that it does not take.
    """
    return entry.model_copy(update={"params": parameters.resolve(kind, entry.name, entry.params, f"{where}.name")})


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of the value's JSON; the order of keys does not matter."""
    # 64 bits: among a million values, two share their digits by chance with a probability of 3e-8.
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
