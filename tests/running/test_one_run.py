import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import UserError, places
from harness.config.click_protocol import Clicks
from harness.config.run_config import RunConfig, load_run
from harness.config.wording import Text
from harness.environment import PACKAGES, environment
from harness.evaluation.protocol import Names, Protocol, failed
from harness.interrupts import in_order
from harness.jobs.plan import planned, samples_of
from harness.jobs.worker import Outcome, Worker
from harness.plugins import parameters
from harness.results.recorded import Recorded, recorded
from harness.results.reported import Finished, report
from harness.running.one_run import Budget, run
from harness.storage.lock import Lock
from harness.storage.rows import MEASURED, schema
from harness.storage.shards import name_of, of_samples, packed
from harness.storage.store import Store
from harness.storage.verify import verified
from harness.structures import Listed
from toy_runs import SHOWN, STEADY, TOYS, Quiet, written

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Writes a config; its run's folder goes with the test."""
    names = []

    def write(**changed: Any) -> Path:
        named = {"run": f"test-{uuid4().hex[:8]}"} | changed
        names.append(named["run"])
        return written(tmp_path / f"{len(names)}.yaml", **named)

    yield write
    for name in names:
        shutil.rmtree(places.ROOT / "runs" / name, ignore_errors=True)


def loaded(path: Path, *overrides: str) -> RunConfig:
    return load_run(path, overrides)


def ran(path: Path, *overrides: str) -> tuple[Finished, Quiet]:
    quiet = Quiet()
    return run(loaded(path, *overrides), quiet), quiet


def folder(path: Path) -> Path:
    return places.ROOT / "runs" / loaded(path).run


def results(path: Path) -> pd.DataFrame:
    return pq.read_table(folder(path) / "results.parquet").to_pandas().drop(columns=["run", *MEASURED])


def report_of(path: Path) -> str:
    return (folder(path) / "report.md").read_text().replace(loaded(path).run, "RUN")


def fragile(how: str, at: int, once: Path | None = None) -> dict[str, Any]:
    return {"name": "fakes:Fragile", "label": "fragile", "params": {"how": how, "at": at, "once": once and str(once)}}


