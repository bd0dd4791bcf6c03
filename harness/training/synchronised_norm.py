"""Batch norm over the examples of all workers: torch's own on GPUs, and one for CPUs, where torch has none."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def synchronised(network: nn.Module, on_gpu: bool) -> nn.Module:
    """The network, whose batch norms take their statistics over all workers; tensors keep their names.

    A norm that applies an activation, too (timm's), goes on to apply it.
    """
    if on_gpu:
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = type(module.__class__.__name__, (_OverAllWorkers, module.__class__), {})
    return network


class _OverAllWorkers(nn.BatchNorm2d):
    """A batch norm with the statistics of all workers, each of which has equally many examples of one size."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised by the mean and the variance over every worker's examples."""
        if not self.training:
            return super().forward(inputs)
        values, workers = inputs.float(), dist.get_world_size()
        mean = all_reduce(values.mean((0, 2, 3))) / workers
        centred = values - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / workers
        self._remember(mean.detach(), variance.detach(), workers * values.numel() // len(mean))
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised = (centred * scale[:, None, None] + self.bias[:, None, None]).to(inputs.dtype)
        activation = getattr(self, "act", None)
        return activation(normalised) if activation is not None else normalised

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, as nn.BatchNorm2d does."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)
