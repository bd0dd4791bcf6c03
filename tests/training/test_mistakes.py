"""What a learner's author is told: one message with the place in his code, in this process and out of a loader's."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.recipe import Recipe
from harness.plugins.failures import blamed
from harness.running import one_training as training
from harness.running.one_training import train
from harness.structures import UserError
from harness.training.estimate import expected_hours
from harness.training.mistakes import memory_blamed
from toy_learners import Mistaken

OWN = inspect.getfile(Mistaken)


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where jobs keep their states."""
    monkeypatch.setattr(training, "resumable", lambda of: tmp_path / f"{of.key}.pt")


def recipe(folder: Path, how: str, learner: str = "Mistaken", **changes: Any) -> Recipe:
    values = {
        "learner": {"name": f"toy_learners:{learner}", "params": {"how": how}},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 2, "size": 32}}],
        "checkpoint": str(folder / "w.safetensors"),
        "steps": 2,
        "batch": 4,
        "device": "cpu",
    }
    return Recipe.model_validate(values | changes)


def told(of: Recipe) -> str:
    with pytest.raises(UserError) as found:
        train(of, lambda _: None)
    assert str(pickle.loads(pickle.dumps(found.value))) == str(found.value)
    return str(found.value)


def line(comment: str) -> int:
    lines, first = inspect.getsourcelines(Mistaken)
    return next(number for number, text in enumerate(lines, first) if comment in text)


@pytest.mark.slow
@pytest.mark.parametrize("loaders", [0, 1])
def test_an_example_that_fails(tmp_path: Path, loaders: int) -> None:
    said = told(recipe(tmp_path, "wrong example", loaders=loaders))
    assert said.startswith("learner 'toy_learners:Mistaken': no example of instance train-0000")
    assert " of sample train-0000" in said
    where = f"({OWN}, line {line('here, the example')})"  # not numpy's own file
    assert said.endswith(f". ValueError: all input arrays must have the same shape {where}.")


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        (
            "unlike",
            [
                "all input arrays must have the same shape. Found {pixels: float32 (1, ",
                ", 4)} for instance train-0000",
                " and {pixels: ",
            ],
        ),
        ("no mapping", [" TypeError: ", "Found a list for instance train-0000"]),
        ("words", ["TypeError: can't convert np.ndarray of type numpy.str_", "Found {pixels: <U1 ()} for instance"]),
    ],
)
def test_examples_that_do_not_stack(tmp_path: Path, how: str, parts: list[str]) -> None:
    said = told(recipe(tmp_path, how))
    assert said.startswith("learner 'toy_learners:Mistaken': its examples do not stack to a batch. ")
    assert all(part in said for part in parts), said
    assert said.endswith(f"of the same names and shapes ({OWN}, line {line('def example')}).")


def test_a_preparation_that_fails(tmp_path: Path) -> None:
    said = told(recipe(tmp_path, "", "Unprepared"))
    assert "learner 'toy_learners:Unprepared': a step of instance train-0000" in said
    assert " and others cannot be prepared. ValueError: no tower (" in said


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("a map", "a float32 tensor of shape (4, 1, 4, 4)"),
        ("a float", "of type float"),
        ("apart", "a float32 tensor of shape () that depends on none of them"),
    ],
)
def test_a_loss_that_is_none(tmp_path: Path, how: str, found: str) -> None:
    wanted = "a tensor of one number that depends on the network's parameters"
    where = f"({OWN}, line {line('def loss')})"
    assert (
        told(recipe(tmp_path, how)) == f"learner 'toy_learners:Mistaken': its loss is {found}; wanted {wanted} {where}."
    )


def test_a_loss_that_fails(tmp_path: Path) -> None:
    where = f"({OWN}, line {line('here, the loss')})"
    said = told(recipe(tmp_path, "wrong loss"))
    assert said == f"learner 'toy_learners:Mistaken': its loss cannot be computed. KeyError: 'pixles' {where}."
    assert "its loss cannot be computed. RuntimeError: " in told(recipe(tmp_path, "wrong shapes"))


def test_with_other_workers_a_runtime_error_may_be_the_death_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", world_size=1, rank=0)
    try:
        with pytest.raises(RuntimeError):
            train(recipe(tmp_path, "wrong shapes"), lambda _: None)
        assert "its loss cannot be computed. KeyError" in told(recipe(tmp_path, "wrong loss"))
    finally:
        torch.distributed.destroy_process_group()


def test_memory_that_does_not_suffice(tmp_path: Path) -> None:
    advice = "Lower `batch`, or raise `accumulate`."
    said = told(recipe(tmp_path, "cpu memory"))
    assert said.startswith("training: out of memory on the CPU (") and "you tried to allocate" in said
    assert said.endswith(f"). {advice}")
    said = "CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1.5 GiB"
    greedy = recipe(tmp_path, "gpu memory", device="auto")
    with pytest.raises(UserError) as probed:
        expected_hours(greedy)
    assert told(greedy) == str(probed.value) == f"training: out of memory on cuda ({said}). {advice}"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: no"),
    ],
)
def test_what_lacks_memory_is_not_the_learners_fault(error: Exception) -> None:
    wanted = r"out of memory on (the CPU|cuda:1) \(.+\)\. Lower"
    with pytest.raises(UserError, match=wanted), memory_blamed("cuda:1"), blamed("learner 'a'"):
        raise error
