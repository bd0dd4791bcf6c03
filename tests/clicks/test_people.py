"""People's clicks, replayed from files: whose click each draw takes, and what is said where there is none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import harness
from harness import Click, UserError
from harness.clicks import NoClickError, Situation, click_rng, clicks_a_round
from harness.clicks.people import human, recorded
from harness.clicks.strategy import completed
from harness.config.run_config import load_run
from harness.running.one_run import run
from harness.storage.recordings import record
from harness.structures import Instance, Sample
from toy_runs import Quiet, written

LINES = """dataset,full_stem,object_stem,model_type,device,x,y,w,h,click_type
GrabCut,bush,,,pc,5,6,48,32,first
GrabCut,bush,,,mobile,7.4,8,48,32,first
GrabCut,bush_ritm_fp,,ritm,pc,1,1,48,32,fp
GrabCut,bush,,sam,pc,2,2,48,32,fn
GrabCut,0017,,,pc,48,-3,48,32,first
GrabCut,0018,,,pc,-1,32,48,32,first
COCO,tv00_000000000139_______00042,42,,pc,3,2,48,32,first
"""
"""The columns that RClicks' own code reads, with invented clicks."""


GRABCUT = {"dataset": "GrabCut"}
PROMPT: dict[str, Any] = {"image_id": "toy-1", "instance_id": "1a", "category": "small", "text": None, "seconds": 1.0}


def kept(folder: Path, *prompts: tuple[str, list[tuple[int, int, bool]]]) -> Path:
    for number, (instance, clicks) in enumerate(prompts):
        made = [{"x": x, "y": y, "positive": positive} for x, y, positive in clicks]
        names = {"dataset": "toys", "image_id": f"toy-{instance[0]}", "instance_id": instance, "category": "small"}
        record(folder, {"id": f"{number:032x}", "text": None, "clicks": made, "seconds": 1.0} | names)
    return folder


def published(folder: Path, text: str = LINES) -> Path:
    (folder / "clicks.csv").write_bytes(text.encode(errors="surrogatepass"))
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


def test_options_name_the_clicks_by_the_hash_of_every_file(tmp_path: Path) -> None:
    def sha256(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    file = published(tmp_path)
    named = {"file": str(file), **GRABCUT, "sha256": sha256(LINES.encode())}
    assert completed("human/v1", {"file": file, **GRABCUT}) == named
    folder = kept(tmp_path / "r", ("1a", [(5, 6, True)]), ("2b", [(25, 9, True)]))
    first, second = (sha256(one.read_bytes()) for one in sorted(folder.iterdir()))
    assert completed("recorded/v1", {"file": folder / f"{0:032x}.parquet"})["sha256"] == first
    planned = completed("recorded/v1", {"file": folder, "dataset": "toys"})
    assert planned == {"file": str(folder), "dataset": "toys", "sha256": sha256(f"{first}{second}".encode())}
    kept(folder, ("1a", [(5, 6, True)]), ("2b", [(26, 9, True)]))
    with pytest.raises(UserError, match=r"r: it has changed since the run was planned\. Start the run again"):
        recorded(at("toy-1", "1a"), folder, sha256=planned["sha256"])  # not read by this process yet


def test_recordings_of_two_data_sets_with_the_same_ids_are_told_apart(tmp_path: Path) -> None:
    folder = kept(tmp_path / "r", ("1a", [(5, 6, True)]))
    record(folder, {**PROMPT, "id": "f" * 32, "dataset": "others", "clicks": [{"x": 7, "y": 8, "positive": True}]})
    with pytest.raises(UserError, match="'others' and 'toys' both have an instance '1a' of an image 'toy-1'"):
        recorded(at("toy-1", "1a"), folder)
    assert recorded(at("toy-1", "1a"), folder, "toys") == (Click(5, 6),)
    assert recorded(at("toy-1", "1a"), folder, "others") == (Click(7, 8),)
    with pytest.raises(UserError, match="labelled 'mine'. There are: others, toys"):
        recorded(at("toy-1", "1a"), folder, "mine")


@pytest.mark.parametrize("clicks", [None, [], [None], [{"x": None, "y": 2, "positive": True}]])
def test_a_recording_without_a_whole_click_is_named(tmp_path: Path, clicks: Any) -> None:
    record(tmp_path, {**PROMPT, "id": "f" * 32, "dataset": "toys", "clicks": clicks})
    with pytest.raises(UserError, match="recording 'f+' has no clicks, or one without x, y or positive"):
        recorded(at("toy-1", "1a"), tmp_path)


def test_a_published_first_click_is_found_by_the_image_or_by_its_object(tmp_path: Path) -> None:
    file = published(tmp_path)
    assert human(at("bush", "bush"), file, "GrabCut") == (Click(5, 6),)
    assert human(at("bush", "0", draw=1), file, "GrabCut") == (Click(7, 8),)
    assert human(at("17", "17"), file, "GrabCut") == (Click(47, 0),), "a click beyond the image lies on its edge"
    assert human(at("18", "18"), file, "GrabCut") == (Click(0, 31),)
    assert human(at("tv00_139", "42", alone=False), file, "COCO") == (Click(3, 2),)
    # A later click is center/v1's: the deepest pixel of the object, whose 6 x 10 pixels begin at (4, 5).
    assert human(at("bush", "bush", Click(5, 6)), file, "GrabCut") == (Click(6, 7),)
    # Clicks that correct another method's mask ("fp", "fn") are nobody's first click on the object.
    for missing in (at("bush", "bush", draw=2), at("tree", "tree"), at("bush", "1", alone=False)):
        with pytest.raises(NoClickError, match=r"human/v1: clicks.csv has .* clicks on "):
            human(missing, file, "GrabCut")


@pytest.mark.parametrize(
    ("rule", "options", "text", "said"),
    [
        ("human/v1", {"dataset": "COCO_MVal"}, LINES, "and dataset 'COCO_MVal'. Data sets there: COCO, GrabCut"),
        ("human/v1", GRABCUT, LINES.replace("first", "last"), "no line with click_type first .* there: none"),
        ("human/v1", GRABCUT, LINES.replace("x,y", "u,v"), "no column x, y; wanted dataset, full_stem"),
        ("human/v1", GRABCUT, LINES.replace("7.4", "left"), "line 3: found 'left', '8'; wanted x and y"),
        ("human/v1", GRABCUT, LINES.replace("7.4", "nan"), "line 3: found 'nan', '8'; wanted x and y"),
        ("human/v1", GRABCUT, "\ufeff\ud800", "cannot be read"),
        ("human/v1", GRABCUT | {"file": "."}, LINES, "no such file; wanted RClicks' clicks.csv"),
        ("human/v1", GRABCUT | {"file": "absent.csv"}, LINES, "no such file; wanted RClicks' clicks.csv"),
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
    # Where the recordings lie makes no difference.
    folder = folder.rename(tmp_path / "moved")
    moved = load_run(written(tmp_path / "a.yaml", clicks=clicks | {"options": {"file": str(folder)}}, limit=3))
    assert moved.clicks.protocol == config.clicks.protocol and moved.clicks.options != config.clicks.options
    # Another recording makes other rows, which do not go under the same name.
    kept(folder, ("0a", [(5, 6, True)]))
    changed = load_run(tmp_path / "a.yaml")
    assert changed.clicks.options["sha256"] != config.clicks.options["sha256"]
    with pytest.raises(UserError, match="clicks"):
        run(changed, Quiet(), runs=str(tmp_path))
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["clicks"]["options"] == {"file": str(folder)}
