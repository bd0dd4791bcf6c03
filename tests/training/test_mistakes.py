"""What a learner's author is told: one message with the place in his code, in this process and out of a loader's."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.config.recipe import Recipe
from harness.plugins.failures import blamed
from harness.running import train as training
from harness.running.train import train
from harness.structures import UserError
from harness.training.estimate import expected_hours
from harness.training.mistakes import memory_blamed

OWN = """
import numpy as np
import torch

from harness.plugins.interfaces import Learner


class Own(Learner):
    def __init__(self, how: str) -> None:
        self.network, self.how = torch.nn.Conv2d(1, 1, 1), how

    def example(self, sample, instance, vocabulary, rng):
        size = rng.integers(3, 30) if self.how == "unlike" else 4
        if self.how == "wrong example":
            np.stack([np.zeros(3), np.zeros(4)])  # here, the example
        if self.how == "no mapping":
            return [np.zeros(3)]
        if self.how == "words":
            return {"pixels": np.array("a")}
        return {"pixels": np.zeros((1, size, 4), np.float32)}

    def loss(self, batch):
        given = self.network(batch["pixels"])
        if self.how == "wrong loss":
            batch["pixles"]  # here, the loss
        if self.how == "wrong shapes":
            given @ given[0, 0, 0, 0]
        if self.how == "cpu memory":
            torch.empty(1 << 55)
        if self.how == "gpu memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1.5 GiB. If it is")
        return {"a map": given, "a float": 0.5, "apart": torch.zeros(())}.get(self.how, given.mean())


class Step(Own):
    def prepare(self, images, texts, vocabularies):
        raise ValueError("no\\ntower")
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module `own_learner`; the folder is where jobs keep their states, too."""
    (tmp_path / "own_learner.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(training, "resumable", lambda of: tmp_path / f"{of.key}.pt")
    yield tmp_path / "own_learner.py"
    sys.modules.pop("own_learner", None)


def recipe(folder: Path, how: str, learner: str = "Own", **changes: Any) -> Recipe:
    values = {
        "learner": {"name": f"own_learner:{learner}", "params": {"how": how}},
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
    return next(number for number, text in enumerate(OWN.splitlines(), 1) if comment in text)


@pytest.mark.parametrize("loaders", [0, 1])
def test_an_example_that_fails(tmp_path: Path, own: Path, loaders: int) -> None:
    said = told(recipe(tmp_path, "wrong example", loaders=loaders))
    assert said.startswith("learner 'own_learner:Own': no example of instance train-0000")
    assert " of sample train-0000" in said
    where = f"({own}, line {line('here, the example')})"  # not numpy's own file
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
def test_examples_that_do_not_stack(tmp_path: Path, own: Path, how: str, parts: list[str]) -> None:
    said = told(recipe(tmp_path, how))
    assert said.startswith("learner 'own_learner:Own': its examples do not stack to a batch. ")
    assert all(part in said for part in parts), said
    assert said.endswith(f"of the same names and shapes ({own}, line {line('def example')}).")


def test_a_preparation_that_fails(tmp_path: Path) -> None:
    said = told(recipe(tmp_path, "", "Step"))
    assert "learner 'own_learner:Step': a step of instance train-0000" in said
    assert " and others cannot be prepared. ValueError: no tower (" in said


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("a map", "a float32 tensor of shape (4, 1, 4, 4)"),
        ("a float", "of type float"),
        ("apart", "a float32 tensor of shape () that depends on none of them"),
    ],
)
def test_a_loss_that_is_none(tmp_path: Path, own: Path, how: str, found: str) -> None:
    wanted = "a tensor of one number that depends on the network's parameters"
    where = f"({own}, line {line('def loss')})"
    assert told(recipe(tmp_path, how)) == f"learner 'own_learner:Own': its loss is {found}; wanted {wanted} {where}."


def test_a_loss_that_fails(tmp_path: Path, own: Path) -> None:
    where = f"({own}, line {line('here, the loss')})"
    said = told(recipe(tmp_path, "wrong loss"))
    assert said == f"learner 'own_learner:Own': its loss cannot be computed. KeyError: 'pixles' {where}."
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
