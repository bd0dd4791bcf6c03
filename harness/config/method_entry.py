"""A method's entry in a run's config: its parameters, its recipe, its seeds and its variants.

One entry of the file may become several of the run, first by its seeds and then by its variants:

    {label: ours, seeds: [0, 1], variants: [{label: none}, {label: synonym}]}
    -> "ours, seed 0, none"   "ours, seed 0, synonym"   "ours, seed 1, none"   "ours, seed 1, synonym"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field

from harness import places
from harness.config import recipe
from harness.config.click_protocol import Clicks, checked_clicks
from harness.config.parts import Gpus, Model, OtherResources, Plugin, label, resolved
from harness.config.recipe import KnownRecipe, Recipe, identified, load_recipe
from harness.config.wording import TextOrRule, checked_text
from harness.plugins import class_splits
from harness.structures import UserError

A = TypeVar("A", "MethodEntry", "Variant")


class Variant(Model):
    """A method asked in another way: changes of the run's `text` and `clicks`.

    Attributes:
        label: The part that tables add to the method's label.
        text: The text rule, in place of the method's or the run's.
        clicks: The clicks, in place of the method's or the run's.
    """

    label: Annotated[str, Field(min_length=1)]
    text: TextOrRule | None = None
    clicks: Clicks | None = None


class TrainedOn(Model):
    """The training data of a method's weights; a name alone may be written.

    Attributes:
        name: The name of the training data in tables.
        datasets: Data sets whose images it was trained on: those among a run's images are counted and flagged.
        images: A file with the keys of training images ("coco/139"), one on each line.
        classes: The classes that it was trained on, or the name of a split in harness/plugins/splits. They count as
            seen on a data set that has no split of its own.
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
        train: A recipe, the path of one, or `{recipe: PATH, set: {key.path: value}}`. The method is trained first if
            its checkpoint is absent.
        seeds: Seeds of its recipe; it is trained and asked once with each. Each seed becomes an entry of its own,
            labelled "<label>, seed <n>".
        seed_of: The label of the entry that it is one seed of.
        trained_on: The training data of its weights; found out for weights that `train` makes.
        saliency_differs: "refuse" ends a run that asks weights with another saliency than they were trained with;
            "footnote" runs it, and every table says so.
        uses_text: Whether it reads the text, for the tables' text column.
        gpus: GPUs of one of its workers, in place of the run's: a share of one, or whole ones.
        cpus: Cores of one of its workers, in place of the run's.
        resources: Other resources of the cluster that one of its workers needs, by Ray's names: {"A100": 1}.
        count: The most workers of it at once.
        text: The text rule, in place of the run's.
        clicks: The clicks, in place of the run's.
        datasets: The labels of the run's data sets that it is asked on; all by default.
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
    gpus: Gpus | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    resources: OtherResources = Field(default_factory=dict)
    count: Annotated[int, Field(gt=0)] | None = None
    text: TextOrRule | None = None
    clicks: Clicks | None = None
    datasets: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    variant_of: str = ""

    def seeded(self, where: str) -> list[MethodEntry]:
        """One entry for each seed; the entry itself if it has none. The recipe's own seed keeps its checkpoint.

        Raises:
            UserError: There is no recipe that a seed could change, or one checkpoint for all.
        """
        if not self.seeds:
            return [self]
        if self.train is None or "checkpoint" in self.params:
            found = "no `train`" if self.train is None else "a checkpoint under `params`"
            raise UserError(
                f"{where}.seeds: found {found}; wanted `train:` with a recipe, and no `checkpoint`: each seed trains "
                "one of its own."
            )
        return [self._with_seed(self.train, seed) for seed in self.seeds]

    def _with_seed(self, train: Recipe, seed: int) -> MethodEntry:
        name = label(self)
        # Another seed trains other weights, so that the recipe's own checkpoint would be overwritten; without a name of
        # its own it goes by its hash.
        own = train if seed == train.seed else train.model_copy(update={"seed": seed, "checkpoint": ""})
        return self.model_copy(update={"label": f"{name}, seed {seed}", "train": own, "seeds": (), "seed_of": name})

    def expanded(self) -> list[MethodEntry]:
        """One entry for each variant; the entry itself if it has none."""
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


def read_recipes(raw: Mapping[str, Any], path: Path) -> None:
    """Replace the paths of recipes by the recipes, and make the run's changes (`training`) of all of them."""
    # Before validation, so that the model of a run has a single form. Wrong types are left for the validation, whose
    # message names the key.
    methods, everywhere = raw.get("methods"), raw.get("training")
    further = everywhere if isinstance(everywhere, dict) else {}
    for index, method in enumerate(methods if isinstance(methods, list) else []):
        train = method.get("train") if isinstance(method, dict) else None
        where = f"{path}, methods[{index}].train"
        if isinstance(train, str) or (isinstance(train, dict) and "recipe" in train):
            method["train"] = _recipe_named(train, further, where)
        elif isinstance(train, dict) and further:
            method["train"] = recipe.changed_recipe(train, further, where, _remark(further))


def _recipe_named(train: str | Mapping[str, Any], further: Mapping[str, Any], where: str) -> KnownRecipe:
    """The recipe at a path, with its own changes and those of all recipes of the run, which its note mentions."""
    named = {"recipe": train} if isinstance(train, str) else train
    changes = named.get("set") or {}
    if set(named) - {"recipe", "set"} or not isinstance(named["recipe"], str) or not isinstance(changes, dict):
        raise UserError(f"{where}: found {dict(named)}; wanted a path, or {{recipe: PATH, set: {{key.path: value}}}}.")
    try:
        return load_recipe(places.located(named["recipe"]), changes={**changes, **further}, remark=_remark(further))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _remark(further: Mapping[str, Any]) -> str:
    told = ", ".join(f"{key}: {value}" for key, value in further.items())
    return f"Changed: {told}." if told else ""


def checked_entries(entry: MethodEntry, where: str) -> list[MethodEntry]:
    """The checked entries that one entry of a config expands to: one for each of its seeds and variants.

    Raises:
        UserError: At the first mistake; `where` begins the message.
    """
    return [one for seeded in entry.seeded(where) for one in _checked(seeded, where).expanded()]


def _checked(entry: MethodEntry, where: str) -> MethodEntry:
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
    """Refuse an entry that trains one file and evaluates another."""
    named = places.located(str(entry.params["checkpoint"]))
    if named.resolve() != train.output.resolve():
        raise UserError(
            f"{where}: found {entry.params['checkpoint']}; wanted {train.saved_as}, where `train` saves the weights. "
            "Leave it out, or write it as the recipe's `checkpoint`."
        )


def _trained_on(trained: TrainedOn, where: str) -> TrainedOn:
    datasets = [resolved(entry, "datasets", f"{where}.datasets[{i}]") for i, entry in enumerate(trained.datasets)]
    if trained.images and not places.located(trained.images).is_file():
        raise UserError(f"{where}.images: no file {trained.images}; wanted a file of image keys, one per line.")
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