def start(path: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness", "run", str(path), *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=places.ROOT, stdout=pipe, stderr=pipe, text=True, env=dict(os.environ))


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=400)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("interrupt", "segment: RuntimeError: KeyboardInterrupt (fakes.py, line "),
        ("close", "segment: RuntimeError: GeneratorExit: closed (fakes.py, line "),
        ("silent", "segment: SilentError: (its text cannot be had: KeyError) (fakes.py, line "),
        ("endless", "segment: ValueError: again and again and "),
    ],
)
def test_whatever_a_plugin_raises_is_a_failed_row_of_bounded_length(
    make: Make, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    path = make(methods=[STEADY, fragile(how, 2)])
    with in_order():  # as the command line runs it
        ran(path)
    rows = results(path)
    failed = rows[rows["status"] == "failed"]
    assert set(zip(failed["method"], failed["instance_id"], strict=True)) == {("fragile", "2a"), ("fragile", "2b")}
    assert failed["error"].str.startswith(said).all() and failed["error"].str.len().max() < 1300
    assert ran(path)[1].images == 0, "resumed without a further error"


@pytest.mark.slow
def test_a_manifest_that_is_removed_during_a_run_costs_no_rows(make: Make) -> None:
    path = make()

    class Removes(Quiet):
        def outcome(self, outcome: Outcome) -> None:
            (folder(path) / "manifest.json").unlink(missing_ok=True)

    with pytest.raises(UserError, match=r"manifest\.json: removed since this start began"):
        run(loaded(path), Removes())
    assert ran(path)[1].images == 0 and not verified(Store(folder(path))).lacking


@pytest.mark.slow
def test_texts_that_are_no_unicode_are_written_escaped(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(datasets=[{"name": "fakes:Latin", "label": "toys"}])
    ran(path)
    rows = results(path)
    assert {"0a", r"0b \udce9"} <= set(rows["instance_id"]) and r"caf\udce9" in set(rows["category"])
    (error,) = set(rows["error"].dropna())
    assert error.startswith(r"load: OSError: cannot open caf\udce9.jpg (fakes.py")
    assert ran(path)[1].images == 0 and not verified(Store(folder(path))).lacking
    monkeypatch.setattr("fakes.Latin.sample_ids", lambda self: ["caf\udce9"])
    with pytest.raises(UserError, match=r"the sample's id 'caf\\udce9' is no Unicode text.* Rename the file"):
        ran(make(datasets=[{"name": "fakes:Latin", "label": "toys"}]))


@pytest.mark.parametrize(
    ("outcomes", "spent"),
    [
        ([(2, 10, 0)], False),
        ([(2, 10, 10)], False),  # of 100 expected, 10 may fail
        ([(2, 10, 10), (2, 10, 1)], True),
        ([(2, 10, 10), (2, 10, 0)], False),
        ([(2, 30, 11)], False),  # of 300 expected
        ([(2, 2, 2), (2, 2, 1)], True),
        ([(2, 0, 0)], False),
    ],
)
def test_budget_expects_of_the_rest_what_it_has_seen(outcomes: list[tuple[int, int, int]], spent: bool) -> None:
    budget = Budget(share=0.1, samples={"job": 20})
    verdicts = [budget.spent(Outcome("job", s, i, f, "", 0.0)) for s, i, f in outcomes]
    assert verdicts[-1] is spent
    assert not any(verdicts[:-1])


def test_no_failures_allowed_means_the_first_ends_it() -> None:
    assert Budget(0.0, {"job": 100}).spent(Outcome("job", 1, 50, 1, "", 0.0))
    assert not Budget(1.0, {"job": 100}).spent(Outcome("job", 1, 50, 50, "", 0.0))


def test_a_method_that_fails_is_not_excused_by_those_beside_it() -> None:
    """35 of 46 in one job, none in 17 others: 4 % of the run."""
    budget = Budget(0.05, {f"job {n}": 46 for n in range(18)})
    outcomes = [Outcome(f"job {n}", 46, 46, 35 if n == 17 else 0, "", 0.0) for n in range(18)]
    assert [budget.spent(one) for one in outcomes] == [False] * 17 + [True]


@pytest.mark.slow
def test_a_run_writes_all_rows_and_its_report(make: Make) -> None:
    path = make(**SHOWN)
    done, quiet = ran(path)
    assert (done.instances, done.failed, done.over_budget, done.missing) == (12, 0, False, 0)
    assert [outcome.samples for outcome in quiet.outcomes] == [2, 2, 2]
    rows = pq.read_table(folder(path) / "results.parquet")
    assert rows.schema.equals(schema(("iou", "boundary_iou"))) and len(rows) == 12 * 3
    assert "steady" in report_of(path)
    start, *_ = Store(folder(path)).manifest()["starts"]
    assert {"started", "ended", "instances", "failed", "commit", "packages", "host"} <= set(start)


@pytest.mark.slow
def test_the_same_command_again_computes_nothing_and_writes_the_same(make: Make) -> None:
    path = make()
    ran(path)
    before = report_of(path), (folder(path) / "results.parquet").read_bytes()
    _, quiet = ran(path)
    assert list(quiet.done.values()) == [6] and not quiet.outcomes
    assert (report_of(path), (folder(path) / "results.parquet").read_bytes()) == before


@pytest.mark.slow
def test_shard_and_batch_sizes_change_no_byte(make: Make) -> None:
    one, other = make(), make(workers={"executor": "local", "samples_per_shard": 5, "images_per_batch": 3})
    ran(one)
    ran(other)
    assert report_of(one) == report_of(other)
    pd.testing.assert_frame_equal(results(one), results(other))


@pytest.mark.slow
def test_a_limited_run_goes_on_in_full_and_back(make: Make) -> None:
    path, whole = make(**SHOWN), make(**SHOWN)
    limited, _ = ran(path, "limit=3")
    assert limited.instances == 6 and "LIMITED to 3 samples" in report_of(path)
    _, quiet = ran(path)
    assert sum(outcome.samples for outcome in quiet.outcomes) == 3
    ran(whole)
    assert report_of(path) == report_of(whole)
    pd.testing.assert_frame_equal(results(path), results(whole))
    ran(path, "limit=6")
    assert report_of(path) == report_of(whole), "a limit that leaves nothing out is none"
    _, quiet = ran(path, "limit=3")
    assert not quiet.outcomes and len(results(path)) == 18


@pytest.mark.slow
def test_methods_come_and_go_without_redoing_the_others(make: Make) -> None:
    wide = STEADY | {"label": "wide", "params": {"reach": 8}}
    name = {"run": f"test-{uuid4().hex[:8]}"}
    alone, both = make(**name), make(**name, methods=[wide, STEADY])
    ran(alone)
    before = report_of(alone)
    _, quiet = ran(both)
    assert sum(outcome.samples for outcome in quiet.outcomes) == 6
    assert set(results(both)["method"]) == {"steady", "wide"}
    _, quiet = ran(alone)
    assert not quiet.outcomes and report_of(alone) == before
    with pytest.raises(UserError, match="seed: 0 then, 1 now"):
        ran(alone, "seed=1")
    with pytest.raises(UserError, match=r"\(method_params\.reach: absent then, 8 now\)"):
        ran(alone, "methods[0].params.reach=8")


@pytest.mark.slow
def test_a_variant_that_comes_later_is_asked_alone_and_each_has_its_own_count(make: Make) -> None:
    name, words = {"run": f"test-{uuid4().hex[:8]}"}, ("class_name", "none", "wrong_present")
    variants = [{"label": one, "text": one} for one in words]
    few, more = (make(**name, methods=[STEADY | {"variants": variants[:number]}]) for number in (2, 3))
    ran(few, "limit=2")
    _, quiet = ran(few)
    assert list(quiet.done.values()) == [2, 2]
    assert [outcome.samples for outcome in quiet.outcomes] == [2] * 4
    _, quiet = ran(more)
    assert list(quiet.done.values()) == [6, 6, 0]
    assert [(outcome.job[:20], outcome.samples) for outcome in quiet.outcomes] == [("steady--wrong-presen", 2)] * 3
    assert set(results(more)["method"]) == {f"steady, {one}" for one in words}
    peaks = Store(folder(more)).manifest()["starts"][0]["peaks"]
    assert set(peaks) == {job.facts.made_of for job in planned(loaded(few))}


@pytest.mark.slow
def test_two_data_sets_of_one_plugin_are_clicked_alike(make: Make) -> None:
    toys = {"name": "fakes:Toys", "label": "toys", "params": {"count": 2}}
    path = make(datasets=[toys, toys | {"label": "more"}])
    done, _ = ran(path)
    assert done.instances == 8
    one, other = (rows.reset_index(drop=True) for _, rows in results(path).groupby("dataset"))
    pd.testing.assert_frame_equal(one.drop(columns="dataset"), other.drop(columns="dataset"))


@pytest.mark.slow
def test_a_method_that_is_asked_on_one_of_two_data_sets_is_whole(make: Make) -> None:
    data = [{"name": "scenes", "label": name, "params": {"split": "val", "count": 2}} for name in ("a", "b")]
    one = {"name": "fakes:Steady", "label": "one", "datasets": ["b"]}
    path = make(**SHOWN, datasets=data, methods=[STEADY, one])
    finished, _ = ran(path)
    assert finished.missing == 0 and not any("no row" in note for note in finished.tables[0].notes)
    asked = results(path)[["dataset", "method"]].drop_duplicates().itertuples(index=False)
    assert set(map(tuple, asked)) == {("a", "steady"), ("b", "steady"), ("b", "one")}
    folder = places.ROOT / "runs" / load_run(path).run
    assert not verified(Store(folder)).lacking


@pytest.mark.slow
def test_too_many_failures_stop_the_run(make: Make) -> None:
    unreadable = [{"name": "fakes:Toys", "label": "toys", "params": {"count": 6, "unreadable": [0, 1, 2]}}]
    path = make(**SHOWN, datasets=unreadable, max_failures=0.1)
    done, quiet = ran(path)
    assert done.over_budget and len(quiet.outcomes) == 1
    assert len(results(path)) == 2 and (done.missing, done.uncounted) == (4, 4)
    text = report_of(path)
    # One row each of two unreadable images; nobody has opened the other four.
    assert "At least 4 of 6 instances have no row" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| toys")]
    assert [cell.strip(" ¹") for cell in line.split("|")[4:6]] == ["–", "–"]


@pytest.mark.slow
def test_a_data_set_without_an_instance_is_said_and_is_no_complete_run(make: Make) -> None:
    bare = {"name": "fakes:Bare", "label": "bare"}
    done, _ = ran(make(datasets=[bare, TOYS]))
    (said,) = done.shortfalls
    assert said.startswith("data set 'bare' has no instance in any of its 6 images; wanted one")


@pytest.mark.slow
def test_data_sets_without_any_instance_end_the_run_with_that_message(make: Make) -> None:
    path = make(datasets=[{"name": "fakes:Bare", "label": "bare"}])
    for _ in range(2):
        with pytest.raises(UserError, match="data set 'bare' has no instance in any of its 6 images; wanted one"):
            ran(path)


def test_ids_that_begin_anew_in_each_image_end_the_run_whichever_worker_sees_them(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(datasets=[{"name": "fakes:Counted", "label": "toys"}])
    said = r"^data set 'toys': load\(\) gives the instance '0' twice; wanted ids that are unique in the data set"
    with pytest.raises(UserError, match=said):
        ran(path)
    # Workers on Ray that have one image each, for which no worker of this process can stand.
    monkeypatch.setattr(Worker, "_check_ids", lambda *_: None)
    with pytest.raises(UserError, match=said):
        ran(path)


@pytest.mark.slow
def test_failures_within_the_budget_are_counted_in_the_tables(make: Make) -> None:
    path = make(**SHOWN, methods=[fragile("bug", 2)], max_failures=0.5)
    done, _ = ran(path)
    assert (done.instances, done.failed, done.over_budget) == (12, 2, False)
    rows = results(path)
    assert list(rows.loc[rows["status"] == "failed", "instance_id"]) == ["2a", "2b"]
    assert len(rows) == 10 * 3 + 2
    lines = [line for line in report_of(path).splitlines() if line.startswith("| toys")]
    assert len(lines) == 3
    assert all([cell.strip() for cell in line.split("|")][-3] == "2" for line in lines)


@pytest.mark.slow
def test_max_failures_counts_each_method_by_itself_also_from_the_rows(make: Make) -> None:
    """2 of 12 by one of three methods: 6 % of the run, 17 % of the method."""
    others = [STEADY, {"name": "fakes:Steady", "label": "second"}]
    path = make(methods=[*others, fragile("bug", 2)], max_failures=1.0)
    done, _ = ran(path)
    assert (done.instances, done.failed, done.over_budget, done.too_many) == (36, 2, False, ())
    found = recorded(Store(folder(path)))
    stricter = replace(found, config=found.config.model_copy(update={"max_failures": 0.1}))
    done = report(stricter, write=False)
    assert done.over_budget and [one.split(": ")[1] for one in done.too_many] == ["2 of 12"]


@pytest.mark.slow
def test_an_instance_that_fails_early_counts_as_failed_after_the_last_click(make: Make, tmp_path: Path) -> None:
    path = make(methods=[fragile("bug", 2, tmp_path / "once")], clicks={"max_clicks": 3})
    done, _ = ran(path)
    # "once": the joint answer failed and each prompt alone was answered.
    assert done.failed == 0 and len(results(path)) == 12 * 3 * 3
    path = make(methods=[fragile("bug", 2)], clicks={"max_clicks": 3})
    ran(path)
    failed = results(path).query("status == 'failed'")
    assert list(failed["click_index"]) == [1, 1]
    lines = [line for line in report_of(path).splitlines() if line.startswith("| toys")]
    assert all("| 10 |" in line and [cell.strip() for cell in line.split("|")][-3] == "2" for line in lines)


@pytest.mark.slow
def test_rows_of_another_method_tell_what_is_missing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(methods=[STEADY, {"name": "fakes:Steady", "label": "wide", "params": {"reach": 8}}])
    ran(path)
    lost = next(one for one in sorted((folder(path) / "shards").rglob("*.parquet")) if "wide" in one.parent.name)
    lost.unlink()
    monkeypatch.setattr("harness.jobs.listing.listed", lambda *_: pytest.fail("images are listed anew"))
    done = report(recorded(Store(folder(path))), write=False)
    assert (done.instances, done.missing) == (20, 4)


@pytest.mark.slow
@pytest.mark.parametrize("toys", ["Toys", "Known"])
def test_report_says_what_is_missing(make: Make, toys: str) -> None:
    """Exactly where the listing counts instances; of images that only opening would count, one each at least."""
    path = make(**SHOWN, datasets=[{"name": f"fakes:{toys}", "label": "toys", "params": {"count": 6}}])
    config = loaded(path)
    store = Store(folder(path))
    jobs = planned(config)
    made = Recorded(store, config, [job.facts for job in jobs], samples_of(jobs))
    done = report(made)
    assert (done.instances, done.failed, done.over_budget) == (0, 0, False)
    assert (done.missing, done.uncounted) == ((6, 6) if toys == "Toys" else (12, 0))
    assert f"{'At least 6 of 6' if toys == 'Toys' else '12 of 12'} instances have no row" in report_of(path)
    store.write(made.jobs[0], ["toy-0"], [])
    report(made)
    assert f"{'At least 5 of 5' if toys == 'Toys' else '10 of 10'} instances have no row" in report_of(path)


def test_environment_says_what_a_start_runs_on() -> None:
    found = environment()
    assert set(found) == {"started", "commit", "python", "packages", "host", "cpus", "gpus"}
    assert set(found["packages"]) == set(PACKAGES) and all(found["packages"].values())
    assert found["started"].endswith("+00:00") and found["cpus"] >= 1 and isinstance(found["gpus"], list)


@pytest.mark.slow
def test_a_full_disk_ends_the_command_with_one_message_and_the_same_command_completes(
    make: Make, tmp_path: Path
) -> None:
    path = make(methods=[fragile("full disk", 3, tmp_path / "once")])
    code, _, message = finished(start(path))
    assert code == 2 and "Traceback" not in message
    assert "cannot be written (File too large)" in " ".join(message.split())
    (job,) = planned(loaded(path))
    assert Store(folder(path)).done(job.facts) == {"toy-0", "toy-1"}
    done, quiet = ran(path)
    assert done.instances == 12 and [outcome.samples for outcome in quiet.outcomes] == [2, 2]


@pytest.mark.ray
def test_a_bug_in_a_worker_ends_the_command_with_its_traceback(make: Make, shared_ray: str) -> None:
    path = make(methods=[fragile("bug", -2)], workers={"executor": "ray", "count": 1})
    code, _, message = finished(start(path, "--address", shared_ray))
    assert code == 1
    assert "Traceback" in message and "a bug in a plugin" in message


@pytest.mark.slow
def test_killed_half_way_and_started_again_writes_the_same_report(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    toys = [{"name": "fakes:Toys", "label": "toys", "params": {"count": 64}}]
    workers = {"executor": "local", "samples_per_shard": 4}
    path, undisturbed = make(datasets=toys, workers=workers), make(datasets=toys, workers=workers)
    process = start(path)
    try:
        wait_for(lambda: len(list((folder(path) / "shards").rglob("*.parquet"))) > 5, process)
    finally:
        process.send_signal(signal.SIGKILL)
        finished(process)
    assert (folder(path) / "lock.json").exists()
    (job,) = planned(loaded(path))
    kept = len(Store(folder(path)).done(job.facts))
    assert 0 < kept < 64
    _, quiet = ran(path)
    assert "taken over from process" in caplog.text and not (folder(path) / "lock.json").exists()
    assert sum(outcome.samples for outcome in quiet.outcomes) == 64 - kept
    ran(undisturbed)
    assert report_of(path) == report_of(undisturbed)
    rows = results(path)
    assert not rows.duplicated(["dataset", "method", "instance_id", "click_index", "ranking"]).any()
    pd.testing.assert_frame_equal(rows, results(undisturbed))


@pytest.mark.slow
def test_of_two_starts_at_once_one_runs_and_one_refuses(make: Make) -> None:
    toys = [{"name": "fakes:Toys", "label": "toys", "params": {"count": 300}}]
    path = make(datasets=toys, workers={"executor": "local", "samples_per_shard": 4})
    both = [start(path), start(path)]
    (won, lost) = sorted((finished(process) for process in both), key=lambda one: one[0])
    assert (won[0], lost[0]) == (0, 2)
    message = " ".join(lost[2].split())
    assert re.search(
        r"lock\.json: found another process at work on this run: process \d+ of \S+ on \S+, started 2\S+;", message
    )
    assert "last sign of life is" in message and "Wait for it or stop it" in message and "Traceback" not in message
    (job,) = planned(loaded(path))
    assert len(Store(folder(path)).done(job.facts)) == 300 and len(results(path)) == 600 * 3
    assert len(Store(folder(path)).manifest()["starts"]) == 1


def test_a_start_that_was_taken_over_stops(make: Make) -> None:
    path = make()

    class Thief(Quiet):
        def outcome(self, outcome: Outcome) -> None:
            super().outcome(outcome)
            (folder(path) / "lock.json").write_text("{}")
            wait_until(lambda: lock.lost)

    def remembered(*arguments: Any, **keywords: Any) -> Lock:
        nonlocal lock
        lock = Lock(*arguments, **keywords, beat_s=0.02)
        return lock

    lock: Any = None
    thief = Thief()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.running.one_run.Lock", remembered)
        with pytest.raises(UserError, match="this process no longer holds the lock of the run"):
            run(loaded(path), thief)
    assert len(thief.outcomes) == 1 and (folder(path) / "lock.json").read_text() == "{}"


@pytest.mark.slow
def test_failed_images_are_redone_when_asked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path, undisturbed = make(), make()
    import fakes

    load = fakes.Toys.load

    def away(dataset: Any, sample_id: str) -> Any:
        if sample_id == "toy-2":
            raise OSError("the disk is away")
        return load(dataset, sample_id)

    with monkeypatch.context() as patch:
        patch.setattr(fakes.Toys, "load", away)
        assert ran(path)[0].failed == 1
        done, quiet = ran(path)
        assert done.failed == 1 and not quiet.outcomes, "failed is done"
        done = run(loaded(path), quiet, retry_failed=True)
        assert done.failed == 1 and [outcome.samples for outcome in quiet.outcomes] == [1]
    quiet = Quiet()
    done = run(loaded(path), quiet, retry_failed=True)
    assert (done.failed, done.instances, [outcome.samples for outcome in quiet.outcomes]) == (0, 12, [1])
    assert Store(folder(path)).manifest()["starts"][-1]["samples_retried"] == 1
    ran(undisturbed)
    pd.testing.assert_frame_equal(results(path), results(undisturbed))


@pytest.mark.slow
def test_an_image_that_was_given_up_is_tried_again_by_the_next_start(make: Make) -> None:
    path = make()
    ran(path)
    whole, store = results(path), Store(folder(path))
    job = recorded(store).jobs[0]
    (shard,) = (name for name, header in store.headers(job.key).items() if "toy-2" in header.samples)
    kept = tuple(one for one in store.headers(job.key)[shard].samples if one != "toy-2")
    rows = of_samples(store.read(job.key, shard), {*kept})
    content = packed(rows, replace(store.headers(job.key)[shard], samples=kept))
    store.folder.write(f"shards/{job.key}/{name_of(content)}", content)
    store.folder.remove(f"shards/{job.key}/{shard}")
    protocol = Protocol("r", 0, Clicks(), Text(), ("iou",), 1)
    lost = [failed(Names(job.method, "m", job.dataset, "d"), protocol, "toy-2", Listed("2a", "small"), "workers died")]
    store.write(job, ["toy-2"], lost, given_up=True)
    report(recorded(store))
    assert (results(path)["error"] == "workers died").sum() == 1
    _, quiet = ran(path)
    assert [outcome.samples for outcome in quiet.outcomes] == [1]
    pd.testing.assert_frame_equal(results(path), whole)


@pytest.mark.slow
def test_a_folder_is_reported_as_it_was_run_without_its_data(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(limit=4)
    ran(path)
    before = report_of(path), (folder(path) / "results.parquet").read_bytes()
    before_it = recorded(Store(folder(path)))
    assert before_it.config == loaded(path) and list(before_it.samples["toys"]) == ["toy-0", "toy-1", "toy-2", "toy-3"]

    def gone(*_: Any) -> None:
        raise UserError("no such data")

    monkeypatch.setattr(parameters, "build", gone)
    again = recorded(Store(folder(path)))
    assert (again.config, again.jobs, again.samples) == (before_it.config, before_it.jobs, before_it.samples)
    done = report(again)
    assert (report_of(path), (folder(path) / "results.parquet").read_bytes()) == before
    assert (done.instances, done.missing) == (8, 0)
    with pytest.raises(UserError, match="no manifest"):
        recorded(Store(folder(path) / "shards"))


@pytest.mark.slow
def test_runs_may_be_kept_elsewhere(make: Make, tmp_path: Path) -> None:
    path = make()
    run(loaded(path), Quiet(), runs=str(tmp_path / "kept"))
    ran(path)
    rows = pq.read_table(tmp_path / "kept" / loaded(path).run / "results.parquet").to_pandas()
    pd.testing.assert_frame_equal(rows.drop(columns=["run", *MEASURED]), results(path))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_run_lacks_is_said_before_it_trains(make: Make, tmp_path: Path) -> None:
    learner = {"name": "prompted_deeplab", "params": {"encoder_weights": str(tmp_path / "gone.pth")}}
    recipe: dict[str, Any] = {"learner": learner, "datasets": [{"name": "scenes"}], "steps": 1}
    due = {"name": "click_only", "label": "due", "train": recipe}
    gone = {"name": "fakes:Steady", "label": "gone", "params": {"checkpoint": str(tmp_path / "gone.pth")}}
    with pytest.raises(UserError) as error:
        ran(make(methods=[due, gone]))
    assert "method 'due': no file at encoder_weights=" in str(error.value)
    assert "method 'gone': no file at checkpoint=" in str(error.value)
    absent = {"name": "coco", "params": {"root": str(tmp_path / "none")}}
    whole = recipe | {"learner": {"name": "prompted_deeplab"}}
    elsewhere = due | {"train": whole | {"datasets": [absent]}}
    for changed in ({"methods": [due | {"train": whole}], "datasets": [absent]}, {"methods": [elsewhere]}):
        with pytest.raises(UserError, match="datasets/coco"):
            ran(make(**changed))


MINE = """
from harness.methods.click_only import ClickOnly

class Mine(ClickOnly):
    \"\"\"Click-only, as its author has it.\"\"\"
"""


@pytest.mark.slow
def test_rows_have_the_hash_of_the_code_that_made_them_if_it_is_edited_meanwhile(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine_while_trained.py"
    mine.write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    scenes = {"name": "scenes", "params": {"split": "train", "count": 3, "size": 32}}
    learner = {"name": "prompted_deeplab", "params": {"encoder": "tu-regnetx_002", "decoder_channels": 8, "size": 32}}
    recipe = {"learner": learner, "datasets": [scenes], "steps": 1, "batch": 2, "device": "cpu"}
    method = {
        "name": "mine_while_trained:Mine",
        "label": "mine",
        "train": recipe | {"checkpoint": str(tmp_path / "a.safetensors")},
    }
    path = make(methods=[method], datasets=[scenes])

    class Edits(Quiet):
        def training(self, method: str, progress: Any) -> None:
            mine.write_text(MINE + "    edited = True\n")

    run(loaded(path), Edits(), runs=str(tmp_path / "runs"))
    store = Store(tmp_path / "runs" / loaded(path).run)
    (job,) = planned(loaded(path))
    headers = store.headers(job.facts.key).values()
    assert headers and all(one.edited(job.facts.code) for one in headers)
