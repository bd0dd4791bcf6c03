"""YAML -> validated models, whole, before any worker starts.

A run's config names data sets, methods, clicks and tables; a training recipe names a learner, data and a schedule.
Every mistake is a UserError that says file, key, what was found and what was wanted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from harness import registry
from harness.clicks import STRATEGIES
from harness.metrics import METRICS
from harness.structures import UserError


class Model(BaseModel):
    """What every part of a config has in common: no unknown keys, and no change once read."""

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


class Optimizer(Model):
    """AdamW, or SGD with momentum 0.9 as in the paper."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[float, float] = (0.9, 0.999)


class Schedule(Model):
    """The learning rate after a linear warm-up; `min_lr` is a floor, `horizon` the step of its zero (all steps)."""

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup: Annotated[int, Field(ge=0)] = 0
    min_lr: float = 0.0
    horizon: int | None = None


class Recipe(Model):
    """One training job: what is trained, on what, how long.

    Attributes:
        learner: A learner plugin.
        checkpoint: Where the trained weights go, with a card beside them; by default
            weights/trained/<hash of this recipe>.safetensors.
        datasets: Training samples come from these.
        classes: "seen" trains on instances of the data sets' seen categories only, as zero-shot training does.
        balance: Draw categories equally often, instead of instances.
        steps: Optimiser steps.
        batch: Examples a step.
        clip_norm: Gradients are scaled down to this norm; None leaves them.
        threads: Of torch on the CPU.
        save_every: Steps between resumable checkpoints.
        precision: Of the saved weights.
        note: Said in the card: what these weights are and are not.
    """

    learner: Plugin
    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    checkpoint: str = ""
    classes: Literal["seen", "all"] = "seen"
    balance: bool = False
    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)] = 16
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: float | None = None
    seed: int = 0
    device: str = "auto"
    threads: Annotated[int, Field(gt=0)] = 1
    save_every: Annotated[int, Field(gt=0)] = 100
    precision: Literal["fp16", "fp32"] = "fp32"
    note: str = ""

    @property
    def key(self) -> str:
        """Hash of all that decides the trained weights."""
        return fingerprint(self.model_dump(mode="json", exclude={"checkpoint", "note", "save_every", "device"}))

    @property
    def output(self) -> Path:
        """The checkpoint's path."""
        return registry.located(self.checkpoint or f"weights/trained/{self.key}.safetensors")


class MethodEntry(Plugin):
    """A method of a run.

    Attributes:
        train: A recipe, or the path of one: trained first if its checkpoint is absent.
        trained_on: The data set its weights were trained on, for the tables' footnotes; known for those trained here.
        uses_text: Whether it reads the text, for the tables' text column.
        gpus: Share of a GPU for one worker.
    """

    train: Recipe | None = None
    trained_on: str = ""
    uses_text: bool | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None


class Clicks(Model):
    """The click protocol: rounds of a strategy until `max_clicks` are made.

    Attributes:
        strategy: One of harness/clicks.py, by name and version.
        options: The strategy's own.
        max_clicks: Clicks an instance; a row is written after each round.
    """

    strategy: str = "paper/v1"
    options: dict[str, Any] = {}
    max_clicks: Annotated[int, Field(gt=0)] = 1


class Workers(Model):
    """Where the work runs.

    Attributes:
        executor: "ray": actors, on this machine or a cluster; "local": this process alone.
        count: Actors at once; by default one a GPU, or one a core without GPUs.
        gpus: Of one actor; None takes one where the cluster has any.
        cpus: Of one actor; also torch's threads.
        samples_per_shard: Images in one unit of work.
        images_per_batch: Images encoded at once.
    """

    executor: Literal["ray", "local"] = "ray"
    count: Annotated[int, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] = 1
    samples_per_shard: Annotated[int, Field(gt=0)] = 16
    images_per_batch: Annotated[int, Field(gt=0)] = 1


