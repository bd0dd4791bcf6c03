"""An instance asked for again: rows that are as the method makes them pass, any other fails and says how."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fakes
from harness import UserError, places
from harness.config.run_config import load_run
from harness.evaluation.evaluate import Evaluation
from harness.jobs.plan import planned
from harness.masks import rle
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.storage.store import Store
from harness.trying.replaying import Verdict, replayed
from toy_runs import STEADY, TOYS, WIDE, Quiet, written


def ran(folder: Path, **changed: Any) -> Path:
    """A run of two methods on two toys with two clicks an instance; its folder."""
    known = {"methods": [STEADY, WIDE], "clicks": {"max_clicks": 2}, "limit": 2}
    run(load_run(written(folder / "a.yaml", **known | changed)), Quiet(), runs=str(folder / "runs"))
    return folder / "runs" / "a"


def verdicts(folder: Path, instance: str = "1b", **how: Any) -> dict[str, Verdict]:
    return {one.method: one for one in replayed(recorded_at(folder), instance, **how)}


def altered(folder: Path) -> Path:
    """The same run with shards of `steady` in which an instance's first mask lacks a pixel, as somebody writes them."""
    config = load_run(folder.parent.parent / "a.yaml")
    job = next(one for one in planned(config) if one.facts.method == "steady")
    for file in (folder / "shards" / job.facts.key).glob("*.parquet"):
        file.unlink()
    way = job.names, job.protocol
    records = list(Evaluation(fakes.Steady(), fakes.Toys(6), [way]).records(job.sample_ids))
    at = next(i for i, one in enumerate(records) if one.instance_id == "1b" and one.ranking == "confidence")
    assert records[at].mask and records[at].height and records[at].width
    mask = rle.decode(records[at].mask, (records[at].height, records[at].width)).copy()
    ys, xs = mask.nonzero()
    mask[ys[0], xs[0]] = False
    records[at] = replace(records[at], mask=rle.encode(mask), metrics={**records[at].metrics, "iou": 0.99})
    Store(folder).write(job.facts, job.sample_ids, records)
    return folder


@pytest.mark.slow
def test_rows_as_a_method_makes_them_pass_and_an_altered_one_fails(tmp_path: Path) -> None:
    folder = ran(tmp_path)
    assert verdicts(folder) == {name: Verdict(name, "toys", 6) for name in ("steady", "wide")}
    found = verdicts(altered(folder))
    assert found["wide"].passed and not found["steady"].passed
    (said,) = found["steady"].differing
    assert said.startswith("click 1, confidence: mask differs in 1 pixels, iou 0.990000 stored, 0.")
    assert verdicts(folder, "0a")["steady"].passed


@pytest.mark.slow
def test_the_quickstart_s_rows_pass(tmp_path: Path) -> None:
    config = load_run(places.config(Path("quickstart")), ["limit=1", "workers.executor=local", "tables=[leaderboard]"])
    run(config, Quiet(), runs=str(tmp_path))
    known = recorded_at(tmp_path / config.run)
    for instance in known.rows()["instance_id"].unique():
        assert [one.passed for one in replayed(known, instance)] == [True, True]


@pytest.mark.slow
def test_failed_rows_and_draws_are_asked_again_too(tmp_path: Path) -> None:
    broken = {"name": "fakes:Fragile", "label": "broken", "params": {"how": "raise", "at": 1}}
    chancy = {"name": "chancy:Chancy", "label": "chancy"}
    folder = ran(tmp_path, methods=[broken, chancy], clicks={"max_clicks": 1, "draws": 2})
    found = verdicts(folder)
    assert found["broken"] == Verdict("broken", "toys", 2) and found["chancy"].passed and found["chancy"].rows >= 2


@pytest.mark.slow
def test_other_weights_fail_with_both_hashes(tmp_path: Path) -> None:
    checkpoint = tmp_path / "w.pth"
    checkpoint.write_bytes(b"then")
    method = {"name": "fakes:Steady", "label": "steady", "params": {"checkpoint": str(checkpoint)}}
    folder = ran(tmp_path, methods=[method], limit=1)
    assert verdicts(folder, "0a")["steady"].passed
    checkpoint.write_bytes(b"now")
    (said,) = verdicts(folder, "0a")["steady"].differing
    assert "has changed since the run was planned" in said and said.endswith(".") and "run ends" not in said


@pytest.mark.slow
def test_unknown_names_are_one_message_with_what_is_near(tmp_path: Path) -> None:
    folder = ran(tmp_path, limit=1)
    with pytest.raises(UserError, match="no instance '0aa' in its rows. Did you mean '0a'"):
        verdicts(folder, "0aa")
    with pytest.raises(UserError, match="no method labelled 'stedy' .* Did you mean 'steady'"):
        verdicts(folder, labels=["stedy"])
    assert verdicts(folder, "0a", labels=["wide"]).keys() == {"wide"}


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose modules this process has not loaded."""
    folder = ran(tmp_path, limit=1)
    for name in ("fakes", "far_away"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.mark.slow
def test_a_folder_s_own_code_is_not_imported_unless_a_config_of_the_reader_names_it(foreign: Path) -> None:
    with pytest.raises(
        UserError, match="fakes:Steady: found this code named in the run's folder; .* replay RUN ID --config"
    ):
        verdicts(foreign, "0a")
    assert "fakes" not in sys.modules
    mine = load_run(foreign.parent.parent / "a.yaml")
    assert all(one.passed for one in verdicts(foreign, "0a", mine=mine).values())


@pytest.mark.slow
def test_code_named_in_parameters_is_not_imported_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = {"name": "fakes:Noted", "label": "noted", "params": {"notes": str(tmp_path / "notes")}}
    folder = ran(tmp_path, methods=[nested], limit=1)
    known = recorded_at(folder)
    (method,) = known.config.methods
    params = {**method.params, "saliency": {"name": "far_away:Saliency"}}
    config = known.config.model_copy(update={"methods": (method.model_copy(update={"params": params}),)})
    with pytest.raises(UserError, match="far_away:Saliency: found this code named in the run's folder"):
        list(replayed(replace(known, config=config), "0a"))
    assert "far_away" not in sys.modules


@pytest.mark.slow
def test_a_config_of_the_reader_s_may_ask_otherwise_and_must_have_the_labels(tmp_path: Path) -> None:
    folder = ran(tmp_path, limit=1)
    other = written(tmp_path / "b.yaml", methods=[{**WIDE, "label": "steady"}], datasets=[TOYS])
    found = verdicts(folder, "0a", labels=["steady"], mine=load_run(other))
    assert "mask differs in" in found["steady"].differing[0]
    with pytest.raises(UserError, match="the config has no method labelled 'wide', as the run has"):
        verdicts(folder, "0a", mine=load_run(other))


@pytest.mark.slow
def test_the_command_prints_a_line_a_method_and_ends_with_exit_code_1(tmp_path: Path, here: Callable[..., Any]) -> None:
    folder = ran(tmp_path)
    done = here("replay", folder, "1b")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "PASS  steady on toys: 6 rows, masks and scores as stored"
    done = here("replay", altered(folder), "1b")
    assert done.returncode == 1 and done.stdout.startswith("FAIL  steady on toys\nPASS  wide on toys")
    assert "click 1, confidence: mask differs in 1 pixels" in done.stderr
    assert here("replay", folder, "nobody").returncode == 2
