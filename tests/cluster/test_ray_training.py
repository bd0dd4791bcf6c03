"""Training by several workers: the same as by one, and after a death the same as without it."""

from __future__ import annotations

import importlib
import io
import json
import math
import shutil
import time
from _thread import interrupt_main
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
import ray
import torch
from safetensors.torch import load_file

from harness.cluster import ray_training
from harness.cluster.ray_states import cleaned
from harness.cluster.training_room import scaling_of
from harness.config.recipe import KnownRecipe, Recipe, identified
from harness.running import one_training as training
from harness.running.one_training import train
from harness.storage.folder import Folder
from harness.structures import UserError
from harness.training.journal import METRICS
from harness.training.one_rank import Progress

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray", "resumable")]


def recipe(checkpoint: Path, params: dict[str, Any] | None = None, **changes: Any) -> KnownRecipe:
    values = {
        "learner": {"name": "toy_learners:Still", "params": params or {}},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}],
        "steps": 20,
        "batch": 4,
        "save_every": 3,
        "device": "cpu",
        "batch_norm": "frozen",
        "optimizer": {"name": "sgd", "lr": 0.05},
    }
    return identified(Recipe.model_validate(values | {"checkpoint": str(checkpoint)} | changes))


def losses(job: Recipe) -> dict[int, float]:
    told: list[Progress] = []
    train(job, told.append, report_every=1)
    return {progress.step: progress.loss for progress in told}


def free_again(within_s: float = 90.0) -> bool:
    """Whether no training holds a processor any more."""
    give_up = time.monotonic() + within_s
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.2)
    return True


LIST = "checkpoint_manager_snapshot.json"


def kept_by(states: Folder, name: str, step: int | None) -> None:
    """A checkpoint of a training's state; without a step one that was cut off."""
    content = io.BytesIO()
    torch.save({"step": step, "recipe": "key"}, content)
    states.write(f"{name}/state.pt", content.getvalue() if step else content.getvalue()[:9])


def test_what_a_killed_start_left_half_written_is_removed(tmp_path: Path) -> None:
    states = Folder.at(tmp_path / "key.ray")
    for name in ("checkpoint_coming", "checkpoint_cut", "checkpoint_whole", "mine"):
        kept_by(states, name, 3)
    states.write(f".{LIST}.{uuid4().hex}", b"")
    listed = {"checkpoint_results": ["checkpoint_whole"], "pending_training_results": ["checkpoint_coming"]}
    said = {key: [{"checkpoint_dir_name": name} for name in names] for key, names in listed.items()}
    states.write(LIST, json.dumps(said).encode())
    assert cleaned(states) is None
    assert states.folders() == ["checkpoint_coming", "checkpoint_whole", "mine"]
    assert states.files() == [LIST]


@pytest.mark.parametrize("content", [None, b"", b'{"checkpoint_results": [', b"{}"])
def test_a_list_that_was_cut_off_loses_no_state(tmp_path: Path, content: bytes | None) -> None:
    states = Folder.at(tmp_path / "key.ray")
    assert cleaned(states) is None
    for at, step in enumerate((3, 6, None)):
        kept_by(states, f"checkpoint_{at}", step)
    if content is not None:
        states.write(LIST, content)
    last = cleaned(states)
    assert last is not None and Path(last.path).name == "checkpoint_1"
    assert states.folders() == ["checkpoint_1"] and states.files() == []


@pytest.mark.slow
def test_a_node_that_lacks_a_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_driver.py").write_text("def work(given):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)  # of this process, not of workers
    monkeypatch.setattr(ray_training, "_work", importlib.import_module("only_driver").work)
    said = r"^cluster: a process for the training cannot start on node \S+: ModuleNotFoundError: No .* 'only_driver'\."
    with pytest.raises(UserError, match=said):
        train(recipe(tmp_path / "a.safetensors", workers=2), print)
    assert free_again()


