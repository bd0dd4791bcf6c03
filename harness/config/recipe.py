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
from harness.config.wording import Text, TextOrRule, checked_text, deciding, looks_at_pictures
from harness.plugins import files
from harness.structures import UserError

Decay = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Model):
    """AdamW, or SGD with momentum 0.9 as in the paper.

    Attributes:
        name: The optimiser's name.
        lr: The learning rate after the warm-up.
        weight_decay: The strength by which weights are pulled to zero.
        betas: AdamW's two decay rates, for the means of gradients and of their squares; SGD ignores them.
        decays: The weights that `weight_decay` pulls: those that the learner chose (no norms, no biases), or "all", as
            in MMSegmentation.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    decays: Literal["chosen", "all"] = "chosen"


class Schedule(Model):
    """The learning rate after a linear warm-up.

    Attributes:
        name: The form of its fall: a power of the steps that are left, a cosine, or none.
        power: The exponent of `poly`; the others ignore it.
        warmup: Steps over which the learning rate rises to `lr`.
        min_lr: The least learning rate.
        horizon: The step at which the factor of `poly` and `cosine` is zero; all steps by default.
        min_lr_rule: "floor": never below `min_lr`; "mmseg": (lr - min_lr) * factor + min_lr, as MMSegmentation's hook.
    """

    name: Literal["poly", "cosine", "constant"] = "poly"
    power: Annotated[float, Field(ge=0)] = 0.9
    warmup: Annotated[int, Field(ge=0)] = 0
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    horizon: Annotated[int, Field(gt=0)] | None = None
    min_lr_rule: Literal["floor", "mmseg"] = "floor"


class Validation(Model):
    """A regular check of the training: the mean loss, in eval mode, over the same few examples every time.

    With `ema` it is the loss of the average, which is exported.

    Attributes:
        datasets: The data sets of the examples.
        every: Steps between two checks; another one follows the last step.
        examples: The number of examples.
    """

    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    every: Annotated[int, Field(gt=0)] = 500
    examples: Annotated[int, Field(gt=1)] = 32


class Recipe(Model):
    """One training job: the learner, its data and the course of the training.

    Attributes:
        learner: A learner plugin.
        checkpoint: The .safetensors file for the trained weights, with a card beside it; by default
            weights/trained/<hash of this recipe>.safetensors.
        datasets: The data sets of the training samples.
        text: The words for an instance, as in a run: the rule, or rule, template and words file. A network should later
            be given the same words that it was trained on.
        classes: "seen" trains only on instances of the data sets' seen categories, as zero-shot training does.
        balance: Draw categories equally often, instead of instances.
        steps: The number of optimiser steps.
        batch: Examples in each step, of all workers together.
        optimizer: The optimiser, with its learning rate and weight decay.
        schedule: The course of the learning rate over the steps.
        clip_norm: The norm to which larger gradients are scaled down; None leaves them.
        seed: The seed of the network's first weights and of the draws of examples.
        device: "auto" (the GPU if there is one), "cpu", "cuda", or one of several GPUs, as "cuda:0".
        threads: How many threads torch has on the CPU.
        save_every: Steps between resumable checkpoints.
        precision: The type of the saved weights.
        note: A remark for the card, on what these weights are and are not.
        workers: Processes among which Ray Train divides each batch, one for each GPU if there are any; 0 is this
            process alone, without Ray.
        accumulate: The number of forward passes that a worker's share of a batch is cut into.
        compute: "bf16" runs forward passes in autocast; weights, gradients and optimiser stay float32.
        batch_norm: The statistics of batch norms: over a worker's own examples, over those of all workers ("sync"), or
            unchanged ("frozen").
        ema: The decay of a moving average of the weights, which is exported in their place; None exports the weights
            themselves.
        loaders: Threads, in processes of up to four, that make the next steps' examples; 0 makes them between the
            steps, in the training's own process.
        validation: A regular check on fixed examples.
    """

    learner: Plugin
    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    checkpoint: str = ""
    text: TextOrRule = Text()
    classes: Literal["seen", "all"] = "seen"
    balance: bool = False
    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)] = 16
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    clip_norm: Annotated[float, Field(gt=0)] | None = None
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

    @field_validator("checkpoint")
    @classmethod
    def _is_a_safetensors_file(cls, checkpoint: str) -> str:
        # What else reads a checkpoint's recipe, classes and data goes by this ending, and the card has another one.
        if checkpoint and not checkpoint.endswith(".safetensors"):
            raise PydanticCustomError("checkpoint", "a file whose name ends with .safetensors")
        return checkpoint

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


class KnownRecipe(Recipe):
    """A recipe with the key and the path of its weights; only `identified` makes these.

    Attributes:
        key: Hash of all that decides the trained weights.
        saved_as: The checkpoint's path, as a config would write it.
    """

    key: Annotated[str, Field(exclude=True)]
    saved_as: Annotated[str, Field(exclude=True)]

    @property
    def output(self) -> Path:
        """The checkpoint's path on this machine."""
        return places.located(self.saved_as)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Recipe:  # type: ignore[override]
        """A plain recipe: after a change the key is another one, which `identified` must find anew."""
        plain = Recipe.model_construct(**{name: getattr(self, name) for name in Recipe.model_fields})
        return plain.model_copy(update=update, deep=deep)


