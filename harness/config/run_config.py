"""A run's config: data sets, methods, clicks, text and tables, validated whole before any worker starts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from harness import messages, places
from harness.config import recipe, yaml_file
from harness.config.parts import Model, Plugin, label, resolved
from harness.config.recipe import KnownRecipe, Recipe, identified, load_recipe
from harness.config.wording import Text, TextOrRule, checked_text
from harness.plugins import class_splits, parameters
from harness.plugins.registry import find
from harness.structures import Record, UserError

A = TypeVar("A", "MethodEntry", "Variant")


class Clicks(Model):
    """The click protocol: rounds of a strategy until `max_clicks` are made; or none, for methods that segment by text.

    Attributes:
        strategy: One of harness/clicks/, by name and version.
        options: The strategy's own.
        max_clicks: Clicks an instance; a row is written after each round. 0 asks once, by the text alone.
        draws: How often an instance is asked for, each time with clicks drawn anew.
    """

    strategy: str = "paper/v1"
    options: dict[str, Any] = Field(default_factory=dict)
    max_clicks: Annotated[int, Field(ge=0)] = 1
    draws: Annotated[int, Field(gt=0)] = 1

    @property
    def protocol(self) -> dict[str, Any]:
        """What rows depend on; a single draw goes without saying, as in runs of before there were several."""
        if not self.max_clicks:
            return {"max_clicks": 0}
        said = self.model_dump()
        return said if self.draws > 1 else {name: value for name, value in said.items() if name != "draws"}


class Variant(Model):
    """A method asked in another way: what it changes of the run's `text` and `clicks`."""

    label: Annotated[str, Field(min_length=1)]
    text: TextOrRule | None = None
    clicks: Clicks | None = None


class TrainedOn(Model):
    """What a method's weights have seen; a name alone stands for it.

    Attributes:
        name: Of the training data, for the tables.
        datasets: Data sets whose images it was trained on: those among a run's images are counted and flagged.
        images: A file of such images' keys ("coco/139"), one a line.
        classes: The classes that it was trained on, or the name of a split in harness/plugins/splits: what is seen
            on a data set that has no split of its own.
    """

    name: str = ""
    datasets: tuple[Plugin, ...] = ()
    images: str = ""
    classes: str | tuple[str, ...] = ()


