"""A training on Ray Train: its workers share every batch, and start anew from the last state if one of them dies.

Recipes and states travel; data and weights are found by each worker on its own, as in evaluation. Workers run a copy
of the checkout, so they never use the checkout's path: the driver exports what they trained.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import RayError
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from harness import atomic
from harness.cluster.connect import connect, is_own, readable
from harness.cluster.ledger import RESTARTS, Ledger
from harness.cluster.pulse import LOOK_EVERY_S, RETURNS_S, Pulse
from harness.config.recipe import KnownRecipe, Recipe
from harness.interrupts import aside
from harness.storage.folder import Folder
from harness.structures import UserError
from harness.training.loaders import LoaderDiedError
from harness.training.mistakes import damaged
from harness.training.one_rank import Fitted, Report, fit

_STATE, _FITTED = "state.pt", "fitted.pt"
_SNAPSHOT, _LISTS = "checkpoint_manager_snapshot.json", ("checkpoint_results", "pending_training_results")
_LOOK_EVERY_S = 0.5

WARN_EVERY_S = 60.0
"""The time between two warnings that no worker has begun."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayStates:
    """A training's state as Ray Train's checkpoint, which Ray Train hands to the workers that replace dead ones.

    Attributes:
        key: The recipe's.
        ledger: Of the training.
        last: The state that an earlier start kept and that Ray Train does not know of.
    """

    key: str
    ledger: Any
    last: Checkpoint | None = None

    def load(self) -> Mapping[str, Any] | None:
        """The latest state."""
        checkpoint = ray.train.get_checkpoint() or self.last
        state = _read(checkpoint, _STATE) if checkpoint else None
        return state if state and state["recipe"] == self.key else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Keep rank 0's state, once all workers have come so far.

        Raises:
            Exception: The reason why the training was given up in the meantime.
        """
        if reason := ray.get(self.ledger.given_up.remote()):
            raise reason
        _keep(_STATE, {**state, "recipe": self.key})


def fit_on_ray(
    recipe: KnownRecipe, storage: Folder, report: Report, report_every: int, address: str | None = None
) -> Fitted:
    """Train with `recipe.workers` workers.

    Ray Train replaces all workers when one dies and gives the new ones the latest checkpoint, from which `fit` goes on
    as after any interrupt. It cannot tell a dead node from a learner's bug: what would only happen again is noted in
    the ledger, a small actor that outlives workers, and workers that find it there end at once. The finished weights
    come back the same way as states do, as a last checkpoint.

    Args:
        recipe: Checked.
        storage: Every node reaches it; states wait there, in <key>.ray.
        report: Called in a thread of the driver.
        report_every: Steps.
        address: Of a Ray cluster; None uses this machine.

    Raises:
        UserError: The cluster is too small or lost, workers die again and again, or what `fit` raises.
    """
    connect(address)
    pulse = Pulse(is_own(address))
    scaling = _scaling(recipe)
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    ray.get(ledger.given_up.remote())  # It lives before anybody writes into it.
    name = f"{recipe.key}.ray"
    last = _cleaned(storage / name)
    if last and (found := _read(last, _FITTED)):
        return _fitted(found)
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "recipe": recipe.model_dump(mode="json"),
            "key": recipe.key,
            "every": report_every,
            "ledger": ledger,
            "last": last,
        },
        torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        scaling_config=scaling,
        run_config=RunConfig(
            name=name,
            storage_path=storage.path,
            storage_filesystem=storage.system if storage.scheme else None,
            failure_config=FailureConfig(max_failures=RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    asked = f"{recipe.workers} workers that ask for {readable(scaling.resources_per_worker or {})} each"
    with _passed_on(ledger, report, f"{asked}, and write to {storage}"):
        try:
            # In a thread, for in the main one Ray Train would take Ctrl-C over and keep it.
            coming = aside(trainer.fit)
            while not wait([coming], timeout=LOOK_EVERY_S).done:
                pulse.check()
            result, died = coming.result(), None
        except WorkerGroupError as error:
            result, died = None, error
        except RayError:
            pulse.check()  # It may be the cluster's end.
            raise
    # First of all: workers that find a reason return at once, so that Ray Train takes the training for a success, and
    # has no checkpoint of its end.
    if reason := ray.get(ledger.given_up.remote()):
        raise reason
    if died:
        _blame_deaths(died)
        raise died  # A bug.
    assert result is not None and result.checkpoint is not None, "workers that ended well have kept their weights"
    found = _read(result.checkpoint, _FITTED)
    assert found is not None
    return _fitted(found)


def _fitted(found: Mapping[str, Any]) -> Fitted:
    """What the workers kept at the end."""
    return Fitted(found["weights"], *json.loads(found["about"]))


def _blame_deaths(error: WorkerGroupError) -> None:
    """Raise a UserError, if it is deaths that ended a training."""
    # A worker whose process ended failed Ray Train's health check; one whose own code raised has that error instead.
    deaths = [one for one in error.worker_failures.values() if hasattr(one, "health_check_failure")]
    if deaths:
        last = next(iter(str(deaths[0]).splitlines()), type(deaths[0]).__name__).rstrip(".")
        raise UserError(
            f"training: workers died {RESTARTS + 1} times, the last one so: {last}. Look for lack of memory or a node "
            "that fails; the same command goes on from the last state."
        ) from error


def forget(recipe: KnownRecipe, storage: Folder) -> None:
    """Drop a training's states."""
    storage.remove_folder(f"{recipe.key}.ray")


