import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import UserError
from harness.config.parts import Plugin
from harness.config.run_config import load_run
from harness.results.recorded import recorded
from harness.results.reported import report
from harness.running.one_run import run
from harness.storage.folder import Folder
from harness.storage.lock import Lock
from harness.storage.manifest import save_manifest
from harness.storage.merge import merged
from harness.storage.parts import Part
from harness.storage.rows import MEASURED
from harness.storage.store import Store
from harness.storage.verify import verified
from toy_runs import STEADY, TOYS, WIDE, Quiet, written

MORE = {"name": "fakes:Toys", "label": "more", "params": {"count": 3, "top": 6}}
TABLE = {"tables": ["leaderboard"]}


Ran = Callable[..., Store]


@pytest.fixture
def ran(tmp_path: Path, once: Callable[..., Any]) -> Ran:
    """Runs a config under a name, without the table, which takes longest; the store counts the images it took."""

    def start(name: str, **changed: Any) -> Store:
        def images(**changed: Any) -> int:
            quiet = Quiet()
            run(load_run(written(tmp_path / f"{name}.yaml", **changed)), quiet, runs=str(tmp_path))
            return quiet.images

        known: dict[str, Any] = {"workers": {"executor": "local", "samples_per_shard": 4}, "tables": []}
        took = once(tmp_path / name, images, **known | changed)
        store = Store(tmp_path / name)
        store.images = took  # type: ignore[attr-defined]
        return store

    return start


def at(tmp_path: Path, name: str) -> Store:
    return Store(tmp_path / name)


def results(store: Store) -> pd.DataFrame:
    assert store.folder.local is not None
    return pq.read_table(store.folder.local / "results.parquet").to_pandas().drop(columns=["run", *MEASURED])


def lacking(store: Store) -> list[str]:
    return verified(Store(store.folder)).lacking


@pytest.mark.slow
def test_methods_of_two_machines_become_one_run(ran: Ran, tmp_path: Path) -> None:
    whole = ran("whole", methods=[STEADY, WIDE], **TABLE)
    both = at(tmp_path, "both")
    copied, rows = merged([ran("a", **TABLE), ran("b", methods=[WIDE], **TABLE)], both)
    assert (copied, rows) == (4, 72)
    pd.testing.assert_frame_equal(results(both), results(whole))
    assert lacking(both) == []
    report(recorded(both))
    text = both.folder.read("report.md").decode()
    assert text.replace("both", "whole") == whole.folder.read("report.md").decode()
    assert not [name for name in both.folder.files() if name == "lock.json"]
    starts = both.manifest()["starts"]
    assert starts[-1]["merged"] == ["a", "b"] and len(starts) == 3


@pytest.mark.slow
def test_a_merged_run_goes_on_as_any_other(ran: Ran, tmp_path: Path) -> None:
    merged([ran("a"), ran("b", methods=[WIDE])], at(tmp_path, "both"))
    third = {"name": "fakes:Steady", "label": "third", "params": {"reach": 11}}
    again = ran("both", methods=[STEADY, WIDE, third])
    assert again.images == 6 and len(results(again)) == 108  # type: ignore[attr-defined]


@pytest.mark.slow
def test_one_run_may_be_added_to_another_and_twice_is_once(ran: Ran, tmp_path: Path) -> None:
    a, b = ran("a"), ran("b", methods=[WIDE])
    assert merged([b], a) == (2, 72)
    assert merged([b], a) == (0, 72)
    assert lacking(a) == [] and [one["label"] for one in a.manifest()["config"]["methods"]] == ["steady", "wide"]


@pytest.mark.slow
def test_a_run_that_was_merged_while_it_worked_has_its_start_once_and_whole(ran: Ran, tmp_path: Path) -> None:
    a, b, both = ran("a"), ran("b", methods=[WIDE]), at(tmp_path, "both")
    ended = a.manifest()
    begun = {key: value for key, value in ended["starts"][0].items() if key not in ("ended", "instances", "failed")}
    for starts in ([begun], ended["starts"]):
        save_manifest(a.folder, ended | {"starts": starts})
        merged([a, b], both)
    whole = [one for one in both.manifest()["starts"] if "merged" not in one]
    assert whole == [*ended["starts"], *b.manifest()["starts"]]
    merged([a, b], both)
    assert [one for one in both.manifest()["starts"] if "merged" not in one] == whole


@pytest.mark.slow
def test_a_run_whose_parts_are_at_work_takes_no_others(ran: Ran, tmp_path: Path) -> None:
    a, b = ran("a"), ran("b", methods=[WIDE])
    before, writing = a.folder.read("manifest.json"), f".half.parquet.{'0' * 32}"
    shards = a.folder / "shards" / (a.folder / "shards").folders()[0]
    shards.write(writing, b"")
    with Lock(Part(1, 2).folder(a.folder)):
        with pytest.raises(UserError, match="found 1 parts of this run at work, the first 1-of-2"):
            merged([b], a)
        merged([a], b)  # What is there is copied; the parts lose nothing.
    assert a.folder.read("manifest.json") == before and writing in shards.files()


