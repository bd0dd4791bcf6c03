import errno
import hashlib
import json
import os
import pickle
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import Click, UserError
from harness.atomic import remove_left_over
from harness.storage.folder import Folder, write_bytes
from harness.storage.forgetting import forget_failed, forget_given_up
from harness.storage.lock import Lock
from harness.storage.manifest import JobFacts, read_samples, save_manifest
from harness.storage.results_file import latest_rows, read_results, results_hold, write_results
from harness.storage.rows import (
    COLUMNS,
    MEASURED,
    ORDER,
    as_frame,
    check_metric,
    coded,
    metrics_in,
    repeats,
    schema,
    table,
    with_dictionaries,
)
from harness.storage.shards import Header, header_of, name_of, packed
from harness.storage.store import Store, found_at, no_run, store_of
from harness.structures import Record

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"method": "m1", "weights": "w1", "dataset": "d1", "clicks": "c1", "seed": "0", "code": "1"}
METRICS = ("iou", "boundary_iou")
JOB = JobFacts("Ours, large", "toys", PARTS, {"method_plugin": "ours", "metrics": {name: {} for name in METRICS}})


def record(instance_id: str, image_id: str = "1", **changed: Any) -> Record:
    known: dict[str, Any] = {
        "run": "r",
        "dataset": "toys",
        "dataset_plugin": "boxes",
        "method": "Ours, large",
        "method_plugin": "ours",
        "image_id": image_id,
        "instance_id": instance_id,
        "category": "cup",
        "seen": True,
        "text": "cup",
        "text_rule": "given",
        "clicks": (Click(3, 5), Click(4, 6, False)),
        "click_index": 2,
        "click_strategy": "paper/v1",
        "same_class_count": 1,
        "height": 32,
        "width": 48,
        "device": "cpu",
        "ranking": "single",
        "candidate": 0,
        "metrics": {"iou": 0.5},
        "intersection_px": 5,
        "union_px": 10,
        "gt_area_px": 7,
        "pred_area_px": 8,
        "mask": b"abc",
        "encode_ms": 1.5,
        "segment_ms": 2.5,
    }
    return Record(**known | changed)


def failure(instance_id: str, image_id: str = "1", **changed: Any) -> Record:
    gone = (
        "ranking",
        "candidate",
        "intersection_px",
        "union_px",
        "gt_area_px",
        "pred_area_px",
        "mask",
        "encode_ms",
        "segment_ms",
    )
    nothing: dict[str, Any] = dict.fromkeys(gone) | {"metrics": {}, "status": "failed", "error": "load: cut off"}
    return record(instance_id, image_id, **nothing | changed)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


def opened(store: Store, *jobs: JobFacts) -> Store:
    store.open({"run": "r"}, jobs or [JOB], {"started": "now"})
    return store


def rows(store: Store, wanted: Sequence[str] = ("1", "2", "3"), *jobs: JobFacts) -> pd.DataFrame:
    jobs = jobs or (JOB,)
    return store.rows(jobs, {job.dataset: wanted for job in jobs}, masks=True)


def folder(store: Store) -> Path:
    assert store.folder.local is not None
    return store.folder.local


def shard_files(store: Store) -> list[Path]:
    return sorted((folder(store) / "shards").rglob("*.parquet"))


def test_rows_come_back_as_they_were_written(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("b"), failure("a", "2", seen=None, text=None, same_class_count=None)])
    ok, failed = rows(store).to_dict("records")
    want = record("b")
    for name in COLUMNS:
        if name != "clicks":
            assert ok[name] == getattr(want, name) or (pd.isna(ok[name]) and getattr(want, name) is None), name
    assert list(ok["clicks"]) == [{"x": 3, "y": 5, "positive": True}, {"x": 4, "y": 6, "positive": False}]
    assert ok["iou"] == 0.5 and pd.isna(ok["boundary_iou"])
    assert failed["status"] == "failed" and failed["error"] == "load: cut off"
    assert all(pd.isna(failed[name]) for name in ("ranking", "seen", "text", "mask", "encode_ms", "iou"))


