"""The parts of an optimiser step: the loss, the optimiser, its learning rate, and the averages over workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from harness.config.recipe import Recipe, Schedule
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Learner
from harness.structures import UserError
from harness.training.mistakes import defined, named

Batch = Mapping[str, Tensor]


class Forward(nn.Module):
    """A learner's loss as the forward of a module: DDP wraps modules, and only sees parameters used in `forward`."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.network = learner.network
        self.loss = learner.loss
        self.subject = f"{named(learner)}: its loss"

    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch.

        Raises:
            UserError: The learner's own code fails, or returns something other than a loss.
        """
        try:
            with blamed(f"{self.subject} cannot be computed"):
                loss = self.loss(batch)
        except UserError as error:
            if dist.is_initialized() and isinstance(error.__cause__, RuntimeError):
                # If another worker died, this worker's exchange with it raises RuntimeError, too. It must not be
                # reported as the learner's mistake, after which no further start is tried.
                raise error.__cause__ from None
            raise
        # A validation records no gradients, so a loss without one is right there.
        learns = isinstance(loss, Tensor) and (loss.requires_grad or not torch.is_grad_enabled())
        if not learns or loss.numel() != 1:
            wanted = "a tensor of one number that depends on the network's parameters"
            raise UserError(f"{self.subject} is {_form(loss)}; wanted {wanted}{defined(self.loss)}.")
        return loss


def _form(loss: Any) -> str:
    if not isinstance(loss, Tensor):
        return f"of type {type(loss).__name__}"
    depends = "" if loss.requires_grad else " that depends on none of them"
    return f"a {str(loss.dtype).removeprefix('torch.')} tensor of shape {tuple(loss.shape)}{depends}"


def optimizer_of(learner: Learner, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the learner's parameters."""
    wanted = recipe.optimizer
    # By default the learner's groups spare norms and biases: decay pulls values towards 0, and a norm's factor belongs
    # near 1. MMSegmentation, whose schedule the paper follows, decays all alike (`decays: all`).
    groups = learner.parameter_groups(wanted.weight_decay)
    if wanted.decays == "all":
        groups = [{**group, "weight_decay": wanted.weight_decay} for group in groups]
    if wanted.name == "sgd":
        return torch.optim.SGD(groups, lr=wanted.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=wanted.lr, betas=wanted.betas)


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate at a step, counted from 0.

    `min_lr` is read in one of two ways. As a floor it cuts the curve off; as in MMSegmentation's hook the whole curve
    is squeezed to end at it, which also lowers the rate a little on the way. With lr 10 and min_lr 2, at factor 0.5:
    floor gives max(10 * 0.5, 2) = 5, mmseg (10 - 2) * 0.5 + 2 = 6; at factor 0.1 floor gives 2, mmseg 2.8.
    """
    lr, schedule = recipe.optimizer.lr, recipe.schedule
    factor = decay(schedule, step, recipe.steps)
    if schedule.min_lr_rule == "mmseg":
        return (lr - schedule.min_lr) * factor + schedule.min_lr
    return max(lr * factor, schedule.min_lr)


def decay(schedule: Schedule, step: int, steps: int) -> float:
    """The factor of the learning rate at a step: a linear warm-up times the schedule's curve.

    The curve counts from step 0, not from the end of the warm-up, and reaches zero at `horizon`:

        1 |  .---.__                warm-up: (step + 1) / warmup, so that the first step is not lost at a rate of zero
          | /       ''--.__         poly:    (1 - step / horizon) ** power
          |/               ''--.    cosine:  (1 + cos(pi * step / horizon)) / 2
        0 +-------------------------
           warmup         horizon   (all steps, unless the recipe names a later or an earlier one)
    """
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


def synchronised(network: nn.Module, on_gpu: bool) -> nn.Module:
    """The network with batch norms that take their statistics over all workers; its tensors keep their names.

    Batch norm over a worker's own examples makes the result depend on how many workers share the batch: 32 examples on
    two workers are normalised 16 by 16. Here each norm first averages its sums over the workers, so that two workers
    compute what one would with the whole batch. On GPUs this is torch's SyncBatchNorm, in timm's version, which keeps
    the activation that timm's norms apply as well. torch has none for CPUs, where `_OverAllWorkers` does the same.
    """
    if on_gpu:
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # A subclass of the norm's own class, so that parameters, buffers and other attributes stay as they are.
            module.__class__ = type(module.__class__.__name__, (_OverAllWorkers, module.__class__), {})
    return network


class _OverAllWorkers(nn.BatchNorm2d):
    """A batch norm with the statistics of all workers, each of which has equally many examples of one size."""

    over_all_workers = True

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, normalised by the mean and the variance over the examples of every worker.

        Shares are equally large, so the mean of the workers' means is the mean over all examples. The variance is taken
        in a second exchange, around that common mean: E[x^2] - E[x]^2 would need one, but loses digits in float32.
        torch's differentiable all_reduce sends gradients back the same way, as the common statistics depend on every
        worker's inputs.
        """
        if not self.training:
            return super().forward(inputs)
        values, workers = inputs.float(), dist.get_world_size()
        mean = all_reduce(values.mean((0, 2, 3))) / workers
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / workers
        # Values (n c h w), so `values.numel() // c` numbers of each channel here, and as many on each of the workers.
        self._remember(mean.detach(), variance.detach(), workers * values.numel() // len(mean))
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised = (centred * scale[:, None, None] + self.bias[:, None, None]).to(inputs.dtype)
        activation = getattr(self, "act", None)
        return activation(normalised) if activation is not None else normalised

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, as nn.BatchNorm2d does: it keeps the variance with Bessel's correction."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)