@pytest.mark.slow
def test_images_of_limited_runs_come_together(ran: Ran, tmp_path: Path) -> None:
    whole, few = ran("whole"), ran("few", limit=4)
    both = at(tmp_path, "both")
    assert merged([few, whole], both)[1] == 36
    pd.testing.assert_frame_equal(results(both), results(whole))
    assert both.manifest()["config"]["limit"] is None and lacking(both) == []
    few_again = at(tmp_path, "few_again")
    merged([few], few_again)
    assert few_again.manifest()["config"]["limit"] == 4 and lacking(few_again) == []


@pytest.mark.slow
def test_the_config_of_a_merged_run_asks_for_the_images_that_it_has(ran: Ran, tmp_path: Path) -> None:
    one, two = ran("one", only={"toys": ["toy-0"]}), ran("two", only={"toys": ["toy-0", "toy-1"]})
    three, more = ran("three", limit=3), ran("more", datasets=[MORE])
    for name, runs, limit, only in [
        ("longer", [one, two], None, {"toys": ["toy-0", "toy-1"]}),
        ("limited", [one, three], 3, {}),
        ("beside", [three, more], None, {"toys": ["toy-0", "toy-1", "toy-2"]}),
        ("alone", [one, more], None, {"toys": ["toy-0"]}),
    ]:
        both = at(tmp_path, name)
        merged(runs, both)
        config = both.manifest()["config"]
        assert (config["limit"], config["only"]) == (limit, only), name
        listed = verified(Store(both.folder), [Plugin(**TOYS), Plugin(**MORE)]).lacking
        assert not [line for line in listed if "lists other images" in line], name


@pytest.mark.slow
def test_training_images_are_counted_over_all_images_of_a_merged_run(ran: Ran, tmp_path: Path) -> None:
    asked = {"methods": [STEADY | {"trained_on": {"name": "toys", "datasets": [TOYS]}}]}
    merged([ran("few", limit=2, **asked), ran("whole", **asked)], at(tmp_path, "both"))
    both = recorded(at(tmp_path, "both"))
    assert both.context(both.rows()).training_images_asked == {("steady", "toys"): 6}


@pytest.mark.slow
def test_a_method_is_asked_on_what_either_run_asked_it_on(ran: Ran, tmp_path: Path) -> None:
    both = at(tmp_path, "both")
    first = ran("a", methods=[STEADY, {**WIDE, "datasets": ["toys"]}], datasets=[TOYS, MORE])
    merged([first, ran("b", methods=[{**WIDE, "datasets": ["more"]}], datasets=[MORE])], both)
    (wide,) = (one for one in both.manifest()["config"]["methods"] if one["label"] == "wide")
    assert wide["datasets"] == ["more", "toys"] and lacking(both) == []
    assert report(recorded(both)).missing == 0