def identified(recipe: Recipe) -> KnownRecipe:
    """The recipe with its key, for which plugins are imported and the files that it names are hashed.

    A command does this once, when it reads its config, and passes the result on: hashing takes time, and the key must
    not change during the command if a file does. A known recipe is returned as it is.

    The key identifies the weights, not the recipe's text. Two recipes that differ only in the places of files (another
    machine's data/), in the note or in how often a state is kept train the same weights, bit for bit. They have the
    same key, so that one resumes the training that the other began. Two recipes that name the same path have different
    keys if the file there has changed between them.
    """
    if isinstance(recipe, KnownRecipe):
        return recipe
    key = fingerprint([_says(recipe), _holds(recipe)])
    saved_as = recipe.checkpoint or f"weights/trained/{key}.safetensors"
    return KnownRecipe(**dict(recipe), key=key, saved_as=saved_as)


def _says(recipe: Recipe) -> list[Any]:
    """The values in a recipe that decide its weights, without the places of files.

    For example `data/coco` and `/mnt/coco` are equal here; their content is compared by `_holds`.
    """
    # Left out because they cannot change a weight by more than rounding: names, notes, devices, the number of loaders
    # (`Draws.at` gives each example a generator of its own), and the validation, which looks at fixed examples. Plugins
    # and text are left out because they follow below, without the places of files.
    silent = {"checkpoint", "note", "save_every", "device", "learner", "datasets", "loaders", "validation", "text"}
    values = recipe.model_dump(mode="json", exclude=silent)
    values["text"] = deciding(recipe.text)
    values["workers"] = 0 if recipe.workers == 1 else recipe.workers  # One worker of Ray trains as this process does.
    plugins = [
        [entry.name, files.portable(kind, entry.name, entry.params, incidental=False)]
        for kind, entry in _plugins(recipe)
    ]
    return [plugins, values]


def _holds(recipe: Recipe) -> list[dict[str, str]]:
    """The hashes of the files that the recipe's plugins start from."""
    return [files.hashes(kind, entry.name, entry.params) for kind, entry in _plugins(recipe)]


def _plugins(recipe: Recipe) -> list[tuple[str, Plugin]]:
    return [("learners", recipe.learner), *(("datasets", dataset) for dataset in recipe.datasets)]


def load_recipe(
    path: Path, overrides: Sequence[str] = (), changes: Mapping[str, Any] | None = None, remark: str = ""
) -> KnownRecipe:
    """Read, check and identify a training recipe.

    Args:
        path: The YAML file.
        overrides: Changes as `key.path=value`, the value in YAML.
        changes: Changes as key path -> value.
        remark: A text that is added to its note.

    Returns:
        The recipe. If changes make it train other weights, and none of them names a checkpoint, the checkpoint is named
        by the recipe's hash: it never saves to the file that the unchanged recipe names.

    Raises:
        UserError: At the first mistake.
    """
    plain = yaml_file.read(path)
    raw = dict(plain)  # A change copies all that it changes below.
    for override in overrides:
        yaml_file.override(raw, override)
    if "methods" in raw and "learner" not in raw:
        raise UserError(
            f"{path}: found the config of a run, with `methods`; wanted the recipe of a training, with `learner`. "
            f"`python -m harness run {path}` evaluates it, and trains first what its methods' `train:` names."
        )
    return _changed(raw, plain, changes or {}, path, remark)


def changed_recipe(plain: Mapping[str, Any], changes: Mapping[str, Any], where: str, remark: str) -> KnownRecipe:
    """As `load_recipe`, for a recipe that stands in the config of a run; `where` is its place there."""
    return _changed(dict(plain), plain, changes, where, remark)


def _changed(
    raw: dict[str, Any], plain: Mapping[str, Any], changes: Mapping[str, Any], where: Path | str, remark: str
) -> KnownRecipe:
    for key, value in changes.items():
        yaml_file.change(raw, key, value, f"{where}, set")
    # A changed recipe must not save to the file that the unchanged one names: users of that file would get other
    # weights than those of its recipe. Changes that train the same weights, such as of a note, keep the name.
    recipe = _read(raw, where)
    update = {"note": f"{recipe.note} {remark}".strip()}
    if raw != plain and recipe.checkpoint:
        named = _read(plain, where)
        if recipe.checkpoint == named.checkpoint and not _trains_the_same(recipe, named):
            update["checkpoint"] = ""
    return identified(recipe.model_copy(update=update))


def _trains_the_same(one: Recipe, other: Recipe) -> bool:
    return _says(one) == _says(other) and _holds(one) == _holds(other)


def _read(raw: Mapping[str, Any], where: Path | str) -> Recipe:
    return checked(yaml_file.validated(Recipe, raw, where), f"{where}, ")


def checked(recipe: Recipe, where: str) -> Recipe:
    """The recipe with its plugins' params checked against their classes.

    Raises:
        UserError: At the first mistake; `where` is its start, such as "configs/a.yaml, ".
    """
    learner = resolved(recipe.learner, "learners", f"{where}learner")
    datasets = [resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(recipe.datasets)]
    validation = recipe.validation and _validation(recipe.validation, f"{where}validation.")
    text = checked_text(recipe.text, f"{where}text")
    if looks_at_pictures(text):
        raise UserError(
            f"{where}text: found {text.rule}, which guesses words by a finished method's CLIP; wanted a rule that "
            "needs none, such as class_name: a training has no method yet."
        )
    changed = {"learner": learner, "datasets": tuple(datasets), "validation": validation, "text": text}
    return recipe.model_copy(update=changed)


def _validation(validation: Validation, where: str) -> Validation:
    datasets = [resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(validation.datasets)]
    return validation.model_copy(update={"datasets": tuple(datasets)})
