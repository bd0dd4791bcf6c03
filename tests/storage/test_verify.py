import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from harness import UserError
from harness.config.parts import Plugin
from harness.config.run_config import load_run
from harness.results.recorded import recorded
from harness.results.reported import report
from harness.running.one_run import run
from harness.storage import completeness
from harness.storage.completeness import Asked, Findings
from harness.storage.folder import Folder
from harness.storage.lock import Lock, Owner
from harness.storage.manifest import JobFacts, save_manifest, save_samples
from harness.storage.shards import Header, header_of, name_of, packed
from harness.storage.store import Store
from harness.storage.verify import verified
from toy_runs import STEADY, WIDE, Quiet, written

DATA = (Plugin(name="fakes:Toys", label="toys", params={"count": 6}),)


@pytest.fixture
def finished(tmp_path: Path, once: Callable[..., Any]) -> Callable[..., Store]:
    """Runs two methods on six images of two instances, three rankings, two clicks; no table, which takes longest."""

    def start(**changed: Any) -> Store:
        known: dict[str, Any] = {
            "methods": [STEADY, WIDE],
            "clicks": {"max_clicks": 2},
            "workers": {"executor": "local", "samples_per_shard": 4},
            "tables": [],
        }
        once(tmp_path / "r", start_of, **known | changed)
        return Store(tmp_path / "r")

    def start_of(**config: Any) -> None:
        run(load_run(written(tmp_path / "r.yaml", **config)), Quiet(), runs=str(tmp_path))

    return start


def folder(store: Store) -> Path:
    assert store.folder.local is not None
    return store.folder.local


def shards(store: Store, method: str = "steady") -> list[Path]:
    return sorted((folder(store) / "shards").glob(f"{method}-*/*.parquet"))


def found(store: Store) -> Findings:
    return verified(Store(store.folder))


def reported(store: Store) -> Store:
    """results.parquet written anew, so that only the shards can give a defect away."""
    fresh = Store(store.folder)
    report(recorded(fresh))
    return fresh


def rewritten(path: Path, rows: Callable[[Any], Any], header: Callable[[Header], Header] = lambda one: one) -> None:
    """A shard that holds other rows and is whole."""
    content = packed(rows(pq.read_table(path)), header(header_of(path)))
    path.unlink()
    (path.parent / name_of(content)).write_bytes(content)


@pytest.mark.slow
def test_a_complete_run_is_proved_with_its_counts(finished: Callable[..., Store]) -> None:
    store = finished()
    seen = found(store)
    assert not seen.lacking and not seen.unproved
    said = "\n".join(seen.proved)
    assert "manifest.json and samples.parquet are intact: 2 jobs, 1 start, 6 images asked for" in said
    assert "4 shards with 144 rows are readable, as their SHA-256 says" in said
    for method in ("steady", "wide"):
        assert f"{method} on toys: 6 images, 12 instances x 3 rankings x 2 clicks = 72 rows; 0 more" in said
    assert "primary key (dataset, method, instance_id, draw, click_index, ranking) is unique over 144 rows" in said
    assert "results.parquet has 144 rows, equal to the shards'" in said
    assert "toys: the rows of all 2 methods are of the same 12 instances" in said
    assert "the data set lists" not in said
    (proved,) = set(verified(Store(store.folder), DATA).proved) - set(seen.proved)
    assert proved == "toys: the data set lists the same 6 images and 12 instances"


@pytest.mark.slow
def test_it_needs_nothing_but_the_folder(finished: Callable[..., Store], tmp_path: Path, monkeypatch: Any) -> None:
    store = finished()
    copy = tmp_path / "copy"
    shutil.copytree(folder(store), copy)
    shutil.rmtree(folder(store))

    def gone(*_: Any) -> None:
        raise UserError("no such data")

    monkeypatch.setattr("harness.plugins.parameters.build", gone)
    seen = verified(Store(copy))
    assert not seen.lacking and not seen.unproved and len(seen.proved) == 9
    seen = verified(Store(copy), [*DATA, Plugin(name="fakes:Toys", label="others")])
    assert not seen.lacking and seen.unproved == [
        "the listing of toys: no such data",
        "the listing of others: the run has no such data set",
    ]


