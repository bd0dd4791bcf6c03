"""Parts of a run: independent commands that share nothing but the run's folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import UserError
from harness.config.run_config import RunConfig, load_run
from harness.results.recorded import recorded
from harness.results.reported import report
from harness.running import one_part
from harness.running.one_part import PartDone, run_part
from harness.running.one_run import run
from harness.storage.lock import Lock
from harness.storage.manifest import save_manifest
from harness.storage.parts import Part
from harness.storage.rows import MEASURED
from harness.storage.shards import packed
from harness.storage.store import Store, file_of
from harness.storage.verify import verified
from toy_runs import STEADY, TOYS, WIDE, Quiet, written

MANY = {**TOYS, "params": {"count": 12}}


def config(tmp_path: Path, **changed: Any) -> RunConfig:
    return load_run(written(tmp_path / "cut.yaml", **{"datasets": [MANY], **changed}))


def part(tmp_path: Path, said: str, watcher: Quiet | None = None, **changed: Any) -> PartDone:
    return run_part(config(tmp_path, **changed), Part.said(said), watcher or Quiet(), runs=str(tmp_path / "runs"))


def rows_of(run: Path) -> pd.DataFrame:
    return pq.read_table(run / "results.parquet").drop_columns([*MEASURED]).to_pandas()


@pytest.mark.slow
def test_parts_one_after_the_other_make_the_rows_of_one_run(tmp_path: Path) -> None:
    both = {"methods": [STEADY, WIDE]}
    store, asked = Store(tmp_path / "runs" / "cut"), []
    for number in (2, 3, 1):
        watcher = Quiet()
        done = part(tmp_path, f"{number}/3", watcher, **both)
        asked.append(watcher.images)
        assert done.images == watcher.images > 0 and not done.missing and not done.failed
        lacking = [one for one in (1, 3) if one not in (2, number)] if number != 1 else []
        assert [one.number for one in done.incomplete] == lacking and (done.finished is None) == bool(lacking)
        if lacking:
            said = f"images are missing of part{'s' * (len(lacking) > 1)} {', '.join(f'{one}/3' for one in lacking)}"
            assert any(said in line for line in verified(store).lacking)
            assert any(said in line for line in report(recorded(store), write=False).shortfalls)
    assert sum(asked) == 2 * 12
    assert done.finished and not done.finished.shortfalls and not done.finished.failed
    found = verified(store)
    assert not found.lacking and "all 3 parts are complete" in found.proved
    assert [one["part"] for one in store.manifest()["starts"]] == ["2/3", "3/3", "1/3"]
    assert all(one["instances"] > 0 and one["ended"] for one in store.manifest()["starts"])
    run(config(tmp_path, **both), Quiet(), runs=str(tmp_path / "whole"))
    pd.testing.assert_frame_equal(rows_of(tmp_path / "whole" / "cut"), rows_of(tmp_path / "runs" / "cut"))
    again = Quiet()
    assert part(tmp_path, "2/3", again, **both).finished and again.images == 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"seed": 1},
            r"found rows of steady on toys that were made with other settings or files \(seed: 0 then, 1 now\)",
        ),
        ({"methods": [STEADY, WIDE]}, "it has no wide on toys"),
        ({"limit": 3}, "it asks for other images"),
        ({"methods": [{**STEADY, "params": {"checkpoint": "CHECKPOINT"}}]}, "weights"),
    ],
)
def test_a_part_of_something_else_is_refused(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    weights = tmp_path / "weights"
    weights.write_text("one")
    trained = {"methods": [{**STEADY, "params": {"checkpoint": str(weights)}}]}
    part(tmp_path, "1/2", **(trained if why == "weights" else {}))
    manifest = (tmp_path / "runs/cut/manifest.json").read_bytes()
    weights.write_text("another")
    with pytest.raises(UserError, match=why):
        part(tmp_path, "2/2", **(trained if why == "weights" else changed))
    assert (tmp_path / "runs/cut/manifest.json").read_bytes() == manifest


def test_a_part_without_one_of_the_methods_is_refused(tmp_path: Path) -> None:
    part(tmp_path, "1/2", methods=[STEADY, WIDE])
    with pytest.raises(UserError, match="--part 2/2 does not belong .*: it also has wide on toys"):
        part(tmp_path, "2/2")


@pytest.mark.slow
def test_the_last_part_makes_the_tables_of_its_own_config(tmp_path: Path) -> None:
    part(tmp_path, "1/2", tables=["table1"])
    done = part(tmp_path, "2/2", tables=["leaderboard"])
    assert done.finished and [table.title for table in done.finished.tables] == ["Leaderboard (run cut)"]


@pytest.mark.slow
def test_a_run_is_cut_in_one_way_until_it_is_started_whole(tmp_path: Path) -> None:
    part(tmp_path, "1/2")
    with pytest.raises(UserError, match="it is cut into 2 parts"):
        part(tmp_path, "1/3")
    watcher = Quiet()
    run(config(tmp_path), watcher, runs=str(tmp_path / "runs"))
    assert 0 < watcher.images < 12
    assert part(tmp_path, "1/3").finished


@pytest.mark.slow
def test_a_part_of_a_run_whose_config_nobody_reads_is_a_message(tmp_path: Path) -> None:
    part(tmp_path, "1/2")
    store = Store(tmp_path / "runs" / "cut")
    save_manifest(store.folder, store.manifest() | {"config": {"methods": 7}})
    with pytest.raises(UserError, match=r"manifest\.json: config, "):
        part(tmp_path, "2/2")


@pytest.mark.slow
def test_a_part_tries_its_images_again_on_which_workers_died_and_those_of_no_other_part(tmp_path: Path) -> None:
    for number in (1, 2):
        part(tmp_path, f"{number}/2")
    store = Store(tmp_path / "runs" / "cut")
    (job,) = recorded(store).jobs
    files = {Part.holding(one.samples[0], 2).number: (name, one) for name, one in store.headers(job.key).items()}
    for name, header in files.values():
        content = packed(store.read(job.key, name), replace(header, given_up=True))
        store.folder.write(file_of(job.key, content), content)
        store.folder.remove(f"shards/{job.key}/{name}")
    for number in (1, 2):
        watcher = Quiet()
        assert part(tmp_path, f"{number}/2", watcher).finished
        assert watcher.images == len(files[number][1].samples) > 0
    assert not any(one.given_up for one in store.headers(job.key).values())


@pytest.mark.slow
def test_one_start_a_part_and_none_of_the_whole_beside_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "runs" / "cut")
    with Lock(Part(1, 2).folder(store.folder)):
        with pytest.raises(UserError, match="found another process at work on this run"):
            part(tmp_path, "1/2")
        with pytest.raises(UserError, match="found 1 parts of this run at work, the first 1-of-2"):
            run(config(tmp_path), Quiet(), runs=str(tmp_path / "runs"))
        assert [one.number for one in part(tmp_path, "2/2").incomplete] == [1]
        assert any("works at part 1-of-2" in line for line in verified(store).unproved)
    monkeypatch.setattr(one_part, "WAIT_S", 0.3)
    with Lock(store.folder), pytest.raises(UserError, match="found another process at work on this run"):
        part(tmp_path, "1/2")


def test_a_folder_that_takes_no_lock_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "cut" / "lock.json").mkdir(parents=True)
    watcher, begun = Quiet(), list[str]()
    monkeypatch.setattr(watcher, "begins", begun.append)
    with pytest.raises(UserError, match=r"lock\.json: cannot be read"):
        part(tmp_path, "1/2", watcher)
    assert begun == ["listing the data, hashing the weights"], "nobody is waited for"


def test_a_part_is_stopped_where_too_much_fails(tmp_path: Path) -> None:
    fragile = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "raise", "at": 1}}
    done = part(tmp_path, "1/1", methods=[fragile], max_failures=0.0)
    assert done.over_budget and done.failed


@pytest.mark.slow
def test_the_last_part_ends_as_the_whole_run_does(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A part that was stopped goes on at each start; that too much failed is told at the end, by counting all rows."""
    fails = {**TOYS, "params": {"count": 6, "unreadable": [0, 1, 2]}}
    path = written(tmp_path / "cut.yaml", datasets=[fails], max_failures=0.2)
    command = ["run", path, "--runs", tmp_path, "--part", "1/1"]
    codes = []
    while "6 of 6 images" not in (done := here(*command)).stdout:
        codes.append(done.returncode)
    assert codes and {*codes} == {1}
    assert done.returncode == 1, "three images of six failed"
    told = " ".join(done.stderr.split())
    assert "3 of 9 instances failed: over max_failures=0.2" in told
    assert f"python -m harness run {path} --runs={tmp_path} --retry-failed" in told
