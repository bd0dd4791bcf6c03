"""The learning rate by hand; and two processes with half a batch each normalise, and learn, as one with the whole."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as spawning
from harness.methods.learners.shared.batch_norms import check_batch
from timm.layers import BatchNormAct2d
from torch import nn

from harness.config.recipe import Schedule
from harness.training.steps import decay, learning_rate, synchronised
from toy_trainings import recipe

pytestmark = pytest.mark.slow


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


def rank(number: int, folder: Path, share: int) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=2)
    net = synchronised(network(), on_gpu=False)
    check_batch(net, share, "learner")
    found = learned(net, inputs()[share * number : share * (number + 1)], 2)
    torch.save(found, folder / f"{number}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("share", [3, 1])
def test_halves_are_normalised_as_the_whole(tmp_path: Path, share: int) -> None:
    spawning.spawn(rank, (tmp_path, share), nprocs=2)
    one, two = (torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1))
    whole = learned(network(), inputs()[: 2 * share], 1)
    torch.testing.assert_close(torch.cat([one.pop("outputs"), two.pop("outputs")]), whole.pop("outputs"))
    for name, value in whole.items():
        for found in (one[name], two[name]):
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6, msg=name)
    alone = learned(network(), inputs()[:share], 1)
    assert (alone["1.running_mean"] - whole["1.running_mean"]).abs().max() > 1e-3  # halves differ


def test_names_of_tensors_stay_and_evaluation_is_as_before() -> None:
    net = network()
    before = copy.deepcopy(net)
    assert list(synchronised(net, on_gpu=False).state_dict()) == list(before.state_dict())
    torch.testing.assert_close(net.eval()(inputs()), before.eval()(inputs()))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "constant", "warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ({"name": "poly", "power": 1.0}, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"name": "poly", "power": 2.0, "warmup": 2}, [0.5, 0.81, 0.64, 0.49, 0.36, 0.25, 0.16, 0.09, 0.04, 0.01]),
        ({"name": "poly", "power": 1.0, "horizon": 5}, [1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0]),
        ({"name": "poly", "power": 0.9, "horizon": 20}, [(1 - step / 20) ** 0.9 for step in range(10)]),
        (
            {"name": "cosine"},
            [1, 0.975528, 0.904508, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472],
        ),
    ],
)
def test_schedules_by_hand(schedule: dict[str, Any], expected: list[float]) -> None:
    found = [decay(Schedule.model_validate(schedule), step, 10) for step in range(10)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_mmsegs_schedule_by_hand() -> None:
    schedule = {"power": 0.9, "horizon": 200_000, "min_lr": 1e-4, "min_lr_rule": "mmseg"}
    job = recipe(steps=90_000, optimizer={"name": "sgd", "lr": 5e-3}, schedule=schedule)
    for step in (0, 1, 50_000, 89_999):
        assert learning_rate(job, step) == pytest.approx((5e-3 - 1e-4) * (1 - step / 200_000) ** 0.9 + 1e-4, rel=1e-12)
    floor = recipe(steps=10, optimizer={"lr": 0.1}, schedule={"power": 1.0, "min_lr": 0.05})
    assert [learning_rate(floor, step) for step in (0, 5, 9)] == pytest.approx([0.1, 0.05, 0.05])