@pytest.mark.slow
def test_failed_instances_are_complete_too(finished: Callable[..., Store]) -> None:
    toys = {"name": "fakes:Toys", "label": "toys", "params": {"count": 6, "unreadable": [1]}}
    fragile = {"name": "fakes:Fragile", "label": "steady", "params": {"how": "bug", "at": 3}}
    seen = found(finished(datasets=[toys], methods=[fragile]))
    assert not seen.lacking
    assert "10 instances" not in str(seen.proved) and "8 instances x 3 rankings x 2 clicks = 48 rows; 3 more" in str(
        seen.proved
    )


@pytest.mark.slow
def test_a_limited_run_is_complete_for_what_it_was_asked(finished: Callable[..., Store]) -> None:
    finished()
    seen = found(finished(limit=3))
    assert not seen.lacking and "steady on toys: 3 images, 6 instances" in str(seen.proved)


def remove_a_shard(store: Store) -> None:
    shards(store)[0].unlink()


def cut_a_shard(store: Store) -> None:
    path = shards(store)[0]
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit_of_a_shard(store: Store) -> None:
    path = shards(store)[0]
    content = bytearray(path.read_bytes())
    content[50] ^= 1  # in the rows, not in what the file says of itself
    path.write_bytes(content)


def put_a_foreign_file_among_the_shards(store: Store) -> None:
    path = shards(store)[0]
    rows = pq.read_table(path).replace_schema_metadata()
    pq.write_table(rows, path.with_name("foreign.parquet"))


def change_a_row_of_the_results(store: Store) -> None:
    path = folder(store) / "results.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(rows.column_names.index("iou"), "iou", pc.add(rows["iou"], 1e-9)), path)


def drop_a_row_of_the_results(store: Store) -> None:
    path = folder(store) / "results.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def add_a_row_to_the_results(store: Store) -> None:
    path = folder(store) / "results.parquet"
    rows = pq.read_table(path)
    pq.write_table(pa.concat_tables([rows, rows.slice(len(rows) - 1)]), path)


def write_the_results_otherwise(store: Store) -> None:
    path = folder(store) / "results.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")


def remove_the_results(store: Store) -> None:
    (folder(store) / "results.parquet").unlink()


def damage_the_results(store: Store) -> None:
    (folder(store) / "results.parquet").write_bytes(b"PAR1")


def change_the_samples(store: Store) -> None:
    save_samples(store.folder, {"toys": {"toy-0": None}})


def forget_the_samples(store: Store) -> None:
    (folder(store) / "samples.parquet").unlink()


def damage_the_samples(store: Store) -> None:
    (folder(store) / "samples.parquet").write_bytes(b"PAR1")


def answer_an_image_twice(store: Store) -> None:
    path = shards(store)[0]
    rows = pq.read_table(path)
    other = rows.set_column(rows.column_names.index("iou"), "iou", pc.multiply(rows["iou"], 0.5))
    content = packed(other, header_of(path))
    (path.parent / name_of(content)).write_bytes(content)
    reported(store)


def lose_a_metric(store: Store) -> None:
    rewritten(shards(store)[0], lambda rows: rows.drop_columns(["boundary_iou"]))
    reported(store)


def drop_a_row(store: Store) -> None:
    rewritten(shards(store)[0], lambda rows: rows.slice(1))
    reported(store)


def drop_a_click_of_an_instance(store: Store) -> None:
    def first(rows: Any) -> Any:
        one = pc.and_(pc.equal(rows["instance_id"], rows["instance_id"][0]), pc.equal(rows["click_index"], 2))
        return rows.filter(pc.invert(one))

    rewritten(shards(store)[0], first)
    reported(store)


def drop_all_last_clicks(store: Store) -> None:
    for path in shards(store):
        rewritten(path, lambda rows: rows.filter(pc.equal(rows["click_index"], 1)))
    reported(store)


def drop_an_instance(store: Store) -> None:
    rewritten(shards(store)[0], lambda rows: rows.filter(pc.not_equal(rows["instance_id"], rows["instance_id"][0])))
    reported(store)


def drop_an_instance_of_every_method(store: Store) -> None:
    for path in (*shards(store), *shards(store, "wide")):
        rewritten(path, lambda rows: rows.filter(pc.not_equal(rows["instance_id"], "2a")))
    reported(store)


