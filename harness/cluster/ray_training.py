"""A training job on Ray Train: its workers share every batch, and start anew from the last state if one of them dies.

Recipes and states travel; data and weights are found by each worker on its own, as in evaluation. Workers run a copy
of the checkout, so nothing here asks where the checkout is: the driver exports what they trained.
"""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
    Result,
    RunConfig,
    ScalingConfig,
    WorkerGroupError,
)
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from harness import atomic
from harness.cluster.connect import connect, readable
from harness.config.recipe import Recipe
from harness.interrupts import aside
from harness.storage.folder import Folder
from harness.structures import UserError
from harness.training.fit import Fitted, Progress, Report, fit
from harness.training.loaders import LoaderDiedError
from harness.training.mistakes import damaged

RESTARTS = 5
"""Deaths of workers that a job survives."""

_STATE, _FITTED = "state.pt", "fitted.pt"
_SNAPSHOT = "checkpoint_manager_snapshot.json"
_LOOK_EVERY_S = 0.5

WARN_EVERY_S = 60.0
"""While no worker of a job has begun."""

_log = logging.getLogger(__name__)


class Ledger:
    """An actor by which workers tell the driver how it goes, and each other that all is lost."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self.begun = False
        self.fatal: Exception | None = None
        self.furthest = 0
        self.stumbles: Counter[int] = Counter()
        self.stumbled: Counter[int] = Counter()

    def tell(self, progress: Progress) -> None:
        """Of rank 0."""
        self.told.append(progress)
        if progress.step > self.furthest:
            self.furthest = progress.step
            self.stumbles.clear()

    def stumble(self, rank: int, reason: str) -> None:
        """A loader of a worker died: all is lost if one did before and the job came no further since, or too often."""
        self.stumbles[rank] += 1
        self.stumbled[rank] += 1
        if self.stumbles[rank] > 1 or self.stumbled[rank] > RESTARTS:
            self.lose(UserError(reason))

    def begin(self) -> Exception | None:
        """Of every worker; what made further starts useless."""
        self.begun = True
        return self.fatal

    def news(self) -> tuple[list[Progress], bool]:
        """What has been told since the last call, and whether any worker has begun."""
        told, self.told = self.told, []
        return told, self.begun

    def lose(self, error: Exception) -> None:
        """Something that another start would only meet again."""
        self.fatal = self.fatal or error

    def lost(self) -> Exception | None:
        """What made further starts useless."""
        return self.fatal


@dataclass(frozen=True)
class RayKeeper:
    """The job's state as Ray Train's checkpoint, which it gives to the workers that replace dead ones."""

    key: str
    ledger: Any

    def kept(self) -> Mapping[str, Any] | None:
        """The latest state."""
        checkpoint = ray.train.get_checkpoint()
        state = _read(checkpoint, _STATE) if checkpoint else None
        return state if state and state["recipe"] == self.key else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Rank 0's state, once all workers have come so far.

        Raises:
            Exception: What was told to the ledger in the meantime.
        """
        if fatal := ray.get(self.ledger.lost.remote()):
            raise fatal
        _report(_STATE, {**state, "recipe": self.key})


def fit_on_ray(
    recipe: Recipe, key: str, storage: Folder, report: Report, report_every: int, address: str | None = None
) -> Fitted:
    """Train with `recipe.workers` workers.

    Args:
        recipe: Checked.
        key: The recipe's, as the driver has it.
        storage: Every node reaches it; states wait there, in <key>.ray.
        report: Called in a thread of the driver.
        report_every: Steps.
        address: Of a Ray cluster; None uses this machine.

    Raises:
        UserError: The cluster is too small, workers die again and again, or what `fit` raises.
        FloatingPointError: The loss is not finite.
    """
    connect(address)
    scaling = _scaling(recipe)
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    ray.get(ledger.lost.remote())  # It lives before anybody writes into it.
    _check_snapshot(storage / f"{key}.ray")
    told = {"recipe": recipe.model_dump(mode="json"), "key": key, "every": report_every, "ledger": ledger}
    kept = RunConfig(
        name=f"{key}.ray",
        storage_path=storage.path,
        storage_filesystem=storage.system if storage.scheme else None,
        failure_config=FailureConfig(max_failures=RESTARTS),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
    )
    torch_config = TorchConfig(backend="nccl" if scaling.use_gpu else "gloo")
    trainer = TorchTrainer(
        _work, train_loop_config=told, torch_config=torch_config, scaling_config=scaling, run_config=kept
    )
    waits = f"{recipe.workers} workers that ask for {readable(scaling.resources_per_worker or {})} each"
    with _passed_on(ledger, report, f"{waits}, and write to {storage}"):
        result = _ended(trainer)
    if fatal := ray.get(ledger.lost.remote()):
        raise fatal
    if isinstance(result, WorkerGroupError):
        _tell_of_deaths(result)
        raise result  # A bug.
    return _fitted(result)