def side_by_side(recipes: Sequence[Recipe], address: str | None = None) -> int:
    """How many of these trainings, all with workers, the cluster has room for at once.

    Of those that take more than others, the largest that it has room for at all decides.
    """
    connect(address)
    return min(filter(None, (_room(_asked(recipe)) // recipe.workers for recipe in recipes)), default=1)


def _scaling(recipe: Recipe) -> ScalingConfig:
    """The workers and what each asks for: a GPU, where the recipe wants one, or leaves it open and there are any.

    Raises:
        UserError: The cluster does not hold the workers; Ray itself would wait for ever.
    """
    asked = _asked(recipe)
    room = _room(asked)
    if room < recipe.workers:
        there = readable(ray.cluster_resources())
        raise UserError(
            f"training: {recipe.workers} workers ask for {readable(asked)} each (threads + loaders CPUs); the cluster "
            f"has {there}, room for {room}. Lower `workers`, `threads` or `loaders`, or join a larger one."
        )
    return ScalingConfig(num_workers=recipe.workers, use_gpu="GPU" in asked, resources_per_worker=asked)


def _asked(recipe: Recipe) -> dict[str, float]:
    """What a worker asks of its node."""
    gpus = ray.cluster_resources().get("GPU", 0)
    on_gpu = recipe.device.startswith("cuda") or (recipe.device == "auto" and gpus > 0)
    return {"CPU": float(recipe.threads + recipe.loaders), **({"GPU": 1.0} if on_gpu else {})}


def _room(asked: Mapping[str, float]) -> int:
    """How many workers that ask for so much the nodes hold."""
    # A worker lies on one node: two nodes of 7 CPUs hold two workers of 4, although 14 CPUs would be enough for
    # three.
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) // amount) for kind, amount in asked.items()) for node in nodes)


@contextmanager
def _passed_on(ledger: Any, report: Report, waits_for: str) -> Iterator[None]:
    """Report what workers report, until the block ends; warn while none has begun."""
    done = threading.Event()

    def watch() -> None:
        ended, quiet_s = False, 0.0
        # The wait also is the pace. Once the block has ended there is one more round, for what came since the last one.
        while not ended:
            ended = done.wait(_LOOK_EVERY_S)
            if not ray.is_initialized():  # An interrupt left this thread behind; a call would start Ray anew.
                return
            try:
                news, begun = ray.get(ledger.news.remote())
            except RayError:  # `fit` raises what happened to the cluster.
                return
            quiet_s = 0.0 if begun else quiet_s + _LOOK_EVERY_S
            # True in one round of every WARN_EVERY_S.
            if quiet_s and quiet_s % WARN_EVERY_S < _LOOK_EVERY_S:
                free = readable(ray.available_resources())
                _log.warning("training: none of %s has begun for %.0f s; free: %s.", waits_for, quiet_s, free)
            try:
                for progress in news:
                    report(progress)
            except Exception as error:  # Such as that another start took over: workers look when they keep a state.
                ray.get(ledger.give_up.remote(error))
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(RETURNS_S)  # It waits for an actor, which a lost cluster has no longer.


def _work(given: Mapping[str, Any]) -> None:
    """Run one worker, in a process of its own whose process group is made."""
    ledger, device = given["ledger"], get_device()
    checkpoint = ray.train.get_checkpoint()
    if ray.get(ledger.begin.remote()):
        return
    recipe = Recipe.model_validate(given["recipe"]).model_copy(update={"device": str(device)})
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        # A worker that died after the last checkpoint makes Ray Train start all of them again, with nothing left to do.
        if checkpoint and _read(checkpoint, _FITTED):
            return
        fitted = fit(recipe, RayStates(given["key"], ledger, given["last"]), ledger.report.remote, given["every"])
    # What is raised here makes Ray Train start anew, which helps against a loader that died by chance. A mistake of
    # the user would come again at every start, so the ledger keeps it, and `begin` ends the next workers at once.
    except LoaderDiedError as error:
        ray.get(ledger.loader_died.remote(ray.train.get_context().get_world_rank(), str(error)))
        raise
    except UserError as error:
        ray.get(ledger.give_up.remote(error))
        raise
    about = json.dumps([fitted.metadata, fitted.categories, fitted.data, fitted.vocabulary])
    _keep(_FITTED, {"weights": fitted.weights, "about": about})


def _keep(name: str, content: Mapping[str, Any]) -> None:
    """Make rank 0's content the latest checkpoint; every worker calls this."""
    # `report` waits until every worker has called it, so a worker that returned without a call would block the
    # others.
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        with atomic.replacing(Path(folder) / name) as file:
            torch.save(dict(content), file)
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


def _read(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """A file of a checkpoint; None where it is another's.

    Raises:
        UserError: It is damaged.
    """
    with checkpoint.as_directory() as folder:
        path = Path(folder) / name
        try:
            return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
        except Exception as error:  # An unpickler raises whatever the damage makes of it.
            raise damaged(f"{checkpoint.path}/{name}", error, str(Path(checkpoint.path).parent)) from error


def _cleaned(states: Folder) -> Checkpoint | None:
    """Remove what killed starts left half written, and find the state that Ray Train's own list has lost.

    A worker copies a checkpoint's files to its folder, and is killed half-way; Ray Train lists a checkpoint once it is
    whole. No start would ever look at the others, or remove them. The list itself is written in place, so that a kill
    may cut it off, or come before it is there; then the last checkpoint that can be read is gone on from.

    Returns:
        That checkpoint; None where the list is whole, or there is none.
    """
    states.remove_left_over()
    folders = sorted(name for name in states.folders() if name.startswith("checkpoint_"))
    known, last = _listed(states), None
    if known is None:
        states.remove(_SNAPSHOT)
        found = (Checkpoint(str(states / name), None if states.local else states.system) for name in reversed(folders))
        last = next((one for one in found if _is_whole(one)), None)
        known = {Path(last.path).name} if last else set()
    for name in folders:
        if name not in known:
            states.remove_folder(name)
    return last


def _listed(states: Folder) -> set[str] | None:
    """The checkpoints that Ray Train's list names; None where it is cut off or not there."""
    try:
        listed = json.loads(states.read(_SNAPSHOT))
        return {one["checkpoint_dir_name"] for kind in _LISTS for one in listed[kind]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_whole(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's file is there and can be read."""
    try:
        return any(_read(checkpoint, name) is not None for name in (_STATE, _FITTED))
    except UserError:
        return False
