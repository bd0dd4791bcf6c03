"""A training's state in Ray Train's checkpoints, and the cleaning up after a killed start."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint

from harness import atomic
from harness.storage.folder import Folder
from harness.structures import UserError
from harness.training.mistakes import damaged

STATE, FITTED = "state.pt", "fitted.pt"

_SNAPSHOT, _LISTS = "checkpoint_manager_snapshot.json", ("checkpoint_results", "pending_training_results")


@dataclass(frozen=True)
class RayStates:
    """A training's state as Ray Train's checkpoint, which Ray Train hands to the workers that replace dead ones.

    Attributes:
        key: The recipe's key.
        ledger: The training's `Ledger`.
        last: A state of an earlier start that is missing in Ray Train's own list.
    """

    key: str
    ledger: Any
    last: Checkpoint | None = None

    def load(self) -> Mapping[str, Any] | None:
        """The latest state."""
        checkpoint = ray.train.get_checkpoint() or self.last
        state = read(checkpoint, STATE) if checkpoint else None
        return state if state and state["recipe"] == self.key else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Keep rank 0's state, once all workers have come so far.

        Raises:
            Exception: The reason why the training was given up in the meantime.
        """
        if reason := ray.get(self.ledger.given_up.remote()):
            raise reason
        keep(STATE, {**state, "recipe": self.key})


def keep(name: str, content: Mapping[str, Any]) -> None:
    """Make rank 0's content the latest checkpoint; every worker calls this."""
    # `report` waits until every worker has called it. Workers without content call it, too: one that returned without a
    # call would block the others for ever.
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        with atomic.replacing(Path(folder) / name) as file:
            torch.save(dict(content), file)
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


def read(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """The content of a checkpoint's file; None if the checkpoint has no file of this name.

    Raises:
        UserError: It is damaged.
    """
    with checkpoint.as_directory() as folder:
        path = Path(folder) / name
        try:
            return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
        except Exception as error:  # An unpickler raises whatever the damage makes of it.
            raise damaged(f"{checkpoint.path}/{name}", error, str(Path(checkpoint.path).parent)) from error


def cleaned(states: Folder) -> Checkpoint | None:
    """Remove checkpoints that killed starts left half written, and find one that is missing in Ray Train's own list.

    Ray Train lists a checkpoint once it is whole. If a worker is killed while it copies one, a folder stays that is not
    in the list, and that no later start would read or remove:

        checkpoint_0001/ whole     checkpoint_0002/ whole     checkpoint_0003/ half a file     list: 0001, 0002

    The list itself is written in place, so a kill may cut it off. Then the training goes on from the last checkpoint
    that can be read.

    Returns:
        That checkpoint; None if the list is whole, or there is no checkpoint.
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
    """The checkpoints in Ray Train's list; None if the list is cut off or not there."""
    try:
        listed = json.loads(states.read(_SNAPSHOT))
        return {one["checkpoint_dir_name"] for kind in _LISTS for one in listed[kind]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_whole(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's file is there and can be read."""
    try:
        return any(read(checkpoint, name) is not None for name in (STATE, FITTED))
    except UserError:
        return False
