"""The files that a plugin's parameters name, and their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.places import sha256
from harness.plugins.parameters import built, parameters_of, plugin_kind
from harness.plugins.registry import find

SNAPSHOT = "snapshot"
"""The name of a parameter that is a folder with one network's files, as Hugging Face's hub has it."""

LOADED_OF_SNAPSHOTS = (".json", ".safetensors", ".txt", ".model")
"""Suffixes of the files in a snapshot that make up a network; others (.bin, .pt) repeat the weights as pickles."""


def paths(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Path]:
    """The paths in a plugin's `Path` parameters, key -> path, whether they exist or not.

    Those of a plugin within it are included, under keys such as `saliency.checkpoint`.
    """
    found: dict[str, Path] = {}
    for key, (annotation, _) in parameters_of(find(kind, name)).items():
        value, inner_kind = params.get(key), plugin_kind(annotation)
        if inner_kind and value is not None:
            inner = paths(inner_kind, value["name"], value["params"])
            found |= {f"{key}.{inner_key}": path for inner_key, path in inner.items()}
        elif value is not None:
            found |= dict(_paths(key, built(annotation, value)))
    return found


def files(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, Path]:
    """The `paths` of a plugin that are files, and the files within its snapshots: `snapshot/config.json`."""
    found: dict[str, Path] = {}
    for key, path in paths(kind, name, params).items():
        if path.is_file():
            found[key] = path
        elif key.endswith(SNAPSHOT) and path.is_dir():
            within = sorted(one for one in path.iterdir() if one.suffix in LOADED_OF_SNAPSHOTS and one.is_file())
            found |= {f"{key}/{one.name}": one for one in within}
    return found


def hashes(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each of a plugin's `files`, by the same keys."""
    return {key: sha256(path) for key, path in sorted(files(kind, name, params).items())}


def metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a .safetensors file; no tensor is read.

    Empty for a file that is absent, damaged or of another kind: the code that loads the tensors reports the fault.
    """
    from safetensors import SafetensorError, safe_open  # Most commands read no checkpoint.

    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def portable(kind: str, name: str, params: Mapping[str, Any], incidental: bool = True) -> dict[str, Any]:
    """The parameters without paths of files and folders, which may move while their content stays the same.

    Args:
        kind: One of `KINDS`.
        name: The name as in a config.
        params: The parameters, from `parameters.resolve`.
        incidental: Whether those are kept that the plugin, or one among its parameters, calls `incidental`.
    """
    plugin, kept = find(kind, name), dict[str, Any]()
    silent = () if incidental else getattr(plugin, "incidental", ())
    for key, (annotation, _) in parameters_of(plugin).items():
        value, inner_kind = params.get(key), plugin_kind(annotation)
        if key in silent:
            continue
        if inner_kind and value is not None:
            inner = portable(inner_kind, value["name"], value["params"], incidental)
            kept[key] = {"name": value["name"], "params": inner}
        elif key in params and not list(_paths(key, built(annotation, value))):
            kept[key] = value
    return kept


def _paths(key: str, value: Any) -> Iterator[tuple[str, Path]]:
    """Every path in a value, by its place: `checkpoint`, `folds[1]`."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, (list, tuple, dict)):
        for place, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(f"{key}[{place}]", item)
