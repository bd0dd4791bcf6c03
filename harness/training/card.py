"""Writes the card beside a checkpoint: what the weights are, what they are not, and how to train them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open

from harness import places
from harness.config import yaml_file
from harness.config.parts import Plugin
from harness.config.recipe import Recipe
from harness.structures import UserError

_TEXT = """\
# {name}

{note}

Trained from the recipe below, by this harness: it is no published model, and what it scores is no published result.

{facts}

## Train it again

Save the recipe as `recipe.yaml` in the checkout's root{at}, then:

```sh
python -m harness train recipe.yaml --force
```

## Recipe

```yaml
{recipe}```
"""


def card(
    recipe: Recipe,
    path: Path,
    commit: str,
    categories: Sequence[str] = (),
    data: Sequence[Mapping[str, Any]] = (),
    made_with: str = torch.__version__,
    date: str = "",
) -> str:
    """The card of trained weights, in Markdown.

    Args:
        recipe: The recipe that trained them.
        path: The checkpoint; its size and hash are read from it.
        commit: The code's commit, with "+" where files differed from it; empty where unknown.
        categories: The categories of the instances that could be drawn.
        data: The name and fingerprint of each data set.
        made_with: The version of torch; empty where unknown.
        date: The day of the training; empty where unknown.
    """
    code = f"{_revision(commit)}; torch {made_with or 'unknown'}"
    facts = _facts(recipe, path, code, date or "not recorded", categories, data)
    return _TEXT.format(
        name=path.name,
        note=recipe.note or "Its recipe has no `note:` that would say what it is.",
        facts="\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in facts.items())]),
        at=f" at commit {commit.removesuffix('+')}" if commit else "",
        recipe=as_yaml(recipe),
    )


def card_of(path: Path) -> str:
    """The card of a checkpoint: the .md file beside it if that has its hash, otherwise a new one from its metadata.

    Only the file has the date. The metadata lack it, so that training again gives the same bytes, and the date of the
    checkpoint's file is that of the copy.

    Raises:
        UserError: No such file, no safetensors file, or one that no recipe of this harness made, or that one of another
            version made, which this one cannot read.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; wanted a checkpoint, such as methods/weights/scenes_text_click.safetensors."
        )
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(
            f"{path}: found no whole safetensors file ({error}); wanted a checkpoint that training here saved."
        ) from error
    beside = path.with_suffix(".md")
    text = beside.read_text("utf-8") if beside.is_file() else ""
    if hashlib.sha256(path.read_bytes()).hexdigest() in text:
        return text
    if "recipe_yaml" not in about:
        other = f" {beside} names another SHA-256." if text else ""
        raise UserError(
            f"{path}: found no recipe in its metadata; wanted a checkpoint that training here saved.{other}"
        )
    recipe = yaml_file.validated(Recipe, yaml.safe_load(about["recipe_yaml"]), f"{path}, the recipe in its metadata")
    known = json.loads(about["classes"]), json.loads(about["data"])
    return card(recipe, path, about["commit"], *known, about.get("torch", ""))


def as_yaml(recipe: Recipe) -> str:
    """The whole recipe, defaults included, as `load_recipe` reads it in any checkout."""
    return yaml.safe_dump(_portable(recipe.model_dump(mode="json")), sort_keys=False, allow_unicode=True, width=120)


def _facts(
    recipe: Recipe,
    path: Path,
    code: str,
    date: str,
    categories: Sequence[str],
    data: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    content = path.read_bytes()
    return {
        "Learner": recipe.learner.name,
        "Data sets": "; ".join(_named(dataset) for dataset in recipe.datasets),
        "Data as found": "; ".join(json.dumps(one) for one in data) or "not recorded",
        "Instances": "of seen categories alone" if recipe.classes == "seen" else "of all categories",
        "Categories": ", ".join(categories) or "not listed",
        "Steps": f"{recipe.steps}, {recipe.batch} examples each",
        "Seed": str(recipe.seed),
        "Code": code,
        "Date": date,
        "Size": f"{len(content)} bytes, {recipe.precision}",
        "SHA-256": hashlib.sha256(content).hexdigest(),
    }


def _named(plugin: Plugin) -> str:
    params = ", ".join(f"{key}: {value}" for key, value in _portable(plugin.params).items())
    return f"{plugin.name} ({params})" if params else plugin.name


def _revision(commit: str) -> str:
    if not commit:
        return "unknown commit"
    return f"commit {commit.removesuffix('+')}" + (", with changed files" if commit.endswith("+") else "")


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")


def _portable(value: Any) -> Any:
    """The value with this machine's absolute paths made relative to the checkout's root, or to data/."""
    if isinstance(value, Mapping):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(one) for one in value]
    return _from_root(value) if isinstance(value, str) else value


def _from_root(value: str) -> str:
    data = places.located("data")  # HARNESS_DATA may lead elsewhere.
    if Path(value).is_relative_to(data):
        return str("data" / Path(value).relative_to(data))
    return str(Path(value).relative_to(places.ROOT)) if Path(value).is_relative_to(places.ROOT) else value
