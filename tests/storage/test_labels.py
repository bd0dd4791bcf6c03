"""A label that changes in a config: the rows get the new one, and no method is asked again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
import yaml

from harness import UserError, places
from harness.cli.plan import plan
from harness.cli.report import report
from harness.cli.tables import leaderboard
from harness.config.run_config import load_run
from harness.jobs.plan import planned
from harness.report.several_runs import Source
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.storage.folder import Folder
from harness.storage.labels import renamed
from harness.storage.store import Store
from harness.storage.verify import verified
from harness.trying.replaying import replayed
from toy_runs import STEADY, TOYS, WIDE, Quiet, written

pytestmark = pytest.mark.slow

CALM = {**STEADY, "label": "calm"}


def start(folder: Path, *methods: dict[str, Any], **changed: Any) -> int:
    """Run the config as it is now; how many images were worked on."""
    quiet = Quiet()
    config = written(folder / "a.yaml", **{"methods": list(methods), **changed})
    run(load_run(config), quiet, runs=str(folder / "runs"))
    return quiet.images


def rows(folder: Path) -> pd.DataFrame:
    """All that results.parquet says, times included, without the labels."""
    return pq.read_table(folder / "runs" / "a" / "results.parquet").to_pandas()


def of(found: pd.DataFrame, method: str) -> pd.DataFrame:
    return found[found["method"] == method].drop(columns=["method", "dataset"]).reset_index(drop=True)


def facts(folder: Path, *methods: dict[str, Any]) -> list[Any]:
    return [job.facts for job in planned(load_run(written(folder / "a.yaml", methods=list(methods))))]


def test_the_embedded_scenes_under_a_new_label_are_shown_everywhere_and_asked_once(tmp_path: Path) -> None:
    config = yaml.safe_load((places.ROOT / "configs" / "quickstart.yaml").read_text())
    config |= {"run": "a", "limit": 1, "workers": {"executor": "local"}, "methods": config["methods"][1:]}
    path, quiet = tmp_path / "a.yaml", Quiet()
    path.write_text(yaml.safe_dump(config))
    run(load_run(path), quiet, runs=str(tmp_path / "runs"))
    then, asked = rows(tmp_path), quiet.images
    config["methods"][0]["label"] = "Clicks [alone]"
    config["datasets"][0]["label"] = "drawn"
    path.write_text(yaml.safe_dump(config))
    finished = run(load_run(path), quiet, runs=str(tmp_path / "runs"))
    now = rows(tmp_path)
    assert quiet.images == asked == 1 and {*now["method"]} == {"Clicks [alone]"} and {*now["dataset"]} == {"drawn"}
    pd.testing.assert_frame_equal(of(now, "Clicks [alone]"), of(then, "Click only"))
    assert not finished.missing
    folder = tmp_path / "runs" / "a"
    assert verified(Store(folder)).lacking == []
    assert all(one.passed for one in replayed(recorded_at(folder), str(now["instance_id"][0])))
    leaderboard([str(folder)], output=tmp_path / "board.md")
    for text in ((folder / "report.md").read_text(), (tmp_path / "board.md").read_text()):
        assert "alone" in text and "Click only" not in text


def test_a_new_label_moves_the_rows_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start(tmp_path, STEADY, WIDE)
    then = rows(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert start(tmp_path, CALM, WIDE) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "6 images of steady on toys are those of calm on toys, as only labels differ: not computed again."
    ]
    now, store = rows(tmp_path), Store(tmp_path / "runs" / "a")
    pd.testing.assert_frame_equal(of(now, "calm"), of(then, "steady"))
    pd.testing.assert_frame_equal(of(now, "wide"), of(then, "wide"))
    assert verified(store).lacking == [] and sum(len(store.headers(key)) for key in store.manifest()["jobs"]) == 2 * 3
    assert start(tmp_path, STEADY, WIDE) == 0  # And back.
    pd.testing.assert_frame_equal(rows(tmp_path), then)


def test_plan_and_report_say_what_run_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, STEADY)
    config, runs = written(tmp_path / "a.yaml", methods=[CALM]), str(tmp_path / "runs")
    said = "6 images of steady on toys are those of calm on toys, as only labels differ: not computed again."
    plan(config, runs=runs)
    told = capsys.readouterr()
    assert said in " ".join(told.err.split()) and "6 images" in told.out
    with pytest.raises(typer.Exit):  # Until then there are no rows of that label.
        report(str(config), runs=runs)
    assert f"{said} `run {config}` gives them the new label." in " ".join(capsys.readouterr().err.split())
    assert [row.then.method for row in renamed(Store(tmp_path / "runs" / "a"), facts(tmp_path, CALM))] == ["steady"]


def test_labels_that_change_places_take_their_rows_along(tmp_path: Path) -> None:
    start(tmp_path, STEADY, WIDE)
    then = rows(tmp_path)
    assert start(tmp_path, {**STEADY, "label": "wide"}, {**WIDE, "label": "steady"}) == 0
    now = rows(tmp_path)
    for label, other in (("steady", "wide"), ("wide", "steady")):
        pd.testing.assert_frame_equal(of(now, label), of(then, other))
    assert verified(Store(tmp_path / "runs" / "a")).lacking == []


def test_each_label_may_become_the_next_ones(tmp_path: Path) -> None:
    start(tmp_path, STEADY, WIDE)
    then = rows(tmp_path)
    assert start(tmp_path, {**STEADY, "label": "wide"}, {**WIDE, "label": "wider"}) == 0
    pd.testing.assert_frame_equal(of(rows(tmp_path), "wider"), of(then, "wide"))
    assert verified(Store(tmp_path / "runs" / "a")).lacking == []


def test_a_data_sets_label_changes_likewise(tmp_path: Path) -> None:
    start(tmp_path, STEADY, WIDE)
    assert start(tmp_path, STEADY, WIDE, datasets=[{**TOYS, "label": "six"}]) == 0
    assert {*rows(tmp_path)["dataset"]} == {"six"} and verified(Store(tmp_path / "runs" / "a")).lacking == []


def test_variants_move_with_their_method(tmp_path: Path) -> None:
    variants = [{"label": "mute", "text": "none"}]
    start(tmp_path, {**STEADY, "variants": variants})
    assert start(tmp_path, {**CALM, "variants": variants}) == 0
    assert {*rows(tmp_path)["method"]} == {"calm, mute"}


def test_a_method_that_changed_besides_is_computed_and_its_old_rows_stay(tmp_path: Path) -> None:
    start(tmp_path, STEADY)
    assert start(tmp_path, {**CALM, "params": {"reach": 6}}) == 6
    assert start(tmp_path, STEADY) == 0


def test_a_method_added_under_another_label_leaves_the_first_its_rows(tmp_path: Path) -> None:
    start(tmp_path, STEADY)
    assert start(tmp_path, STEADY, CALM) == 6


def test_a_label_that_holds_other_rows_is_refused_and_nothing_moves(tmp_path: Path) -> None:
    start(tmp_path, STEADY, WIDE)
    then = rows(tmp_path)
    with pytest.raises(UserError, match="found rows of wide on toys that were made with other settings or files"):
        start(tmp_path, {**STEADY, "label": "wide"})
    with pytest.raises(UserError, match="a second 'wide'"):
        start(tmp_path, {**STEADY, "label": "wide"}, WIDE)
    assert start(tmp_path, STEADY, WIDE) == 0
    pd.testing.assert_frame_equal(rows(tmp_path), then)


def test_only_what_the_new_label_lacks_is_taken(tmp_path: Path) -> None:
    start(tmp_path, CALM, limit=2)
    start(tmp_path, STEADY, CALM, limit=2)
    start(tmp_path, STEADY)
    store = Store(tmp_path / "runs" / "a")
    (same,) = renamed(store, facts(tmp_path, CALM))
    assert len(same.samples) == 4 and not same.taken
    assert start(tmp_path, CALM) == 0 and verified(store).lacking == []
    assert renamed(Store(tmp_path / "runs" / "a"), facts(tmp_path, CALM)) == []


def test_rows_go_to_one_of_two_new_labels_of_the_same_method(tmp_path: Path) -> None:
    start(tmp_path, STEADY)
    assert start(tmp_path, CALM, {**STEADY, "label": "quiet"}) == 6
    assert verified(Store(tmp_path / "runs" / "a")).lacking == []
    assert rows(tmp_path).groupby("method")["image_id"].nunique().to_dict() == {"calm": 6, "quiet": 6}


def test_a_shard_that_is_taken_in_part_names_only_the_images_that_were_taken(tmp_path: Path) -> None:
    start(tmp_path, STEADY)
    start(tmp_path, STEADY, CALM, limit=1)  # calm has one of the images of steady's first shard
    assert start(tmp_path, CALM) == 0
    store, (calm,) = Store(tmp_path / "runs" / "a"), facts(tmp_path, CALM)
    named = {name: {*header.samples} for name, header in store.headers(calm.key).items()}
    assert sorted(len(images) for images in named.values()) == [1, 1, 2, 2]
    assert named == {name: {*store.read(calm.key, name)["image_id"].to_pylist()} for name in named}
    assert rows(tmp_path)["image_id"].nunique() == 6


@pytest.mark.parametrize(("swapped", "back"), [(False, True), (True, False), (True, True)])
def test_a_start_that_is_killed_while_it_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: bool, back: bool
) -> None:
    start(tmp_path, STEADY, WIDE)
    then, now = (STEADY, WIDE), ({**STEADY, "label": "wide"} if swapped else CALM, {**WIDE, "label": "steady"})
    expected = rows(tmp_path)
    for method in ("write", "remove"):
        original, left = getattr(Folder, method), iter([False, True])

        def dying(folder: Folder, name: str, *content: Any, original: Any = original, left: Any = left) -> None:
            if name.startswith("shards/") and next(left):
                raise KeyboardInterrupt
            original(folder, name, *content)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Folder, method, dying)
            start(tmp_path, *now)
        assert verified(Store(tmp_path / "runs" / "a")).lacking
    assert start(tmp_path, *(then if back else now)) == 0
    assert verified(Store(tmp_path / "runs" / "a")).lacking == []
    pairs = zip(then, then if back else now, strict=True)
    for before, after in pairs:
        pd.testing.assert_frame_equal(of(rows(tmp_path), after["label"]), of(expected, before["label"]))


def needed(folder: Path, label: str) -> tuple[float, bool]:
    """What tables say of a method: the most memory of its workers, and whether it reads the text in secret."""
    found = recorded_at(folder / "runs" / "a")
    source = Source("a", found.rows(), found.context(found.rows()), found.store.manifest())
    return source.peaks(source.job(label, "toys"))["peak_memory_mib"], source.context.facts(label).reads_text


def test_what_a_start_noted_stays_with_what_made_the_rows(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs" / "a")
    start(tmp_path, STEADY)
    (steady,) = store.manifest()["starts"][-1]["peaks"]
    store.close(peaks={steady: {"memory_mib": 9000}}, reads_text=[steady])
    start(tmp_path, STEADY, WIDE)
    (wide,) = store.manifest()["starts"][-1]["peaks"]
    store.close(peaks={wide: {"memory_mib": 100}})
    assert (needed(tmp_path, "steady"), needed(tmp_path, "wide")) == ((9000, True), (100, False))
    start(tmp_path, {**STEADY, "label": "wide"}, {**WIDE, "label": "steady"})
    assert (needed(tmp_path, "steady"), needed(tmp_path, "wide")) == ((100, False), (9000, True))
    for shard in (tmp_path / "runs" / "a" / "shards").glob("wide-*/*"):  # As the message tells to redo these rows.
        shard.unlink()
    start(tmp_path, {**STEADY, "label": "wide", "params": {"reach": 6}})
    most, reads = needed(tmp_path, "wide")
    assert 0 < most < 9000 and not reads, "another method by now"
