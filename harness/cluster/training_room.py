"""The resources that the workers of a training need, and how many of them the cluster has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ray
import ray.train
from ray.train import ScalingConfig

from harness.cluster.connect import connect, readable
from harness.config.recipe import Recipe
from harness.structures import UserError


def side_by_side(recipes: Sequence[Recipe], address: str | None = None) -> int:
    """How many of these trainings, all with workers, the cluster has room for at once.

    The training that needs the most room decides, except those that do not fit at all.
    """
    connect(address)
    return min(filter(None, (_room(_asked(recipe)) // recipe.workers for recipe in recipes)), default=1)


def scaling_of(recipe: Recipe) -> ScalingConfig:
    """The number of workers and the resources of each, with a GPU if `device` is cuda, or "auto" and there is one.

    Raises:
        UserError: The cluster has no room for the workers; Ray itself would wait for ever.
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
    """The resources that a worker needs on its node."""
    gpus = ray.cluster_resources().get("GPU", 0)
    on_gpu = recipe.device.startswith("cuda") or (recipe.device == "auto" and gpus > 0)
    return {"CPU": float(recipe.threads + recipe.loaders), **({"GPU": 1.0} if on_gpu else {})}


def _room(asked: Mapping[str, float]) -> int:
    """How many workers with these resources fit on the nodes."""
    # A worker must fit on one node: two nodes of 7 CPUs have room for two workers of 4, although 14 CPUs would be
    # enough for three.
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(node.get(kind, 0) // amount) for kind, amount in asked.items()) for node in nodes)