class RunConfig(Model):
    """One comparison: every method on every instance of every data set, with the same clicks.

    Attributes:
        run: Everything goes to runs/<run>/.
        text: What a prompt's text is: the instance's class name, or nothing.
        metrics: Of each mask, from harness/metrics.py.
        tables: Printed at the end and written to the run's report.
        max_failures: The share of instances that may fail before the run stops.
        limit: At most this many samples a data set; every table then says so.
    """

    run: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seed: int = 0
    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodEntry, ...], Field(min_length=1)]
    clicks: Clicks = Clicks()
    text: Literal["class_name", "none"] = "class_name"
    metrics: tuple[str, ...] = ("iou", "boundary_iou")
    tables: tuple[str, ...] = ("table1",)
    workers: Workers = Workers()
    max_failures: Annotated[float, Field(ge=0, le=1)] = 0.05
    limit: Annotated[int, Field(gt=0)] | None = None


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a run's config; `overrides` are `key.path=value`, the value in YAML.

    Raises:
        UserError: At the first mistake.
    """
    raw = _read(path)
    for override in overrides:
        _override(raw, override)
    for index, method in enumerate(_entries(raw, "methods")):
        if isinstance(method.get("train"), str):
            method["train"] = load_recipe(registry.located(method["train"])).model_dump()
        _resolve_in(method, "methods", f"{path}, methods[{index}]")
    for index, dataset in enumerate(_entries(raw, "datasets")):
        _resolve_in(dataset, "datasets", f"{path}, datasets[{index}]")
    config = _validated(RunConfig, raw, path)
    _check_known(path, config)
    _check_labels(path, "methods", config.methods)
    _check_labels(path, "datasets", config.datasets)
    return config


def load_recipe(path: Path) -> Recipe:
    """Read and check a training recipe.

    Raises:
        UserError: At the first mistake.
    """
    raw = _read(path)
    if isinstance(raw.get("learner"), dict):
        _resolve_in(raw["learner"], "learners", f"{path}, learner")
    for index, dataset in enumerate(_entries(raw, "datasets")):
        _resolve_in(dataset, "datasets", f"{path}, datasets[{index}]")
    return _validated(Recipe, raw, path)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the JSON's SHA-256; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def label(entry: Plugin) -> str:
    """How tables name a plugin."""
    return entry.label or entry.name


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = sorted(str(other) for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file. {registry.suggest(str(path), near)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Wanted a YAML file.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML. {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found {type(raw).__name__} at the top; wanted keys such as `run:` and `methods:`.")
    return raw


def _entries(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The plugin entries under a key; what is not one is left to the validation."""
    found = raw.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _resolve_in(entry: dict[str, Any], kind: str, where: str) -> None:
    """Check a plugin entry's name and params against the class, and make its paths absolute, in place."""
    if not isinstance(entry.get("name"), str) or not isinstance(entry.get("params", {}), dict):
        return  # The validation says what is wrong with it.
    params = dict(entry.get("params", {}))
    train = entry.get("train")
    if isinstance(train, dict) and "checkpoint" not in params:
        params["checkpoint"] = str(Recipe(**train).output)
    entry["params"] = registry.resolve(kind, entry["name"], params, f"{where}.name")


def _override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise UserError(f"--set {override}: wanted key=value, such as --set workers.count=2.")
    *parents, last = [part for part in re.split(r"\.|\[|\]", key) if part]
    target: Any = raw
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if isinstance(target, list):
        target[int(last)] = yaml.safe_load(value)
    else:
        target[last] = yaml.safe_load(value)


def _validated(model: type[Any], raw: Mapping[str, Any], path: Path) -> Any:
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        found = "nothing" if first["type"] == "missing" else repr(first["input"])
        hint = ""
        if first["type"] == "extra_forbidden":
            known = _fields_at(model, first["loc"][:-1])
            hint = " " + registry.suggest(str(first["loc"][-1]), known)
        raise UserError(f"{path}, {key}: found {found}. {first['msg']}.{hint}") from error


def _fields_at(model: Any, location: Sequence[int | str]) -> list[str]:
    """The keys that the model at a location takes."""
    schema = model.model_json_schema()
    node = schema
    for part in location:
        node = node.get("items", node) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        for option in [node, *node.get("anyOf", [])]:
            if "$ref" in option:
                node = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
                break
    return list(node.get("properties", {}))


def _check_known(path: Path, config: RunConfig) -> None:
    for index, name in enumerate(config.metrics):
        if name not in METRICS:
            raise UserError(f"{path}, metrics[{index}]: no metric '{name}'. {registry.suggest(name, METRICS)}")
    if config.clicks.strategy not in STRATEGIES:
        name = config.clicks.strategy
        raise UserError(f"{path}, clicks.strategy: no strategy '{name}'. {registry.suggest(name, STRATEGIES)}")


def _check_labels(path: Path, key: str, entries: Sequence[Plugin]) -> None:
    labels = [label(entry) for entry in entries]
    for index, name in enumerate(labels):
        if name in labels[:index]:
            raise UserError(
                f"{path}, {key}[{index}]: a second '{name}'. Give one of them a `label:` of its own: rows go by it."
            )
