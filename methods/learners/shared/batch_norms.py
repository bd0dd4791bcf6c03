"""Common to learners whose networks have batch norms: refuses batches of one, and looks away without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from harness.structures import UserError


def check_batch(network: nn.Module, examples: int, where: str) -> None:
    """Refuse a batch of one example, which has no variance, if a batch norm takes its statistics from the batch.

    Norms that the recipe freezes (`batch_norm: frozen`) and those of a network in eval mode do not, and those that take
    them over several workers (`batch_norm: sync`) have an example of each of them.

    Args:
        network: The network, in the mode in which it is about to be called.
        examples: The number of examples in the batch.
        where: The learner's file, for the message.

    Raises:
        UserError: The batch has one example, and a norm needs more.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if examples < 2 and any(norm.training and not _is_shared(norm) for norm in norms):
        raise UserError(
            f"{where}: found batches of 1; wanted 2 or more. Raise `batch` or lower `accumulate`, or set `batch_norm: "
            "frozen`, or `sync` with several workers."
        )


def _is_shared(norm: nn.Module) -> bool:
    """Whether a norm takes its statistics over several workers: torch's on GPUs, the harness's on CPUs."""
    return isinstance(norm, nn.SyncBatchNorm) or getattr(norm, "over_all_workers", False)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in eval mode; afterwards each of its modules has its own mode again."""
    # `network.train()` would not do afterwards: it puts all modules into training mode, and with them the batch norms
    # that the recipe froze, which are in eval mode by themselves.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
