"""A run's config: data sets, methods, clicks, text and tables, validated whole before any worker starts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from harness import messages
from harness.config import yaml_file
from harness.config.click_protocol import Clicks, check_takes, checked_clicks
from harness.config.method_entry import MethodEntry, checked_entries, read_recipes
from harness.config.parts import Gpus, Model, Plugin, label, resolved
from harness.config.recipe import KnownRecipe, identified
from harness.config.wording import Text, TextOrRule, checked_text, looks_at_pictures
from harness.plugins import parameters
from harness.plugins.registry import find
from harness.structures import Record, UserError


class Workers(Model):
    """The workers: their number, resources and units of work.

    Attributes:
        executor: "ray": actors, on this machine or a cluster; "local": this process alone.
        count: Actors at once; by default one for each GPU, or one for each core without GPUs.
        gpus: GPUs of one actor, which sees no others; None takes one if the cluster has any.
        cpus: Cores of one actor, and as many threads of torch.
        samples_per_shard: The most images in one unit of work; by default as many as take ten seconds.
        images_per_batch: Images encoded at once.
        timeout_s: The time limit for one batch of images, for each of the variants that share it, and for loading a
            method or a data set. A worker that takes longer is ended, and treated like one that died.
    """

    executor: Literal["ray", "local"] = "ray"
    count: Annotated[int, Field(gt=0)] | None = None
    gpus: Gpus | None = None
    cpus: Annotated[float, Field(gt=0)] = 1
    samples_per_shard: Annotated[int, Field(gt=0)] | None = None
    images_per_batch: Annotated[int, Field(gt=0)] = 1
    timeout_s: Annotated[float, Field(gt=0)] = 600


class Effort(Model):
    """The time that a prompt costs a person, for the table `effort`: assumed, not measured; printed beneath it.

    Attributes:
        click_s: Seconds for a click.
        word_s: Seconds for a word, typed or spoken.
    """

    click_s: Annotated[float, Field(ge=0)] = 2.0
    word_s: Annotated[float, Field(ge=0)] = 1.0


RUN_NAME = re.compile(r"\w[\w.-]*")
RUN_NAME_SAID = "letters, digits, _, - and ., for it names a folder; no - or . first"


def _folder_name(name: str) -> str:
    if not RUN_NAME.fullmatch(name):
        raise PydanticCustomError("folder_name", RUN_NAME_SAID)
    return name


def _as_labels(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class RunConfig(Model):
    """One comparison: every method on every instance of every data set, with the same clicks.

    Attributes:
        run: The run's name; everything is written to runs/<run>/.
        seed: The seed of random clicks and words.
        datasets: The data sets; every method is asked on each of them.
        methods: The methods.
        clicks: The click protocol.
        text: The rule for a prompt's words.
        metrics: The metrics of each mask, from harness/masks/metrics.py; `iou` is one of them.
        tables: The tables that are printed at the end and written to the run's report.
        effort: Seconds for a click and for a word, for the table `effort`.
        workers: The workers: their number, resources and units of work.
        max_failures: The share of a data set's instances on which a method may fail before the run stops.
        baseline: The labels of the methods that play click-only, for the tables that measure the text's gain; a single
            label needs no list. By default those of the plugin `click_only`.
        limit: The most samples of each data set; every table then shows this limit.
        only: Data set's label -> the only samples that are asked for; empty for all. Every table then shows this, too.
        loggers: Plugins that are called with new rows and at the end, such as for a tracker's page; they change no row.
        on_end: Shell commands that run when a start ends or fails, with HARNESS_RUN, HARNESS_RUN_FOLDER,
            HARNESS_EXIT_CODE and HARNESS_ERROR in their environment; they change no row.
        training: Changes of the recipes of all methods, by key path, over those of their own `set`.
    """

    run: Annotated[str, AfterValidator(_folder_name)]
    seed: Annotated[int, Field(ge=0)] = 0
    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodEntry, ...], Field(min_length=1)]
    clicks: Clicks = Clicks()
    text: TextOrRule = Text()
    metrics: tuple[str, ...] = ("iou", "boundary_iou")
    tables: tuple[str, ...] = ("table1",)
    effort: Effort = Effort()
    workers: Workers = Workers()
    max_failures: Annotated[float, Field(ge=0, le=1)] = 0.05
    baseline: Annotated[tuple[str, ...], BeforeValidator(_as_labels)] = ()
    limit: Annotated[int, Field(gt=0)] | None = None
    only: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    loggers: tuple[Plugin, ...] = ()
    on_end: tuple[str, ...] = ()
    training: dict[str, Any] = Field(default_factory=dict)

    def clicks_of(self, method: MethodEntry) -> Clicks:
        """The clicks of a method: its entry's own, or else the run's."""
        return method.clicks or self.clicks

    def text_of(self, method: MethodEntry) -> Text:
        """The text rule of a method: its entry's own, or else the run's."""
        return method.text or self.text

    def pairs(self) -> Iterator[tuple[MethodEntry, Plugin]]:
        """Each method with each data set on which the run asks it."""
        for method in self.methods:
            for dataset in self.datasets:
                if asked_on(method.datasets, label(dataset)):
                    yield method, dataset


def asked_on(named: Sequence[str], dataset: str) -> bool:
    """Whether a method is evaluated on a data set: its `datasets:` names the data set's label, or is empty."""
    return not named or dataset in named


