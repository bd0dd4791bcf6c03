"""As many images as a time suffices for: what they cost, and that a larger budget takes the same ones and more."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import ray

import harness
from harness import UserError
from harness.cli import terminal
from harness.cli.budget import seconds_of
from harness.cluster import capacity
from harness.config.run_config import RunConfig, load_run
from harness.jobs.plan import planned
from harness.jobs.subset import in_order
from harness.running.budget import PROBE, Speed, within
from harness.storage.store import Store
from toy_loggers import HEARD
from toy_runs import SHOWN, STEADY, Quiet, written

IMAGE_S = 0.1
SLOW = {"name": "fakes:Sleepy", "label": "slow", "params": {"seconds": IMAGE_S}}
KNOWN = {"name": "fakes:Known", "label": "known", "params": {"count": 40}}


def config_in(folder: Path) -> RunConfig:
    return load_run(written(folder / "timed.yaml", datasets=[KNOWN], methods=[SLOW, STEADY]))


def test_a_time_is_read_and_anything_else_refused() -> None:
    assert [seconds_of(one) for one in ("20m", "90s", "1h30m", " 2h ")] == [1200, 90, 5400, 7200]
    for wrong in ("20", "m", "", "0m", "-5m", "1m1h"):
        with pytest.raises(UserError, match="wanted a time above zero"):
            seconds_of(wrong)


def test_an_image_costs_itself_and_its_instances() -> None:
    speed = Speed(image_s=0.5, instance_s=0.1, instances=3)
    assert speed.seconds(2) == pytest.approx(0.7) and speed.seconds(None) == pytest.approx(0.8)


@pytest.mark.slow
def test_the_first_images_are_measured_and_the_part_fits_and_larger_budgets_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, watcher = config_in(tmp_path), Quiet()
    order = [one.sample_id for one in in_order(config)]
    part = within(config, 1.5, watcher, runs=str(tmp_path))
    assert watcher.images == 2 * PROBE  # of either method
    taken = part.config.only["known"]
    assert set(taken) == set(order[: len(taken)]) and part.images == len(taken)
    assert PROBE <= part.images <= 1.5 / IMAGE_S and part.seconds >= part.images * IMAGE_S
    assert part.seconds <= 1.5 or part.images == PROBE
    (start,) = Store(tmp_path / "timed").manifest()["starts"]
    (slow,) = (job.facts for job in planned(config) if job.facts.method == "slow")
    noted = start["peaks"][slow.made_of]
    assert noted["images"] == PROBE and noted["spent_ms"] >= 1000 * PROBE * IMAGE_S

    # The images that were probed have their rows now, and cost nothing.
    again = within(config, 1.5, watcher, runs=str(tmp_path))
    assert watcher.images == 2 * PROBE and set(again.config.only["known"]) >= set(taken)
    assert again.seconds >= (again.images - PROBE) * IMAGE_S
    more = within(config, 2.5, watcher, runs=str(tmp_path))
    assert set(more.config.only["known"]) >= set(again.config.only["known"])
    whole = within(config, 3600, watcher, runs=str(tmp_path))
    assert whole.config == config and (whole.images, whole.of) == (40, 40)

    # On a cluster it is the time of all workers that fit there, whatever `count` asks for: 3 + 1, not 2 + 1 or 8.
    nodes = [{"Alive": alive, "Resources": {"CPU": cpus}} for alive, cpus in ((True, 3.5), (True, 1.0), (False, 9.0))]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(capacity, "connect", lambda _: None)
    for count, workers in ((None, 4), (8, 4), (2, 2)):
        own = config.workers.model_copy(update={"executor": "ray", "count": count})
        shared = within(config.model_copy(update={"workers": own}), 1.5, watcher, runs=str(tmp_path))
        assert (shared.workers, shared.images > again.images) == (workers, True)
        assert shared.seconds <= 1.5 and shared.seconds * workers >= (shared.images - PROBE) * IMAGE_S


@pytest.mark.slow
def test_a_run_within_a_budget_is_marked_as_a_part_and_says_what_it_finds(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "_width", 400)
    path = written(tmp_path / "timed.yaml", datasets=[KNOWN], methods=[SLOW, STEADY], **SHOWN)
    done = here("run", path, "--runs", tmp_path, "--budget", "1s")
    assert done.returncode == 0, done.stderr
    images = harness.load(tmp_path / "timed")["image_id"].nunique()
    assert f"--budget 1s: {images} of 40 images, about" in done.stdout
    assert f"LIMITED to {images} samples: Leaderboard" in done.stdout
    assert f"known, slow (size) – steady (size): {images} images show a difference of 0.00 points" in done.stdout
    assert here("verify", tmp_path / "timed").returncode == 0
    assert "found '1x'" in here("run", path, "--budget", "1x").stderr


@pytest.mark.slow
def test_loggers_and_commands_are_told_of_the_measured_images_too(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    HEARD.clear()
    changes = {"loggers": [{"name": "toy_loggers:Hears"}], "on_end": [f"echo $HARNESS_EXIT_CODE >> {tmp_path}/ends"]}
    path = written(tmp_path / "timed.yaml", datasets=[KNOWN], **changes)
    assert here("run", path, "--runs", tmp_path, "--budget", "1h").returncode == 0
    *rows, ended = HEARD
    assert len(pd.concat(rows)) == len(harness.load(tmp_path / "timed")) == 40 * 2 * 3 and ended.exit_code == 0
    done = here("run", path, "--runs", tmp_path, "--budget", "1h", "--set", "seed=1")
    assert done.returncode == 2 and "seed: 0 then, 1 now" in done.stderr and HEARD[-1].exit_code == 2
    assert (tmp_path / "ends").read_text() == "0\n2\n"
