"""The methods of a config, loaded with their weights into this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import messages, places
from harness.clicks.strategy import signs_of_a_round
from harness.config.method_entry import MethodEntry
from harness.config.parts import label as label_of
from harness.config.run_config import RunConfig, load_run
from harness.evaluation import chance
from harness.jobs.answers import check_answers
from harness.jobs.jobs import as_loaded
from harness.jobs.requirements import check_weights, untrained
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Method
from harness.structures import UserError


@dataclass(frozen=True, eq=False)
class Loaded:
    """A method that can be asked.

    Attributes:
        label: The config's label. Variants of one method are one entry, under the label that they share.
        method: The method with its weights.
        reads: Whether it gets the words; False if the config asks it with `text: none`.
        plugin: The plugin's name.
        signs: Whether each click in a round of the config's rule is positive. A network with a channel for each of
            three clicks gets all three at once.
    """

    label: str
    method: Method
    reads: bool
    plugin: str
    signs: tuple[bool, ...] = (True,)


def load_methods(config: RunConfig, labels: Sequence[str] = (), clicked: bool = True) -> list[Loaded]:
    """Load a config's methods. Entries with the same plugin and parameters share one object.

    Args:
        config: A checked config. Its data sets are not opened.
        labels: The labels of the methods to load, in this order; by default all.
        clicked: Whether they will get a click.

    Raises:
        UserError: A label is unknown, weights are missing or not trained yet, they were trained with another saliency
            than the config has now, or a method needs a click and `clicked` is False.
    """
    wanted = chosen(config, labels)
    if not clicked:
        _check_text_alone(wanted)
    _check_trained(config, wanted)
    check_weights(wanted)
    check_answers(wanted)
    # Entries that differ only in how they are asked, such as in their text rule, would load the same weights twice.
    # Parameters may hold lists, so they are no keys; their text is.
    built: dict[str, Method] = {}
    for entry in wanted:
        key = repr((entry.name, entry.params))
        if key not in built:
            chance.seed("build", entry.name)
            built[key] = parameters.build("methods", entry.name, entry.params)
    return [
        Loaded(
            label_of(entry),
            built[repr((entry.name, entry.params))],
            _reads(config, entry),
            entry.name,
            _signs(config, entry),
        )
        for entry in wanted
    ]


def for_workers(config: RunConfig, labels: Sequence[str] = ()) -> RunConfig:
    """The config from which another process loads methods that are trained: without their recipes.

    A recipe's checkpoint counts from the checkout, of which workers have a copy without weights/; the path among a
    method's parameters is absolute.

    Raises:
        UserError: A label is unknown, or its method is not trained yet.
    """
    _check_trained(config, chosen(config, labels))
    methods = tuple(entry.model_copy(update={"train": None}) for entry in config.methods)
    return config.model_copy(update={"methods": methods})


def method(config: str | Path, label: str | None = None) -> Method:
    """Load one method of a config with its weights, for `harness.predict` or `harness.evaluate`.

        ours = harness.method("quickstart", "Text+Click")

    Args:
        config: A YAML file, or the name of one that comes with the harness.
        label: The config's label; may be left out if there is only one method.

    Raises:
        UserError: As in `load_methods`, or the config has several methods and no label is given.
    """
    loaded = load_run(places.config(Path(config)))
    if label is None and len(known := [label_of(one) for one in entries(loaded)]) > 1:
        raise UserError(
            f"{config} has {len(known)} methods: {', '.join(known)}. Say which: harness.method(..., label)."
        )
    return load_methods(loaded, () if label is None else (label,))[0].method


def check_built(given: Any, where: str) -> None:
    """Refuse a value that is not a built method, such as its class or its name."""
    if isinstance(given, type):
        raise UserError(f"{where}: found the class {given.__name__}; wanted a built method: {given.__name__}(...).")
    if not isinstance(given, Method):
        raise UserError(
            f"{where}: found {type(given).__name__} {given!r}; wanted a method, from harness.method(config, label) "
            "or one that you built."
        )


def chosen(config: RunConfig, labels: Sequence[str] = ()) -> list[MethodEntry]:
    """A config's entries with these labels, in the labels' order; by default all.

    Raises:
        UserError: A label is unknown.
    """
    known = {label_of(entry): entry for entry in entries(config)}
    for name in labels:
        if name not in known:
            raise UserError(f"no method labelled '{name}' in this config. {messages.suggest(name, known)}")
    return [known[name] for name in labels or known]


def entries(config: RunConfig) -> Iterator[MethodEntry]:
    """The config's entries. Variants, which ask one method in several ways, are one entry under their shared label."""
    seen: set[str] = set()
    for entry in config.methods:
        one = as_loaded(entry) if entry.variant_of else entry
        if label_of(one) not in seen:
            seen.add(label_of(one))
            yield one


def _reads(config: RunConfig, entry: MethodEntry) -> bool:
    return config.text_of(entry).rule != "none"


def _signs(config: RunConfig, entry: MethodEntry) -> tuple[bool, ...]:
    """The signs of a round's clicks; one positive click where variants of one method differ, for they are one here."""
    asked = [one for one in config.methods if one.variant_of == label_of(entry)] or [entry]
    found = {signs_of_a_round(one.strategy, one.options) for one in map(config.clicks_of, asked) if one.max_clicks}
    return found.pop() if len(found) == 1 else (True,)


def _check_text_alone(wanted: Sequence[MethodEntry]) -> None:
    needing = [label_of(entry) for entry in wanted if registry.find("methods", entry.name).needs_click]
    if needing:
        named = ", ".join(f"'{name}'" for name in needing)
        others = [f"--method '{label_of(entry)}'" for entry in wanted if label_of(entry) not in needing]
        instead = f", or ask the others: {' '.join(others)}" if others else ""
        raise UserError(f"found no click; wanted one for {named}: give --click X,Y{instead}.")


def _check_trained(config: RunConfig, wanted: Sequence[MethodEntry]) -> None:
    due = {label_of(entry): entry for entry in untrained(config.model_copy(update={"methods": tuple(wanted)}))}
    if due:
        named = ", ".join(f"'{name}'" for name in due)
        raise UserError(
            f"{named}: not trained yet. `python -m harness run` with this config trains what it lacks; or ask only the "
            "other methods, with --method."
        )
