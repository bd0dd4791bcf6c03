"""A training on Ray Train: its workers share every batch, and start anew from the last state if one of them dies.

Recipes and states travel between processes; each worker finds data and weights by their paths, as in evaluation.
Workers run in a copy of the checkout, so they do not write into the checkout: the driver exports what they trained.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import torch
from ray.exceptions import RayError
from ray.train import (
    CheckpointConfig,
    ControllerError,
    FailureConfig,
    Result,
    RunConfig,
    ScalingConfig,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.placement_group import (
    PlacementGroup,
    PlacementGroupID,
    placement_group_table,
    remove_placement_group,
)

from harness.cluster.capacity import not_started
from harness.cluster.connect import connect, is_own, readable
from harness.cluster.ledger import RESTARTS, Ledger
from harness.cluster.pulse import RETURNS_S, Pulse, meanwhile
from harness.cluster.ray_states import FITTED, RayStates, cleaned, keep, read
from harness.cluster.training_room import scaling_of
from harness.config.recipe import KnownRecipe, Recipe
from harness.storage.folder import Folder
from harness.structures import UserError
from harness.training.loaders import LoaderDiedError
from harness.training.one_rank import Fitted, Report, fit

WARN_EVERY_S = 60.0
"""The time between two warnings that no worker has begun."""

_NEWS_EVERY_S = 0.5

_log = logging.getLogger(__name__)


def fit_on_ray(
    recipe: KnownRecipe, storage: Folder, report: Report, report_every: int, address: str | None = None
) -> Fitted:
    """Train with `recipe.workers` workers.

    Ray Train replaces all workers when one dies and gives the new ones the latest checkpoint, from which `fit` goes on
    as after any interrupt. It cannot tell a dead node from a learner's bug. So a mistake that would only come again is
    noted in the ledger, a small actor that outlives the workers, and new workers that find it there end at once:

        worker dies with its node     -> Ray Train starts all workers again -> they go on from the last state
        the learner's loss raises     -> ledger: given up                   -> new workers return, `fit_on_ray` raises

    The finished weights come back in the same way as states, as a last checkpoint.

    Args:
        recipe: The checked recipe.
        storage: A folder that every node reaches; states are kept there, in <key>.ray.
        report: Called in a thread of the driver.
        report_every: The number of steps between two reports.
        address: The address of a Ray cluster; None uses this machine.

    Raises:
        UserError: The cluster is too small or lost, workers die again and again, or `fit` raises it.
    """
    connect(address)
    pulse = Pulse(is_own(address))
    scaling = scaling_of(recipe)
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    ray.get(ledger.given_up.remote())  # Waits until the ledger's process runs.
    last = cleaned(storage / _folder(recipe))
    if last and (found := read(last, FITTED)):
        return _fitted(found)
    given = {"recipe": recipe.model_dump(mode="json"), "key": recipe.key, "every": report_every}
    trainer = _trainer(recipe, storage, scaling, {**given, "ledger": ledger, "last": last})
    asked = f"{recipe.workers} workers that ask for {readable(scaling.resources_per_worker or {})} each"
    with _passed_on(ledger, report, f"{asked}, and write to {storage}"):
        try:
            ended = _ended(trainer, pulse)
        except KeyboardInterrupt:
            # A command's workers end with it. In a notebook they would go on; now they end when they next keep a state.
            ledger.give_up.remote(UserError("training: interrupted."))
            raise
    # The ledger must be read first. Workers that find a reason there return at once, so Ray Train takes the training
    # for a success, although there is no checkpoint with finished weights.
    if reason := ray.get(ledger.given_up.remote()):
        raise reason
    if isinstance(ended, WorkerGroupError):
        _blame_deaths(ended)
        raise ended  # A bug.
    found = read(ended.checkpoint, FITTED) if ended.checkpoint else None
    assert found is not None, "workers that ended well have kept their weights"
    return _fitted(found)


def _folder(recipe: KnownRecipe) -> str:
    return f"{recipe.key}.ray"


def _trainer(recipe: KnownRecipe, storage: Folder, scaling: ScalingConfig, given: dict[str, Any]) -> TorchTrainer:
    """Ray Train's own trainer; every worker gets the same `given`."""
    return TorchTrainer(
        _work,
        train_loop_config=given,
        torch_config=TorchConfig(backend="nccl" if scaling.use_gpu else "gloo"),
        scaling_config=scaling,
        run_config=RunConfig(
            name=_folder(recipe),
            storage_path=storage.path,
            storage_filesystem=storage.system if storage.scheme else None,
            failure_config=FailureConfig(max_failures=RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )


def _ended(trainer: TorchTrainer, pulse: Pulse) -> Result | WorkerGroupError:
    """Train to the end; an error of the workers is returned, since the ledger may have its cause.

    Raises:
        ClusterLostError: There is no cluster any more.
        StartError: A worker's node lacks a package.
    """
    held = placement_group_table()
    try:
        # In a thread of its own: in the main thread Ray Train would replace the handler of Ctrl-C for good.
        return meanwhile(trainer.fit, pulse.check)
    except WorkerGroupError as error:
        return error
    except ControllerError as error:
        pulse.check()
        _give_back(held)
        if re.match(r"(ModuleNotFound|Import)Error", str(error).strip().splitlines()[-1]):
            raise not_started("the training", str(error)) from None
        raise  # A bug.
    except RayError:
        pulse.check()  # If the cluster is gone, this raises the clearer message.
        raise


def _give_back(held: Mapping[str, Any]) -> None:
    """Free the processors of workers that could not begin.

    Ray Train forgets them; they would be held until this process ends, and its next training would wait for ever.

    Args:
        held: The placement groups from before the training, by which Ray holds processors.
    """
    own = ray.get_runtime_context().get_job_id()
    for group in placement_group_table().keys() - held.keys():
        if group.endswith(own):  # An id ends with that of the job that made it.
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def _fitted(found: Mapping[str, Any]) -> Fitted:
    """The result of the training, from the checkpoint that the workers wrote at the end."""
    return Fitted(found["weights"], *json.loads(found["about"]))


def _blame_deaths(error: WorkerGroupError) -> None:
    """Raise a UserError if workers' deaths ended a training."""
    # If a worker's process ended, Ray Train's health check failed; if the worker's code raised, its own error is there
    # instead.
    deaths = [one for one in error.worker_failures.values() if hasattr(one, "health_check_failure")]
    if deaths:
        last = next(iter(str(deaths[0]).splitlines()), type(deaths[0]).__name__).rstrip(".")
        raise UserError(
            f"training: workers died {RESTARTS + 1} times, the last time with: {last}. Look for lack of memory or a "
            "node that fails; the same command goes on from the last state."
        ) from error


def forget(recipe: KnownRecipe, storage: Folder) -> None:
    """Drop a training's states."""
    storage.remove_folder(_folder(recipe))


@contextmanager
def _passed_on(ledger: Any, report: Report, waits_for: str) -> Iterator[None]:
    """Pass the workers' reports on until the block ends; warn as long as no worker has begun."""
    done = threading.Event()

    def watch() -> None:
        ended, quiet_s = False, 0.0
        # The wait sets the pace. Once the block has ended there is one more round, for reports that came since the
        # last.
        while not ended:
            ended = done.wait(_NEWS_EVERY_S)
            if not ray.is_initialized():  # An interrupt left this thread behind; a call would start Ray anew.
                return
            try:
                news, begun = ray.get(ledger.news.remote())
            except RayError:  # `fit` raises what happened to the cluster.
                return
            quiet_s = 0.0 if begun else quiet_s + _NEWS_EVERY_S
            # True in one round of every WARN_EVERY_S.
            if quiet_s and quiet_s % WARN_EVERY_S < _NEWS_EVERY_S:
                free = readable(ray.available_resources())
                _log.warning("training: none of %s has begun after %.0f s; free: %s.", waits_for, quiet_s, free)
            try:
                for progress in news:
                    report(progress)
            except Exception as error:  # Another start took over, perhaps. Workers see it when they next keep a state.
                ray.get(ledger.give_up.remote(error))
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(RETURNS_S)  # Not for ever: the thread may wait for an actor of a cluster that is lost.


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
        # If a worker dies after the last checkpoint, Ray Train starts all of them again, with nothing left to do.
        if checkpoint and read(checkpoint, FITTED):
            return
        fitted = fit(recipe, RayStates(given["key"], ledger, given["last"]), ledger.report.remote, given["every"])
    # Any exception here makes Ray Train start all workers again, which helps if a loader died by chance. A user's
    # mistake would come again at every start, so the ledger keeps it, and the next workers end at once (`begin`).
    except LoaderDiedError as error:
        ray.get(ledger.loader_died.remote(ray.train.get_context().get_world_rank(), str(error)))
        raise
    except UserError as error:
        ray.get(ledger.give_up.remote(error))
        raise
    about = json.dumps([fitted.metadata, fitted.categories, fitted.data, fitted.vocabulary])
    keep(FITTED, {"weights": fitted.weights, "about": about})
