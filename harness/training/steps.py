"""One optimiser step after another, in one worker or in several that agree on every gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.config.recipe import Recipe, Schedule
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Learner
from harness.structures import UserError
from harness.training.mistakes import defined, named
from harness.training.synchronised_norm import synchronised

Batch = Mapping[str, Tensor]


class Forward(nn.Module):
    """A learner's loss as a module's forward, which is what DDP wraps: it sees every parameter that the loss uses."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.network = learner.network
        self.loss = learner.loss
        self.subject = f"{named(learner)}: its loss"

    def forward(self, batch: Batch) -> Tensor:
        """The loss.

        Raises:
            UserError: The learner's own code fails, or gives something else.
        """
        try:
            with blamed(f"{self.subject} cannot be computed"):
                loss = self.loss(batch)
        except UserError as error:
            if dist.is_initialized() and isinstance(error.__cause__, RuntimeError):
                raise error.__cause__ from None  # Such is the death of another worker, too.
            raise
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.requires_grad < torch.is_grad_enabled():
            wanted = "a tensor of one number that depends on the network's parameters"
            raise UserError(f"{self.subject} is {_form(loss)}; wanted {wanted}{defined(self.loss)}.")
        return loss


class TrainingState:
    """A learner with its optimiser, its schedule and, if wanted, the moving average of its weights.

    Args:
        learner: Its network lies on the device already.
        recipe: Of the whole job; `workers` is not looked at: the process group says how many there are.
        device: Where the forward passes run.
    """

    def __init__(self, learner: Learner, recipe: Recipe, device: torch.device | None = None) -> None:
        self.learner, self.recipe, self.device = learner, recipe, device or torch.device("cpu")
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if recipe.batch_norm == "sync" and self.world > 1:
            learner.network = synchronised(learner.network, on_gpu=self.device.type == "cuda")
        self.set_mode()
        self.optimizer = optimizer_of(learner, recipe)
        self.forward: Forward | nn.parallel.DistributedDataParallel = Forward(learner)
        if self.world > 1:
            # Learners may leave parameters unused, as CLIP's without its crops.
            ids = [self.device.index or 0] if self.device.type == "cuda" else None
            self.forward = nn.parallel.DistributedDataParallel(self.forward, ids, find_unused_parameters=True)
        self.average = copy.deepcopy(learner.network.state_dict()) if recipe.ema else None
        self.lr = 0.0

    def set_mode(self) -> None:
        """Training mode, but for batch norms that stay as they are."""
        self.learner.network.train()
        if self.recipe.batch_norm == "frozen":
            for module in self.learner.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def advanced(self, step: int, batches: Sequence[Batch]) -> float:
        """One optimiser step on this worker's share of a batch, in as many forward passes as it is cut into.

        Returns:
            The loss before it, the mean over all workers.

        Raises:
            FloatingPointError: The loss is not finite; the last resumable checkpoint is kept.
        """
        self.lr = learning_rate(self.recipe, step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(batch, len(batches), last=batch is batches[-1]) for batch in batches]
        loss = mean_over_workers(torch.stack(losses).sum()).item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"training: loss is {loss} at step {step + 1}; lower optimizer.lr.")
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learner.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self._average_in()
        return loss

    def _backward(self, batch: Batch, parts: int, last: bool) -> Tensor:
        """Add the gradients of one forward pass; workers exchange them after the last."""
        exchanging = last or not isinstance(self.forward, nn.parallel.DistributedDataParallel)
        with nullcontext() if exchanging else self.forward.no_sync():  # type: ignore[operator]
            loss = self.loss(batch) / parts
            loss.backward()
        return loss.detach()

    def loss(self, batch: Batch) -> Tensor:
        """The loss of one forward pass, in the recipe's precision."""
        on_device = {key: tensor.to(self.device, non_blocking=True) for key, tensor in batch.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.compute == "bf16"):
            return self.forward(on_device)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """The network in eval mode, without gradients."""
        self.learner.network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.set_mode()

    def _average_in(self) -> None:
        if self.average is None or self.recipe.ema is None:
            return
        for name, value in self.learner.network.state_dict().items():
            kept = self.average[name]
            if value.is_floating_point():
                kept.lerp_(value, 1 - self.recipe.ema)
            else:
                kept.copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """What is to be exported."""
        return self.learner.network.state_dict() if self.average is None else self.average

    def as_dict(self, step: int) -> dict[str, Any]:
        """All that a resumed job needs besides its recipe; `step` steps are done."""
        network, optimizer = self.learner.network.state_dict(), self.optimizer.state_dict()
        average = {} if self.average is None else {"average": self.average}
        return {"step": step, "network": network, "optimizer": optimizer, **average}

    def restore(self, kept: Mapping[str, Any]) -> int:
        """Go on from what `as_dict` gave; the steps that are done."""
        self.learner.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if self.average is not None:
            self.average = {name: value.to(self.device) for name, value in kept["average"].items()}
        return int(kept["step"])


def _form(loss: Any) -> str:
    if not isinstance(loss, Tensor):
        return f"of type {type(loss).__name__}"
    depends = "" if loss.requires_grad else " that depends on none of them"
    return f"a {str(loss.dtype).removeprefix('torch.')} tensor of shape {tuple(loss.shape)}{depends}"


def optimizer_of(learner: Learner, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the learner's parameters."""
    wanted = recipe.optimizer
    groups = learner.parameter_groups(wanted.weight_decay)
    if wanted.decays == "all":
        groups = [{**group, "weight_decay": wanted.weight_decay} for group in groups]
    if wanted.name == "sgd":
        return torch.optim.SGD(groups, lr=wanted.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=wanted.lr, betas=wanted.betas)


def learning_rate(recipe: Recipe, step: int) -> float:
    """At a step, counted from 0."""
    lr, schedule = recipe.optimizer.lr, recipe.schedule
    factor = decay(schedule, step, recipe.steps)
    if schedule.min_lr_rule == "mmseg":
        return (lr - schedule.min_lr) * factor + schedule.min_lr
    return max(lr * factor, schedule.min_lr)


def decay(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate's factor at a step: linear warm-up, then the schedule."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    done = min(1.0, step / (schedule.horizon or steps))
    if schedule.name == "poly":
        return warm * (1 - done) ** schedule.power
    return warm * (0.5 + 0.5 * math.cos(math.pi * done)) if schedule.name == "cosine" else warm


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean of a number that every worker has."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
