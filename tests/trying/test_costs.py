"""What a method computes, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml
from torch import nn

from harness.config.run_config import load_run
from harness.structures import UserError
from harness.trying.costs import costs, parameter_count
from toy_networks import WIDTH

SIZE = 192
"""Pixels of a scene's side."""

IMAGE_OPERATIONS = 2 * SIZE * SIZE * 4 * 27
LINEAR = 2 * 5 * WIDTH * WIDTH
PROMPT_OPERATIONS = LINEAR + 4 * LINEAR + 2 * (2 * 5 * 5 * WIDTH)  # q, k, v and the output; scores and their sums
PARAMETERS = 4 * 27 + (WIDTH * WIDTH + WIDTH) + 4 * (WIDTH * WIDTH + WIDTH)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    methods = [
        {"name": "toy_networks:Counted", "label": "counted"},
        {"name": "toy_networks:Counted", "label": "failing", "params": {"fails": True}},
        {"name": "fakes:Steady", "label": "no network"},
    ]
    path.write_text(yaml.safe_dump({"run": "c", "datasets": [{"name": "scenes"}], "methods": methods}))
    return path


def test_parameters_and_operations_are_those_of_a_count_by_hand(config: Path) -> None:
    size, (counted, failing, without) = costs(load_run(config))
    assert size == (SIZE, SIZE)
    assert counted.parameters == PARAMETERS
    assert counted.image_operations == IMAGE_OPERATIONS
    assert counted.prompt_operations == PROMPT_OPERATIONS
    assert failing.parameters == PARAMETERS and failing.error.startswith("ValueError: no answer today")
    assert (without.parameters, without.image_operations, without.prompt_operations, without.error) == (0, 0, 0, "")


def test_fast_attention_is_switched_on_again(config: Path) -> None:
    costs(load_run(config))
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_shared_tensor_counts_once_and_a_ring_of_objects_ends() -> None:
    class Holder:
        def __init__(self) -> None:
            self.network, self.other = nn.Linear(2, 3), self

    holder = Holder()
    assert parameter_count([holder, {"again": holder.network}, holder.network.weight]) == 9


def test_plan_prints_them(config: Path, here: Callable[..., CompletedProcess[str]]) -> None:
    done = here("plan", config, "--cost", "--limit", "1")
    assert done.returncode == 0, done.stderr
    row = next(
        line for line in done.stdout.splitlines() if "counted" in line and "GFLOP" not in line and "0.00" in line
    )
    assert f"{IMAGE_OPERATIONS / 1e9:.3f}" in row
    assert "failing gave no answer: ValueError: no answer today" in " ".join(done.stderr.split())


def test_a_first_image_without_an_instance_is_said(config: Path) -> None:
    bare = yaml.safe_load(config.read_text()) | {"datasets": [{"name": "fakes:Bare"}]}
    config.write_text(yaml.safe_dump(bare))
    with pytest.raises(UserError, match="data set 'fakes:Bare': found no instance in its first image"):
        costs(load_run(config))
