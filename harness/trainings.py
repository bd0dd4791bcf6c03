"""The networks that a run lacks, trained before anything is evaluated: side by side where a cluster has room."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness import registry, training
from harness.config import MethodEntry, RunConfig
from harness.interrupts import aside
from harness.plan import planned
from harness.recipe import Recipe, label
from harness.structures import UserError

_log = logging.getLogger(__name__)

Failure = Exception | None
"""Why a training did not come to its end, if it did not."""

Network = tuple[str, Recipe]
"""With the label of the first method that it is for."""

Said = Callable[[str, training.Progress], None]
"""Told a method's label and how its training goes."""


def look_ahead(config: RunConfig, due: Sequence[MethodEntry]) -> None:
    """Find what a run lacks before its trainings begin, which may take days.

    Args:
        config: Of the run.
        due: Those of its methods that are to be trained.

    Raises:
        UserError: As `planned`, or a data set to train on is not there.
    """
    planned(config, due)
    for entry in {str(one): one for method in due if method.train for one in method.train.datasets}.values():
        registry.build("datasets", entry.name, entry.params)


def train_missing(due: Sequence[MethodEntry], said: Said, address: str | None = None, runs: str | None = None) -> None:
    """Train every network that is not there, once for all methods that share it.

    Networks with `workers` train side by side, as many as the cluster has room for; before them, one after the other,
    those that this process trains. Where one fails the others go on: they may take days, and not all share its fault.

    Args:
        due: Methods whose checkpoint is not there.
        said: Told now and then, in any thread.
        address: Of a Ray cluster; None uses this machine.
        runs: As `training.train` takes it.

    Raises:
        UserError: Some failed; those that did not are saved.
    """
    networks = _networks(due)
    with ExitStack() as claims:  # Held by this thread, which an interrupt lets go of them in order.
        failures = _refused(networks, claims, runs)
        ready = [(name, recipe) for name, recipe in networks if not (failures[name] or recipe.output.is_file())]
        train = partial(_tried, said=said, others=len(networks) > 1, address=address, runs=runs)
        failures |= {name: train(name, recipe) for name, recipe in ready if not recipe.workers}
        if shared := [(name, recipe) for name, recipe in ready if recipe.workers]:
            from harness.ray_training import side_by_side

            failures |= _at_once(side_by_side([recipe for _, recipe in shared], address), shared, train)
    _raise(failures)


def _networks(due: Sequence[MethodEntry]) -> list[Network]:
    """Each checkpoint once."""
    networks: dict[Path, Network] = {}
    for method in due:
        if method.train:
            networks.setdefault(method.train.output, (label(method), method.train))
    return list(networks.values())


def _refused(networks: Sequence[Network], claims: ExitStack, runs: str | None) -> dict[str, Failure]:
    """Claim all of them, those of one key, which share their state, at once; why one could not be claimed."""
    known: dict[str, Failure] = {}
    for _, recipe in networks:
        if recipe.key not in known:
            try:
                claims.enter_context(training.claimed(recipe, runs))
                known[recipe.key] = None
            except UserError as error:
                known[recipe.key] = error
    return {name: known[recipe.key] for name, recipe in networks}


def _tried(name: str, recipe: Recipe, said: Said, others: bool, address: str | None, runs: str | None) -> Failure:
    try:
        training.trained(recipe, partial(said, name), training.REPORT_EVERY, address, runs)
    except (UserError, FloatingPointError) as error:
        if others:
            _log.warning("%s is not trained, the others are: %s", name, error)
        return error
    return None


def _at_once(count: int, networks: Sequence[Network], train: Callable[[str, Recipe], Failure]) -> dict[str, Failure]:
    """Each in a thread, so many at a time; those of one key take turns."""
    room, turns = threading.Semaphore(count), {recipe.key: threading.Lock() for _, recipe in networks}

    def trained(name: str, recipe: Recipe) -> Failure:
        with turns[recipe.key], room:
            return train(name, recipe)

    ended = {name: aside(partial(trained, name, recipe)) for name, recipe in networks}
    for one in as_completed(ended.values()):
        one.result()  # A bug is told at once.
    return {name: one.result() for name, one in ended.items()}


def _raise(failures: Mapping[str, Failure]) -> None:
    """Those of one reason together."""
    names: dict[str, list[str]] = {}
    for name, failure in failures.items():
        if failure:
            names.setdefault(str(failure), []).append(name)
    if names:
        raise UserError("\n".join(f"{', '.join(those)}: {reason}" for reason, those in names.items()))
