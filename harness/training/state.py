"""The state that a training changes step by step, and the file from which the next start goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness import atomic
from harness.config.recipe import Recipe
from harness.plugins.failures import is_device_lost, lacks_memory, one_line
from harness.plugins.interfaces import Learner
from harness.storage.folder import cannot_write
from harness.structures import UserError
from harness.training.mistakes import damaged, named
from harness.training.steps import Batch, Forward, learning_rate, mean_over_workers, optimizer_of, synchronised

SEEDS = 2**64
"""torch's generators take seeds below this number; a recipe's seed may be larger."""


class TrainingState:
    """A learner with its optimiser, its schedule and, if wanted, the moving average of its weights.

    Args:
        learner: The learner, whose network is on the device already.
        recipe: The recipe of the whole training. Its `workers` is not used: the process group has the number.
        device: The device of the forward passes.
    """

    def __init__(self, learner: Learner, recipe: Recipe, device: torch.device | None = None) -> None:
        self.learner, self.recipe, self.device = learner, recipe, device or torch.device("cpu")
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if recipe.batch_norm == "sync" and self.world > 1:
            learner.network = synchronised(learner.network, on_gpu=self.device.type == "cuda")
        self.set_mode()
        self.optimizer = optimizer_of(learner, recipe)
        self.forward: Forward | nn.parallel.DistributedDataParallel = Forward(learner)
        if self.world > 1:
            # Learners may leave parameters unused, as CLIP's learner does without its crops. DDP needs the flag below:
            # otherwise it would wait for their gradients for ever.
            ids = [self.device.index or 0] if self.device.type == "cuda" else None
            self.forward = nn.parallel.DistributedDataParallel(self.forward, ids, find_unused_parameters=True)
        self.average = copy.deepcopy(learner.network.state_dict()) if recipe.ema else None
        self.lr = 0.0

    def set_mode(self) -> None:
        """Training mode, except for batch norms that the recipe freezes."""
        self.learner.network.train()
        if self.recipe.batch_norm == "frozen":
            for module in self.learner.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def step(self, step: int, batches: Sequence[Batch]) -> float:
        """Take one optimiser step on this worker's share of the batch.

        The share comes in `accumulate` parts, for less memory. Each part's loss is divided by their number before its
        gradients are added up, so that the sum is the gradient of the mean over the share; DDP then averages it over
        the workers. So the step is the same as with the whole batch at once, however it is cut:

            worker 0   part 0, part 1 -> grad a        DDP exchanges gradients once, after the last part
            worker 1   part 0, part 1 -> grad b        every worker steps by (a + b) / 2

        Args:
            step: The step's number, counted from 0.
            batches: The parts of this worker's share.

        Returns:
            The loss before the step, the mean over all workers.

        Raises:
            UserError: The loss is not finite. The step is not taken, and the last saved state stays.
        """
        # All random numbers of a step, those of dropout included, come from (seed, step, rank). So no generator's state
        # has to be kept. The factors keep the three apart: a rank counts in units of 2^40, a seed in units of 1 000
        # 003.
        torch.manual_seed((self.recipe.seed * 1_000_003 + step + self.rank * 2**40) % SEEDS)
        self.lr = learning_rate(self.recipe, step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad(set_to_none=True)
        losses: list[Tensor] = []
        for batch in batches:
            apart = isinstance(self.forward, nn.parallel.DistributedDataParallel) and batch is not batches[-1]
            with self.forward.no_sync() if apart else nullcontext():  # type: ignore[operator]
                part = self.loss(batch) / len(batches)
                part.backward()
            losses.append(part.detach())
        loss = mean_over_workers(torch.stack(losses).sum()).item()
        # The loss is the same number on every worker, so all of them stop here together. It is looked at before the
        # optimiser's step: NaN in the gradients would turn all weights into NaN.
        if not math.isfinite(loss):
            raise UserError(f"training: loss is {loss} at step {step + 1}; lower optimizer.lr.")
        # After the workers have exchanged their gradients, so that all scale the same gradient by the same factor.
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learner.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self._average_in()
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """The loss of one forward pass, in the recipe's precision."""
        on_device = {key: tensor.to(self.device, non_blocking=True) for key, tensor in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.compute == "bf16"):
            return self.forward(on_device)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The network in eval mode, without gradients, with the weights to export."""
        network = self.learner.network
        own = None if self.average is None else copy.deepcopy(network.state_dict())
        network.eval()
        try:
            if self.average is not None:
                network.load_state_dict(self.average)
            with torch.no_grad():
                yield
        finally:
            if own is not None:
                network.load_state_dict(own)
            self.set_mode()

    def _average_in(self) -> None:
        """Move the average of the weights a little towards the present ones: ema * average + (1 - ema) * weights.

        With ema 0.999 it is roughly the mean of the last thousand steps' weights, which varies less from step to step
        than the weights themselves. It starts from the initial weights, so a training should take several times
        1 / (1 - ema) steps. Running statistics are averaged as well; counters, which are integers, are copied.
        """
        if self.average is None or self.recipe.ema is None:
            return
        for name, value in self.learner.network.state_dict().items():
            kept = self.average[name]
            if value.is_floating_point():
                kept.lerp_(value, 1 - self.recipe.ema)
            else:
                kept.copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """The weights to export: the average, if there is one."""
        return self.learner.network.state_dict() if self.average is None else self.average

    def as_dict(self, step: int) -> dict[str, Any]:
        """Everything that a resumed training needs besides its recipe, after `step` steps.

        Only weights, the optimiser's momenta and the average depend on earlier steps. The examples of a step, their
        augmentation, dropout and the learning rate follow from the seed and the step's number (`Draws.at`,
        `TrainingState.step`). So there is no generator's state and no position in the data to keep, and the resumed
        training ends with the same weights, bit for bit.
        """
        network, optimizer = self.learner.network.state_dict(), self.optimizer.state_dict()
        average = {} if self.average is None else {"average": self.average}
        return {"step": step, "network": network, "optimizer": optimizer, **average}

    def restore(self, kept: Mapping[str, Any]) -> int:
        """Go on from what `as_dict` returned; returns how many steps are done.

        Raises:
            UserError: The state is of another network, as after a change of the learner's code.
        """
        try:
            self.learner.network.load_state_dict(kept["network"])
            self.optimizer.load_state_dict(kept["optimizer"])
        except (RuntimeError, ValueError) as error:
            if is_device_lost(error) or lacks_memory(error):
                raise
            raise UserError(
                f"training: the state kept after step {kept['step']} is of another network than {named(self.learner)} "
                f"builds now ({one_line(str(error), 300)}); wanted the same. Undo the change of its code, or delete "
                "the state (runs/training/<key>.pt; with `workers` the folder <key>.ray) to train from the start."
            ) from error
        if self.average is not None:
            self.average = {name: value.to(self.device) for name, value in kept["average"].items()}
        return int(kept["step"])


class States(Protocol):
    """The place where the state of a training is kept for its next start."""

    def load(self) -> Mapping[str, Any] | None:
        """The latest state of this training, on the CPU; None where no state was kept."""

    def keep(self, state: Mapping[str, Any]) -> None:
        """Keep a state, whole or not at all; every worker calls this, all with the same state."""


@dataclass(frozen=True)
class StateFile:
    """A training's state in a file of this machine.

    Attributes:
        path: The file.
        key: The recipe's key; a state of another recipe is ignored.
    """

    path: Path
    key: str

    def load(self) -> Mapping[str, Any] | None:
        """The saved state, if it was made by this recipe; None if there is none, or by another recipe.

        Raises:
            UserError: The file is damaged.
        """
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # An unpickler raises whatever the damage makes of it.
            raise damaged(self.path, error) from error
        return kept if kept["recipe"] == self.key else None

    def keep(self, state: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all.

        Raises:
            UserError: It cannot be written, as on a full disk; the state before is kept.
        """
        try:
            with atomic.replacing(self.path) as file:  # Given a path, torch would hide why it cannot write.
                torch.save({**state, "recipe": self.key}, file)
        except OSError as error:
            raise cannot_write(self.path, error) from error