def test_a_shard_of_before_a_column_is_read_and_knows_nothing_of_it(store: Store) -> None:
    made = table([record("b"), record("a")], METRICS).drop_columns(["click_options"])
    content = packed(made, Header(("1",), PARTS))
    store.folder.write(f"shards/{JOB.key}/{name_of(content)}", content)
    store.write(JOB, ["2"], [record("c", "2", click_options='{"margin": 0.35}')])
    found = rows(store).set_index("instance_id")["click_options"]
    assert found["c"] == '{"margin": 0.35}' and found[["a", "b"]].isna().all()
    assert rows(store)["iou"].tolist() == [0.5] * 3


def test_docs_list_every_column_with_its_type() -> None:
    lines = (ROOT / "docs" / "results.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if re.match(r"\| \w+ \|", line)]
    listed = [(name, kind) for name, kind, *_ in cells if name != "column"]
    on_request = ("saliency_auc", "saliency_pointing")
    assert listed == [(one.name, str(one.type)) for one in schema((*METRICS, *on_request))]
    text = "\n".join(lines)
    assert f"**Primary key:** {', '.join(name for name in ORDER if name != 'image_id')}." in text
    assert {name for name, *_, null in cells if null == "never"} == never_null()
    measured = [name for name, _, meaning, _ in cells if "measured" in meaning]
    assert measured == list(MEASURED)


def never_null() -> set[str]:
    """The columns that the barest failed row fills."""
    unclicked: dict[str, Any] = {"clicks": (), "click_strategy": None, "click_options": None}
    bare = failure("a", seen=None, text=None, same_class_count=None, height=None, width=None, **unclicked)
    filled = table([bare], METRICS).to_pylist()[0]
    return {name for name, value in filled.items() if value is not None} - {"error"}


def test_a_row_that_repeats_the_one_before_is_marked() -> None:
    nan = float("nan")
    made = pd.DataFrame({"text": ["a", "a", None, None, "b", "b"], "draw": [1.0, 1.0, 1.0, 1.0, nan, nan]})
    for one in (made, coded(made, ["text"])):
        assert repeats(one, ["text", "draw"]).tolist() == [False, True, False, True, False, True]
        assert repeats(one, ["draw"]).tolist() == [False, True, True, True, False, True]
        assert repeats(one[:0], ["text"]).tolist() == []


def test_coded_texts_are_in_the_order_of_the_texts_whichever_came_first() -> None:
    whole = with_dictionaries(pa.table({"method": ["b", "a", None, "c", "b"]}))
    method = as_frame(whole)["method"]
    assert method.cat.categories.tolist() == ["a", "b", "c"] and method.cat.ordered
    assert method.cat.codes.tolist() == [1, 0, -1, 2, 1] and method.tolist()[:2] == ["b", "a"]


def test_the_metrics_of_rows_are_their_numbers_and_empty_columns() -> None:
    found = pd.DataFrame({"iou": [0.5], "lost": [None], "note": ["x"], "flag": [True], "gt_area_px": [3]})
    assert metrics_in(found) == ["iou", "lost"]
    check_metric(found, "iou", "here")
    for name in ("note", "flag", "dice"):
        with pytest.raises(UserError, match=f"here: the rows have no metric '{name}'"):
            check_metric(found, name, "here")


def test_rows_are_sorted_whatever_the_order_of_shards(store: Store) -> None:
    store.write(JOB, ["2"], [record("d", "2", click_index=2), record("d", "2", click_index=1), failure("c", "2")])
    store.write(JOB, ["1"], [record("z", ranking="oracle"), record("z", ranking="clip")])
    found = rows(store)
    assert list(zip(found["instance_id"], found["click_index"], strict=True)) == [
        *[("z", 2), ("z", 2), ("c", 2)],
        *[("d", 1), ("d", 2)],
    ]
    assert list(found["ranking"])[:2] == ["clip", "oracle"]


def test_results_are_the_rows_of_all_jobs_in_order_and_rows_have_masks_only_if_asked(store: Store) -> None:
    other = replace(JOB, method="A smaller one")
    store.write(JOB, ["1"], [record("b"), record("a")])
    store.write(other, ["1"], [record("b", method="A smaller one")])
    assert write_results(store, [JOB, other], {"toys": ["1"]}) == 3
    with store.folder.opened("results.parquet") as file:
        written = as_frame(pq.read_table(file))
    assert list(written["method"]) == ["A smaller one", "Ours, large", "Ours, large"]
    assert list(written["instance_id"]) == ["b", "a", "b"] and written["mask"].notna().all()
    pd.testing.assert_frame_equal(written, rows(store, ["1"], JOB, other))
    bare = store.rows([JOB, other], {"toys": ["1"]})
    pd.testing.assert_frame_equal(bare, written.drop(columns="mask"))


def test_done_names_samples_even_those_without_rows(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("a")])
    store.write(JOB, ["3"], [record("c", "3")])
    assert store.done(JOB) == {"1", "2", "3"}
    assert store.done(replace(JOB, dataset="other")) == set()