def side_by_side(recipes: Sequence[Recipe], address: str | None = None) -> int:
    """How many of these jobs, all with workers, the cluster has room for at once.

    Of jobs that take more than others, the largest that it has room for at all decides.
    """
    connect(address)
    return min(filter(None, (_room(_asked(recipe)) // recipe.workers for recipe in recipes)), default=1)


def _ended(trainer: TorchTrainer) -> Result | WorkerGroupError:
    """What a job comes to; fitted in a thread, for in the main one Ray Train would take Ctrl-C over and keep it."""
    try:
        return aside(trainer.fit).result()
    except WorkerGroupError as error:
        return error


def _tell_of_deaths(error: WorkerGroupError) -> None:
    """Raise a UserError, if it is deaths that ended a job."""
    deaths = [one for one in error.worker_failures.values() if hasattr(one, "health_check_failure")]
    if deaths:
        raise UserError(
            f"training: workers died {RESTARTS + 1} times, the last one so: {_first_line(deaths[0])}. Look for lack of "
            "memory or a node that fails; the same command goes on from the last state."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def forget(key: str, storage: Folder) -> None:
    """Drop a job's states."""
    storage.remove_folder(f"{key}.ray")


def _scaling(recipe: Recipe) -> ScalingConfig:
    """One GPU a worker, where the recipe wants GPUs or leaves it open and there are any.

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
    """What a worker takes."""
    gpus = ray.cluster_resources().get("GPU", 0)
    on_gpu = recipe.device.startswith("cuda") or (recipe.device == "auto" and gpus > 0)
    return {"CPU": float(recipe.threads + recipe.loaders), **({"GPU": 1.0} if on_gpu else {})}


def _room(asked: Mapping[str, float]) -> int:
    """How many workers that take so much the nodes hold."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) // amount) for kind, amount in asked.items()) for node in nodes)


@contextmanager
def _passed_on(ledger: Any, report: Report, waits_for: str) -> Iterator[None]:
    """Reports what workers tell, until the block ends; warns while none has begun."""
    done = threading.Event()

    def watch() -> None:
        ended, quiet_s = False, 0.0
        while not ended:
            ended = done.wait(_LOOK_EVERY_S)
            if not ray.is_initialized():  # An interrupt left this thread behind; asked, Ray would start anew.
                return
            try:
                news, begun = ray.get(ledger.news.remote())
            except RayError:  # `fit` says what happened to the cluster.
                return
            quiet_s = 0.0 if begun else quiet_s + _LOOK_EVERY_S
            if quiet_s and quiet_s % WARN_EVERY_S < _LOOK_EVERY_S:
                free = readable(ray.available_resources())
                _log.warning("training: none of %s has begun for %.0f s; free: %s.", waits_for, quiet_s, free)
            try:
                for progress in news:
                    report(progress)
            except Exception as error:  # Such as that another start took over: workers ask when they keep a state.
                ray.get(ledger.lose.remote(error))
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _work(told: Mapping[str, Any]) -> None:
    """One worker, in a process of its own, with its process group made."""
    ledger, device = told["ledger"], get_device()
    checkpoint = ray.train.get_checkpoint()
    if ray.get(ledger.begin.remote()):
        return
    recipe = Recipe.model_validate(told["recipe"]).model_copy(update={"device": str(device)})
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        if checkpoint and _read(checkpoint, _FITTED):
            return
        fitted = fit(recipe, RayKeeper(told["key"], ledger), ledger.tell.remote, told["every"])
    except LoaderDiedError as error:
        ray.get(ledger.stumble.remote(ray.train.get_context().get_world_rank(), str(error)))
        raise
    except (UserError, FloatingPointError) as error:
        ray.get(ledger.lose.remote(error))
        raise
    about = json.dumps([fitted.metadata, fitted.categories, fitted.data])
    _report(_FITTED, {"weights": fitted.weights, "about": about})


def _fitted(result: Result) -> Fitted:
    assert result.checkpoint is not None, "workers that ended well have reported what they trained"
    found = _read(result.checkpoint, _FITTED)
    assert found is not None
    metadata, categories, data = json.loads(found["about"])
    return Fitted(found["weights"], metadata, categories, data)


def _report(name: str, content: Mapping[str, Any]) -> None:
    """Every worker calls; rank 0's content becomes the checkpoint."""
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


def _check_snapshot(states: Folder) -> None:
    """Look at Ray Train's own list of a job's states, which it writes in place.

    Raises:
        UserError: It is damaged: every start would fail.
    """
    try:
        json.loads(states.read(_SNAPSHOT))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise damaged(states / _SNAPSHOT, error, str(states)) from error
