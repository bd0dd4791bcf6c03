"""Finds the plugins that `check` tests: one by its name, or the methods and data sets of a config."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import messages, places
from harness.checking.asking import Asked, on_device
from harness.checking.datasets import check_dataset
from harness.checking.methods import check_method
from harness.checking.probes import Outcome
from harness.checking.questions import Questions, of_samples, of_scenes
from harness.config.parts import label as label_of
from harness.config.run_config import RunConfig, load_run
from harness.evaluation import chance
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset, Method
from harness.plugins.registry import find, in_this_folder, names
from harness.structures import UserError
from harness.trying.methods import chosen, load_methods

KINDS = ("methods", "datasets")
"""The kinds of plugins that have probes."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A plugin to be checked.

    Attributes:
        kind: "methods" or "datasets".
        name: The plugin's name, as a config writes it.
        label: The config's label; without a config, the name.
        params: The constructor's arguments, as `parameters.resolve` returns them.
        config: The config that names it; None for a plugin by itself.
    """

    kind: str
    name: str
    label: str
    params: Mapping[str, Any] = field(default_factory=dict)
    config: RunConfig | None = None

    def outcomes(self, words: Sequence[str] = (), limit: int = 20) -> Iterator[Outcome]:
        """Build the plugin, and run the probes of its kind.

        Args:
            words: The words of a method's prompts; by default the objects' class names.
            limit: The most images of a data set that are looked at.

        Raises:
            UserError: It cannot be built.
        """
        if self.kind == "datasets":
            return check_dataset(self.name, self.params, limit)
        # A config's method is loaded as `predict` and `try` load it, with their checks: are weights there and trained.
        # So is the round of clicks with which the config asks it: a network may need two positive and one negative.
        loaded = load_methods(self.config, [self.label])[0] if self.config else None
        method = loaded.method if loaded else self._built(None)
        assert method is not None
        questions = self._questions(words, loaded.signs if loaded else (True,))
        return check_method(Asked(method, questions, self._built, _gpu()))

    def _built(self, device: str | None) -> Method | None:
        """Build the method once more. Given a device, build it there, or return None if it takes no device."""
        # With the seed that a worker builds it with: layers that start from random numbers get equal ones each time.
        params = on_device(self.kind, self.name, self.params, device) if device else self.params
        chance.seed("build", self.name)
        return None if params is None else parameters.build(self.kind, self.name, params)

    def _questions(self, words: Sequence[str], signs: tuple[bool, ...]) -> Questions:
        """Questions about the config's first data set, or about embedded scenes without a config."""
        if self.config is None:
            return of_scenes(words)
        first = self.config.datasets[0]
        dataset: Dataset = parameters.build("datasets", first.name, first.params)
        return of_samples(map(dataset.load, dataset.sample_ids()[:20]), dataset.classes, words, signs)


def named(
    what: str, params: Mapping[str, Any] = {}, methods: Sequence[str] = (), datasets: Sequence[str] = ()
) -> list[Subject]:
    """Find the plugins that a name or a config leads to.

    Args:
        what: `module:Class`, a registered name, or a config: a YAML file, or the name of one that comes with the
            harness.
        params: The constructor's arguments; only for a plugin by its name.
        methods: Labels of the config's methods to check. If `datasets` is empty as well, all of both are checked.
        datasets: Labels of the config's data sets to check.

    Raises:
        UserError: Nothing has that name, two kinds of plugins have it, or a label is unknown.
    """
    if not (kind := _kind(what)):
        if params:
            raise UserError(f"check: --params goes with a plugin's name; {what} is a config, which has its own.")
        return _of_config(load_run(places.config(Path(what))), methods, datasets)
    if methods or datasets:
        raise UserError(f"check: --method and --dataset go with a config; {what} is a plugin.")
    return [Subject(kind, what, what, parameters.resolve(kind, what, params))]


def _kind(what: str) -> str:
    """The kind of the plugin with this name; "" if the name is a config's."""
    # From the plainest sign to the least plain: an ending, a colon, a registered name. A plugin comes before a config
    # of the same name, since a config can always be named by its file.
    if Path(what).suffix in (".yaml", ".yml"):
        return ""
    if ":" in what:
        return _kind_of_class(what)
    having = [kind for kind in KINDS if what in names(kind)]
    if len(having) > 1:
        raise UserError(
            f"check: '{what}' is the name of a method and of a data set. Write the one you mean as module:Class, or "
            "name a config."
        )
    if having or what in places.config_names():
        return having[0] if having else ""
    known = [*places.config_names(), *(name for kind in KINDS for name in names(kind))]
    raise UserError(
        f"check: no method, data set or config '{what}'; wanted one, or module:Class."
        f"{in_this_folder(what) or f' {messages.nearest(what, known)}'}".rstrip()
    )


def _kind_of_class(what: str) -> str:
    """Whether `module:Class` is a method or a data set."""
    try:
        find("methods", what, "check")
    except UserError as not_a_method:
        try:
            find("datasets", what, "check")
        except UserError:
            # If it is neither, or cannot be imported, both messages are alike; a method is the likelier intention.
            raise not_a_method from None
        return "datasets"
    return "methods"


def _of_config(config: RunConfig, methods: Sequence[str], datasets: Sequence[str]) -> list[Subject]:
    whole = not methods and not datasets
    known = {label_of(entry): entry for entry in config.datasets}
    for name in datasets:
        if name not in known:
            raise UserError(f"no data set labelled '{name}' in this config. {messages.suggest(name, known)}")
    data = [known[name] for name in (known if whole else datasets)]
    asked = chosen(config, methods) if methods or whole else []
    return [
        *(Subject("datasets", one.name, label_of(one), one.params, config) for one in data),
        *(Subject("methods", one.name, label_of(one), one.params, config) for one in asked),
    ]


def _gpu() -> str | None:
    """The name of this machine's GPU; None if there is none, or if the plugin did not import torch."""
    # Importing torch here would take seconds for a method that only uses NumPy.
    torch = sys.modules.get("torch")
    return "cuda" if torch and torch.cuda.is_available() else None