def test_only_wanted_samples_are_read(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("a"), record("b", "2")])
    assert list(rows(store, ["2"])["instance_id"]) == ["b"]
    assert rows(store, []).empty and list(rows(store, []).columns) == schema(METRICS).names


def test_a_sample_in_two_shards_counts_once(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("a"), record("b", "2")])
    store.write(JOB, ["2", "3"], [failure("b", "2"), record("c", "3")])
    found = rows(store)
    assert list(found["instance_id"]) == ["a", "b", "c"]


def test_the_wanted_samples_stay_those_of_the_caller(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("a"), record("b", "2")])
    wanted = {"1", "2", "3"}
    assert [fresh for *_, fresh in store.counting(JOB, wanted)] == [{"1", "2"}] and wanted == {"1", "2", "3"}


def test_a_start_that_is_no_part_has_no_parts(store: Store) -> None:
    save_manifest(opened(store).folder, store.manifest() | {"parts": 16})
    assert "parts" not in opened(store).manifest()


def test_jobs_of_labels_that_look_alike_keep_apart(store: Store) -> None:
    alike = [JOB, replace(JOB, method="Ours; large"), replace(JOB, method="Ours", dataset="large-toys")]
    assert len({job.key for job in alike}) == 3
    assert all(re.fullmatch(r"[\w-]+", job.key) for job in alike)


def test_another_start_keeps_shards_and_says_so_in_the_manifest(store: Store) -> None:
    opened(store).write(JOB, ["1"], [record("a")])
    second = replace(JOB, method="other", parts=PARTS | {"method": "m2"})
    opened(store, JOB, second).close(ended="then", failed=3)
    opened(store, second)
    assert store.done(JOB) == {"1"}
    manifest = store.manifest()
    assert set(manifest["jobs"]) == {JOB.key, second.key}
    assert manifest["starts"] == [
        {"started": "now"},
        {"started": "now", "ended": "then", "failed": 3},
        {"started": "now"},
    ]


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_part_is_refused_by_name(store: Store, part: str) -> None:
    opened(store).write(JOB, ["1"], [record("a")])
    changed = replace(JOB, parts=PARTS | {part: "other"})
    with pytest.raises(UserError, match=rf"{JOB.method} on toys .*\({part}: {PARTS[part]} then, other now\)") as error:
        opened(store, changed)
    assert str(folder(store) / "shards" / JOB.key) in str(error.value)
    assert store.manifest()["jobs"][JOB.key]["parts"] == PARTS


def test_a_changed_part_without_rows_is_no_matter(store: Store) -> None:
    opened(store)
    opened(store, replace(JOB, parts=PARTS | {"seed": "1"}))
    assert store.manifest()["jobs"][JOB.key]["parts"]["seed"] == "1"


def test_a_lost_manifest_costs_no_rows_for_the_shards_say_what_made_them(store: Store) -> None:
    opened(store).write(JOB, ["1"], [record("a")])
    (folder(store) / "manifest.json").unlink()
    assert opened(store).done(JOB) == {"1"}
    with pytest.raises(UserError, match=r"\(seed: 0 then, 1 now\)"):
        opened(store, replace(JOB, parts=PARTS | {"seed": "1"}))


