"""A training recipe: which learner, on what data, for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from harness import places
from harness.config import yaml_file
from harness.config.parts import Model, Plugin, fingerprint, resolved
from harness.plugins import files


class Optimizer(Model):
    """AdamW, or SGD with momentum 0.9 as in the paper.

    Attributes:
        decays: What `weight_decay` pulls at: what the learner chose (no norms, no biases), or "all", as MMSegmentation.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    decays: Literal["chosen", "all"] = "chosen"


class Schedule(Model):
    """The learning rate after a linear warm-up.

    Attributes:
        horizon: The step at which the factor of `poly` and `cosine` is zero; all steps by default.
        min_lr_rule: "floor": never below `min_lr`; "mmseg": (lr - min_lr) * factor + min_lr, as MMSegmentation's hook.
    """

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup: Annotated[int, Field(ge=0)] = 0
    min_lr: float = 0.0
    horizon: int | None = None
    min_lr_rule: Literal["floor", "mmseg"] = "floor"


class Validation(Model):
    """A look at how training goes: the mean loss, in eval mode, of the same few examples every time.

    Attributes:
        datasets: Where the examples come from.
        every: Steps between two looks.
        examples: How many.
    """

    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    every: Annotated[int, Field(gt=0)] = 500
    examples: Annotated[int, Field(gt=1)] = 32


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
        batch: Examples a step, of all workers together.
        clip_norm: Gradients are scaled down to this norm; None leaves them.
        device: "auto" (the GPU if there is one), "cpu", "cuda", or one of several GPUs, as "cuda:0".
        threads: Of torch on the CPU.
        save_every: Steps between resumable checkpoints.
        precision: Of the saved weights.
        note: Said in the card: what these weights are and are not.
        workers: Processes that Ray Train shares each batch among, one a GPU where there are any; 0 is this process
            alone, without Ray.
        accumulate: Forward passes that a worker's share of a batch is cut into.
        compute: "bf16" runs forward passes in autocast; weights, gradients and optimiser stay float32.
        batch_norm: Over a worker's own examples, over those of all workers ("sync"), or with statistics that stay as
            they are ("frozen").
        ema: The exported weights are this moving average of the trained ones; None exports those themselves.
        loaders: Threads, in processes of up to four, that make the next steps' examples; 0 makes them in turn with the
            training.
        validation: A look at fixed examples now and then.
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
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    threads: Annotated[int, Field(gt=0)] = 1
    save_every: Annotated[int, Field(gt=0)] = 100
    precision: Literal["fp16", "fp32"] = "fp32"
    note: str = ""
    workers: Annotated[int, Field(ge=0)] = 0
    accumulate: Annotated[int, Field(gt=0, validate_default=True)] = 1
    compute: Literal["fp32", "bf16"] = "fp32"
    batch_norm: Literal["own", "sync", "frozen"] = "own"
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    loaders: Annotated[int, Field(ge=0)] = 0
    validation: Validation | None = None

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise PydanticCustomError("device", "'auto', 'cpu', 'cuda' or a GPU by its number, such as 'cuda:0'")
        return device

    @field_validator("accumulate")
    @classmethod
    def _shares_are_equal(cls, accumulate: int, others: ValidationInfo) -> int:
        batch, workers = others.data.get("batch", 0), max(1, others.data.get("workers", 0))
        if batch % (workers * accumulate):
            reason = f"a number that, times {workers} workers, divides the batch of {batch}"
            raise PydanticCustomError("shares", "{reason}", {"reason": reason})
        return accumulate

    @property
    def key(self) -> str:
        """Hash of all that decides the trained weights; the places of files do not, what they hold does.

        A field that came later counts only where it is set, so that older recipes keep their keys.
        """
        plugins = [("learners", self.learner), *(("datasets", dataset) for dataset in self.datasets)]
        made_of = [
            (entry.name, files.portable(kind, *named), files.hashes(kind, *named))
            for kind, entry in plugins
            for named in [(entry.name, entry.params)]
        ]
        rest = {"checkpoint", "note", "save_every", "device", "learner", "datasets", "loaders", "validation"}
        values = self.model_dump(mode="json", exclude=rest)
        values["workers"] = 0 if self.workers == 1 else self.workers
        later: list[tuple[dict[str, Any], type[Model], tuple[str, ...]]]
        later = [(values, Recipe, ("workers", "accumulate", "compute", "batch_norm", "ema"))]
        later += [(values["optimizer"], Optimizer, ("decays",)), (values["schedule"], Schedule, ("min_lr_rule",))]
        for given, model, names in later:
            for name in names:
                if given[name] == model.model_fields[name].default:
                    del given[name]
        return fingerprint([made_of, values])

    @property
    def saved_as(self) -> str:
        """The checkpoint's path, as a config would write it."""
        return self.checkpoint or f"weights/trained/{self.key}.safetensors"

    @property
    def output(self) -> Path:
        """The checkpoint's path on this machine."""
        return places.located(self.saved_as)


def load_recipe(path: Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a training recipe.

    Args:
        path: Of the file.
        overrides: `key.path=value`, the value in YAML.
        changes: Likewise, key -> value.

    Returns:
        The recipe. One that was changed into another, which trains other weights, goes by its hash unless it is told
        where: never to the file that the unchanged one names.

    Raises:
        UserError: At the first mistake.
    """
    raw = yaml_file.read(path)
    for override in overrides:
        yaml_file.override(raw, override)
    for key, value in (changes or {}).items():
        yaml_file.change(raw, key, value, f"{path}, set")
    recipe = _read(raw, path)
    if not (overrides or changes) or not recipe.checkpoint:
        return recipe
    named = _read(yaml_file.read(path), path)
    moved = recipe.checkpoint == named.checkpoint and recipe.key != named.key
    return recipe.model_copy(update={"checkpoint": ""}) if moved else recipe


def _read(raw: Mapping[str, Any], path: Path) -> Recipe:
    return checked(yaml_file.validated(Recipe, raw, path), f"{path}, ")


def checked(recipe: Recipe, where: str) -> Recipe:
    """With the plugins' params checked against their classes."""
    learner = resolved(recipe.learner, "learners", f"{where}learner")
    datasets = [resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(recipe.datasets)]
    validation = recipe.validation and _validation(recipe.validation, f"{where}validation.")
    return recipe.model_copy(update={"learner": learner, "datasets": tuple(datasets), "validation": validation})


def _validation(validation: Validation, where: str) -> Validation:
    datasets = [resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(validation.datasets)]
    return validation.model_copy(update={"datasets": tuple(datasets)})