def _as_trained(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class MethodEntry(Plugin):
    """A method of a run.

    Attributes:
        train: A recipe, the path of one, or `{recipe: PATH, set: {key.path: value}}`: trained first if its checkpoint
            is absent.
        seeds: Trained and asked once with each of these seeds of its recipe, each an entry of its own, labelled
            "<label>, seed <n>".
        seed_of: The label of the entry that it is one seed of.
        trained_on: What its weights were trained on; known of those that `train` makes.
        saliency_differs: "refuse" ends a run that asks weights with another saliency than they were trained with;
            "footnote" runs it, and every table says so.
        uses_text: Whether it reads the text, for the tables' text column.
        gpus: GPUs of one of its workers, in place of the run's; a share, too.
        cpus: Cores of one of its workers, in place of the run's.
        resources: What else one of its workers asks of the cluster, by Ray's names: {"A100": 1}.
        count: Workers of it at once, at most.
        text: In place of the run's.
        clicks: In place of the run's.
        datasets: The labels of those data sets of the run that it is asked on; of all by default.
        variants: Ways to ask it; each becomes an entry of its own, labelled "<label>, <the variant's label>". An image
            is decoded and encoded once for all of them.
        variant_of: The label of the entry that it is a variant of.
    """

    train: Recipe | None = None
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    seed_of: str = ""
    trained_on: Annotated[TrainedOn, BeforeValidator(_as_trained)] = TrainedOn()
    saliency_differs: Literal["refuse", "footnote"] = "refuse"
    uses_text: bool | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    count: Annotated[int, Field(gt=0)] | None = None
    text: TextOrRule | None = None
    clicks: Clicks | None = None
    datasets: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    variant_of: str = ""

    def seeded(self, where: str) -> list[MethodEntry]:
        """An entry a seed, the recipe's own with the recipe's own checkpoint; itself where it has none.

        Raises:
            UserError: There is no recipe that a seed could change, or one checkpoint for all.
        """
        if not self.seeds:
            return [self]
        if self.train is None or "checkpoint" in self.params:
            found = "no `train`" if self.train is None else "a checkpoint under `params`"
            raise UserError(f"{where}.seeds: found {found}; wanted a recipe, and the checkpoints that it makes.")
        return [self._with_seed(self.train, seed) for seed in self.seeds]

    def _with_seed(self, train: Recipe, seed: int) -> MethodEntry:
        name = label(self)
        # Another seed trains other weights, so that the recipe's own checkpoint would be overwritten; without a name of
        # its own it goes by its hash.
        own = train if seed == train.seed else train.model_copy(update={"seed": seed, "checkpoint": ""})
        return self.model_copy(update={"label": f"{name}, seed {seed}", "train": own, "seeds": (), "seed_of": name})

    def expanded(self) -> list[MethodEntry]:
        """An entry a variant; itself where it has none."""
        if not self.variants:
            return [self]
        name = label(self)
        return [
            self.model_copy(
                update={
                    "label": f"{name}, {variant.label}",
                    "text": variant.text or self.text,
                    "clicks": variant.clicks or self.clicks,
                    "variants": (),
                    "variant_of": name,
                }
            )
            for variant in self.variants
        ]


class Workers(Model):
    """Where the work runs.

    Attributes:
        executor: "ray": actors, on this machine or a cluster; "local": this process alone.
        count: Actors at once; by default one a GPU, or one a core without GPUs.
        gpus: Of one actor; None takes one where the cluster has any.
        cpus: Of one actor; also torch's threads.
        samples_per_shard: Images in one unit of work, at most; by default as many as ten seconds suffice for.
        images_per_batch: Images encoded at once.
        timeout_s: How long one batch of images may take, for each of the variants that share it, or loading a method or
            a data set; a worker that takes longer is ended, as one that died.
    """

    executor: Literal["ray", "local"] = "ray"
    count: Annotated[int, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] = 1
    samples_per_shard: Annotated[int, Field(gt=0)] | None = None
    images_per_batch: Annotated[int, Field(gt=0)] = 1
    timeout_s: Annotated[float, Field(gt=0)] = 600


class Effort(Model):
    """What a prompt costs who gives it, for the table `effort`: assumptions, not measured here, printed beneath it.

    Attributes:
        click_s: Seconds for a click.
        word_s: Seconds for a word, typed or said.
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
        run: Everything goes to runs/<run>/.
        text: What a prompt's words are.
        metrics: Of each mask, from harness/masks/metrics.py.
        tables: Printed at the end and written to the run's report.
        effort: Seconds a click and a word, for the table `effort`.
        max_failures: The share of a data set's instances on which a method may fail before the run stops.
        baseline: The labels of the methods that play click-only, for the tables that measure what the text adds; one
            label may stand alone. By default those of the plugin `click_only`.
        limit: At most this many samples a data set; every table then says so.
        only: Data set's label -> the only samples that are asked for; empty for all. Every table then says so, too.
        training: Changes of the recipes of all methods that name one, by key path, over those of their own `set`.
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
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    def clicks_of(self, method: MethodEntry) -> Clicks:
        """How a method is clicked: in a way of its own, or as the run says."""
        return method.clicks or self.clicks

    def text_of(self, method: MethodEntry) -> Text:
        """How objects are named to a method: in a way of its own, or as the run says."""
        return method.text or self.text

    @property
    def at_most(self) -> int | None:
        """How many samples of a data set are asked for at most, where it may be a part; None for whole data sets."""
        return max(map(len, self.only.values())) if self.only else self.limit

    def pairs(self) -> Iterator[tuple[MethodEntry, Plugin]]:
        """Each method, paired with each data set on which the run asks it."""
        for method in self.methods:
            for dataset in self.datasets:
                if asked_on(method.datasets, label(dataset)):
                    yield method, dataset


def asked_on(named: Sequence[str], dataset: str) -> bool:
    """Whether a method is asked on a data set. `named` are the labels in its `datasets:`; empty means all data sets."""
    return not named or dataset in named


def part_of(sample_ids: Sequence[str], limit: int | None, only: Collection[str] = ()) -> tuple[str, ...]:
    """Those of a data set's samples that a run asks for, in the data set's order: some, the first ones, or all."""
    return tuple(one for one in sample_ids if one in only) if only else tuple(sample_ids)[:limit]


def load_run(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a run's config; `overrides` are `key.path=value`, the value in YAML.

    Raises:
        UserError: At the first mistake.
    """
    raw = yaml_file.read(path)
    for override in overrides:
        yaml_file.override(raw, override)
    if "learner" in raw and "methods" not in raw:
        raise UserError(
            f"{path}: found the recipe of a training, with `learner`; wanted the config of a run, with `run` and "
            f"`methods`. `python -m harness train {path}` trains it, and so does a method's `train:` in a run's config."
        )
    _read_recipes(raw, path)
    config: RunConfig = yaml_file.validated(RunConfig, raw, path)
    check_metrics(path, config.metrics)
    for index, name in enumerate(config.tables):
        find("tables", name, f"{path}, tables[{index}]")
    # Labels are looked at twice: as they are written, where a message can name the entry, and after seeds and
    # variants have become entries, whose labels are made.
    _check_labels(path, "methods", config.methods)
    methods = tuple(
        one
        for index, entry in enumerate(config.methods)
        for where in [f"{path}, methods[{index}]"]
        for seeded in entry.seeded(where)
        for one in _method(seeded, where).expanded()
    )
    _check_labels(path, "methods", methods)
    _check_checkpoints(path, methods)
    _check_without_clicks(path, config, methods)
    _check_labels(path, "datasets", config.datasets)
    _check_asked_on(path, config)
    _check_baseline(path, config.baseline, methods)
    checked = {
        "methods": methods,
        "datasets": _datasets(config.datasets, path),
        "clicks": checked_clicks(config.clicks, f"{path}, clicks"),
        "text": checked_text(config.text, f"{path}, text"),
    }
    return config.model_copy(update=checked)


def _read_recipes(raw: Mapping[str, Any], path: Path) -> None:
    """Put the recipes in place of their paths."""
    methods = raw.get("methods")
    for index, method in enumerate(methods if isinstance(methods, list) else []):
        train = method.get("train") if isinstance(method, dict) else None
        if isinstance(train, str) or (isinstance(train, dict) and "recipe" in train):
            where = f"{path}, methods[{index}].train"
            method["train"] = _recipe_named(train, raw.get("training"), where)


def _recipe_named(train: str | Mapping[str, Any], everywhere: Any, where: str) -> KnownRecipe:
    """The recipe at a path, with its own changes and those of all recipes of the run, which its note mentions."""
    named = {"recipe": train} if isinstance(train, str) else train
    changes = named.get("set") or {}
    if set(named) - {"recipe", "set"} or not isinstance(named["recipe"], str) or not isinstance(changes, dict):
        raise UserError(f"{where}: found {dict(named)}; wanted a path, or {{recipe: PATH, set: {{key.path: value}}}}.")
    further = everywhere if isinstance(everywhere, dict) else {}
    told = ", ".join(f"{key}: {value}" for key, value in further.items())
    remark = f"Changed: {told}." if told else ""
    try:
        return load_recipe(places.located(named["recipe"]), changes={**changes, **further}, remark=remark)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _method(entry: MethodEntry, where: str) -> MethodEntry:
    """The entry checked, its recipe identified, and the checkpoint that its training makes among its params."""
    variants = tuple(_asked(one, f"{where}.variants[{index}]") for index, one in enumerate(entry.variants))
    trained = _trained_on(entry.trained_on, f"{where}.trained_on")
    entry = _asked(entry, where).model_copy(update={"variants": variants, "trained_on": trained})
    if entry.train is None:
        return resolved(entry, "methods", where)
    known = isinstance(entry.train, KnownRecipe)  # It was checked as its file was read.
    train = identified(entry.train if known else recipe.checked(entry.train, f"{where}.train."))
    told = entry.model_copy(update={"train": train, "params": {"checkpoint": train.saved_as} | entry.params})
    found = resolved(told, "methods", where)
    _check_evaluated(found, train, f"{where}.params.checkpoint")
    return found


def _check_evaluated(entry: MethodEntry, train: KnownRecipe, where: str) -> None:
    """Refuse to evaluate another file than the one that is trained."""
    named = places.located(str(entry.params["checkpoint"]))
    if named.resolve() != train.output.resolve():
        raise UserError(
            f"{where}: found {entry.params['checkpoint']}, but `train` saves {train.saved_as}: another file than the "
            "trained one would be asked. Leave it out, or name it as the recipe's `checkpoint`."
        )


def _datasets(entries: Sequence[Plugin], path: Path) -> tuple[Plugin, ...]:
    return tuple(resolved(entry, "datasets", f"{path}, datasets[{index}]") for index, entry in enumerate(entries))


def _trained_on(trained: TrainedOn, where: str) -> TrainedOn:
    datasets = [resolved(entry, "datasets", f"{where}.datasets[{i}]") for i, entry in enumerate(trained.datasets)]
    if trained.images and not places.located(trained.images).is_file():
        raise UserError(f"{where}.images: no file {trained.images}; wanted one of image keys, one a line.")
    try:
        classes = class_splits.seen_names(trained.classes)
    except UserError as error:
        raise UserError(f"{where}.classes: {error}") from error
    return trained.model_copy(update={"datasets": tuple(datasets), "classes": classes})


def _asked(entry: A, where: str) -> A:
    """A method or a variant with its own text and clicks, if it has any, checked."""
    text = entry.text and checked_text(entry.text, f"{where}.text")
    clicks = entry.clicks and checked_clicks(entry.clicks, f"{where}.clicks")
    return entry.model_copy(update={"text": text, "clicks": clicks})


def checked_clicks(clicks: Clicks, where: str) -> Clicks:
    """Clicks with the strategy's options checked against its function; `where` begins the message.

    Raises:
        UserError: At the first mistake.
    """
    # It loads OpenCV, which a run's recorded config does without.
    from harness.clicks import clicks_a_round
    from harness.clicks.strategy import asks_for_pairs, draws_differ

    if not clicks.max_clicks:
        return _no_clicks(clicks, where)
    rule = find("clicks", clicks.strategy, f"{where}.strategy")
    options = parameters.arguments(rule, clicks.strategy, clicks.options, f"{where}.options")
    try:
        a_round = clicks_a_round(clicks.strategy, options)
    except UserError as error:
        raise UserError(f"{where}.options: {error}") from error
    # A protocol of 3 clicks with a rule that makes 2 a round would end in the middle of a round.
    if clicks.max_clicks % a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; {clicks.strategy} with these options makes {a_round} "
            f"clicks a round: wanted {a_round} or a multiple of it."
        )
    if asks_for_pairs(clicks.strategy) and clicks.max_clicks > a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; {clicks.strategy} makes the {a_round} that two objects "
            f"share, and later ones would be for one of them: wanted {a_round}."
        )
    if clicks.draws > 1 and (asks_for_pairs(clicks.strategy) or not draws_differ(clicks.strategy, options)):
        raise UserError(
            f"{where}.draws: found {clicks.draws}; {clicks.strategy} with these options makes the same clicks in every "
            "draw, and asking again would tell nothing: wanted 1, or a strategy that draws, such as paper/v1."
        )
    return clicks.model_copy(update={"options": options})


