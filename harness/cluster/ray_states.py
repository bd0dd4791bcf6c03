"""A training's state as Ray Train keeps it, and as a killed start leaves it behind."""

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
        last: The state that an earlier start kept and that Ray Train does not know of.
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
    # `report` waits until every worker has called it, so a worker that returned without a call would block the
    # others.
    if ray.train.get_context().get_world_rank() != 0:
        ray.train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        with atomic.replacing(Path(folder) / name) as file:
            torch.save(dict(content), file)
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


def read(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
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


def cleaned(states: Folder) -> Checkpoint | None:
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
        return any(read(checkpoint, name) is not None for name in (STATE, FITTED))
    except UserError:
        return False
