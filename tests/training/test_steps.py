"""Two processes with half a batch each normalise, and learn, as one with the whole."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as spawning
from timm.layers import BatchNormAct2d
from torch import nn

from harness.training.steps import synchronised


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), BatchNormAct2d(6), nn.Conv2d(6, 1, 1)
    )


def inputs() -> torch.Tensor:
    return torch.randn(6, 3, 8, 11, generator=torch.Generator().manual_seed(1)) * 3 + 5


def learned(net: nn.Module, values: torch.Tensor, workers: int) -> dict[str, torch.Tensor]:
    """Outputs, then the mean over workers of the gradients, and the buffers."""
    outputs = net(values)
    outputs.square().mean().backward()
    for parameter in net.parameters():
        if workers > 1:
            dist.all_reduce(parameter.grad)
        parameter.grad /= workers
    gradients = {f"gradient {name}": parameter.grad for name, parameter in net.named_parameters()}
    return {"outputs": outputs.detach(), **gradients, **dict(net.named_buffers())}


def rank(number: int, folder: Path) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=2)
    found = learned(synchronised(network(), on_gpu=False), inputs()[3 * number : 3 * number + 3], 2)
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


def test_halves_are_normalised_as_the_whole(tmp_path: Path) -> None:
    spawning.spawn(rank, (tmp_path,), nprocs=2)
    one, two = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1))
    whole = learned(network(), inputs(), 1)
    torch.testing.assert_close(torch.cat([one.pop("outputs"), two.pop("outputs")]), whole.pop("outputs"))
    for name, value in whole.items():
        for found in (one[name], two[name]):
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6, msg=name)
    alone = learned(network(), inputs()[:3], 1)
    assert (alone["1.running_mean"] - whole["1.running_mean"]).abs().max() > 1e-3  # halves differ


def test_names_of_tensors_stay_and_evaluation_is_as_before() -> None:
    net = network()
    before = copy.deepcopy(net)
    assert list(synchronised(net, on_gpu=False).state_dict()) == list(before.state_dict())
    torch.testing.assert_close(net.eval()(inputs()), before.eval()(inputs()))
