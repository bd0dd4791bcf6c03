"""Reads a YAML file into a validated model. Each mistake is a UserError with file, key, what was found and wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pydantic
import yaml

from harness import messages, places
from harness.plugins.parameters import truths_as_numbers
from harness.structures import UserError

INTEGER = "tag:yaml.org,2002:int"
DIGITS = 1000
"""The most digits of a whole number: reading more takes long, and Python refuses numbers with some thousands."""


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys (plain YAML silently drops the first of two), in which every text is Unicode.

    An alias within what it stands for is refused too. All are checked while reading, where the line is still known for
    the message.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # Each list and mapping is built whole before the next one: only then does PyYAML refuse `a: &a [*a]`.
        self.deep_construct = True

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and node.tag == INTEGER and len(value) > DIGITS:
            raise yaml.constructor.ConstructorError(None, None, f"found {len(value)} digits", node.start_mark)
        if isinstance(value, str) and (said := messages.readable(value)) != value:
            raise yaml.constructor.ConstructorError(None, None, f"found '{said}', which is no Unicode", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key.value in (earlier.value for earlier in keys[:index]):
                raise yaml.constructor.ConstructorError(None, None, f"found '{key.value}' twice", key.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """The mapping that a file holds."""
    try:
        raw = parsed(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. {_near(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Wanted a YAML file.") from error
    if not isinstance(raw, dict):
        found = "an empty file" if raw is None else f"a {type(raw).__name__} at the top"
        raise UserError(f"{path}: found {found}; wanted keys such as `run:` and `methods:`.")
    return raw


def _near(path: Path) -> str:
    """Suggests configs that a reader may have meant by a path that leads to no file."""
    if not path.is_absolute() and (there := places.ROOT / path).is_file():
        return f"The current folder is {Path.cwd()}. Did you mean {there}?"
    folder = path.parent if path.parent.is_dir() else places.located(path.parent)
    near = sorted(str(path.parent / other.name) for other in folder.glob("[!.]*.yaml"))
    near += [] if path.suffix else places.config_names()
    return messages.suggest(str(path), near) if near else f"{folder.absolute()} has no .yaml file."


def parsed(text: str, where: str) -> Any:
    """Parse a YAML text; a key that occurs twice is a mistake."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", line', "at line")
        raise UserError(f"{where}: not valid YAML. {reason}") from error
    except (RecursionError, ValueError) as error:  # lists in lists without end, a day 99
        reason = "lists or mappings lie too deep in one another" if isinstance(error, RecursionError) else str(error)
        raise UserError(
            f"{where}: no YAML that can be read: {reason}. Wanted keys such as `run:`, `methods:`."
        ) from error


def override(raw: dict[str, Any], given: str) -> None:
    """Change a file's mapping by `key.path=value`, the value in YAML."""
    key, separator, value = given.partition("=")
    where = f"--set {given}"
    if not separator:
        raise UserError(f"{where}: wanted key=value, such as --set workers.count=2.")
    change(raw, key, parsed(value, where), where)


def change(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Put a value at `key.path` or `key[0].path`. Missing mappings on the way are made; list entries must exist.

        workers.count                    raw["workers"]["count"]
        methods[0].params.device         raw["methods"][0]["params"]["device"]
        training.optimizer.lr            raw["training"]["optimizer.lr"]

    In the last one the rest is a single key: `training` and a method's `set` hold changes of recipes by key path.
    """
    of_recipes = _OF_RECIPES.fullmatch(key)
    path, inner = of_recipes.groups() if of_recipes else (key, None)
    *parents, last = [*re.findall(r"[^.\[\]]+", path), *([inner] if inner else [])] or [""]
    if not last:
        raise UserError(f"{where}: wanted key=value, such as --set workers.count=2.")
    target: Any = raw
    for index, part in enumerate(parents):
        place = _place(target, part, where, parents[:index])
        found = target[place] if isinstance(target, list) else target.get(place)
        # An alias or a merge of YAML (`*base`, `<<: *base`) puts one object at several places of the file. The change
        # is for this place alone, so it is made in a copy.
        target[place] = {} if found is None else copy(found)
        target = target[place]
    target[_place(target, last, where, parents)] = value


_OF_RECIPES = re.compile(r"(training|methods[.\[]\d+\]?\.train\.set)\.(.+)")


def _place(target: Any, part: str, where: str, parents: Sequence[str]) -> Any:
    """A part of an override's key as the key of a mapping or the index of a list; `parents` are the parts before it."""
    if isinstance(target, dict):
        return part
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return int(part)
    if isinstance(target, list):
        raise UserError(f"{where}: no '{part}' in a list of {len(target)}, counted from 0.")
    whole = ".".join(parents)
    raise UserError(f"{where}: no '{part}' in {target!r}. Give `{whole}` as a whole: '{whole}={{{part}: ...}}'.")


def validated(model: type[Any], raw: Mapping[str, Any], path: Path | str) -> Any:
    """Make a model from a mapping; a mistake names its key, and the nearest known one."""
    # Only the first mistake is reported: pydantic lists one for each alternative of a union, which hides the real one.
    try:
        made = model.model_validate(raw)
        for key in truths_as_numbers(made, raw):
            raise UserError(f"{path}, {key}: found true or false; wanted a number.")
        return made
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        if first["type"] == "extra_forbidden":
            known = messages.suggest(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1]))
            raise UserError(f"{path}, {key}: no such key. {known}") from error
        raise UserError(f"{path}, {key}: {messages.complaint([first])}") from error


def _fields_at(model: Any, location: Sequence[int | str]) -> list[str]:
    """The keys that the model at a location takes."""
    # The JSON schema describes nested models, lists and alternatives in one form. Of several alternatives (a Text or
    # the name of a rule) the one that is a model is followed.
    schema = model.model_json_schema()
    node = schema
    for part in location:
        node = node.get("items", node) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        for option in [node, *node.get("anyOf", [])]:
            if "$ref" in option:
                node = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
                break
    return list(node.get("properties", {}))