def part_of(sample_ids: Sequence[str], limit: int | None, only: Collection[str] = ()) -> tuple[str, ...]:
    """The samples of a data set that a run uses, in the data set's order: those of `only`, the first ones, or all."""
    return tuple(one for one in sample_ids if one in only) if only else tuple(sample_ids)[:limit]


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a run's config; `overrides` are `key.path=value`, the value in YAML.

    The checks go from the cheap and local to those that need other parts: names of metrics and tables; labels; each
    method with its recipe, seeds and variants; what methods need of each other and of the run; data sets, clicks, text
    and loggers; and last whether each method can answer the prompts that it will get.

    Raises:
        UserError: At the first mistake.
    """
    raw = yaml_file.read(path)
    for override in overrides:
        yaml_file.override(raw, override)
    # A recipe given in place of a config is found before validation, which would only report unknown keys.
    if "learner" in raw and "methods" not in raw:
        raise UserError(
            f"{path}: found the recipe of a training, with `learner`; wanted the config of a run, with `run` and "
            f"`methods`. `python -m harness train {path}` trains it, and so does a method's `train:` in a run's config."
        )
    read_recipes(raw, path)
    config: RunConfig = yaml_file.validated(RunConfig, raw, path)
    check_metrics(path, config.metrics)
    for index, name in enumerate(config.tables):
        find("tables", name, f"{path}, tables[{index}]")
    # Labels are looked at twice: as they are written, where a message can name the entry, and after seeds and
    # variants have become entries, whose labels are made.
    _check_labels(path, "methods", config.methods)
    methods = [
        one for index, entry in enumerate(config.methods) for one in checked_entries(entry, f"{path}, methods[{index}]")
    ]
    _check_labels(path, "methods", methods)
    _check_checkpoints(path, methods)
    _check_without_clicks(path, config, methods)
    _check_labels(path, "datasets", config.datasets)
    _check_labels(path, "loggers", config.loggers)
    for index, entry in enumerate(config.methods):
        _check_known(f"{path}, methods[{index}].datasets", "data set", entry.datasets, config.datasets)
    _check_known(f"{path}, only", "data set", tuple(config.only), config.datasets)
    _check_known(f"{path}, baseline", "method", config.baseline, methods)
    datasets = [resolved(one, "datasets", f"{path}, datasets[{index}]") for index, one in enumerate(config.datasets)]
    checked = {
        "methods": tuple(methods),
        "datasets": tuple(datasets),
        "clicks": checked_clicks(config.clicks, f"{path}, clicks"),
        "text": checked_text(config.text, f"{path}, text"),
        "loggers": tuple(resolved(one, "loggers", f"{path}, loggers[{i}]") for i, one in enumerate(config.loggers)),
    }
    config = config.model_copy(update=checked)
    # These look a rule up by its name, or its options, so they come after `checked_text` and `checked_clicks`: a
    # misspelt rule gets the message with the nearest name, and not a KeyError.
    _check_looking(path, config, methods)
    for method in methods:
        check_takes(config.clicks_of(method), find("methods", method.name), f"{path}: '{label(method)}'")
    return config


def _check_without_clicks(path: Path, config: RunConfig, methods: Sequence[MethodEntry]) -> None:
    """Refuse prompts without a click for a method that needs one, and prompts with neither a click nor a text."""
    for method in methods:
        clicks = config.clicks_of(method)
        if clicks.max_clicks or clicks.by_box_alone:
            continue
        if find("methods", method.name).needs_click:
            raise UserError(
                f"{path}: '{label(method)}' is asked with clicks.max_clicks: 0, and the method {method.name} needs a "
                "click. Give it `clicks:` of its own, or leave it out."
            )
        if config.text_of(method).rule == "none":
            raise UserError(
                f"{path}: '{label(method)}' is asked with clicks.max_clicks: 0 and text: none; wanted a click or words."
            )


def _check_looking(path: Path, config: RunConfig, methods: Sequence[MethodEntry]) -> None:
    """Refuse a text rule that guesses words around a click if there is no click, or if the method has no CLIP."""
    for method in methods:
        text = config.text_of(method)
        if not looks_at_pictures(text):
            continue
        asked = f"{path}: '{label(method)}' is asked with text: {text.rule}, which guesses the words around a click"
        if not config.clicks_of(method).max_clicks:
            raise UserError(f"{asked}, and with clicks.max_clicks: 0; wanted a click.")
        cls = find("methods", method.name)
        # Whether there is a CLIP may depend on a parameter, such as SAM's `rankings`; the method is not built for that.
        if not cls.has_clip(parameters.with_defaults(cls, method.params)):
            raise UserError(
                f"{asked} by the method's own CLIP, and {method.name} has none with these params. Give it a `text:` "
                "of its own, or use a method with a CLIP: text_click with the saliency maskclip, or sam with clip or "
                "a saliency among its `rankings`."
            )


def check_metrics(path: Path | str, metrics: Sequence[str]) -> None:
    """Refuse unknown metrics, two with one column's name, and a list without IoU; `path` begins the message.

    Raises:
        UserError: At the first mistake.
    """
    from harness.masks.measure import metric  # It loads OpenCV, too.

    columns = {one.name: "a column of every run" for one in fields(Record)}
    for index, name in enumerate(metrics):
        where = f"{path}, metrics[{index}]"
        column = metric(name, where).name
        if column in columns:
            raise UserError(f"{where}: its column '{column}' is {columns[column]}. Rename one of them.")
        columns[column] = f"that of metrics[{index}], too"
    if "iou" not in columns:
        found = ", ".join(metrics) or "none"
        raise UserError(
            f"{path}, metrics: found {found}; wanted 'iou' among them. Ranks, clicks to a target and charts are of it."
        )


def _check_labels(path: Path, key: str, entries: Sequence[Plugin]) -> None:
    labels = [label(entry) for entry in entries]
    for index, name in enumerate(labels):
        if name in labels[:index]:
            raise UserError(
                f"{path}, {key}[{index}]: a second '{name}'. Give one of them a `label:` of its own, which tells "
                "their rows apart."
            )


def _check_checkpoints(path: Path, methods: Sequence[MethodEntry]) -> None:
    """Refuse two recipes that train different weights to one file: the first's would be evaluated as the second's."""
    first: dict[Path, tuple[MethodEntry, KnownRecipe]] = {}
    for method in methods:
        if method.train is None:
            continue
        train = identified(method.train)
        other, there = first.setdefault(train.output.resolve(), (method, train))
        if there.key != train.key:
            raise UserError(
                f"{path}, methods: '{label(other)}' and '{label(method)}' have different recipes that save to one "
                f"checkpoint, {train.saved_as}. Give one of them another `checkpoint`, or leave it out: each then "
                "has a file of its own."
            )


def _check_known(where: str, kind: str, named: Sequence[str], entries: Sequence[Plugin]) -> None:
    """Refuse a label that no entry of the run has."""
    known = [label(entry) for entry in entries]
    for name in named:
        if name not in known:
            raise UserError(f"{where}: no {kind} labelled '{name}' in this run. {messages.suggest(name, known)}")
