"""Checks before a run begins that its checkpoints are there, or that a training makes the missing ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.clicks.strategy import signs_of_a_round
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.recipe import KnownRecipe, identified
from harness.config.run_config import RunConfig
from harness.messages import nearest
from harness.plugins import files
from harness.plugins.parameters import with_defaults
from harness.plugins.registry import find
from harness.plugins.vocabularies import names_in
from harness.structures import UserError
from harness.weights.catalogue import hint as fetched_by

_log = logging.getLogger(__name__)


def untrained(config: RunConfig) -> list[MethodEntry]:
    """The methods that must be trained first. Warns of a checkpoint that exists but was made by another recipe."""
    # A warning and no error: the recipe may differ in something that the user knows to be harmless, and training again
    # may take days. The rows record the checkpoint's hash in any case.
    trained = [(method, identified(method.train)) for method in config.methods if method.train is not None]
    there = {recipe.output: recipe for _, recipe in trained if recipe.output.is_file()}
    for path, recipe in there.items():
        other = made_by(recipe)
        if other and other != recipe.key:
            again = "python -m harness train RECIPE --force"
            _log.warning(
                "%s was made by another recipe (%s, now %s). To train it again: %s", path, other, recipe.key, again
            )
    return [method for method, recipe in trained if recipe.output not in there]


def made_by(recipe: KnownRecipe) -> str:
    """The key of the recipe that made the checkpoint; "" if the header has none, or if it cannot be compared.

    Keys are made from files' hashes, so without these files the recipe's key of today differs from the one in the
    checkpoint. A checkpoint without the recipe's text is so old that keys were made in another way.
    """
    plugins = [("learners", recipe.learner), *(("datasets", dataset) for dataset in recipe.datasets)]
    if not all(path.exists() for kind, one in plugins for path in files.paths(kind, one.name, one.params).values()):
        return ""
    about = files.metadata(recipe.output)
    return about.get("recipe", "") if "recipe_yaml" in about else ""


def training_data(due: Sequence[MethodEntry]) -> list[Plugin]:
    """The data sets that trainings learn from and are validated on, each once."""
    recipes = [method.train for method in due if method.train is not None]
    used = [one for recipe in recipes for part in (recipe, recipe.validation) if part for one in part.datasets]
    return list({str(entry): entry for entry in used}.values())


def check_weights(methods: Iterable[MethodEntry], due: Sequence[MethodEntry] = ()) -> None:
    """Check that the checkpoints and lists of names of all methods exist, and the files that trainings start from.

    Raises:
        UserError: Some are missing; the message names all of them, so that they can be fetched at once. Or a file is
            no list of names.
    """
    named = [(method, key, path) for method in methods for key, path in starts_from(method, method in due).items()]
    absent = [
        f"method '{label(method)}': no {'folder' if key.endswith(files.SNAPSHOT) else 'file'} at {key}={path}. "
        f"{_near(path)}{fetched_by(path) or 'Download or train it (README, Training)'}, or correct `{key}` in the "
        "config."
        for method, key, path in named
        if (key.endswith(("checkpoint", "encoder_weights")) and not path.is_file())
        or (key.endswith(files.SNAPSHOT) and not path.is_dir())
    ]
    if absent:
        raise UserError("\n".join(dict.fromkeys(absent)))
    for method, key, path in named:
        if key.endswith("vocabulary"):
            _check_names(method, path)


def check_clicks_taken(config: RunConfig, due: Sequence[MethodEntry] = ()) -> None:
    """Refuse clicks for which a method's weights were not trained, before their first rows fail one by one.

    Args:
        config: The run's config.
        due: Methods that are not trained yet, whose recipes tell.

    Raises:
        UserError: There are such methods; the message names all of them.
    """
    wrong = []
    for method in config.methods:
        clicks = config.clicks_of(method)
        taken = _clicks_taken(method, method in due)
        if taken is None or not clicks.max_clicks:
            continue
        signs = signs_of_a_round(clicks.strategy, clicks.options)
        if (signs.count(True), signs.count(False)) != taken or clicks.max_clicks != len(signs):
            wrong.append(
                f"method '{label(method)}': its weights are trained for {_counted(*taken)}, in one prompt; found "
                f"{_counted(signs.count(True), signs.count(False))} a round, {clicks.max_clicks} in all, by "
                f"{clicks.strategy}. Give it `clicks:` of its own, or weights that are trained for these clicks."
            )
    if wrong:
        raise UserError("\n".join(wrong))


def _clicks_taken(method: MethodEntry, due: bool) -> tuple[int, int] | None:
    """The numbers that a method's weights take or, if it is not trained yet, those that its learner will save."""
    kind, plugin = ("learners", method.train.learner) if due and method.train else ("methods", method)
    cls = find(kind, plugin.name)
    found: tuple[int, int] | None = cls.clicks_taken(with_defaults(cls, plugin.params))
    return found


def _counted(positive: int, negative: int) -> str:
    return f"{positive} positive and {negative} negative clicks"


def _near(path: Path) -> str:
    """`Did you mean 'a.pth'? `, from the files in the missing one's folder; "" if none has a similar name."""
    beside = (one.name for one in path.parent.iterdir()) if path.parent.is_dir() else ()
    meant = nearest(path.name, beside)
    return f"{meant} " if meant else ""


def _check_names(method: MethodEntry, path: Path) -> None:
    """Check a file of names. A misspelt choice, such as "Dataset" for "dataset", counts as a path and is found here."""
    try:
        names_in(path)
    except UserError as error:
        raise UserError(f"method '{label(method)}': {error}") from error


def starts_from(method: MethodEntry, due: bool) -> dict[str, Path]:
    """The files that a method reads or, if it must be trained first, that its training and then it itself read."""
    found = files.paths("methods", method.name, method.params)
    if not due or method.train is None:
        return found
    learner = files.paths("learners", method.train.learner.name, method.train.learner.params)
    return {key: path for key, path in found.items() if key != "checkpoint"} | learner