@pytest.mark.slow
def test_what_neither_run_has_is_missing_in_words(ran: Ran, tmp_path: Path) -> None:
    both = at(tmp_path, "both")
    merged([ran("a", **TABLE), ran("b", methods=[WIDE], datasets=[MORE], **TABLE)], both)
    assert "wide on toys: 6 of 6 images have no rows; the first is 'toy-0'" in lacking(both)
    assert "steady on more: 3 of 3 images have no rows; the first is 'toy-0'" in lacking(both)
    assert report(recorded(both)).missing == 12 + 6
    assert "12 of 12 instances have no row" in both.folder.read("report.md").decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        ({"seed": 1}, r"a setting of the whole run .*: seed is 0 in .*/a, 1 in .*/b\."),
        ({"clicks": {"max_clicks": 2}}, r"clicks is .*'max_clicks': 1.* in .*/a, .*'max_clicks': 2.* in .*/b\."),
        ({"text": {"template": "a {}"}}, r"text is .*'\{\}'.* in .*/a, .*'a \{\}'.* in .*/b\."),
        ({"metrics": ["iou"]}, r"metrics is \['iou', 'boundary_iou'\] in .*/a, \['iou'\] in .*/b\."),
        ({"methods": [WIDE | {"label": "steady"}]}, r"the method 'steady' differs between these runs: method is"),
        (
            {"methods": [WIDE], "datasets": [MORE | {"label": "toys"}]},
            r"the data set 'toys' differs between these runs: dataset is",
        ),
        ({"methods": [STEADY | {"trained_on": {"classes": ["x"]}}]}, r"trained_classes is {2}in .*/a, x in"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(ran: Ran, tmp_path: Path, changed: Any, subject: str) -> None:
    a, b, both = ran("a"), ran("b", **changed), at(tmp_path, "both")
    with pytest.raises(UserError) as refused:
        merged([a, b], both)
    assert re.search(subject, str(refused.value)), refused.value
    assert not (tmp_path / "both").exists()


@pytest.mark.slow
def test_other_images_of_one_data_set_are_refused(ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = ran("a")
    import fakes

    monkeypatch.setattr(fakes.Toys, "sample_ids", lambda self: ["toy-3", "toy-1"])
    with pytest.raises(UserError, match=r"'toys' has other images in .*/few \(2\) than in .*/a \(6\)"):
        merged([a, ran("few", methods=[WIDE])], at(tmp_path, "both"))


@pytest.mark.slow
def test_what_is_no_run_is_a_message(ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no manifest.json in it"):
        merged([ran("a"), at(tmp_path, "nowhere")], at(tmp_path, "both"))
    assert not (tmp_path / "both").exists() and not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_a_damaged_shard_is_not_copied(ran: Ran, tmp_path: Path) -> None:
    a = ran("a")
    path = sorted((tmp_path / "a").rglob("shards/*/*.parquet"))[0]
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name}: damaged .* Delete it and run again"):
        merged([a], at(tmp_path, "both"))
    assert not list((tmp_path / "both").rglob(path.name))


@pytest.mark.slow
def test_a_shard_that_is_cut_is_not_left_out(ran: Ran, tmp_path: Path) -> None:
    a = ran("a")
    path = sorted((tmp_path / "a").rglob("shards/*/*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError, match=rf"{path.name}: no whole shard.* Delete it and run again"):
        merged([Store(a.folder)], at(tmp_path, "both"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my run", ".hidden", "-x", "a+b"])
def test_a_name_that_no_run_can_have_is_refused_before_anything_is_made(ran: Ran, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"merge: -o .*: '{re.escape(name)}' is no run's name; wanted letters, digits"):
        merged([ran("a")], at(tmp_path, name))
    assert not (tmp_path / name).exists()


@pytest.mark.slow
def test_a_report_of_before_the_merge_does_not_stay(ran: Ran, tmp_path: Path) -> None:
    a, b = ran("a", **TABLE), ran("b", methods=[WIDE], **TABLE)
    merged([b], a)
    assert "report.md" not in a.folder.files()
    report(recorded(a))
    assert "wide" in a.folder.read("report.md").decode()


@pytest.mark.slow
def test_a_target_that_is_being_written_is_left_alone(ran: Ran, tmp_path: Path) -> None:
    a, b = ran("a"), ran("b", methods=[WIDE])
    with Lock(Folder.at(tmp_path / "b")), pytest.raises(UserError, match="found another process at work on this run"):
        merged([a], b)


@pytest.mark.slow
def test_a_merge_that_was_cut_short_is_taken_up(ran: Ran, tmp_path: Path) -> None:
    a, b, both = ran("a"), ran("b", methods=[WIDE]), tmp_path / "both"
    merged([a, b], Store(both))
    (both / "manifest.json").unlink()
    sorted(both.rglob("shards/*/*.parquet"))[0].unlink()
    assert merged([a, b], Store(both)) == (1, 72)
    assert lacking(Store(both)) == []


@pytest.mark.slow
def test_copying_the_folders_of_shards_merges_too(ran: Ran, tmp_path: Path) -> None:
    a, b = ran("a"), ran("b", methods=[WIDE])
    whole = ran("whole", methods=[STEADY, WIDE])
    for job in b.folder.__truediv__("shards").folders():
        shutil.copytree(tmp_path / "b" / "shards" / job, tmp_path / "a" / "shards" / job)
    again = ran("a", methods=[STEADY, WIDE])
    assert again.images == 0  # type: ignore[attr-defined]
    pd.testing.assert_frame_equal(results(again), results(whole))
    assert lacking(a) == []


@pytest.mark.slow
def test_copied_shards_that_were_made_otherwise_are_refused(ran: Ran, tmp_path: Path) -> None:
    ran("a", datasets=[MORE])
    ran("b", seed=1)
    shutil.copytree(tmp_path / "b" / "shards", tmp_path / "a" / "shards", dirs_exist_ok=True)
    with pytest.raises(
        UserError,
        match=r"found rows of steady on toys that were made with other settings or files \(seed: 1 then, 0 now\)",
    ):
        ran("a", datasets=[MORE, TOYS])


@pytest.mark.slow
def test_a_config_of_another_version_is_a_message(ran: Ran, tmp_path: Path) -> None:
    a = ran("a")
    manifest = a.manifest()
    fewer = {key: value for key, value in manifest["config"].items() if key != "text"}
    save_manifest(a.folder, manifest | {"config": fewer})
    assert merged([a], at(tmp_path, "both")) == (2, 36)
    save_manifest(a.folder, manifest | {"config": {**fewer, "methods": 7}})
    with pytest.raises(UserError, match=r"a/manifest\.json: config, methods: "):
        merged([a], at(tmp_path, "again"))
    assert not at(tmp_path, "again").folder.files()