def repeat_a_row(store: Store) -> None:
    def doubled(rows: Any) -> Any:
        return pa.concat_tables([rows, rows.slice(0, 1)])

    rewritten(shards(store)[0], doubled)
    reported(store)


def make_a_shard_otherwise(store: Store) -> None:
    rewritten(shards(store)[0], lambda rows: rows, lambda header: Header(header.samples, {**header.parts, "seed": "7"}))


DEFECTS: dict[Callable[[Store], None], str] = {
    remove_a_shard: r"steady on toys: [24] of 6 images have no rows; the first is 'toy-[04]'",
    cut_a_shard: r"damaged \(",
    flip_a_bit_of_a_shard: r"damaged \(its content is not what its name says\)\. Delete it and run again",
    put_a_foreign_file_among_the_shards: r"foreign\.parquet: found a file that is no shard; move it away",
    change_a_row_of_the_results: r"results\.parquet is not what the shards say; python -m harness report",
    drop_a_row_of_the_results: r"results\.parquet is not what the shards say",
    add_a_row_to_the_results: r"results\.parquet is not what the shards say",
    write_the_results_otherwise: r"results\.parquet holds the shards' rows, but is not the file that manifest",
    remove_the_results: r"results\.parquet; python -m harness report .*/r writes it again",
    damage_the_results: r"results\.parquet cannot be read",
    change_the_samples: r"samples\.parquet: not what manifest\.json says\. Give the run's command again",
    forget_the_samples: r"samples\.parquet: not what manifest\.json says",
    damage_the_samples: r"samples\.parquet: damaged \(.*\)\. Give the run's command again",
    answer_an_image_twice: r"steady on toys: [24] images have different rows in two shards; the first is 'toy-\d' in "
    r"\w+\.parquet and in \w+\.parquet\. Tables show those of the shard named first\. Delete one",
    lose_a_metric: r"steady on toys: \d+ of 72 rows have no boundary_iou",
    drop_a_row: r"steady on toys: 1 rounds lack a row of confidence, oracle, size; the first is \('toys', 'steady', ",
    drop_a_click_of_an_instance: r"steady on toys: 1 instances lack some of 2 rounds; the first is",
    drop_all_last_clicks: r"steady on toys: there are rows after 1 clicks; wanted every round up to 2",
    drop_an_instance: r"toys: 1 instances have rows of some methods only",
    drop_an_instance_of_every_method: r"wide on toys: 1 instances are listed, but without a row; the first is '2a'",
    repeat_a_row: r"1 of 145 rows repeat a primary key",
    make_a_shard_otherwise: r"not made as the manifest says \(differences in seed\); delete it",
}


@pytest.mark.slow
@pytest.mark.parametrize(("defect", "message"), DEFECTS.items(), ids=[defect.__name__ for defect in DEFECTS])
def test_every_defect_is_named(finished: Callable[..., Store], defect: Any, message: str) -> None:
    store = finished()
    defect(store)
    seen = verified(Store(store.folder), DATA)
    assert re.search(message, "\n".join(seen.lacking)), seen


@pytest.mark.slow
def test_an_image_that_is_twice_there_with_the_same_rows_is_no_defect(finished: Callable[..., Store]) -> None:
    store = finished()
    for path in shards(store):
        rows, again = pq.read_table(path), pa.array([7.0] * len(pq.read_table(path)), pa.float32())
        content = packed(rows.set_column(rows.column_names.index("encode_ms"), "encode_ms", again), header_of(path))
        (path.parent / name_of(content)).write_bytes(content)
    seen = found(reported(store))
    assert not seen.lacking and "steady on toys: 6 images lie in several shards, with the same rows" in seen.proved


@pytest.mark.slow
def test_what_is_unreadable_does_not_hide_what_the_rows_lack(finished: Callable[..., Store]) -> None:
    store = finished()
    put_a_foreign_file_among_the_shards(store)
    cut_a_shard(store)
    seen = found(store)
    assert not seen.unproved and re.search(
        r"steady on toys: [24] of 6 images have no rows; the first is", str(seen.lacking)
    )
    assert "wide on toys: 6 images, 12 instances" in str(seen.proved)


