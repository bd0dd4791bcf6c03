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
from typing import Annotated, Any, Literal, TypeVar

import pydantic
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from harness import registry
from harness.clicks import STRATEGIES, clicks_a_round
from harness.metrics import METRICS
from harness.structures import UserError
from harness.texts import RULES, WORDS, Words, read_words


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


P = TypeVar("P", bound=Plugin)
A = TypeVar("A", "MethodEntry", "Variant")


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
        loaders: Threads that prepare the next steps' examples; 0 prepares them in turn with the training.
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
            (entry.name, registry.portable(kind, *named), registry.hashes(kind, *named))
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
        return registry.located(self.saved_as)


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


class Text(Model):
    """What a prompt's words are; a rule's name alone stands for it with the defaults.

    Attributes:
        rule: One of harness/texts.py: "given", "class_name", "none", "synonym", "wrong_present", ...
        template: The sentence that the words are put in, at its "{}".
        words: A file like harness/words.csv, with how names are said, synonyms and hypernyms; "" takes names as
            the data set prints them.
    """

    rule: str = "given"
    template: str = "{}"
    words: str = str(WORDS.relative_to(registry.ROOT))


def _as_text(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


Wording = Annotated[Text, BeforeValidator(_as_text)]


class Variant(Model):
    """A method asked in another way: what it changes of the run's `text` and `clicks`."""

    label: Annotated[str, Field(min_length=1)]
    text: Wording | None = None
    clicks: Clicks | None = None


class TrainedOn(Model):
    """What a method's weights have seen; a name alone stands for it.

    Attributes:
        name: Of the training data, for the tables.
        datasets: Data sets whose images it was trained on: those among a run's images are counted and flagged.
        images: A file of such images' keys ("coco/139"), one a line.
        classes: The classes that it was trained on, or the name of a split in datasets/class_splits: what is seen
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
        train: A recipe, or the path of one: trained first if its checkpoint is absent.
        trained_on: What its weights were trained on; known of those that `train` makes.
        uses_text: Whether it reads the text, for the tables' text column.
        gpus: GPUs of one of its workers, in place of the run's; a share, too.
        cpus: Cores of one of its workers, in place of the run's.
        resources: What else one of its workers asks of the cluster, by Ray's names: {"A100": 1}.
        count: Workers of it at once, at most.
        text: In place of the run's.
        clicks: In place of the run's.
        variants: Ways to ask it; each becomes an entry of its own, labelled "<label>, <the variant's label>".
        variant_of: The label of the entry that it is a variant of.
    """

    train: Recipe | None = None
    trained_on: Annotated[TrainedOn, BeforeValidator(_as_trained)] = TrainedOn()
    uses_text: bool | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    count: Annotated[int, Field(gt=0)] | None = None
    text: Wording | None = None
    clicks: Clicks | None = None
    variants: tuple[Variant, ...] = ()
    variant_of: str = ""

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
        timeout_s: How long one batch of images may take; a worker that takes longer is ended, as one that died.
    """

    executor: Literal["ray", "local"] = "ray"
    count: Annotated[int, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] = 1
    samples_per_shard: Annotated[int, Field(gt=0)] | None = None
    images_per_batch: Annotated[int, Field(gt=0)] = 1
    timeout_s: Annotated[float, Field(gt=0)] = 600


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise PydanticCustomError("folder_name", "letters, digits, _, - and ., for it names a folder; no - or . first")
    return name


class RunConfig(Model):
    """One comparison: every method on every instance of every data set, with the same clicks.

    Attributes:
        run: Everything goes to runs/<run>/.
        text: What a prompt's words are.
        metrics: Of each mask, from harness/metrics.py.
        tables: Printed at the end and written to the run's report.
        max_failures: The share of instances that may fail before the run stops.
        limit: At most this many samples a data set; every table then says so.
    """

    run: Annotated[str, AfterValidator(_folder_name)]
    seed: Annotated[int, Field(ge=0)] = 0
    datasets: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    methods: Annotated[tuple[MethodEntry, ...], Field(min_length=1)]
    clicks: Clicks = Clicks()
    text: Wording = Text()
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
    _read_recipes(raw, path)
    config: RunConfig = _validated(RunConfig, raw, path)
    _check_metrics(path, config.metrics)
    methods = tuple(
        one
        for index, entry in enumerate(config.methods)
        for one in _method(entry, f"{path}, methods[{index}]").expanded()
    )
    _check_labels(path, "methods", methods)
    _check_labels(path, "datasets", config.datasets)
    checked = {
        "methods": methods,
        "datasets": _datasets(config.datasets, path),
        "clicks": _clicks(config.clicks, f"{path}, clicks"),
        "text": _text(config.text, f"{path}, text"),
    }
    return config.model_copy(update=checked)


def load_recipe(path: Path) -> Recipe:
    """Read and check a training recipe.

    Raises:
        UserError: At the first mistake.
    """
    return _recipe(_validated(Recipe, _read(path), path), f"{path}, ")


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the JSON's SHA-256; key order does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def words_of(text: Text) -> Words:
    """What its words file says.

    Raises:
        UserError: It is no such file.
    """
    return read_words(registry.located(text.words)) if text.words else Words({})


def label(entry: Plugin) -> str:
    """How tables name a plugin."""
    return entry.label or entry.name


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: of two, plain YAML silently drops the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, key in enumerate(keys):
            if key.value in (earlier.value for earlier in keys[:index]):
                raise yaml.constructor.ConstructorError(None, None, f"found '{key.value}' twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = _yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError as error:
        near = sorted(str(other) for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file. {registry.suggest(str(path), near)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Wanted a YAML file.") from error
    if not isinstance(raw, dict):
        found = "an empty file" if raw is None else f"a {type(raw).__name__} at the top"
        raise UserError(f"{path}: found {found}; wanted keys such as `run:` and `methods:`.")
    return raw


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", line', "at line")
        raise UserError(f"{where}: not valid YAML. {reason}") from error


def _read_recipes(raw: Mapping[str, Any], path: Path) -> None:
    """Put the recipes in place of their paths."""
    methods = raw.get("methods")
    for index, method in enumerate(methods if isinstance(methods, list) else []):
        if isinstance(method, dict) and isinstance(method.get("train"), str):
            try:
                method["train"] = load_recipe(registry.located(method["train"])).model_dump()
            except UserError as error:
                raise UserError(f"{path}, methods[{index}].train: {error}") from error


def _method(entry: MethodEntry, where: str) -> MethodEntry:
    """Checked, and told the checkpoint that its training makes."""
    variants = tuple(_asked(one, f"{where}.variants[{index}]") for index, one in enumerate(entry.variants))
    trained = _trained_on(entry.trained_on, f"{where}.trained_on")
    entry = _asked(entry, where).model_copy(update={"variants": variants, "trained_on": trained})
    if entry.train is None:
        return _resolved(entry, "methods", where)
    recipe = _recipe(entry.train, f"{where}.train.")
    told = entry.model_copy(update={"train": recipe, "params": {"checkpoint": recipe.saved_as} | entry.params})
    return _resolved(told, "methods", where)


def _recipe(recipe: Recipe, where: str) -> Recipe:
    learner = _resolved(recipe.learner, "learners", f"{where}learner")
    datasets = [_resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(recipe.datasets)]
    validation = recipe.validation and _validation(recipe.validation, f"{where}validation.")
    return recipe.model_copy(update={"learner": learner, "datasets": tuple(datasets), "validation": validation})


def _validation(validation: Validation, where: str) -> Validation:
    datasets = [_resolved(entry, "datasets", f"{where}datasets[{i}]") for i, entry in enumerate(validation.datasets)]
    return validation.model_copy(update={"datasets": tuple(datasets)})


def _datasets(entries: Sequence[Plugin], path: Path) -> tuple[Plugin, ...]:
    return tuple(_resolved(entry, "datasets", f"{path}, datasets[{index}]") for index, entry in enumerate(entries))


def _trained_on(trained: TrainedOn, where: str) -> TrainedOn:
    datasets = [_resolved(entry, "datasets", f"{where}.datasets[{i}]") for i, entry in enumerate(trained.datasets)]
    if trained.images and not registry.located(trained.images).is_file():
        raise UserError(f"{where}.images: no file {trained.images}; wanted one of image keys, one a line.")
    try:
        classes = registry.class_names(trained.classes)
    except UserError as error:
        raise UserError(f"{where}.classes: {error}") from error
    return trained.model_copy(update={"datasets": tuple(datasets), "classes": classes})


def _asked(entry: A, where: str) -> A:
    """A method or a variant with its own text and clicks, if it has any, checked."""
    text = entry.text and _text(entry.text, f"{where}.text")
    clicks = entry.clicks and _clicks(entry.clicks, f"{where}.clicks")
    return entry.model_copy(update={"text": text, "clicks": clicks})


def _clicks(clicks: Clicks, where: str) -> Clicks:
    """With the strategy's options checked against its function."""
    if clicks.strategy not in STRATEGIES:
        known = registry.suggest(clicks.strategy, STRATEGIES)
        raise UserError(f"{where}.strategy: no strategy '{clicks.strategy}'. {known}")
    strategy = STRATEGIES[clicks.strategy]
    options = registry.arguments(strategy, clicks.strategy, clicks.options, f"{where}.options")
    a_round = clicks_a_round(clicks.strategy, options)
    if clicks.max_clicks % a_round:
        raise UserError(
            f"{where}.max_clicks: found {clicks.max_clicks}; {clicks.strategy} with these options makes {a_round} "
            f"clicks a round: wanted {a_round} or a multiple of it."
        )
    return clicks.model_copy(update={"options": options})


def _text(text: Text, where: str) -> Text:
    """With its rule, template and words file checked."""
    if text.rule not in RULES:
        raise UserError(f"{where}: no rule '{text.rule}'. {registry.suggest(text.rule, RULES)}")
    if text.template.count("{}") != 1:
        raise UserError(f"{where}.template: found {text.template!r}; wanted one {{}}, for the words.")
    try:
        words_of(text)
    except UserError as error:
        raise UserError(f"{where}.words: {error}") from error
    path = registry.located(text.words)
    inside = not text.words or path.is_relative_to(registry.ROOT)  # then workers have a copy
    return text if inside else text.model_copy(update={"words": str(path)})


def _resolved(entry: P, kind: str, where: str) -> P:
    """Name and params checked against the class; paths that only this machine can follow are absolute."""
    return entry.model_copy(update={"params": registry.resolve(kind, entry.name, entry.params, f"{where}.name")})


def _override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    *parents, last = re.findall(r"[^.\[\]]+", key) or [""]
    if not separator or not last:
        raise UserError(f"--set {override}: wanted key=value, such as --set workers.count=2.")
    target: Any = raw
    for part in parents:
        place = _place(target, part, override)
        if isinstance(target, dict) and target.get(place) is None:
            target[place] = {}
        target = target[place]
    target[_place(target, last, override)] = _yaml(value, f"--set {override}")


def _place(target: Any, part: str, override: str) -> Any:
    """A part of an override's key as the mapping or the list there takes it."""
    if isinstance(target, dict):
        return part
    if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
        return int(part)
    found = f"a list of {len(target)}, counted from 0" if isinstance(target, list) else repr(target)
    raise UserError(f"--set {override}: no '{part}' in {found}.")


def _validated(model: type[Any], raw: Mapping[str, Any], path: Path) -> Any:
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        if first["type"] == "extra_forbidden":
            known = registry.suggest(str(first["loc"][-1]), _fields_at(model, first["loc"][:-1]))
            raise UserError(f"{path}, {key}: no such key. {known}") from error
        raise UserError(f"{path}, {key}: {registry.complaint([first])}") from error


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


def _check_metrics(path: Path, metrics: Sequence[str]) -> None:
    for index, name in enumerate(metrics):
        if name not in METRICS:
            raise UserError(f"{path}, metrics[{index}]: no metric '{name}'. {registry.suggest(name, METRICS)}")


def _check_labels(path: Path, key: str, entries: Sequence[Plugin]) -> None:
    labels = [label(entry) for entry in entries]
    for index, name in enumerate(labels):
        if name in labels[:index]:
            raise UserError(
                f"{path}, {key}[{index}]: a second '{name}'. Give one of them a `label:` of its own: rows go by it."
            )
