"""The parts of every config: models that refuse unknown keys, a plugin by its name, and the hash of a value."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from harness.plugins import parameters


class Model(BaseModel):
    """A part of a config. It refuses unknown keys, and does not change once it is read."""

    # Frozen, since the driver, plans and workers share a config, and all must see the file's values. A change makes a
    # copy (`model_copy`).
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _share_or_whole(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise PydanticCustomError("gpus", "a share of one GPU such as 0.5, or whole ones: 1, 2")
    return gpus


def _without_common(resources: dict[str, float]) -> dict[str, float]:
    if resources.keys() & {"CPU", "GPU", "memory", "object_store_memory"}:
        said = (
            "resources besides those of every node, for Ray takes no others here; CPUs and GPUs are `cpus` and `gpus`"
        )
        raise PydanticCustomError("resources", said)
    return resources


Gpus = Annotated[float, Field(ge=0), AfterValidator(_share_or_whole)]
"""The GPUs of one worker. Ray gives a worker a share of a single GPU, or whole ones."""

OtherResources = Annotated[dict[str, Annotated[float, Field(gt=0)]], AfterValidator(_without_common)]
"""Resources that a cluster's owner has named: name -> amount."""


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
