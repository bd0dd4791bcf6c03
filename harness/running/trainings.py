"""Trains the networks that a run lacks before anything is evaluated, at the same time where a cluster has room."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.recipe import KnownRecipe, identified
from harness.config.run_config import RunConfig
from harness.interrupts import aside, interrupted
from harness.jobs.jobs import Job
from harness.jobs.plan import planned
from harness.jobs.requirements import training_data
from harness.plugins import parameters
from harness.storage.folder import Folder
from harness.storage.lock import Lock
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.running import one_training as training

_log = logging.getLogger(__name__)

Failure = UserError | None
"""The reason why a training did not come to its end; None if it did."""

Said = Callable[[str, "training.Progress"], None]
"""Called with a method's label and the progress of its training."""


@dataclass(frozen=True)
class Network:
    """A network that is to be trained.

    Attributes:
        name: The label of the first method that uses it.
        recipe: Its recipe.
    """

    name: str
    recipe: KnownRecipe


def look_ahead(config: RunConfig, due: Sequence[MethodEntry]) -> list[Job]:
    """Find mistakes of a run before its trainings begin, which may take days.

    Args:
        config: The run's config.
        due: The methods that are to be trained.

    Returns:
        The jobs, as they are planned before the trainings.

    Raises:
        UserError: As in `planned`, or a data set to train on is not there.
    """
    jobs = planned(config, due)
    for entry in training_data(due):
        parameters.build("datasets", entry.name, entry.params)
    return jobs


def as_imported(jobs: Sequence[Job], before: Sequence[Job]) -> list[Job]:
    """The jobs with the hashes of the code that this process imported before it trained, and makes the rows by.

    If the code was edited meanwhile, the next start finds that these rows are older.
    """
    code = {job.facts.key: job.facts.code for job in before}
    return [replace(job, facts=replace(job.facts, code=code.get(job.facts.key, job.facts.code))) for job in jobs]


def check_kept(due: Sequence[MethodEntry], run: Folder) -> None:
    """Refuse a run or a network that would be written into the copy of the checkout that Ray makes for a job.

    Raises:
        UserError: One would be, and Ray would delete it at the job's end.
    """
    from harness.cluster import connect as joining

    joining.check_kept(run)
    for method in due:
        if method.train:
            check_saved(label(method), identified(method.train))


def check_saved(name: str, recipe: KnownRecipe) -> None:
    """Refuse a network that would be saved into the copy of the checkout that Ray makes for a job.

    Raises:
        UserError: It would be, and Ray would delete it at the job's end; the message begins with `name`.
    """
    from harness.cluster import connect as joining

    if joining.goes_with_the_job(recipe.output):
        raise UserError(
            f"{name}: {recipe.output} lies in Ray's copy of the checkout, which is deleted after the job. Train it "
            "before (`python -m harness train`, outside of a job), or give its recipe an absolute `checkpoint:`, such "
            "as /mnt/weights/mine.safetensors."
        )


def train_missing(due: Sequence[MethodEntry], said: Said, address: str | None = None, runs: str | None = None) -> None:
    """Train every network that is not there, once for all methods that share it.

    First this process trains the networks without `workers`, one after the other. Then those with `workers` train at
    the same time, as many as the cluster has room for. If one fails the others go on, since they may take days and need
    not have the same fault.

    The locks of all networks are taken before the first training begins, so that a second start of this run, or another
    run that shares a network, is refused at once and not after hours. Two networks with the same key (one recipe, saved
    to two places) have the same state and therefore the same lock; they are trained one after the other.

    Args:
        due: Methods whose checkpoint is not there.
        said: Called now and then with the progress, in any thread.
        address: The address of a Ray cluster; None uses this machine.
        runs: As in `training.train`.

    Raises:
        UserError: Some trainings failed; the weights of the others are saved.
    """
    from harness.running import one_training as training  # with torch; most runs have nothing to train

    networks = _networks(due)
    locks: dict[str, Lock] = {}
    failures: dict[str, Failure] = {}
    with ExitStack() as claims:  # This thread holds the locks, so that an interrupt releases them in order.
        for one in networks:
            try:
                if one.recipe.key not in locks:
                    locks[one.recipe.key] = claims.enter_context(training.claimed(one.recipe, runs))
            except UserError as error:
                failures[one.name] = error
        ready = [one for one in networks if one.name not in failures and not one.recipe.output.is_file()]

        def train(one: Network) -> Failure:
            report, lock = partial(said, one.name), locks[one.recipe.key]
            try:
                training.train(one.recipe, report, address=address, runs=runs, lock=lock)
            except Exception as error:
                return _failure(one.name, error, alone=len(networks) == 1)
            return None

        failures |= {one.name: train(one) for one in ready if not one.recipe.workers}
        if shared := [one for one in ready if one.recipe.workers]:
            from harness.cluster.training_room import side_by_side

            failures |= _at_once(side_by_side([one.recipe for one in shared], address), shared, train)
    _raise(failures)


def _networks(due: Sequence[MethodEntry]) -> list[Network]:
    """The networks to train: one for each checkpoint, even if several methods use it."""
    named: dict[Path, Network] = {}
    for method in due:
        if method.train:
            recipe = identified(method.train)
            named.setdefault(recipe.output, Network(label(method), recipe))
    return list(named.values())


def _failure(name: str, error: Exception, alone: bool) -> UserError:
    """The error to raise once the others are done: only its text, because its traceback would keep the network alive.

    After an interrupt nothing is logged: trainings then fail only because their cluster is going down.
    """
    if interrupted.is_set():
        return UserError(str(error))
    if isinstance(error, UserError):
        if not alone:
            _log.warning("%s could not be trained; the others go on: %s", name, error)
        return UserError(str(error))
    if alone:
        raise error  # A bug keeps its traceback.
    _log.exception("%s could not be trained; the others go on", name)
    return UserError(f"{type(error).__name__}: {error}")


def _at_once(count: int, networks: Sequence[Network], train: Callable[[Network], Failure]) -> dict[str, Failure]:
    """Train each network in a thread of its own, `count` at a time; networks with the same key never at once."""
    # A thread takes its key's lock before it takes one of the `count` places. The other way round, two networks of one
    # key would hold two places, one of which only waits, and others could not use it.
    room, turns = threading.Semaphore(count), {one.recipe.key: threading.Lock() for one in networks}

    def trained(network: Network) -> Failure:
        with turns[network.recipe.key], room:
            return train(network)

    ended = {network.name: aside(partial(trained, network)) for network in networks}
    for one in as_completed(ended.values()):
        one.result()  # A bug is raised at once.
    return {name: one.result() for name, one in ended.items()}


def _raise(failures: Mapping[str, Failure]) -> None:
    """Raise all failures in one message; failures with the same reason share a line."""
    names: dict[str, list[str]] = {}
    for name, failure in failures.items():
        if failure:
            names.setdefault(str(failure), []).append(name)
    if names:
        raise UserError("\n".join(f"{', '.join(those)}: {reason}" for reason, those in names.items()))
