"""People's clicks, replayed from files: whose click each draw takes, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import harness
from harness import Click, UserError
from harness.clicks import NoClickError, Situation, click_rng, clicks_a_round
from harness.clicks.people import human, recorded
from harness.config.run_config import load_run
from harness.running.one_run import run
from harness.storage.recordings import record
from harness.structures import Instance, Sample
from toy_runs import Quiet, written

LINES = """dataset,full_stem,x,y,click_type
GrabCut,bush,5,6,first
GrabCut,bush,7.4,8,first
GrabCut,bush,1,1,negative
GrabCut,0017,9,9,mobile
COCO_MVal,000000000139_00042,3,2,first
"""


def kept(folder: Path, *prompts: tuple[str, list[tuple[int, int, bool]]]) -> Path:
    for number, (instance, clicks) in enumerate(prompts):
        made = [{"x": x, "y": y, "positive": positive} for x, y, positive in clicks]
        names = {"dataset": "toys", "image_id": f"toy-{instance[0]}", "instance_id": instance, "category": "small"}
        record(folder, {"id": f"{number:032x}", "text": None, "clicks": made, "seconds": 1.0} | names)
    return folder


def published(folder: Path, text: str = LINES) -> Path:
    (folder / "clicks.csv").write_text(text)
    return folder / "clicks.csv"


def at(sample: str, instance: str, *clicks: Click, draw: int = 0, alone: bool = True) -> Situation:
    mask = np.zeros((32, 48), bool)
    mask[5:11, 4:14] = True
    own = Instance(instance, mask, "small")
    others = () if alone else (Instance("other", ~mask, "large"),)
    image = np.zeros((32, 48, 3), np.uint8)
    return Situation(Sample(sample, image, (own, *others)), own, clicks, None, click_rng(0, "d", "s", "i", 1), draw)


def test_a_recording_is_replayed_click_by_click_and_draw_by_draw(tmp_path: Path) -> None:
    folder = kept(tmp_path / "r", ("1a", [(5, 6, True), (30, 7, False)]), ("1a", [(9, 9, True)]))
    first = Click(5, 6)
    assert recorded(at("toy-1", "1a"), folder) == (first,)
    assert recorded(at("toy-1", "1a", first), folder) == (Click(30, 7, False),)
    assert recorded(at("toy-1", "1a", draw=1), folder) == (Click(9, 9),)
    with pytest.raises(NoClickError, match="the recording of instance '1a' has 2 clicks"):
        recorded(at("toy-1", "1a", first, first), folder)
    with pytest.raises(NoClickError, match="r has 2 recordings of instance '1a'"):
        recorded(at("toy-1", "1a", draw=2), folder)
    with pytest.raises(NoClickError, match="r has no recordings of instance '1b'"):
        recorded(at("toy-1", "1b"), folder)


def test_a_published_click_is_found_by_the_image_or_by_the_mask(tmp_path: Path) -> None:
    file = published(tmp_path)
    assert human(at("bush", "bush"), file, "GrabCut") == (Click(5, 6),)
    assert human(at("bush", "0", draw=1), file, "GrabCut") == (Click(7, 8),)
    assert human(at("17", "17"), file, "GrabCut") == (Click(9, 9),)
    assert human(at("139", "42", alone=False), file, "COCO_MVal") == (Click(3, 2),)
    assert human(at("bush", "bush"), file, "GrabCut", "negative") == (Click(1, 1, False),)
    later = human(at("bush", "bush", Click(5, 6)), file, "GrabCut")
    assert later != (Click(7, 8),) and later[0].positive
    for missing in (at("bush", "bush", draw=2), at("tree", "tree"), at("bush", "1", alone=False)):
        with pytest.raises(NoClickError, match=r"human/v1: clicks.csv has .* clicks on "):
            human(missing, file, "GrabCut")


@pytest.mark.parametrize(
    ("rule", "options", "text", "said"),
    [
        ("human/v1", {"dataset": "Grabcut"}, LINES, "no click of dataset 'Grabcut'. There are: COCO_MVal, GrabCut"),
        (
            "human/v1",
            {"dataset": "GrabCut", "click_type": "x"},
            LINES,
            "no click of click_type 'x'. There are: first, m",
        ),
        ("human/v1", {"dataset": "GrabCut"}, LINES.replace("x,y", "u,v"), "no column x, y; wanted dataset, full_stem"),
        ("human/v1", {"dataset": "GrabCut"}, LINES.replace("7.4", "left"), "line 3: found 'left'; wanted x and y"),
        ("human/v1", {"dataset": "GrabCut", "file": "absent.csv"}, LINES, "no such file; wanted RClicks' clicks.csv"),
        ("human/v1", {}, LINES, "human/v1 needs dataset"),
        ("recorded/v1", {"file": "absent"}, LINES, "no recordings; wanted a .parquet file, or a folder"),
    ],
)
def test_a_file_that_is_none_ends_the_command(
    tmp_path: Path, rule: str, options: dict[str, Any], text: str, said: str
) -> None:
    given = {"file": str(published(tmp_path, text))} | options
    with pytest.raises(UserError, match=said):
        load_run(written(tmp_path / "a.yaml", clicks={"strategy": rule, "options": given}))


@pytest.mark.slow
def test_a_run_replays_recordings_and_counts_instances_without_one(tmp_path: Path) -> None:
    folder = kept(tmp_path / "r", ("1a", [(5, 6, True), (30, 7, False)]), ("2b", [(25, 9, True)]))
    clicks = {"strategy": "recorded/v1", "options": {"file": str(folder)}, "max_clicks": 2}
    config = load_run(written(tmp_path / "a.yaml", clicks=clicks, limit=3, metrics=["iou"]))
    assert clicks_a_round("recorded/v1", config.clicks.options) == 1 and len(config.clicks.options["sha256"]) == 64
    run(config, Quiet(), runs=str(tmp_path))
    rows = harness.load(tmp_path / "a")
    answered = rows[rows["status"].eq("ok")]
    assert set(answered["instance_id"]) == {"1a", "2b"} and len(rows[rows["status"].ne("ok")]) == 5
    (last,) = answered[answered["instance_id"].eq("1a") & answered["click_index"].eq(2)]["clicks"].iloc[:1]
    assert [(one["x"], one["y"], one["positive"]) for one in last] == [(5, 6, True), (30, 7, False)]
    assert rows["error"].str.contains("has no recordings of instance '0a'").any()
    # Another recording makes other rows, which do not go under the same name.
    kept(folder, ("0a", [(5, 6, True)]))
    changed = load_run(tmp_path / "a.yaml")
    assert changed.clicks.options["sha256"] != config.clicks.options["sha256"]
    with pytest.raises(UserError, match="clicks"):
        run(changed, Quiet(), runs=str(tmp_path))
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["clicks"]["options"] == {"file": str(folder)}
