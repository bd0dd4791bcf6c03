"""Reads from a checkpoint's header how it was trained: recipe, classes, data. No weight is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from harness import places
from harness.config.recipe import Recipe
from harness.plugins import files


@dataclass(frozen=True)
class Trained:
    """The record of a training: its recipe, classes and data.

    Attributes:
        recipe: The recipe as it was stored, with paths relative to the checkout's root.
        classes: The classes of the instances that could be drawn, as the data sets print them; empty if unknown.
        data: Each data set's name and fingerprint, in the recipe's order; empty if unknown.
    """

    recipe: Recipe
    classes: tuple[str, ...] = ()
    data: tuple[Mapping[str, Any], ...] = ()


def trained_by(path: Path) -> Trained | None:
    """A checkpoint's training, by its header or, for an old one, by the card beside it that names its SHA-256.

    None for weights that no recipe of this harness made, and for those of a recipe that this version cannot read.
    """
    return _told(path, *(_changed_ns(one) for one in (path, path.with_suffix(".md"))))


def _changed_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else -1


@lru_cache(maxsize=256)
def _told(path: Path, *changed_ns: int) -> Trained | None:
    """As `trained_by`; a checkpoint or a card that changed is read again."""
    # The times are only a part of the cache's key.
    del changed_ns
    about = files.metadata(path) if path.suffix == ".safetensors" else {}
    try:
        if "recipe_yaml" not in about:
            return _by_card(path) if "recipe" in about else None
        recipe = Recipe.model_validate(yaml.safe_load(about["recipe_yaml"]))
        classes, data = json.loads(about.get("classes", "[]")), json.loads(about.get("data", "[]"))
    except (ValidationError, ValueError, yaml.YAMLError):
        return None
    return Trained(recipe, tuple(classes), tuple(data))


def _by_card(path: Path) -> Trained | None:
    beside = path.with_suffix(".md")
    text = beside.read_text("utf-8") if beside.is_file() else ""
    recipe = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    # A card that belongs to other weights of the same name must not be used for these.
    if recipe is None or places.sha256(path) not in text:
        return None
    classes = re.search(r"^\| Categories \| (.*) \|$", text, re.MULTILINE)
    named = classes[1].split(", ") if classes and classes[1] != "not listed" else ()
    return Trained(Recipe.model_validate(yaml.safe_load(recipe[1])), tuple(named))