@pytest.mark.slow
def test_without_the_samples_no_row_is_vouched_for(finished: Callable[..., Store]) -> None:
    store = finished()
    forget_the_samples(store)
    seen = found(store)
    assert seen.unproved == [
        "the rows: without samples.parquet the images that they must have are unknown"
    ] and "rows =" not in str(seen.proved)
    with pytest.raises(UserError, match=r"samples\.parquet: not what manifest\.json says"):
        reported(store)
    assert len(pq.read_table(folder(store) / "results.parquet")) == 144, "left as it was"


@pytest.mark.slow
def test_a_killed_writer_writes_no_more(finished: Callable[..., Store]) -> None:
    store = finished()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    store.folder.write("lock.json", json.dumps(asdict(replace(Owner.this(), pid=gone.pid))).encode())
    assert not found(store).unproved


@pytest.mark.slow
def test_an_altered_manifest_is_not_trusted(finished: Callable[..., Store]) -> None:
    store = finished()
    path = folder(store) / "manifest.json"
    said = json.loads(path.read_text())
    said["config"]["limit"] = 1
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match="its content is not what its sha256 says"):
        found(store)


@pytest.mark.slow
def test_a_config_of_another_version_is_a_message_and_one_with_fewer_keys_is_read(
    finished: Callable[..., Store],
) -> None:
    store = finished()
    manifest = store.manifest()
    fewer = {key: value for key, value in manifest["config"].items() if key not in ("limit", "only", "text")}
    save_manifest(store.folder, manifest | {"config": fewer})
    assert not found(reported(store)).lacking
    config = {**fewer, "clicks": {"max_clicks": "many"}}
    save_manifest(store.folder, manifest | {"config": config})
    with pytest.raises(UserError, match=r"manifest\.json: config, clicks\.max_clicks: "):
        found(store)


@pytest.mark.slow
def test_other_images_in_the_data_set_are_noticed(finished: Callable[..., Store], monkeypatch: Any) -> None:
    store = finished()
    import fakes

    monkeypatch.setattr(fakes.Toys, "sample_ids", lambda self: ["toy-0", "toy-1"])
    assert verified(Store(store.folder), DATA).lacking == ["toys: the data set lists other images now (2 of them)"]


@pytest.mark.slow
def test_a_run_in_progress_is_said_to_be(finished: Callable[..., Store]) -> None:
    store = finished()
    with Lock(Folder.at(folder(store))):
        assert "is writing this run" in found(store).unproved[0]


def test_what_is_no_run_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no manifest.json in it; wanted the folder of a run"):
        verified(Store(tmp_path))


@pytest.mark.slow
def test_many_damaged_shards_are_named_shortly(finished: Callable[..., Store]) -> None:
    store = finished(workers={"executor": "local", "samples_per_shard": 1})
    for path in shards(store):
        path.write_bytes(b"")
    lacking = found(store).lacking
    assert sum(": damaged (" in line for line in lacking) == 5 and lacking[5] == "and 1 more shards with the same fault"


@pytest.mark.parametrize(
    ("rounds", "said"),
    [((2, 4, 6), []), ((2, 6), ["2, 6"]), ((2, 4), ["2, 4"]), ((2, 3, 4, 5, 6), ["2, 3, 4, 5, 6"])],
)
def test_a_rule_of_two_clicks_a_round_has_rows_after_every_second_one(rounds: tuple[int, ...], said: list[str]) -> None:
    same = {"method": "steady", "dataset": "toys", "image_id": "1", "instance_id": "1a", "draw": 0, "partner": None}
    rows = pd.DataFrame([same | {"click_index": one, "ranking": "size", "status": "ok"} for one in rounds])
    seen = Findings()
    completeness.check_job(seen, Asked(JobFacts("steady", "toys", {}, {}), ["1"], 6), {"1"}, rows)
    lacking = "steady on toys: there are rows after {} clicks; wanted every round up to 6"
    assert seen.lacking == [lacking.format(one) for one in said]


def test_the_key_is_that_of_the_results() -> None:
    assert completeness.KEY == ["dataset", "method", "instance_id", "draw", "click_index", "ranking"]