def _no_clicks(clicks: Clicks, where: str) -> Clicks:
    """A protocol without clicks: it has no strategy that could be another."""
    if clicks.draws > 1:
        raise UserError(f"{where}.draws: found {clicks.draws}; without clicks every draw is the same: wanted 1.")
    return Clicks(max_clicks=0)


def _check_without_clicks(path: Path, config: RunConfig, methods: Sequence[MethodEntry]) -> None:
    """Refuse to ask a method that needs a click with none, and any method with neither a click nor a text."""
    for method in methods:
        if config.clicks_of(method).max_clicks:
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


def check_metrics(path: Path | str, metrics: Sequence[str]) -> None:
    """Refuse metrics that are none, or whose columns have one name; `path` begins the message.

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


def _check_labels(path: Path, key: str, entries: Sequence[Plugin]) -> None:
    labels = [label(entry) for entry in entries]
    for index, name in enumerate(labels):
        if name in labels[:index]:
            raise UserError(
                f"{path}, {key}[{index}]: a second '{name}'. Give one of them a `label:` of its own: rows go by it."
            )


def _check_checkpoints(path: Path, methods: Sequence[MethodEntry]) -> None:
    """Refuse two recipes that train other weights to one file, where the first's would pass for the second's."""
    first: dict[Path, tuple[MethodEntry, KnownRecipe]] = {}
    for method in methods:
        if method.train is None:
            continue
        train = identified(method.train)
        other, there = first.setdefault(train.output.resolve(), (method, train))
        if there.key != train.key:
            raise UserError(
                f"{path}, methods: '{label(other)}' and '{label(method)}' are trained by different recipes to one "
                f"checkpoint, {train.saved_as}, and would pass for each other. Give one of them another `checkpoint`, "
                "or leave it out: each then has a file of its own."
            )


def _check_baseline(path: Path, named: Sequence[str], methods: Sequence[MethodEntry]) -> None:
    known = [label(method) for method in methods]
    for name in named:
        if name not in known:
            raise UserError(
                f"{path}, baseline: no method labelled '{name}' in this run. {messages.suggest(name, known)}"
            )


def _check_asked_on(path: Path, config: RunConfig) -> None:
    known = [label(entry) for entry in config.datasets]
    for index, method in enumerate(config.methods):
        for name in method.datasets:
            if name not in known:
                where = f"{path}, methods[{index}].datasets"
                raise UserError(f"{where}: no data set labelled '{name}' in this run. {messages.suggest(name, known)}")
