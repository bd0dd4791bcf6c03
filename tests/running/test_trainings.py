"""The networks that a run lacks: side by side where there is room, whatever becomes of one of them."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from harness.cluster.ledger import Ledger
from harness.cluster.ray_training import _passed_on
from harness.cluster.training_room import side_by_side
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.recipe import Validation, identified
from harness.config.run_config import RunConfig
from harness.running import one_training as training
from harness.running.trainings import check_kept, look_ahead, train_missing
from harness.storage.folder import Folder
from harness.structures import UserError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = "Interrupted. What is done is kept: the same command goes on from here."


def entry(tmp_path: Path, label: str, workers: int = 1, output: str = "", steps: int = 6, **params: Any) -> MethodEntry:
    folder = tmp_path / "met"
    folder.mkdir(exist_ok=True)
    train = {
        "learner": {"name": "toy_learners:Meeting", "params": {"folder": str(folder), **params}},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}],
        "checkpoint": str(tmp_path / f"{output or label}.safetensors"),
        "steps": steps,
        "batch": 2,
        "save_every": 2,
        "device": "cpu",
        "workers": workers,
    }
    return MethodEntry.model_validate({"name": "click_only", "label": label, "train": train})


@pytest.mark.usefixtures("resumable")
def test_networks_of_this_process_and_one_for_two_methods(tmp_path: Path) -> None:
    due = [
        entry(tmp_path, "wrong", workers=0, end="wrong"),
        entry(tmp_path, "wrong too", workers=0, end="wrong", steps=5),
        entry(tmp_path, "good", workers=0, name="good"),
        entry(tmp_path, "the same", workers=0, output="good", name="twice"),
    ]
    with pytest.raises(UserError) as failed:
        train_missing(due, lambda *_: None)
    assert str(failed.value) == "wrong, wrong too: training: loss is nan at step 1; lower optimizer.lr."
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["good.safetensors"]
    assert [path.name for path in (tmp_path / "met").iterdir()] == ["good"]


def test_as_many_as_the_nodes_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: 2 * [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 8.0})
    sizes = {workers: entry(tmp_path, "a", workers).train for workers in (1, 2)}
    of = {
        (workers, device): recipe.model_copy(update={"device": device, "threads": 1})
        for workers, recipe in sizes.items()
        for device in ("auto", "cpu")
        if recipe
    }
    assert side_by_side([of[1, "auto"]] * 20) == 8  # a GPU each
    assert side_by_side([of[2, "auto"]] * 20) == 4
    assert side_by_side([of[1, "cpu"]] * 20) == 16
    assert side_by_side([of[1, "cpu"], of[2, "auto"]]) == 4  # as the one that takes the most
    many = of[2, "auto"].model_copy(update={"loaders": 7})  # all CPUs of a node: one worker on each
    assert side_by_side([many]) == 1
    too_large = many.model_copy(update={"loaders": 70})  # it says itself that there is no room
    assert side_by_side([too_large]) == 1
    assert side_by_side([too_large, of[1, "auto"]]) == 8


@pytest.mark.usefixtures("resumable")
def test_a_network_that_another_run_trains_is_left_to_it(tmp_path: Path) -> None:
    theirs, mine = entry(tmp_path, "theirs", workers=0, name="theirs"), entry(tmp_path, "mine", workers=0, name="mine")
    assert theirs.train
    with training.claimed(identified(theirs.train)):
        with pytest.raises(
            UserError, match=r"^theirs: .*lock\.json: found another process at work on this training: process \d+ of"
        ):
            train_missing([theirs, mine], lambda *_: None)
        with pytest.raises(UserError, match="found another process at work on this training"):
            training.train(theirs.train, lambda _: None)
    assert [path.name for path in (tmp_path / "met").iterdir()] == ["mine"]
    train_missing([theirs, mine], lambda *_: None)
    assert (tmp_path / "met" / "mine").read_text() == "begun\n"  # It was there by then.
    assert (tmp_path / "theirs.safetensors").is_file()


def test_what_no_worker_begins_is_said_and_what_a_report_raises_reaches_the_workers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("harness.cluster.ray_training.WARN_EVERY_S", 1.0)
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    with caplog.at_level(logging.WARNING), _passed_on(ledger, _refuse, "2 workers that ask for 1 CPU each"):
        give_up = time.monotonic() + 60
        while "has begun" not in caplog.text:
            assert time.monotonic() < give_up
            time.sleep(0.1)
        assert ray.get(ledger.begin.remote()) is None
        ray.get(ledger.report.remote(training.Progress(1, 2, 0.5, 0.1, 1.0)))
        while (lost := ray.get(ledger.begin.remote())) is None:
            assert time.monotonic() < give_up
            time.sleep(0.1)
    assert "none of 2 workers that ask for 1 CPU each has begun after 1 s; free: " in caplog.text
    assert str(lost) == "taken over"


def _refuse(_: training.Progress) -> None:
    raise UserError("taken over")


@pytest.mark.usefixtures("resumable")
def test_a_bug_of_one_is_told_with_its_traceback_and_leaves_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bug, good = entry(tmp_path, "bug", workers=0, end="bug"), entry(tmp_path, "good", workers=0)
    with pytest.raises(UserError, match=r"^bug: .*nothing of that name"):
        train_missing([bug, good], lambda *_: None)
    assert "Traceback" in caplog.text and (tmp_path / "good.safetensors").is_file()


def test_a_networks_data_for_validation_are_looked_for_too(tmp_path: Path) -> None:
    method = entry(tmp_path, "a", workers=0)
    assert method.train
    absent = Validation(datasets=(Plugin(name="coco", params={"root": tmp_path / "coco", "split": "val2017"}),))
    method = method.model_copy(update={"train": method.train.model_copy(update={"validation": absent})})
    scenes = {"name": "scenes", "params": {"split": "val", "count": 1}}
    run = RunConfig.model_validate({"run": "r", "datasets": [scenes], "methods": [method]})
    with pytest.raises(UserError, match=str(tmp_path / "coco")):
        look_ahead(run, [method])


def test_networks_of_a_job_are_not_saved_where_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = entry(tmp_path, "a", output=str(ROOT / "weights" / "a"))
    check_kept([inside], Folder.at(ROOT / "runs"))
    job = {"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    check_kept([entry(tmp_path, "a")], Folder.at(tmp_path))
    with pytest.raises(UserError, match=r"^a: .*weights/a\.safetensors lies in Ray's copy of the checkout"):
        check_kept([inside], Folder.at(tmp_path))
    with pytest.raises(UserError, match="runs: lies in Ray's copy of the checkout"):
        check_kept([], Folder.at(ROOT / "runs"))


@pytest.mark.slow
def test_trainings_side_by_side_end_at_a_schedulers_sigterm_and_go_on_whatever_becomes_of_others(
    tmp_path: Path,
    run_name: str,
    shared_ray: str,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each waits until the other has begun, too.
    due = [entry(tmp_path, name, name=name, sleeps_s=0.3, steps=20, meets=2) for name in ("a", "b")]
    failing = [entry(tmp_path, "dying", name="dying", end="dies"), entry(tmp_path, "lost", name="lost", end="loader")]
    scenes = {"name": "scenes", "params": {"split": "val", "count": 1}}
    methods = [one.model_dump(mode="json", exclude_defaults=True) for one in due]
    given = {"run": run_name, "datasets": [scenes], "methods": methods, "workers": {"executor": "local"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given | {"tables": ["leaderboard"]}))
    command = [sys.executable, "-m", "harness", "run", str(tmp_path / "run.yaml"), "--runs", str(tmp_path / "runs")]
    command += ["--address", shared_ray]
    for one in due + failing:
        assert one.train
        journal = training.resumable(identified(one.train)).with_suffix("")
        request.addfinalizer(partial(shutil.rmtree, journal, ignore_errors=True))
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 600
    while len({path.parts[-3] for path in tmp_path.glob("runs/training/*.ray/checkpoint_*/state.pt")}) < 2:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.1)
    process.terminate()
    _, told = process.communicate(timeout=300)
    # A busy machine warns that it lets no worker begin.
    assert [line for line in told.splitlines() if "has begun after" not in line] == [INTERRUPTED]
    assert process.returncode == 130
    assert list((tmp_path / "runs").rglob("lock.json")) == []

    (tmp_path / "hurry").touch()
    monkeypatch.setattr("harness.cluster.ray_training.RESTARTS", 1)
    reported: list[tuple[str, int]] = []
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as failed:
        train_missing(  # One of them shows that it goes on.
            [due[0], *failing],
            lambda label, progress: reported.append((label, progress.step)),
            runs=str(tmp_path / "runs"),
        )
    assert reported == [("a", 20)]
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["a.safetensors"]
    assert 20 <= (tmp_path / "met" / "a").read_text().count("begun") < 20 + 8  # It did go on.
    dying, lost = str(failed.value).splitlines()
    assert dying.startswith("dying: training: workers died 2 times, the last time with: ")
    assert lost == "lost: training: a loader's process died. Lower `loaders`."
    assert (tmp_path / "met" / "lost").read_text() == 2 * "begun\n"  # Where it dies again there is no third time.
    assert "lost could not be trained; the others go on: training: a loader's process died" in caplog.text