def test_rows_that_were_made_otherwise_are_never_read(store: Store) -> None:
    store.write(JOB, ["1"], [record("a")])
    store.write(replace(JOB, parts=PARTS | {"seed": "1"}), ["2"], [record("b", "2")])
    assert store.done(JOB) == {"1"} and list(rows(store)["instance_id"]) == ["a"]
    with pytest.raises(UserError, match=r"\(seed: 1 then, 0 now\), as in shards/.*\.parquet;"):
        store.check([JOB])


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe", b"3", b'{"jobs": {}}'])
def test_a_damaged_manifest_is_the_readers_to_mend(store: Store, content: bytes) -> None:
    opened(store)
    (folder(store) / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json: damaged .* delete it and run again"):
        opened(store)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seed": "0"', '"seed": "1"'), ('"started": "now"', '"started": "then"'), ('"run": "r"', '"run": "r", "x": 1')],
)
def test_an_altered_manifest_is_noticed(store: Store, old: str, new: str) -> None:
    opened(store)
    path = folder(store) / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match="its content is not what its sha256 says"):
        store.manifest()
    path.write_text(json.dumps(json.loads(text)))
    assert store.manifest()["jobs"][JOB.key]["parts"] == PARTS, "only laid out otherwise"


@pytest.mark.parametrize("damage", [lambda whole: whole[:-60], lambda whole: b"", lambda whole: b"PAR1 no PAR1"])
def test_a_damaged_shard_is_redone(store: Store, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    store.write(JOB, ["1"], [record("a")])
    store.write(JOB, ["2"], [record("b", "2")])
    path = next(path for path in shard_files(store) if header_of(path).samples == ("1",))
    path.write_bytes(damage(path.read_bytes()))
    fresh = Store(store.folder)
    assert fresh.done(JOB) == {"2"}
    assert path.exists(), "only a writer removes it"
    opened(fresh)
    assert not path.exists() and f"{path.name}: no whole shard; removed" in caplog.text
    fresh.write(JOB, ["1"], [record("a")])
    assert list(rows(fresh)["instance_id"]) == ["a", "b"]


def test_a_shard_that_the_disk_does_not_give_now_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(JOB, ["1"], [record("a")])
    (path,) = shard_files(store)

    def failing(_: object) -> pa.Schema:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("harness.storage.shards.pq.read_schema", failing)
        with pytest.raises(UserError, match=rf"{path.name}: cannot be read \(Input/output error\)"):
            opened(Store(store.folder))
    assert path.exists() and Store(store.folder).done(JOB) == {"1"}


def test_a_foreign_parquet_file_is_no_shard_and_nobody_s_to_remove(store: Store) -> None:
    store.write(JOB, ["1"], [record("a")])
    (path,) = shard_files(store)
    mine = [path.with_name("mine.parquet"), path.with_name("notes.txt")]
    for one in mine:
        pq.write_table(pa.table({"a": [1]}), one)
    pq.write_table(pa.table({"a": [1]}), path)
    assert store.done(JOB) == set()
    opened(store)
    assert all(one.exists() for one in mine) and not path.exists()


def test_results_are_trusted_while_they_are_of_what_is_asked_and_there(store: Store) -> None:
    store.write(JOB, ["1"], [record("a")])
    store.write(JOB, ["2"], [record("b", "2")])
    wanted = {"toys": ["1", "2"]}
    opened(store)
    assert not results_hold(store, [JOB], wanted)
    write_results(store, [JOB], wanted)
    assert results_hold(Store(store.folder), [JOB], wanted)
    assert not results_hold(store, [JOB], {"toys": ["1"]})
    assert not results_hold(store, [replace(JOB, parts=PARTS | {"seed": "1"})], wanted)
    assert not results_hold(store, [JOB, replace(JOB, method="other")], wanted)
    path = shard_files(store)[0]
    path.rename(path.parent.parent / path.name)
    assert not results_hold(store, [JOB], wanted), "whatever the files' times say"
    (path.parent.parent / path.name).rename(path)
    assert results_hold(store, [JOB], wanted)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert not results_hold(Store(store.folder), [JOB], wanted), "a shard that is cut is none"
    path.write_bytes(whole)
    (folder(store) / "results.parquet").write_bytes(b"PAR1")
    assert not results_hold(store, [JOB], wanted)


def test_results_that_were_altered_within_are_not_read(store: Store) -> None:
    random = np.random.default_rng(0).random(500).tolist()  # which no compression can change
    store.write(JOB, ["1"], [record(f"{number}", metrics={"iou": iou}) for number, iou in enumerate(random)])
    write_results(store, [JOB], {"toys": ["1"]})
    path = folder(store) / "results.parquet"
    whole = path.read_bytes()
    assert read_results(store) is not None
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(schema(METRICS).names.index("iou"))
    content = bytearray(whole)
    content[(chunk.dictionary_page_offset or chunk.data_page_offset) + 1000] ^= 1
    path.write_bytes(content)
    assert read_results(store) is None


def test_results_that_were_written_by_another_are_not_read_and_it_is_said(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Every value of a whole, sound Parquet file may have been replaced, and its header copied."""
    store.write(JOB, ["1"], [record("a"), record("b")])
    write_results(opened(store), [JOB], {"toys": ["1"]})
    said = hashlib.sha256((folder(store) / "results.parquet").read_bytes()).hexdigest()
    assert store.manifest()["results"] == {"sha256": said}
    better = pq.read_table(folder(store) / "results.parquet")
    at = better.column_names.index("iou")
    pq.write_table(better.set_column(at, "iou", pa.array([1.0, 1.0])), folder(store) / "results.parquet")
    assert list(latest_rows(store, [JOB], {"toys": ["1"]})["iou"]) == [0.5, 0.5]
    assert "results.parquet: not the file that manifest.json describes" in caplog.text
    assert "The shards are read instead" in caplog.text
    write_results(opened(store), [JOB], {"toys": ["1"]})
    caplog.clear()
    assert results_hold(store, [JOB], {"toys": ["1"]}) and not caplog.text


def test_a_folder_whose_name_is_no_unicode_is_a_message() -> None:
    with pytest.raises(UserError, match=r"^runs/caf\\udce9: a path that is no Unicode.* Rename the folder\."):
        Folder.at("runs/caf\udce9")


def test_what_killed_starts_left_half_written_goes_with_the_next_start(store: Store) -> None:
    opened(store).write(JOB, ["1"], [record("a")])
    half = uuid4().hex
    left = [f".results.parquet.{half}", f".manifest.json.{half}", f"shards/{JOB.key}/.x.parquet.{half}"]
    left.append(f"shards/a-job-of-an-earlier-config/.y.parquet.{half}")
    kept = [".hidden", ".notes.txt.5", f"results.parquet.{half}", f"shards/{JOB.key}/.rsync.parquet.Xy12"]
    for name in (*left, *kept):
        store.folder.write(name, b"half")
    opened(store)
    there = {str(path.relative_to(folder(store))) for path in folder(store).rglob("*")}
    assert there >= {*kept} and not there & {*left}


def test_half_written_files_of_one_file_are_removed(tmp_path: Path) -> None:
    half = uuid4().hex
    for name in (f".a[1].pt.{half}", f".other.pt.{half}", ".a[1].pt.x"):
        (tmp_path / name).touch()
    remove_left_over(tmp_path / "a[1].pt")
    assert {path.name for path in tmp_path.iterdir()} == {f".other.pt.{half}", ".a[1].pt.x"}


def test_a_probe_that_is_taken_away_tells_no_less(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.folder.write("lock.json", b"")
    os.utime(folder(store) / "lock.json", (time.time() - 50,) * 2)
    monkeypatch.setattr(Folder, "create", lambda self, name, content: True)
    assert 49 < store.folder.age_s("lock.json") < 60


def test_a_manifest_that_goes_during_a_start_is_a_message(store: Store) -> None:
    opened(store)
    (folder(store) / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: removed since this start began\. The rows are kept"):
        store.close(ended="now")


@pytest.mark.parametrize("job", [{"method": "a"}, {"unknown": 1}, [], "job", None])
def test_a_manifest_of_other_jobs_is_damaged(store: Store, job: Any) -> None:
    save_manifest(opened(store).folder, store.manifest() | {"jobs": {"a": job}})
    with pytest.raises(UserError, match=r"manifest\.json: damaged \("):
        store.manifest()


@pytest.mark.parametrize(
    "changed",
    [
        {"jobs": {JOB.key: asdict(JOB) | {"parts": None}}},
        {"jobs": {JOB.key: asdict(JOB) | {"method": "another"}}},
        {"samples": {"toys": {"fingerprint": "of no count"}}},
        {"samples": {"toys": 3}},
        {"starts": {"started": "now"}},
        {"starts": ["now"]},
    ],
)
def test_a_manifest_of_another_form_is_damaged(store: Store, changed: dict[str, Any]) -> None:
    save_manifest(opened(store).folder, store.manifest() | changed)
    with pytest.raises(UserError, match=r"manifest\.json: damaged \(.*delete it and run again"):
        store.manifest()


def test_a_manifest_without_its_checksum_is_damaged(store: Store) -> None:
    opened(store)
    path = folder(store) / "manifest.json"
    said = json.loads(path.read_text())
    del said["sha256"]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"manifest\.json: damaged \(it lacks sha256\)"):
        store.manifest()


def test_a_report_does_not_outlive_its_rows(store: Store) -> None:
    opened(store).folder.write("report.md", b"tables of earlier rows")
    write_results(store, [JOB], {"toys": ["1"]})
    assert "report.md" not in store.folder.files()


def test_a_shard_that_goes_while_it_is_read_is_a_message(store: Store) -> None:
    store.write(JOB, ["1"], [record("a")])
    assert store.done(JOB) == {"1"}
    (path,) = shard_files(store)
    listed = store.headers(JOB.key)
    path.unlink()
    with pytest.raises(UserError, match=rf"{path.name}: removed since it was listed.* Give the same command again"):
        store.read(JOB.key, next(iter(listed)))


@pytest.mark.parametrize("at", [10, 1000, -100])
def test_a_shard_altered_within_is_named(store: Store, at: int) -> None:
    store.write(JOB, ["1"], [record(str(number)) for number in range(200)])
    (path,) = shard_files(store)
    whole = bytearray(path.read_bytes())
    assert store.done(JOB) == {"1"}
    whole[at] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=rf"{path.name}: damaged .* Delete it and run again"):
        rows(store)


def test_a_shard_is_named_by_its_bytes_and_says_what_made_it(store: Store) -> None:
    store.write(JOB, ["1", "2"], [record("a")])
    (path,) = shard_files(store)
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    assert header_of(path).samples == ("1", "2") and header_of(path).parts == PARTS
    store.write(JOB, ["1", "2"], [record("a")])
    assert shard_files(store) == [path], "the same again is the same file"


def test_samples_that_failed_are_forgotten_and_no_others(store: Store) -> None:
    store.write(JOB, ["1", "2", "5"], [record("a"), failure("b", "2"), record("c", "2")])
    store.write(JOB, ["3"], [failure("d", "3")])
    store.write(JOB, ["4"], [record("e", "4")])
    kept = [path for path in shard_files(store) if header_of(path).samples == ("4",)]
    assert forget_failed(store, JOB, ["1"]) == 0 and len(shard_files(store)) == 3
    assert forget_failed(store, JOB, "2345") == 2
    assert store.done(JOB) == {"1", "4", "5"}
    assert list(rows(store, "12345")["instance_id"]) == ["a", "e"]
    assert set(kept) < set(shard_files(store)) and len(shard_files(store)) == 2
    assert forget_failed(store, JOB, "12345") == 0
    store.write(JOB, ["2", "3"], [record("b", "2"), record("d", "3")])
    assert list(rows(store, "12345")["instance_id"]) == ["a", "b", "d", "e"]
    assert forget_failed(store, replace(JOB, parts=PARTS | {"seed": "1"}), "12345") == 0


def test_images_on_which_workers_died_are_forgotten_and_other_failures_are_not(store: Store) -> None:
    store.write(JOB, ["1"], [failure("a")])
    store.write(JOB, ["2"], [failure("b", "2")], given_up=True)
    assert list(rows(store, "12")["instance_id"]) == ["a", "b"] and store.done(JOB) == {"1", "2"}
    assert forget_given_up(store, JOB, "12") == 1
    assert store.done(JOB) == {"1"} and forget_given_up(store, JOB, "12") == 0


def test_the_samples_asked_for_are_kept_in_order(store: Store) -> None:
    wanted: dict[str, dict[str, int | None]] = {"toys": {"b": 2, "a": None}, "empty": {}, "more": {"a": 0}}
    store.open({}, [JOB], {}, wanted)
    assert read_samples(store.folder) == {"toys": {"b": 2, "a": None}, "more": {"a": 0}}
    assert list(read_samples(store.folder)["toys"]) == ["b", "a"]
    assert store.manifest()["samples"]["toys"]["count"] == 2
    store.open({}, [JOB], {}, {"toys": {"c": None}})
    assert read_samples(store.folder) == {"toys": {"c": None}}
    (folder(store) / "samples.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"samples\.parquet: damaged"):
        read_samples(store.folder)
    (folder(store) / "samples.parquet").unlink()
    with pytest.raises(UserError, match=r"samples\.parquet: not what manifest\.json says"):
        read_samples(store.folder)
    (folder(store) / "manifest.json").unlink()
    assert read_samples(store.folder) == {}, "nobody says what was asked for"


def test_a_store_travels_light(store: Store) -> None:
    store.write(JOB, [str(number) for number in range(1000)], [])
    assert len(store.done(JOB)) == 1000
    assert len(pickle.dumps(store)) < 500
    assert pickle.loads(pickle.dumps(store)).done(JOB) == store.done(JOB)


@pytest.mark.parametrize(
    ("place", "shown"),
    [("{here}/runs", "{here}/runs"), ("~/runs", "{home}/runs"), ("file://{here}/runs", "{here}/runs")],
)
def test_a_place_on_a_disk(place: str, shown: str, tmp_path: Path) -> None:
    names = {"here": str(tmp_path), "home": str(Path.home())}
    found = Folder.at(place.format(**names))
    assert str(found) == shown.format(**names) and found.local == Path(str(found))


def test_a_bucket_s_address_is_no_file_on_this_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("s3://bucket/x.md", "gs://bucket"):
        with pytest.raises(UserError, match="found a bucket's address; wanted a file or a folder on this machine"):
            write_bytes(Path(place), b"x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["ftp://host/runs", "s3://", "gs://"])
def test_a_place_that_nobody_knows_is_a_message(place: str) -> None:
    with pytest.raises(UserError, match=rf"^{place}: .* Wanted a folder, or a bucket as s3://"):
        Folder.at(place)


def test_a_home_that_nobody_has_is_a_message() -> None:
    with pytest.raises(UserError, match="^~nobody-here/runs: this machine knows no home folder of '~nobody-here'"):
        Folder.at("~nobody-here/runs")


def test_a_link_to_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    link = f"cannot be written, since {tmp_path}/runs is a link to {tmp_path}/disk, which is not there"
    for place in (tmp_path / "runs", tmp_path / "runs" / "r"):
        with pytest.raises(UserError, match=link):
            Store(place).write(JOB, ["1"], [record("a")])
        with pytest.raises(UserError, match=link), Lock(Folder.at(place)):
            pass


def test_where_runs_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HARNESS_RUNS", raising=False)
    assert store_of("r").folder.local == ROOT / "runs" / "r"
    monkeypatch.setenv("HARNESS_RUNS", str(tmp_path))
    assert store_of("r").folder.local == tmp_path / "r"
    assert store_of("r", "elsewhere").folder.local == Path.cwd() / "elsewhere" / "r"


def test_a_run_is_found_by_its_folder_here_or_at_the_root_and_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, root, kept = (tmp_path / name for name in ("here", "root", "kept"))
    for folder in (here / "runs" / "both", root / "runs" / "both", root / "runs" / "far", kept / "named"):
        folder.mkdir(parents=True)
        save_manifest(Folder.at(folder), {"jobs": {}})
    monkeypatch.chdir(here)
    monkeypatch.setattr("harness.places.ROOT", root)
    monkeypatch.setenv("HARNESS_RUNS", str(kept))
    assert found_at("runs/both").folder.local == here / "runs" / "both"
    assert found_at("runs/far").folder.local == root / "runs" / "far"
    assert found_at("named").folder.local == kept / "named"
    assert found_at(root / "runs" / "far").folder.local == root / "runs" / "far"
    assert found_at("runs/gone").folder.local == here / "runs" / "gone"
    assert str(no_run(found_at("nmaed"))).endswith("or its name. Did you mean 'named'? There are: named.")
    monkeypatch.setenv("HARNESS_RUNS", str(tmp_path / "nothing"))
    assert "There is none yet: python -m harness run CONFIG" in str(no_run(found_at("nmaed")))


CRASH = """
import os, sys
from pathlib import Path
from harness.storage.folder import write_bytes
Path.replace = lambda *_: os._exit(9)
write_bytes(Path(sys.argv[1]), b"new" * 1000)
"""


@pytest.mark.slow
def test_a_crash_before_the_rename_leaves_the_old_file(store: Store) -> None:
    store.write(JOB, ["1"], [record("a")])
    (path,) = shard_files(store)
    old = path.read_bytes()
    crash = subprocess.run([sys.executable, "-c", CRASH, path], cwd=ROOT, check=False)
    assert crash.returncode == 9
    assert len(list(path.parent.iterdir())) == 2
    assert path.read_bytes() == old
    assert store.done(JOB) == {"1"} and len(rows(store)) == 1


def test_a_full_disk_is_one_message_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_bytes(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(
            UserError, match=r"folder/file: cannot be written \(File too large\).* run the same command"
        ):
            write_bytes(path, b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [one.name for one in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


SMALL_DISK = pytest.mark.skipif(
    subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False, capture_output=True
    ).returncode
    != 0,
    reason="nobody but root may mount a small disk",
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@SMALL_DISK
def test_a_disk_that_fills_up_keeps_every_whole_shard(small_disk: Path) -> None:
    store = opened(Store(small_disk / "run"))
    written: list[str] = []
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)\. What was written"):
        for number in range(100):
            store.write(JOB, [str(number)], [record(str(number), str(number))])
            written.append(str(number))
    assert 1 <= len(written) < 20
    assert Store(small_disk / "run").done(JOB) == set(written)
    assert len(rows(store, written)) == len(written)
    assert not list((small_disk / "run").rglob(".*"))
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    store.write(JOB, ["again"], [record("again", "again")])
    assert len(store.done(JOB)) == len(written) + 1


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "run").write(JOB, ["1"], [record("a")])


def test_the_manifest_is_json_for_people(store: Store) -> None:
    opened(store)
    text = (folder(store) / "manifest.json").read_text()
    assert json.loads(text)["jobs"][JOB.key]["about"]["method_plugin"] == "ours"
    assert text.count("\n") > 10


def test_rows_of_before_there_were_draws_are_read(store: Store) -> None:
    opened(store)
    gone = ["draw", "partner", "shared_px", "partner_iou", "guess"]
    early = packed(table([record("a")], JOB.metrics).drop_columns(gone), Header(("1",), JOB.parts))
    (store.folder_of(JOB.key)).write(name_of(early), early)
    store.write(JOB, ["2"], [record("b", "2", draw=1)])
    read = rows(store)
    assert read["draw"].tolist() == [0, 1] and read["draw"].dtype == "int32"
    assert read[gone[1:]].isna().all(axis=None)
    old = store.folder.local / "results.parquet"
    pq.write_table(pa.Table.from_pandas(read.drop(columns=gone)), old)
    assert len(read_results(store)) == len(read_results(store, coded=True)) == 2