@pytest.mark.slow
def test_an_interrupt_in_a_notebook_ends_the_workers_too(tmp_path: Path) -> None:
    told: list[Progress] = []

    def interrupted_once(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 1:
            interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        endless = recipe(tmp_path / "a.safetensors", workers=2, steps=10**6)
        train(endless, interrupted_once, report_every=1)
    assert free_again()


@pytest.mark.slow
def test_two_workers_train_as_one_with_the_whole_batch_whatever_dies_or_is_forgotten_also_with_loaders(
    tmp_path: Path, resumable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = losses(recipe(tmp_path / "alone.safetensors"))
    died = tmp_path / "died"
    job = recipe(tmp_path / "shared.safetensors", {"dies": str(died)}, workers=2)
    journal = resumable / job.key / METRICS  # named before the file at `dies` is there, which would count, too
    with monkeypatch.context() as patch:
        patch.setattr("harness.cluster.ray_training.forget", lambda *_: None)  # as if killed before it could
        shared = losses(job)
    assert died.exists()
    assert sorted(shared) == sorted(alone) == list(range(1, 21))
    assert max(abs(shared[step] - alone[step]) for step in alone) < 1e-5
    assert alone[20] < alone[1] - 0.05  # it learns: the losses would not agree by standing still
    whole = load_file(job.output)
    for name, value in load_file(tmp_path / "alone.safetensors").items():
        torch.testing.assert_close(whole[name], value, rtol=0, atol=1e-5)
    assert pq.read_table(journal)["step"].to_pylist() == list(range(1, 21))  # those done twice stand there once

    # One worker goes on as this process does, bit for bit: from the state that the two have kept last.
    (states,) = resumable.glob("*.ray")
    kept = shutil.copytree(states, tmp_path / "kept")
    state = max(states.glob("checkpoint_*/state.pt"))
    here, loaded = (
        KnownRecipe(**dict(job) | {"workers": workers, "loaders": workers, "saved_as": str(tmp_path / f"{workers}.st")})
        for workers in (0, 1)
    )
    shutil.copy(state, resumable / f"{job.key}.pt")
    rest = losses(here)
    assert sorted(rest) == [19, 20]
    for again, weights, found in ((job, whole, {}), (loaded, load_file(here.output), rest)):
        again.output.unlink(missing_ok=True)
        shutil.copytree(kept, states, dirs_exist_ok=True)
        for fitted in states.glob("checkpoint_*/fitted.pt") if found else []:
            fitted.unlink()
        (states / LIST).write_bytes(b"{")
        assert losses(again) == pytest.approx(found, abs=1e-6)
        made = load_file(again.output)
        assert all(torch.equal(made[name], weights[name]) for name in weights)
    assert [path.name for path in resumable.glob("*.ray")] == []


def test_more_workers_than_the_cluster_holds(tmp_path: Path) -> None:
    count = 2 * math.ceil(ray.cluster_resources()["CPU"])
    with pytest.raises(UserError, match=f"{count} workers ask for 1 CPU, 0 GPU each .* the cluster has"):
        train(recipe(tmp_path / "w.safetensors", workers=count, batch=count), lambda _: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_workers_that_fit_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": alive, "Resources": {"CPU": 4.0, "GPU": 2.0}} for alive in (True, True, False)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0})
    many = recipe(Path("w.safetensors"), workers=4, threads=2, device="auto")
    assert scaling_of(many).num_workers == 4 and scaling_of(many).use_gpu
    for changed in ({"threads": 3, "workers": 2}, {"threads": 2, "workers": 4, "device": "cuda"}):
        assert scaling_of(recipe(Path("w.safetensors"), **changed)).num_workers == changed["workers"]
    with pytest.raises(UserError, match="4 workers ask for 3 CPU, 1 GPU each .* 8 CPU, 4 GPU, room for 2"):
        scaling_of(recipe(Path("w.safetensors"), workers=4, threads=1, loaders=2, device="auto"))
    nodes[:] = [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}]
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    with pytest.raises(UserError, match="2 workers ask for 1 CPU, 1 GPU each .* room for 1"):  # and not for two CPUs
        scaling_of(recipe(Path("w.safetensors"), workers=2, device="auto"))


def test_states_lie_with_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_RUNS", raising=False)
    state = tmp_path / "training" / "key.pt"
    assert training._storage(state, None).local == state.parent
    assert training._storage(state, str(tmp_path / "shared")).local == tmp_path / "shared" / "training"
    bucket = training._storage(state, "s3://bucket/team/?region=us-east-1")
    assert str(bucket) == "s3://bucket/team/training"
    monkeypatch.setenv("HARNESS_RUNS", "s3://other/team?region=us-east-1")
    assert str(training._storage(state, None)) == "s3://other/team/training"
    assert training._storage(state, str(tmp_path)).local == tmp_path / "training"
